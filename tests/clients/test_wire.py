"""The clients send the requests of docs/wire, and read its answers into the right classes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest

from clients import AsyncPolicyClient, PolicyClient, calls
from clients.calls import Call
from clients.encoding import Encoding
from lamo.errors import Conflict, NotFound, ServiceError
from lamo.packing import MEDIA_TYPE
from lamo.wire import (
    ActAnswer,
    ActRequest,
    ActTogetherAnswer,
    ActTogetherRequest,
    EndRequest,
    EpisodeState,
    EpisodeSummary,
    Health,
    PolicyInfo,
    PolicyList,
    Problem,
    Request,
    StartRequest,
    WindowRequest,
)
from tests.wire_examples import Example, all_examples, pack, read_example, unpack, with_arrays

EXAMPLES = all_examples()
PROBLEMS = [one for one in EXAMPLES if "problem" in one.name]
ANSWERS = [one for one in EXAMPLES if one not in PROBLEMS and one.answer.body is not None]
REQUESTS = [one for one in EXAMPLES if one.request.body and one.status < 400]

MEANT: list[tuple[str, type[Request] | None, type[Any]]] = [
    ("/window", WindowRequest, EpisodeState),
    ("/episodes/arm-7/act", ActRequest, ActAnswer),
    ("/act", ActTogetherRequest, ActTogetherAnswer),
    ("/end", EndRequest, EpisodeSummary),
    ("/policies", None, PolicyList),
    ("/arm", None, PolicyInfo),
    ("/healthz", None, Health),
    ("/readyz", None, Health),
    ("", StartRequest, EpisodeState),
]


def meant(example: Example) -> tuple[type[Request] | None, type[Any]]:
    """The request's and the answer's class."""
    return next(
        (request, answer) for ending, request, answer in MEANT if example.path.endswith(ending)
    )


def by_name(example: Example) -> str:
    return example.name


def json_of(message: Any) -> Any:
    return json.loads(json.dumps(message))


def arrays(*names: str) -> Callable[[str], dict[str, Any]]:
    """The fields of an example's request that a call takes, with arrays of float32."""

    def fields(name: str) -> dict[str, Any]:
        body = with_arrays(read_example(name).request.body)
        return {field: body.get(field) for field in names}

    return fields


step = arrays("step", "observation", "reward", "executed_action")
start = arrays("policy", "target_return", "ttl_seconds", "labels")


def end(name: str) -> Call[EpisodeSummary]:
    given = arrays("step", "reward", "executed_action", "success")(name)
    flags = {flag: read_example(name).request.body.get(flag, False) for flag in ("terminated", "truncated")}
    return calls.end_episode("arm-7", **given, **flags)


def together() -> Call[ActTogetherAnswer]:
    items = [with_arrays(item) for item in read_example("act-together").request.body["items"]]
    told = ("episode_id", "step", "observation")
    return calls.act_together(
        [
            calls.item(**{name: item[name] for name in told}, reward=item.get("reward"), executed_action=None)
            for item in items[:2]
        ]
    )


CALLS: dict[str, Callable[[], Call[Any]]] = {
    "policies": calls.list_policies,
    "policy": lambda: calls.describe_policy("arm"),
    "start": lambda: calls.start_episode("arm-7", **start("start")),
    "act.first": lambda: calls.act("arm-7", **step("act.first")),
    "act": lambda: calls.act("arm-7", **step("act")),
    "act.executed-action": lambda: calls.act("arm-7", **step("act.executed-action")),
    "act-together": together,
    "end": lambda: end("end"),
    "episode": lambda: calls.episode_state("arm-7"),
    "delete": lambda: calls.delete_episode("arm-7"),
}
UNSAID = {"end": {"terminated": False}}
"""What a client says although it need not."""
UNSENDABLE = {"end": {"observation"}}
"""What no call of the client says."""


@pytest.mark.parametrize("encoding", Encoding)
@pytest.mark.parametrize("name", CALLS)
def test_a_call_sends_the_request_of_its_example(name, encoding):
    example = read_example(name)
    request = CALLS[name]().request("http://service", 1.0, encoding)
    assert (request.method, request.url.path) == (example.method, example.path)
    if example.request.body is None:
        assert request.read() == b""
        return
    assert request.headers["content-type"] == encoding.media_type
    body = {field: value for field, value in example.request.body.items() if field not in UNSENDABLE.get(name, ())}
    body |= UNSAID.get(name, {})
    if name == "act-together":
        body["items"] = body["items"][:2]  # no client sends a field that the service does not know
    if encoding is Encoding.JSON:
        assert json.loads(request.read()) == body
    else:
        assert unpack(request.read()) == unpack(pack(body))


@pytest.mark.parametrize("example", [one for one in REQUESTS if one.name != "act-together"], ids=by_name)
def test_every_request_is_written_byte_for_byte_as_in_its_example(example):
    model, _ = meant(example)
    assert model is not None
    in_order = {name: value for name, value in ordered(model, example.request.body).items()}
    message = model.model_validate(with_arrays(in_order))
    assert json.loads(Encoding.JSON.write(message)) == example.request.body
    assert Encoding.MSGPACK.write(message) == pack(in_order)
    assert unpack(pack(in_order)) == unpack(example.request.packed or b"")

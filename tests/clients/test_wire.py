"""The clients send the requests of docs/wire, and read its answers into the right classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from clients import AsyncPolicyClient, PolicyClient, calls
from clients.calls import Call
from clients.encoding import Encoding
from clients.outage import Outage
from lamo.errors import Conflict, ServiceError
from lamo.wire import (
    ActAnswer,
    ActItem,
    ActRequest,
    ActTogetherAnswer,
    ActTogetherRequest,
    EndRequest,
    EpisodeState,
    EpisodeSummary,
    Health,
    PolicyInfo,
    PolicyList,
    Request,
    StartRequest,
    WindowRequest,
    WindowTimestep,
)
from tests.wire_examples import Example, all_examples, read_example, unpack, with_arrays

REQUESTS: dict[str, type[Request]] = {
    "start": StartRequest,
    "act": ActRequest,
    "act-together": ActTogetherRequest,
    "end": EndRequest,
    "window": WindowRequest,
}
ANSWERS: dict[str, type[Any]] = {
    "start": EpisodeState,
    "act": ActAnswer,
    "act-together": ActTogetherAnswer,
    "end": EpisodeSummary,
    "window": EpisodeState,
    "episode": EpisodeState,
    "policies": PolicyList,
    "policy": PolicyInfo,
    "healthz": Health,
    "readyz": Health,
    "newer": ActAnswer,
}
EXAMPLES = all_examples()


PROBLEMS = [one for one in EXAMPLES if one.name.startswith("problem.")]


def kind(example: Example) -> str:
    return example.name.partition(".")[0]


def by_name(example: Any) -> str | None:
    return example.name if isinstance(example, Example) else None


SENT = [one for one in EXAMPLES if kind(one) in REQUESTS and not one.name.endswith(".refused")]


@pytest.mark.parametrize("example", SENT, ids=by_name)
def test_a_request_is_written_byte_for_byte_as_in_its_example(example):
    message = REQUESTS[kind(example)].model_validate(with_arrays(example.request.body))
    assert Encoding.JSON.write(message) == example.request.json
    assert Encoding.MSGPACK.write(message) == example.request.packed


def of_class(answer: type[Any], body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name in answer.model_fields}


@pytest.mark.parametrize("encoding", Encoding)
@pytest.mark.parametrize(
    "example", [one for one in EXAMPLES if kind(one) in ANSWERS and one.status < 300], ids=by_name
)
def test_an_answer_is_read_as_its_class_and_what_it_does_not_know_is_skipped(example, encoding):
    answer = ANSWERS[kind(example)]
    content = example.answer.json if encoding is Encoding.JSON else example.answer.packed
    read = Call(example.method, example.path, answer).read(
        example.status, {"content-type": encoding.media_type}, content or b""
    )
    assert type(read) is answer
    assert read.model_dump(exclude_unset=True) == of_class(answer, example.answer.body)


@pytest.mark.parametrize("example", PROBLEMS, ids=by_name)
def test_a_problem_is_read_as_its_class_with_all_that_it_says(example):
    document = example.answer.body
    error = calls.read_error(example.status, example.answer.headers, example.answer.json)
    assert f"urn:lamo:problem:{type(error).kind}" == document["type"]
    assert error.problem() == document
    assert ("Retry-After" in example.answer.headers) == (error.retry_after_ms is not None)


def test_a_problem_of_a_newer_service_is_read_as_the_class_of_its_status():
    example = read_example("newer.problem")
    error = calls.read_error(example.status, {}, example.answer.json)
    assert type(error) is Conflict
    assert (error.detail, error.committed_step, error.expected_step) == (example.answer.body["detail"], 8, 9)


def said(name: str, *fields: str) -> dict[str, Any]:
    """What an example's request says in these fields, with arrays of float32."""
    body = with_arrays(read_example(name).request.body)
    return {field: body.get(field) for field in fields}


STEP = ("step", "observation", "reward", "executed_action")
START = ("policy", "target_return", "ttl_seconds", "labels")


def act(name: str) -> Call[ActAnswer]:
    outage = Outage(PolicyInfo.model_validate(read_example("policy").answer.body))
    for passed in read_example(name).request.body.get("missed", ()):
        told = with_arrays(passed)
        outage.add(calls.missed_step(**({"executed_action": None} | told)))
    return calls.act("arm-7", outage.told_by(calls.act_request(**said(name, *STEP))))


def window() -> Call[EpisodeState]:
    body = with_arrays(read_example("window").request.body)
    started = EpisodeState.model_validate(read_example("start").answer.body)
    timesteps = [WindowTimestep.model_validate(timestep) for timestep in body["timesteps"]]
    return calls.restore_window(started, body["ttl_seconds"], body["episode_return"], timesteps)


def items() -> list[ActItem]:
    sent = with_arrays(read_example("act-together").request.body["items"])
    return [calls.item(**({"reward": None, "executed_action": None} | item)) for item in sent]


CALLS: dict[str, Callable[[], Call[Any]]] = {
    "policies": calls.list_policies,
    "policy": lambda: calls.describe_policy("arm"),
    "start": lambda: calls.start_episode("arm-7", **said("start", *START)),
    "act.first": lambda: act("act.first"),
    "act": lambda: act("act"),
    "act.executed-action": lambda: act("act.executed-action"),
    "act.missed": lambda: act("act.missed"),
    "window": window,
    "act-together": lambda: calls.act_together(items()),
    "end": lambda: calls.end_episode(
        "arm-7", executed_action=None, **said("end", "step", "reward", "terminated", "truncated", "success")
    ),
    "episode": lambda: calls.episode_state("arm-7"),
    "delete": lambda: calls.delete_episode("arm-7"),
    "problem.unknown-episode": lambda: calls.episode_state("nobody"),
    "problem.invalid-request": lambda: act("problem.invalid-request"),
}


class Recorded:
    """A network that takes the request of one example, and gives its answer."""

    def __init__(self, name: str, encoding: Encoding) -> None:
        self.example = read_example(name)
        self.encoding = encoding
        self.transport = httpx.MockTransport(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        sent, example = request.read(), self.example
        assert (request.method, request.url.path) == (example.method, example.path)
        if self.encoding is Encoding.JSON or example.request.packed is None:
            assert sent == example.request.json
        else:
            assert unpack(sent) == unpack(example.request.packed)
        if sent:
            assert request.headers["content-type"] == self.encoding.media_type
        headers, content = example.answer.headers, example.answer.json
        if self.encoding is Encoding.MSGPACK and example.answer.packed is not None:
            headers, content = headers | {"Content-Type": self.encoding.media_type}, example.answer.packed
        return httpx.Response(example.status, headers=headers, content=content)

    def check(self, outcome: object) -> None:
        if isinstance(outcome, ServiceError):
            assert outcome.problem() == self.example.answer.body
        elif self.example.answer.body is None:
            assert outcome is None
        else:
            assert outcome == ANSWERS[kind(self.example)].model_validate(self.example.answer.body)


@pytest.mark.parametrize("encoding", Encoding)
@pytest.mark.parametrize("name", CALLS)
def test_the_blocking_client_sends_an_example_and_returns_its_answer(name, encoding):
    recorded = Recorded(name, encoding)
    with PolicyClient("http://service", encoding=encoding, transport=recorded.transport) as client:
        try:
            outcome = client.send(CALLS[name]())
        except ServiceError as error:
            outcome = error
    recorded.check(outcome)


@pytest.mark.anyio
@pytest.mark.parametrize("encoding", Encoding)
@pytest.mark.parametrize("name", CALLS)
async def test_the_asynchronous_client_sends_an_example_and_returns_its_answer(name, encoding):
    recorded = Recorded(name, encoding)
    async with AsyncPolicyClient("http://service", encoding=encoding, transport=recorded.transport) as client:
        try:
            outcome = await client.send(CALLS[name]())
        except ServiceError as error:
            outcome = error
    recorded.check(outcome)

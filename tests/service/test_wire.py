"""The service answers the examples of docs/wire as they say; `--write-wire` writes them from its answers."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import msgpack
import pytest

from lamo.packing import MEDIA_TYPE
from lamo.wire import ActRequest
from service.metrics import Metrics
from service.steps.contents import StepContent
from service.web.arrival import Arrival
from service.web.asgi import asgi_app
from service.web.bodies import read
from tests.service import wire_scenes as scenes
from tests.service.conftest import HeldEngine
from tests.service.wire_client import JSON, Wire, request_of, undetailed
from tests.service.wire_scenes import Ask
from tests.wire_examples import FOLDER, Example, Message, all_examples, close, read_example, unpack

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="session")
def policies(checkpoint_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small policy as an arm's, with names, units and a step of 20 ms."""
    folder = tmp_path_factory.mktemp("arm-policies")
    shutil.copytree(checkpoint_directory, folder / "arm")
    path = folder / "arm" / "config.json"
    config = json.loads(path.read_text())
    config |= {"task": "reach", "step_seconds": 0.02}
    config["observation"] |= {"names": ["shoulder", "elbow", "distance", "force", "load"]}
    config["observation"] |= {"units": ["rad", "rad", "m", "N", "kg"]}
    config["action"] |= {"names": ["shoulder", "elbow"], "units": ["N m", "N m"]}
    path.write_text(json.dumps(config))
    return folder


@pytest.fixture
def check(request: pytest.FixtureRequest) -> Any:
    """Compares an exchange in both encodings with its example, or writes it as one."""
    writing = request.config.getoption("--write-wire")

    def checked(wire: Wire, ask: Ask, in_json: httpx.Response, in_msgpack: httpx.Response | None) -> None:
        headers, body = wire.shown(in_json)
        answer = Message(headers, json.loads(body) if body else None)
        if in_msgpack is not None:
            assert in_msgpack.status_code == in_json.status_code
            other_headers, other = wire.shown(in_msgpack)
            if other_headers.get("Content-Type") == MEDIA_TYPE:
                answer.packed = other
            else:  # a problem in JSON, or nothing; some details count bytes, which are others
                assert undetailed(other) == undetailed(body)
        found = Example(ask.name, ask.what, ask.method, ask.path, request_of(ask), in_json.status_code, answer)
        if writing:
            found.write()
            return
        same(found, read_example(ask.name))

    return checked


def same(found: Example, example: Example) -> None:
    assert (found.what, found.method, found.path) == (example.what, example.method, example.path)
    assert found.request == example.request
    assert (found.status, found.answer.headers) == (example.status, example.answer.headers)
    assert found.answer.body == close(example.answer.body)
    assert (found.answer.packed is None) == (example.answer.packed is None)
    if found.answer.packed is not None and example.answer.packed is not None:
        assert unpack(found.answer.packed) == close(unpack(example.answer.packed))


@asynccontextmanager
async def wired(serve: Any, policies: Path, **options: Any) -> AsyncIterator[tuple[Any, Wire]]:
    async with serve(policies=policies, reproducible=True, max_body_bytes=2048, **options) as service:
        revision = service.lifecycle.engine.served[0].revision
        await service.client.delete(scenes.EPISODE)
        try:
            yield service, Wire(service.client, revision)
        finally:
            await service.client.delete(scenes.EPISODE)


async def test_an_episodes_whole_life_is_answered_as_the_examples_say(serve, policies, check):
    answers: dict[str, list[httpx.Response]] = {}
    async with wired(serve, policies) as (service, wire):
        for media_type in (JSON, MEDIA_TYPE):
            await service.client.delete(scenes.EPISODE)
            for ask in scenes.LIFE:
                answers.setdefault(ask.name, []).append(await wire.send(ask, media_type))
        for ask in scenes.LIFE:
            check(wire, ask, *answers[ask.name])


async def test_what_a_busy_service_refuses_is_answered_as_the_examples_say(serve, policies, check):
    engine = HeldEngine(policies)
    async with wired(serve, policies, engine=engine, queue_limit=1) as (service, wire):
        busy = [await service.start() for _ in range(2)]
        await service.client.put(scenes.EPISODE, json={})
        computed = asyncio.create_task(wire.send(scenes.act("held", "", 0), JSON))
        await engine.holding.wait()
        in_flight = [await wire.send(scenes.IN_FLIGHT, media_type) for media_type in (JSON, MEDIA_TYPE)]
        waits = asyncio.create_task(service.act(busy[0], 0))
        await asyncio.sleep(0.05)
        full = [await wire.send(scenes.QUEUE_FULL, media_type) for media_type in (JSON, MEDIA_TYPE)]
        engine.let_go.set()
        await asyncio.gather(computed, waits)
        check(wire, scenes.IN_FLIGHT, *in_flight)
        check(wire, scenes.QUEUE_FULL, *full)


async def test_a_step_that_waited_too_long_is_answered_as_the_example_says(serve, policies, check):
    late = []
    for media_type in (JSON, MEDIA_TYPE):
        engine = HeldEngine(policies)
        async with wired(serve, policies, engine=engine) as (service, wire):
            computed = asyncio.create_task(service.act(await service.start(), 0))
            await engine.holding.wait()
            await service.client.put(scenes.EPISODE, json={})
            waits = asyncio.create_task(wire.send(scenes.DEADLINE, media_type))
            await asyncio.sleep(0.05)
            engine.let_go.set()
            late.append(await waits)
            await computed
    check(wire, scenes.DEADLINE, *late)


async def test_a_service_that_comes_or_goes_answers_as_the_examples_say(serve, policies, check):
    async with wired(serve, policies) as (service, wire):
        for attribute, value, asks in (
            ("draining", True, (scenes.DRAINING, scenes.DRAINING_START)),
            ("opened", False, (scenes.LOADING, scenes.NOT_READY)),
        ):
            setattr(service.lifecycle, attribute, value)
            for ask in asks:
                check(wire, ask, *[await wire.send(ask, media_type) for media_type in (JSON, MEDIA_TYPE)])
            setattr(service.lifecycle, attribute, not value)


@pytest.mark.parametrize(("refusal", "ask"), scenes.NOT_WHOLE, ids=lambda part: getattr(part, "name", None))
async def test_a_request_that_never_came_whole_is_answered_as_the_example_says(check, refusal, ask):
    app = asgi_app(None, Metrics(), keys=None, lifespan=None, max_body_bytes=2048)
    headers, body = app.intake.refuse(refusal, None)
    told = json.loads(body)
    unknown = {"request_id": "0000000000000000", "trace_id": "0" * 32}  # its head was not looked at
    for name, zeros in unknown.items():
        headers = [(header, value.replace(told[name].encode(), zeros.encode())) for header, value in headers]
    body = json.dumps(told | unknown).encode()
    check(Wire(httpx.AsyncClient()), ask, httpx.Response(refusal.status, headers=headers, content=body), None)


class Trouble:
    """What acts in place of a service in trouble."""

    def __init__(self, trouble: Exception) -> None:
        self._trouble = trouble

    async def act(self, asked: Any) -> Any:
        raise self._trouble


@pytest.mark.parametrize(("trouble", "ask"), scenes.REFUSED, ids=lambda part: getattr(part, "name", None))
async def test_trouble_is_answered_as_the_example_says(check, trouble, ask):
    app = asgi_app(Trouble(trouble), Metrics(), keys=None, lifespan=None, max_body_bytes=2048)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
        wire = Wire(client)
        check(wire, ask, *[await wire.send(ask, media_type) for media_type in (JSON, MEDIA_TYPE)])


NEWER = (
    ("newer.act", "act", {"confidence": 0.9}),
    (
        "newer.problem",
        "problem.step-conflict",
        {"type": "urn:lamo:problem:step-too-late", "title": "Step too late", "late_ms": 12.5},
    ),
)


@pytest.mark.parametrize(("name", "older", "more"), NEWER)
def test_what_a_newer_service_may_answer_is_an_example_with_more_fields(name, older, more, request):
    found = read_example(older)
    answer = found.answer
    body = answer.body | more
    packed = None if answer.packed is None else msgpack.packb(msgpack.unpackb(answer.packed) | more)
    what = "As a newer service may answer: with a field, or a type, that this version does not know."
    found = replace(found, name=name, what=what, answer=Message(answer.headers, body, packed=packed))
    if request.config.getoption("--write-wire"):
        found.write()
    same(found, read_example(name))


def test_every_kind_of_problem_has_an_example_and_every_example_a_scene():
    asked = [*scenes.LIFE, scenes.IN_FLIGHT, scenes.QUEUE_FULL, scenes.DEADLINE, scenes.DRAINING]
    asked += [scenes.DRAINING_START, scenes.LOADING, scenes.NOT_READY]
    asked += [ask for _, ask in [*scenes.REFUSED, *scenes.NOT_WHOLE]]
    answered = {example.name: example.answer.body or {} for example in all_examples()}
    assert set(answered) == {ask.name for ask in asked} | {name for name, _, _ in NEWER}
    types = {body["type"] for name, body in answered.items() if name.startswith("problem.")}
    assert types == {f"urn:lamo:problem:{kind}" for kind in scenes.kinds()}


def test_the_page_of_the_folder_lists_every_example():
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"\]\(([\w.-]+)\.json\)", page)
    assert sorted(set(listed)) == sorted(example.name for example in all_examples())


ACTS = [one for one in all_examples() if one.path.endswith("-7/act") and one.request.body and one.status == 200]


@pytest.mark.parametrize(
    "example", [one for one in ACTS if "items" not in one.request.body], ids=lambda one: one.name
)
def test_a_step_has_one_digest_in_both_encodings(example):
    contents = [
        StepContent.of(read(ActRequest, Arrival(content_type=media_type), body))
        for media_type, body in ((JSON, example.request.json), (MEDIA_TYPE, example.request.packed))
    ]
    step = contents[0].step or 0
    assert contents[0].digest(step) == contents[1].digest(step)
    assert contents[0].same_as(contents[1], step)


async def test_a_step_is_replayed_in_the_other_encoding(serve, policies):
    async with wired(serve, policies) as (_, wire):
        for ask in scenes.LIFE:
            if not ask.name.startswith(("start", "act")) or ask.name in ("act.restored", "act-together"):
                continue
            first = await wire.send(ask, JSON)
            assert first.status_code in (200, 201), first.text
            if "step" in (ask.body or {}):
                again = msgpack.unpackb((await wire.send(ask, MEDIA_TYPE)).content)
                assert again["replayed"]
                assert unpack(msgpack.packb(again["action"]))["of"] == first.json()["action"]

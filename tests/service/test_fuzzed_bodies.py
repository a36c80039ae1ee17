"""Bodies that Hypothesis makes up, in both encodings, through the whole service: no 500 and nothing unforeseen.

`make fuzz` looks further: there the bodies grow towards code that none before has reached.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lamo.packing import DTYPES
from service.processes.app import create_app
from service.settings import Settings
from tests.service.bare_asgi import JSON, MSGPACK, post

# The strategies below nest, and their names with them; nobody reads those.
pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")

NUMBERS = st.one_of(st.floats(), st.integers(-(2**63), 2**64 - 1), st.sampled_from([0, -1, 2**31, 1e39, -0.0]))


JUNK = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=5), st.binary(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=4)),
    max_leaves=8,
)
ARRAYS = st.fixed_dictionaries(
    {
        "dtype": st.one_of(st.sampled_from([*DTYPES, ">f4", "O", "V8"]), JUNK),
        "shape": st.one_of(st.lists(st.one_of(st.integers(0, 5), NUMBERS), max_size=9), JUNK),
        "data": st.one_of(st.binary(max_size=40), JUNK),
    }
)
VECTORS = st.one_of(st.lists(st.floats(width=32), min_size=5, max_size=5), st.lists(NUMBERS), ARRAYS, JUNK)
STEPS = st.one_of(st.integers(-1, 31), NUMBERS, JUNK)


def fields(**wanted: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Any of these fields, and perhaps one that nobody knows."""
    known = st.fixed_dictionaries({}, optional=wanted)
    return st.one_of(known, st.builds(lambda left, right: left | right, known, st.dictionaries(st.text(), JUNK)))


STEP = {
    "step": STEPS,
    "observation": VECTORS,
    "reward": st.one_of(NUMBERS, JUNK),
    "executed_action": VECTORS,
    "observed_at": st.one_of(NUMBERS, JUNK),
}
MISSED = st.one_of(st.lists(fields(**STEP), max_size=3), JUNK)
ACTS = fields(**STEP, missed=MISSED, deadline_ms=st.one_of(st.just(50), NUMBERS, JUNK))
ITEMS = fields(**STEP, missed=MISSED, episode_id=st.one_of(st.just("fuzzed"), st.text(), JUNK))
STARTS = fields(
    policy=st.one_of(st.just("small"), st.text(), JUNK),
    target_return=st.one_of(NUMBERS, JUNK),
    ttl_seconds=st.one_of(st.integers(0, 10**6), NUMBERS, JUNK),
    labels=st.one_of(st.dictionaries(st.text(), st.text()), ARRAYS, JUNK),
)
ENDS = fields(**STEP, missed=MISSED, terminated=st.one_of(st.booleans(), JUNK), success=JUNK)
TIMESTEPS = st.lists(fields(**STEP, action=VECTORS, return_to_go=st.one_of(NUMBERS, JUNK)), max_size=3)
WINDOWS = fields(
    policy=st.one_of(st.just("small"), JUNK),
    revision=JUNK,
    target_return=st.one_of(NUMBERS, JUNK),
    episode_return=st.one_of(NUMBERS, JUNK),
    timesteps=st.one_of(TIMESTEPS, JUNK),
)
REQUESTS = st.one_of(
    st.tuples(st.just("POST /episodes/fuzzed/act"), ACTS),
    st.tuples(st.just("POST /act"), fields(items=st.one_of(st.lists(ITEMS, max_size=3), JUNK))),
    st.tuples(st.just("POST /episodes"), STARTS),
    st.tuples(st.just("PUT /episodes/fuzzed"), STARTS),
    st.tuples(st.just("POST /episodes/fuzzed-end/end"), ENDS),
    st.tuples(st.just("PUT /episodes/fuzzed/window"), WINDOWS),
)


class Fuzzed:
    """A service in this process, and a loop to run it on."""

    def __init__(self, runner: asyncio.Runner, app: Any) -> None:
        self.runner, self.app = runner, app

    def send(self, route: str, media_type: str, body: bytes) -> None:
        method, _, path = route.partition(" ")
        self.runner.run(post(self.app, path, media_type, body, method)).refuse_failures()


@pytest.fixture(scope="module")
def fuzzed(checkpoint_directory: Path, redis_url: str) -> Iterator[Fuzzed]:
    chosen = {"policies": checkpoint_directory.parent, "redis_url": redis_url, "device": "cpu", "batch_limit": 2}
    app = create_app(Settings.read(chosen))
    lifespan = app.router.lifespan_context(app)
    with asyncio.Runner() as runner:
        runner.run(lifespan.__aenter__())
        runner.run(app.state.lifecycle.wait_opened())
        yield Fuzzed(runner, app)
        runner.run(lifespan.__aexit__(None, None, None))


QUICK = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@pytest.fixture(autouse=True)
def _nothing_unforeseen(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.ERROR):
        yield
    assert not caplog.records


def without_bytes(value: object) -> object:
    """What JSON has a word for."""
    if isinstance(value, dict):
        return {str(key): without_bytes(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_bytes(item) for item in value]
    return value.decode("latin-1") if isinstance(value, bytes) else value


@QUICK
@given(request=REQUESTS)
def test_messages_that_are_nearly_right(fuzzed: Fuzzed, request: tuple[str, dict[str, Any]]) -> None:
    route, message = request
    fuzzed.send(route, JSON, json.dumps(without_bytes(message)).encode())
    fuzzed.send(route, MSGPACK, packed(message))


@QUICK
@given(request=REQUESTS, data=st.data())
def test_messages_with_some_bytes_changed(fuzzed: Fuzzed, request: tuple[str, Any], data: st.DataObject) -> None:
    route, message = request
    for media_type, body in (
        (JSON, json.dumps(without_bytes(message)).encode()),
        (MSGPACK, packed(message)),
    ):
        start = data.draw(st.integers(0, len(body)))
        end = data.draw(st.integers(start, min(len(body), start + 8)))
        fuzzed.send(route, media_type, body[:start] + data.draw(st.binary(max_size=8)) + body[end:])


@QUICK
@given(
    route=REQUESTS.map(lambda request: request[0]), media_type=st.sampled_from([JSON, MSGPACK]), body=st.binary()
)
def test_bytes(fuzzed: Fuzzed, route: str, media_type: str, body: bytes) -> None:
    fuzzed.send(route, media_type, body)


def packed(message: object) -> bytes:
    """As msgpack, where what Python's numbers and text can hold and msgpack cannot is nothing."""
    return msgpack.packb(message, unicode_errors="surrogatepass")

"""What acts cost in JSON and msgpack: read by pydantic, by msgspec where it is installed, and there and back.

    python benchmarks/decoding.py

Prints microseconds of CPU per message, of the best round, for one act of 17 numbers and a request of 64 such
acts. "read" is what the service does: into the wire models, and on to checked float32 arrays. "there and back" is
what both sides do: the request written and read, the answer written and read.
"""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Callable, Iterator
from functools import partial

import msgpack
import numpy as np

from clients import calls
from clients.calls import Call
from clients.encoding import Encoding
from lamo import packing
from lamo.errors import ServiceError
from lamo.wire import ActAnswer, ActOutcome, ActRequest, ActTogetherAnswer, Timing
from service.steps.contents import StepContent
from service.web import bodies
from service.web.arrival import Arrival

OBSERVATION_SIZE, ITEMS = 17, 64

LARGE_SIZE = 376
"""The largest of Gymnasium's MuJoCo observations, Humanoid's."""

ROUNDS, ROUND_SECONDS = 15, 0.03

TIMING = Timing(queue_ms=0.1, recall_ms=0.1, infer_ms=4.2, commit_ms=0.7, total_ms=5.1, batch_size=64)
OUTCOME = ActOutcome(
    status=200,
    body=ActAnswer(
        episode_id="e" * 27,
        step=7,
        action=[0.25, -0.125, 0.5],
        return_to_go=71.5,
        policy="hopper",
        revision="0123456789ab",
        committed_step=7,
        replayed=False,
        clipped=[],
        observation_zscore=1.3,
        timing=TIMING,
    ),
)


def main() -> None:
    """Measure and print the table."""
    print(f"| message of {OBSERVATION_SIZE} float32 | bytes | us |\n| --- | ---: | ---: |")
    for title, body, read in readings():
        print(f"| {title} | {len(body)} | {microseconds(lambda read=read, body=body: read(body)):.1f} |")


def readings() -> Iterator[tuple[str, bytes, Callable[[bytes], object]]]:
    """What is measured: its title, the message, and what reads it."""
    act_json, act_packed = act(as_array=False), act(as_array=True)
    many_json, many_packed = ({"items": [one | {"episode_id": "e" * 27}] * ITEMS} for one in (act_json, act_packed))
    for kind, listed, packed, read in (
        ("act", act_json, act_packed, read_act),
        (f"{ITEMS} acts", many_json, many_packed, read_acts),
    ):
        yield f"{kind}, JSON, read", json.dumps(listed).encode(), lambda body, read=read: read("json", body)
        yield f"{kind}, msgpack, read", msgpack.packb(packed), lambda body, read=read: read("msgpack", body)
    yield "act, JSON, pydantic", json.dumps(act_json).encode(), ActRequest.model_validate_json
    yield "act, msgpack, msgpack and pydantic", msgpack.packb(act_packed), validate_packed
    yield from readings_with_msgspec(act_json, act_packed)
    for size in (OBSERVATION_SIZE, LARGE_SIZE):
        items = [calls.item("e" * 27, 7, np.full(size, 0.1, np.float32), 0.5, None)] * ITEMS
        for encoding in Encoding:
            there_and_back = partial(exchange, calls.act_together(items), encoding)
            yield f"{ITEMS} acts of {size}, {encoding}, there and back", there_and_back(b""), there_and_back
    numbers = np.zeros((ITEMS, OBSERVATION_SIZE), np.float32) + np.float32(0.1)
    yield f"{ITEMS} x {OBSERVATION_SIZE} as one JSON array", json.dumps(numbers.tolist()).encode(), rows_of_json
    yield f"{ITEMS} x {OBSERVATION_SIZE} as one raw array", packing.pack(numbers), rows_of_msgpack


def readings_with_msgspec(
    act_json: dict[str, object], act_packed: dict[str, object]
) -> Iterator[tuple[str, bytes, Callable[[bytes], object]]]:
    """The same two acts for msgspec, which the service does without."""
    try:
        msgspec = importlib.import_module("msgspec")
    except ImportError:
        return
    fields = [("observation", list[float]), ("step", int), ("reward", float)]
    struct = msgspec.defstruct("Act", fields, forbid_unknown_fields=True)
    yield "act, JSON, msgspec", json.dumps(act_json).encode(), msgspec.json.Decoder(struct).decode
    yield "act, msgpack, msgspec without checks", msgpack.packb(act_packed), msgspec.msgpack.Decoder().decode


def act(*, as_array: bool) -> dict[str, object]:
    """An act whose observation is a list or a raw array."""
    observation = np.random.default_rng(0).standard_normal(OBSERVATION_SIZE).astype("<f4")
    raw = {"dtype": "<f4", "shape": [OBSERVATION_SIZE], "data": observation.tobytes()}
    return {"observation": raw if as_array else observation.tolist(), "step": 7, "reward": 0.5}


def read_act(subtype: str, body: bytes) -> StepContent:
    """One act, as the service reads it."""
    return StepContent.of(bodies.read(ActRequest, arrived(subtype), body))


def read_acts(subtype: str, body: bytes) -> list[StepContent]:
    """A request for many, as the service reads it."""
    items = bodies.read_items(arrived(subtype), body)
    return [StepContent.of(item) for item in items if not isinstance(item, ServiceError)]


def exchange(call: Call[ActTogetherAnswer], encoding: Encoding, _: bytes) -> bytes:
    """A request for many on its way there and back; what was sent."""
    sent = call.request("http://service", 1.0, encoding).read()
    arrival = arrived(encoding)
    items = bodies.read_items(arrival, sent)
    for item in items:
        if not isinstance(item, ServiceError):
            StepContent.of(item)
    body, media_type = bodies.written(ActTogetherAnswer(items=[OUTCOME] * len(items)), arrival)
    call.read(200, {"content-type": media_type}, body)
    return sent


def arrived(subtype: str) -> Arrival:
    """A request of this media type."""
    return Arrival(request_id="benchmark", content_type=f"application/{subtype}")


def validate_packed(body: bytes) -> ActRequest:
    """One act without what comes after."""
    return ActRequest.model_validate(packing.unpack(body))


def rows_of_json(body: bytes) -> object:
    """A table of numbers."""
    return np.array(json.loads(body), np.float32)


def rows_of_msgpack(body: bytes) -> object:
    """The same table."""
    message = packing.unpack(body)
    return packing.array_of(message) if packing.is_array(message) else None


def microseconds(run: Callable[[], object]) -> float:
    """Of the best round."""
    best = float("inf")
    for _ in range(ROUNDS):
        runs, began = 0, time.thread_time()
        while time.thread_time() < began + ROUND_SECONDS:
            for _ in range(20):
                run()
            runs += 20
        best = min(best, (time.thread_time() - began) / runs)
    return 1e6 * best


if __name__ == "__main__":
    main()

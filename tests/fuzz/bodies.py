"""Fuzzes both decoders: bodies that grow towards code none before has reached, through the ASGI application.

`make fuzz SECONDS=600` runs it with atheris, on Linux. Behind the routes stands nobody who knows an episode, so
that what is reached is reading and refusing. The first argument is the folder of bodies that it begins with and
adds to. A body that is answered with a 5xx, or lets an exception out, ends the run; atheris keeps it as `crash-...`
in the folder it was started in.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NoReturn

import atheris
import msgpack
from fastapi import FastAPI

with atheris.instrument_imports(include=["service", "lamo", "tests.service.bare_asgi"]):
    from lamo.errors import UnknownEpisode
    from service.metrics import Metrics
    from service.serving import AskedStep
    from service.web.asgi import asgi_app
    from tests.service.bare_asgi import JSON, MSGPACK, post

ROUTES = (
    ("POST", "/act"),
    ("POST", "/episodes/a/act"),
    ("POST", "/episodes"),
    ("PUT", "/episodes/a"),
    ("POST", "/episodes/a/end"),
    ("PUT", "/episodes/a/window"),
)


class Nobody:
    """Serves no episode."""

    async def act_together(self, asked: list[AskedStep]) -> list[UnknownEpisode]:
        """Refuse each step by itself."""
        return [UnknownEpisode(f"there is no episode {step.episode_id!r}") for step in asked]

    async def _refuse(self, *_: object) -> NoReturn:
        raise UnknownEpisode("there is no episode")

    act = start = restore = end = _refuse


@asynccontextmanager
async def _open(app: FastAPI) -> AsyncIterator[None]:
    yield


class Fuzzer:
    """Sends what atheris makes up."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner
        self._app = asgi_app(Nobody(), Metrics(), keys=None, lifespan=_open, max_body_bytes=2**20)

    def try_one(self, data: bytes) -> None:
        """The first byte chooses the route and the encoding, the others are the body."""
        if not data:
            return
        method, path = ROUTES[data[0] // 2 % len(ROUTES)]
        media_type = MSGPACK if data[0] % 2 else JSON
        self._runner.run(post(self._app, path, media_type, data[1:], method)).refuse_failures()


def sow(folder: Path) -> None:
    """A request of each kind in both encodings, for atheris to begin with."""
    step = {"step": 1, "observation": [0.5, -1.0], "reward": 1.0, "executed_action": [0.0]}
    messages = (
        {"items": [{"episode_id": "a"} | step]},
        step | {"missed": [step | {"step": 0}], "deadline_ms": 50, "observed_at": 1},
        {"policy": "a@b", "target_return": 1.0, "ttl_seconds": 10, "labels": {"a": "b"}},
        {"policy": "a", "ttl_seconds": 10},
        step | {"terminated": True, "success": None},
        {"policy": "a", "target_return": 1.0, "episode_return": 0.0, "timesteps": [step | {"action": [0.0]}]},
    )
    packed = {"dtype": "<f4", "shape": [2], "data": bytes(8)}
    for index, message in enumerate(messages):
        (folder / f"json-{index}").write_bytes(bytes([2 * index]) + json.dumps(message).encode())
        body = msgpack.packb(message | {"observation": packed} if "observation" in message else message)
        (folder / f"msgpack-{index}").write_bytes(bytes([2 * index + 1]) + body)


if __name__ == "__main__":
    logging.disable()
    sow(Path(sys.argv[1]))
    with asyncio.Runner() as runner:
        atheris.Setup(sys.argv, Fuzzer(runner).try_one)
        atheris.Fuzz()

"""The service behind a real socket of this process, for requests that no well-behaved client sends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from service.policies.engine import Engine
from service.settings import Settings
from service.web.server import Server, http_config, listen, url_of
from tests.service.conftest import Serve, Service


@dataclass
class Listening:
    """A service that listens on a port of loopback."""

    service: Service
    port: int
    server: Server
    url: str

    async def connect(self, **options: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port, **options)

    async def exchange(self, *pieces: bytes, **options: Any) -> bytes:
        """All that comes back for these bytes until the service hangs up, or for a second."""
        reader, writer = await self.connect(**options)
        answer = b""
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            async with asyncio.timeout(1):
                while received := await reader.read(65536):
                    answer += received
        except (TimeoutError, ConnectionError):
            pass
        finally:
            writer.close()
        return answer


@asynccontextmanager
async def listening(serve: Serve, *, engine: Engine | None = None, **options: Any) -> AsyncIterator[Listening]:
    async with serve(engine=engine, **options) as service:
        app = service.client._transport.app  # type: ignore[attr-defined]
        settings = Settings.read({"policies": "unused"} | options)
        config = http_config(app, settings, app.intake.refuse)
        config.lifespan = "off"
        server = Server(
            config,
            drain=lambda: None,
            over=lambda: False,
            drain_seconds=0,
            client_seconds=settings.client_timeout_seconds,
        )
        listener = listen("127.0.0.1", 0)
        task = asyncio.create_task(server.serve([listener]))
        while not server.started:
            await asyncio.sleep(0.01)
        try:
            yield Listening(service, listener.getsockname()[1], server, url_of(listener, settings))
        finally:
            server.should_exit = server.force_exit = True
            await task

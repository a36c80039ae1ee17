"""The fake service on a loopback port, and a network that loses answers."""

from __future__ import annotations

import inspect
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import uvicorn
from anyio.from_thread import start_blocking_portal

from clients.episode import AsyncEpisode
from clients.keep_alive import KeepAlive
from clients.policy_client import AsyncPolicyClient, PolicyClient
from tests.clients.fake_service import FakeService, propose
from tests.faults.link import Link, LoopThread


class Lossy(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """A network that does deliver requests, but loses the answers to the first ones that match."""

    def __init__(self, lost: int, path: str = "/") -> None:
        self.lost = lost
        self.path = path
        self._blocking = httpx.HTTPTransport()
        self._waiting = KeepAlive()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = self._blocking.handle_request(request)
        response.read()
        self._lose(request)
        return response

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._waiting.handle_async_request(request)
        await response.aread()
        self._lose(request)
        return response

    def _lose(self, request: httpx.Request) -> None:
        if self.lost and request.url.path.endswith(self.path):
            self.lost -= 1
            raise httpx.ReadError("the answer was lost", request=request)

    def close(self) -> None:
        self._blocking.close()

    async def aclose(self) -> None:
        await self._waiting.aclose()


class Listener:
    """Serves a fake service on a loopback port; it can be stopped and started again on the same port."""

    def __init__(self) -> None:
        self.service = FakeService()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.service.app(scope, receive, send)

    def start(self) -> None:
        config = uvicorn.Config(
            self,
            port=self.port,
            log_level="critical",
            log_config=None,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive()
            time.sleep(0.005)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def listening() -> Iterator[Listener]:
    listener = Listener()
    listener.start()
    yield listener
    listener.stop()


@pytest.fixture
def listener(listening: Listener) -> Listener:
    """One server for all tests, with a fresh service for each."""
    listening.service = FakeService()
    return listening


@pytest.fixture
def service(listener: Listener) -> FakeService:
    return listener.service


@pytest.fixture
def link(listener: Listener) -> Iterator[Link]:
    """A way to the fake service that can be cut, silent or away."""
    with LoopThread() as thread:
        link = Link(thread, listener.port)
        link.start()
        yield link


@pytest.fixture
def url(listener: Listener) -> str:
    return listener.url


@pytest.fixture
def dead_url() -> str:
    """Where nobody listens."""
    return f"http://127.0.0.1:{free_port()}"


@pytest.fixture
def lossy() -> type[Lossy]:
    return Lossy


@pytest.fixture
def proposed() -> Callable[[list[float], int], list[float]]:
    """The fake policy's action for an observation and a step."""
    return propose


class Blocking:
    """The asynchronous client, or one of its episodes, called from blocking code."""

    def __init__(self, portal, awaited):
        self._portal = portal
        self._awaited = awaited

    def __getattr__(self, name):
        value = getattr(self._awaited, name)
        if not inspect.iscoroutinefunction(value):
            return value

        def call(*arguments, **named):
            result = self._portal.call(lambda: value(*arguments, **named))
            return Blocking(self._portal, result) if isinstance(result, AsyncEpisode) else result

        return call


@pytest.fixture(params=["blocking", "asynchronous"])
def connect(request):
    """Opens a client of either kind; every test that uses it holds for both."""
    closing = []

    def connect(url, **options):
        if request.param == "blocking":
            client = PolicyClient(url, **options)
            closing.append(client)
            return client.__enter__()
        portal_context = start_blocking_portal()
        portal = portal_context.__enter__()
        client = portal.wrap_async_context_manager(AsyncPolicyClient(url, **options))
        closing.extend([portal_context, client])
        return Blocking(portal, client.__enter__())

    yield connect
    for context in reversed(closing):
        context.__exit__(None, None, None)

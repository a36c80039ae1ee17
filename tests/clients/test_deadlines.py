"""Whatever a link does to an answer, a call is over at its deadline."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from clients.keep_alive import KeepAlive
from clients.policy_client import AsyncPolicyClient
from clients.renewed_pool import RenewedPool
from lamo.errors import ServiceUnreachable
from tests.faults.link import LoopThread

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"

DROPS_SECONDS, DEADLINE_SECONDS = 4.0, 1.2


async def read_request(reader: asyncio.StreamReader) -> None:
    await reader.readuntil(b"\r\n\r\n")


@pytest.mark.parametrize("head", [HEAD + b"content-length: 1000\r\n\r\n", HEAD], ids=["body", "head"])
def test_an_answer_that_comes_in_drops_does_not_outlast_the_deadline(
    connect: Callable[..., Any], head: bytes
) -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await read_request(reader)
            writer.write(head)
            for _ in range(round(DROPS_SECONDS / 0.1)):
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.1)
        writer.close()

    with LoopThread() as thread:
        client = connect(f"http://127.0.0.1:{thread.listen(drip)}", deadline_seconds=DEADLINE_SECONDS)
        began = time.monotonic()
        with pytest.raises(ServiceUnreachable):
            client.policies()
        assert time.monotonic() - began < DEADLINE_SECONDS + 0.5


def test_a_request_that_flows_off_in_drops_does_not_either() -> None:
    """The other side takes a large body slowly: each piece of it is sent in time, the whole would not be."""

    async def sip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.CancelledError):
            while await reader.read(65_536):
                await asyncio.sleep(0.1)
        writer.close()

    with LoopThread() as thread, contextlib.closing(RenewedPool(ssl.create_default_context())) as pool:
        url, timeout = f"http://127.0.0.1:{thread.listen(sip)}", {"read": 0.5}
        request = httpx.Request("PUT", url, content=bytes(32_000_000), extensions={"timeout": timeout})
        began = time.monotonic()
        with pytest.raises(httpx.WriteTimeout):
            pool.handle_request(request)
        assert time.monotonic() - began < 1.0


@pytest.fixture
def first_address_of_two_is_deaf(monkeypatch: pytest.MonkeyPatch, listener: Any) -> Iterator[None]:
    """As where a network announces IPv6 and carries none: nobody answers at the name's first address."""
    look_up = socket.getaddrinfo

    def two(host: str, port: int, *arguments: Any, **named: Any) -> Any:
        hosts = ["127.0.0.2", "127.0.0.1"] if host == "two.test" else [host]
        return [found for one in hosts for found in look_up(one, port, *arguments, **named)]

    monkeypatch.setattr(socket, "getaddrinfo", two)
    with contextlib.ExitStack() as stack:
        deaf = stack.enter_context(socket.socket())
        deaf.bind(("127.0.0.2", listener.port))
        deaf.listen(0)
        for _ in range(4):  # its queue is full: the system drops what else comes
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(deaf.getsockname())
        yield


@pytest.mark.usefixtures("first_address_of_two_is_deaf")
def test_a_deaf_address_leaves_time_for_the_next_one(connect: Callable[..., Any], listener: Any) -> None:
    client = connect(f"http://two.test:{listener.port}", deadline_seconds=1.6)
    began = time.monotonic()
    assert [policy.name for policy in client.policies()] == ["drift"]
    assert time.monotonic() - began < 0.7


def test_episodes_that_are_started_at_once_wait_for_their_policy_no_longer_than_one(url: str, service: Any) -> None:
    async def start(client: AsyncPolicyClient) -> None:
        with pytest.raises(ServiceUnreachable):
            await client.start()

    async def talk() -> float:
        async with AsyncPolicyClient(url, deadline_seconds=0.9, transport=_NoPolicies()) as client:
            began = time.monotonic()
            await asyncio.gather(*[start(client) for _ in range(6)])
            return time.monotonic() - began

    assert asyncio.run(talk()) < 1.5
    assert len(service.episodes) == 6


def test_a_start_and_the_look_at_its_policy_have_one_deadline(connect: Callable[..., Any], url: str) -> None:
    client = connect(url, deadline_seconds=1.0, transport=_NoPolicies(start_seconds=0.45))
    began = time.monotonic()
    with pytest.raises(ServiceUnreachable):
        client.start()
    assert time.monotonic() - began < 1.3


class _NoPolicies(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """A network that starts episodes, taking its time, and answers nothing else."""

    def __init__(self, start_seconds: float = 0.0) -> None:
        self._start_seconds = start_seconds
        self._blocking = httpx.HTTPTransport()
        self._waiting = KeepAlive()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "PUT":
            time.sleep(self._start_seconds)
            return self._blocking.handle_request(request)
        time.sleep(request.extensions["timeout"]["read"])
        raise httpx.ReadTimeout("no answer", request=request)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "PUT":
            await asyncio.sleep(self._start_seconds)
            return await self._waiting.handle_async_request(request)
        await asyncio.sleep(request.extensions["timeout"]["read"])
        raise httpx.ReadTimeout("no answer", request=request)

    def close(self) -> None:
        self._blocking.close()

    async def aclose(self) -> None:
        await self._waiting.aclose()

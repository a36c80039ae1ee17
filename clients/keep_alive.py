"""KeepAlive: an httpx transport for many small requests at once to one service, over connections that stay open.

httpx's own pool looks at every open connection for every request: with 64 episodes that was 5 ms of CPU per
request where this takes 0.1 ms. It speaks HTTP/1.1 on asyncio; for a proxy, pass httpx's own transport instead.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import defaultdict
from typing import cast

import httptools
import httpx

Origin = tuple[str, str, int]

PORTS = {"http": 80, "https": 443}

CUT_SHORT = "the service closed the connection before its answer was whole"

NEXT_ADDRESS_SECONDS = 0.25
"""Where a name has several addresses, and one does not answer, the next is tried beside it after so long."""


class KeepAlive(httpx.AsyncBaseTransport):
    """As many connections as there are calls at once; a call that is over leaves its connection to the next.

    A connection that dies in silence, as a roaming robot's does, costs the try that finds out. Those that lie idle
    by then may have died with it: they are closed, so that the next try does not spend its time on one of them.

    A try's timeout covers the connection, the request and the answer together. `security` is what https
    connections are checked by.
    """

    def __init__(self, security: ssl.SSLContext | None = None) -> None:
        self._idle: defaultdict[Origin, list[_Connection]] = defaultdict(list)
        self._security = security

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request and read the whole answer.

        Raises:
            httpx.TransportError: no connection, no whole answer, or not in time.
        """
        seconds = request.extensions.get("timeout", {}).get("read")
        try:
            async with asyncio.timeout(seconds):
                return await self._exchange(request)
        except TimeoutError:
            await self.aclose()
            raise httpx.ReadTimeout(f"no answer within {seconds:.1f} s", request=request) from None
        except httptools.HttpParserError as error:
            raise httpx.RemoteProtocolError(str(error), request=request) from error
        except OSError as error:
            raise httpx.NetworkError(str(error), request=request) from error

    async def aclose(self) -> None:
        """Close the connections that no call uses."""
        for connections in self._idle.values():
            for connection in connections:
                connection.close()
        self._idle.clear()

    async def _exchange(self, request: httpx.Request) -> httpx.Response:
        origin = (request.url.scheme, request.url.host, request.url.port or PORTS[request.url.scheme])
        idle = self._idle[origin]
        while idle and idle[-1].closed:
            idle.pop()
        connection = idle.pop() if idle else await self._connect(origin)
        try:
            response = await connection.exchange(_written(request, await request.aread()))
        except BaseException:
            connection.close()  # an answer that is still to come belongs to nobody
            raise
        if connection.closed:
            connection.close()
        else:
            self._idle[origin].append(connection)  # the list may be another one by now
        return response

    async def _connect(self, origin: Origin) -> _Connection:
        scheme, host, port = origin
        if scheme == "https" and self._security is None:
            self._security = httpx.create_ssl_context()
        security = self._security if scheme == "https" else None
        _, connection = await asyncio.get_running_loop().create_connection(
            _Connection, host, port, ssl=security, happy_eyeballs_delay=NEXT_ADDRESS_SECONDS
        )
        return connection


class _Connection(asyncio.Protocol):
    """One connection: a request, its answer, and so on. The methods `on_...` are the parser's callbacks."""

    def __init__(self) -> None:
        self.closed = True
        self._transport: asyncio.Transport
        self._answer: asyncio.Future[httpx.Response] | None = None
        self._until_closed = False

    async def exchange(self, written: bytes) -> httpx.Response:
        """The answer to a request."""
        self._parser = httptools.HttpResponseParser(self)
        self._until_closed = False
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(written)
        return await self._answer

    def close(self) -> None:
        """Close it now."""
        self.closed = True
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.closed = False

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if exc is None and self._until_closed:
            self._answered()
        else:
            self._fail(exc or ConnectionResetError(CUT_SHORT))

    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._answer.done():
            self.close()  # nobody asked: the next request must not take this for its answer
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.closed = True
            self._fail(error)
        except httptools.HttpParserUpgrade:
            self.closed = True
            self._fail(ConnectionResetError("the service speaks another protocol from here on"))

    def on_headers_complete(self) -> None:
        """An answer that says neither its length nor that it comes in chunks, as HTTP/1.0 has it, ends with it."""
        names = {name.lower() for name, _ in self._headers}
        self._until_closed = not names & {b"content-length", b"transfer-encoding"}

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() < 200:  # a proxy's word that the answer is still to come
            self._headers, self._body = [], []
            return
        second = self._answer is None or self._answer.done()
        self.closed = self.closed or second or not self._parser.should_keep_alive()
        self._answered()

    def _answered(self) -> None:
        if self._answer is not None and not self._answer.done():
            body = httpx.ByteStream(b"".join(self._body))
            self._answer.set_result(
                httpx.Response(self._parser.get_status_code(), headers=self._headers, stream=body)
            )

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)


def _written(request: httpx.Request, body: bytes) -> bytes:
    head = [b"%b %b HTTP/1.1" % (request.method.encode(), request.url.raw_path)]
    head += [b"%b: %b" % (name, value) for name, value in request.headers.raw]
    return b"\r\n".join([*head, b"", body])

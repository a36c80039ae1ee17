"""RenewedPool: httpcore's connections of the blocking client, which one that died in silence takes along."""

from __future__ import annotations

import os
import ssl
import time
from collections import Counter
from threading import Lock
from typing import cast

import httpcore
import httpx

from clients.punctual import PunctualSockets

MOST_CONNECTIONS, MOST_IDLE, IDLE_SECONDS = 100, 20, 5.0
"""As httpx has them."""


class RenewedPool(httpx.BaseTransport):
    """A pool, left for a new one after a try without an answer; for several threads.

    The connections that lie idle in it, of other threads, may have died as that one did, as a roaming robot's do:
    each would cost a further try its time. Calls under way in the old pool end there, and the last one closes it.

    A process that was forked off has a pool of its own: two on one connection would read each other's answers.

    A try's timeout covers the connection, the request and the answer together.
    """

    _process: int
    _pool: httpcore.ConnectionPool
    _calls: Counter[httpcore.ConnectionPool]
    _lock: Lock

    def __init__(self, security: ssl.SSLContext) -> None:
        self._security = security
        self._begin()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request and read the whole answer.

        Raises:
            httpx.TransportError: no connection, no whole answer, or not in time.
        """
        if self._process != os.getpid():
            self._begin()
        with self._lock:
            pool = self._pool
            self._calls[pool] += 1
        try:
            return _exchange(pool, request)
        except (httpx.ConnectTimeout, httpx.WriteTimeout, httpx.ReadTimeout):
            with self._lock:
                if self._pool is pool:
                    self._pool = self._new()
            raise
        finally:
            with self._lock:
                self._calls[pool] -= 1
                over = self._pool is not pool and not self._calls[pool]
                if over:
                    del self._calls[pool]
            if over:
                pool.close()

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._pool = self._new()
        self._calls = Counter()
        self._lock = Lock()

    def _new(self) -> httpcore.ConnectionPool:
        return httpcore.ConnectionPool(
            ssl_context=self._security,
            max_connections=MOST_CONNECTIONS,
            max_keepalive_connections=MOST_IDLE,
            keepalive_expiry=IDLE_SECONDS,
            network_backend=PunctualSockets(),
        )


def _exchange(pool: httpcore.ConnectionPool, request: httpx.Request) -> httpx.Response:
    seconds = request.extensions.get("timeout", {}).get("read")
    until = None if seconds is None else time.monotonic() + seconds
    timeouts = {"pool": seconds, **dict.fromkeys(("connect", "write", "read"), until)}
    url = httpcore.URL(
        scheme=request.url.raw_scheme,
        host=request.url.raw_host,
        port=request.url.port,
        target=request.url.raw_path,
    )
    sent = httpcore.Request(
        request.method, url, headers=request.headers.raw, content=request.read(), extensions={"timeout": timeouts}
    )
    try:
        answer = pool.handle_request(sent)
        try:
            body = answer.read()
        finally:
            answer.close()
    except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError) as error:
        raise _of_httpx(error, request) from error
    return httpx.Response(answer.status, headers=answer.headers, stream=httpx.ByteStream(body))


def _of_httpx(error: Exception, request: httpx.Request) -> httpx.TransportError:
    """The error of the same name."""
    kind = cast(type[httpx.TransportError], getattr(httpx, type(error).__name__))
    return kind(str(error), request=request)

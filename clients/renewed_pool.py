"""RenewedPool: httpx's connections of the blocking client, which one that died in silence takes along."""

from __future__ import annotations

import ssl
from collections import Counter
from threading import Lock

import httpx


class RenewedPool(httpx.BaseTransport):
    """httpx's pool, left for a new one after a try without an answer; for several threads.

    The connections that lie idle in it, of other threads, may have died as that one did, as a roaming robot's do:
    each would cost a further try its time. Calls under way in the old pool end there, and the last one closes it.
    """

    def __init__(self, security: ssl.SSLContext) -> None:
        self._security = security
        self._pool = self._new()
        self._calls: Counter[httpx.BaseTransport] = Counter()
        self._lock = Lock()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request and read the whole answer.

        Raises:
            httpx.TransportError: no connection, no whole answer, or not in time.
        """
        with self._lock:
            pool = self._pool
            self._calls[pool] += 1
        try:
            response = pool.handle_request(request)
            response.read()
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
        return response

    def close(self) -> None:
        """Close the connections that no call uses."""
        self._pool.close()

    def _new(self) -> httpx.HTTPTransport:
        return httpx.HTTPTransport(verify=self._security)

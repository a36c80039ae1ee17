"""Punctual: sockets of the blocking client, whose timeouts are the moment at which a whole try is over.

httpcore gives every wait of a try the same timeout: to connect, to shake hands, to write, and for each piece of the
answer. An answer that comes in drops, as over a bad link, would last longer than any deadline. Here a timeout is a
moment of `time.monotonic` instead, which all waits of a try share.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterable
from typing import Any

import httpcore

PIECE_BYTES = 16_384
"""Written at a time: what is left of the try is looked at before each."""


class PunctualSockets(httpcore.NetworkBackend):
    """httpcore's sockets; a name with several addresses is tried at each of them within the time that is left.

    Only the look-up of the name is beyond reach: it takes as long as the system's resolver takes.
    """

    def __init__(self) -> None:
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """A connection to one of the host's addresses; each of them gets its share of what is left."""
        addresses = _addresses(host, port)
        while True:
            left = _left(timeout, httpcore.ConnectTimeout)
            share = None if left is None else left / len(addresses)
            try:
                stream = self._sockets.connect_tcp(addresses.pop(0), port, share, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if not addresses:
                    raise
            else:
                return _PunctualStream(stream)


class _PunctualStream(httpcore.NetworkStream):
    """One connection; a socket's own timeout would begin anew with every piece."""

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), PIECE_BYTES):
            piece = buffer[start : start + PIECE_BYTES]
            self._stream.write(piece, _left(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = _left(timeout, httpcore.ConnectTimeout)
        return _PunctualStream(self._stream.start_tls(ssl_context, server_hostname, left))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left(until: float | None, over: type[httpcore.TimeoutException]) -> float | None:
    if until is None:
        return None
    left = until - time.monotonic()
    if left <= 0:
        raise over("timed out")
    return left


def _addresses(host: str, port: int) -> list[str]:
    """A host's addresses in the system's order, as numbers."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        numeric = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
        return list(dict.fromkeys(socket.getnameinfo(address, numeric)[0] for *_, address in found))
    except (OSError, UnicodeError) as error:
        raise httpcore.ConnectError(str(error)) from error

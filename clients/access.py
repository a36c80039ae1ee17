"""Access: where a service is, who asks, and how its requests are written; the same for both clients."""

from __future__ import annotations

import random
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, TypeVar

import httpx

from clients.encoding import Encoding
from clients.patience import Patience
from clients.talk import Try
from lamo.errors import ConfigError

NetworkT = TypeVar("NetworkT", httpx.BaseTransport, httpx.AsyncBaseTransport)

DEFAULT_DEADLINE_SECONDS = 10.0

DEFAULT_ENCODING = Encoding.JSON
"""For tens of numbers msgpack is no faster, and JSON can be read on the wire; for hundreds it takes a third of the
time (`benchmarks/decoding.py`), which is why `lamo-evaluate` speaks it."""

_KEY = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True)
class Access:
    """A service as one client reaches it.

    Attributes:
        deadline_seconds: how long one call may take in all.
        api_key: never shown.
        ca_file: certificates to trust instead of the public ones.
        traceparent: the W3C trace context of the call about to be made; a trace of its own for each if None.
    """

    url: str
    deadline_seconds: float
    encoding: Encoding
    api_key: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    traceparent: Callable[[], str] | None = None

    @classmethod
    def of(
        cls,
        url: str,
        *,
        deadline_seconds: float,
        encoding: str,
        api_key: str | None,
        ca_file: str | Path | None,
        traceparent: Callable[[], str] | None,
    ) -> Self:
        """What a client was told, checked.

        Raises:
            ConfigError: `url` is no HTTP address or holds a password, the deadline is not positive, the encoding is
                none, the key holds what no header can, or certificates are named for http.
        """
        if not deadline_seconds > 0:
            raise ConfigError(f"a deadline of {deadline_seconds} s is not positive")
        if api_key is not None and _KEY.fullmatch(api_key) is None:
            raise ConfigError("the API key is empty, or holds blanks or characters that no header can")
        if ca_file is not None and not url.startswith("https://"):
            raise ConfigError(f"ca_file is for https, url {url!r} does not begin with https://")
        return cls(
            url=_checked_url(url),
            deadline_seconds=deadline_seconds,
            encoding=_checked_encoding(encoding),
            api_key=api_key,
            ca_file=None if ca_file is None else Path(ca_file),
            traceparent=traceparent,
        )

    def patience(self, deadline_seconds: float | None = None) -> Patience:
        """The patience of one call, whose tries are all of one trace."""
        traceparent = _new_traceparent() if self.traceparent is None else self.traceparent()
        return Patience(self.url, deadline_seconds or self.deadline_seconds, traceparent=traceparent)

    def request(self, wanted: Try) -> httpx.Request:
        """One try as an HTTP request.

        Raises:
            InvalidRequest: it cannot be written in this encoding.
        """
        headers = {"x-request-id": f"{random.getrandbits(64):016x}", "traceparent": wanted.traceparent}
        if self.api_key is not None:
            headers["authorization"] = f"Bearer {self.api_key}"
        return wanted.call.request(self.url, wanted.seconds, self.encoding, headers)

    def security(self) -> ssl.SSLContext:
        """What https connections are checked by.

        Raises:
            ConfigError: `ca_file` cannot be read as certificates.
        """
        if self.url.startswith("http:"):
            return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # nobody is checked: the public certificates stay unread
        if self.ca_file is None:
            return httpx.create_ssl_context()
        try:
            return ssl.create_default_context(cafile=self.ca_file)
        except OSError as error:  # an SSLError is one too
            raise ConfigError(f"{self.ca_file} cannot be read as certificates: {error}") from error


def _new_traceparent() -> str:
    """A trace of its own (W3C Trace Context, version 00) that this client does not record."""
    return f"00-{random.getrandbits(128):032x}-{random.getrandbits(64):016x}-00"


def _checked_url(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ConfigError(f"url {url!r} is no address: {error}") from error
    if parsed.userinfo:
        raise ConfigError("the url holds a name or a password, which nothing would send: give an API key instead")
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ConfigError(f"url {url!r} does not begin with http:// or https:// and a host")
    if parsed.port is not None and not 0 < parsed.port < 65_536:
        raise ConfigError(f"url {url!r} names port {parsed.port}, which is none")
    if any(not 0 < len(label) < 64 for label in parsed.host.removesuffix(".").split(".")):
        raise ConfigError(f"url {url!r} names a host of which a part is empty or longer than 63 characters")
    return url.rstrip("/")


def _checked_encoding(encoding: str) -> Encoding:
    try:
        return Encoding(encoding)
    except ValueError:
        raise ConfigError(f"encoding {encoding!r} is neither json nor msgpack") from None


def opened(network: NetworkT | None) -> NetworkT:
    """A client's network, which it has in its `with` block only."""
    if network is None:
        raise RuntimeError("the client is not open: use it in a `with` block")
    return network

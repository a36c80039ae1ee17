"""PolicyClient: the HTTP API from Python, blocking and asynchronous.

What is sent, how answers are read (`clients.calls`) and when the same request is sent again (`clients.patience`)
is pure and written once; the two clients differ only in how they wait. That is why the blocking one needs no
event loop and no thread, which a robot's control loop would feel.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self, TypeVar

import anyio
import httpx

from clients import calls
from clients.calls import Call
from clients.episode import AsyncEpisode, Episode
from clients.patience import Patience
from lamo.errors import ConfigError, ServiceError
from lamo.wire import PolicyInfo

AnswerT = TypeVar("AnswerT")

DEFAULT_DEADLINE_SECONDS = 10.0

EPISODE_ID_BYTES = 20

UNLIMITED = httpx.Limits(max_connections=None, max_keepalive_connections=None)
"""One connection per concurrent call, kept alive: a call never waits for another's connection."""


class PolicyClient:
    """A service, for blocking code: `with PolicyClient("http://127.0.0.1:8000") as client`.

    Args:
        url: where the service listens.
        deadline_seconds: how long one call may take in all, tries and pauses together.
        transport: replaces the network, for tests.

    Raises:
        ConfigError: `url` is no HTTP address, or the deadline is not positive.
    """

    def __init__(
        self,
        url: str,
        *,
        deadline_seconds: float = DEFAULT_DEADLINE_SECONDS,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.url = _checked_url(url)
        self.deadline_seconds = _checked_deadline(deadline_seconds)
        self._transport = transport
        self._http: httpx.Client | None = None

    def __enter__(self) -> Self:
        self._http = httpx.Client(base_url=self.url, transport=self._transport, limits=UNLIMITED)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._http is not None:
            self._http.close()
            self._http = None

    def policies(self) -> list[PolicyInfo]:
        """Everything that is served."""
        return self.send(calls.list_policies()).policies

    def policy(self, name: str) -> PolicyInfo:
        """One served policy, by "name" or "name@revision"."""
        return self.send(calls.describe_policy(name))

    def start(
        self,
        policy: str | None = None,
        target_return: float | None = None,
        *,
        ttl_seconds: int | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Episode:
        """Start an episode; what is left out is the service's choice (`lamo.wire.StartRequest`)."""
        call = calls.start_episode(_new_episode_id(), policy, target_return, ttl_seconds, labels)
        return Episode(self, self.send(call))

    def resume(self, episode_id: str) -> Episode:
        """An episode that was started before this client was.

        It goes on with the step the service expects. If an answer was lost with the client before, its action
        is recorded as history: say with `executed_action` what was executed instead.

        Raises:
            UnknownEpisode: it was never started, has expired, or was deleted.
        """
        return Episode(self, self.send(calls.episode_state(episode_id)))

    def send(self, call: Call[AnswerT]) -> AnswerT:
        """The answer to a call, which is sent again as the contract allows until the deadline.

        Raises:
            ServiceError: the service's final answer, or that it gave none.
        """
        http = _opened(self._http)
        patience = Patience(self.url, self.deadline_seconds)
        while True:
            try:
                timeout = patience.begin_try()
                response = http.request(
                    call.method, call.path, content=call.content, headers=call.headers, timeout=timeout
                )
                return call.read(response.status_code, response.headers, response.content)
            except (httpx.RequestError, ServiceError) as error:
                pause = patience.pause_after(error)
            time.sleep(pause)


class AsyncPolicyClient:
    """A service, for asynchronous code; the same surface as `PolicyClient`, with `async with` and `await`."""

    def __init__(
        self,
        url: str,
        *,
        deadline_seconds: float = DEFAULT_DEADLINE_SECONDS,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.url = _checked_url(url)
        self.deadline_seconds = _checked_deadline(deadline_seconds)
        self._transport = transport
        self._http: httpx.AsyncClient | None = None

    async def __aenter__(self) -> Self:
        self._http = httpx.AsyncClient(base_url=self.url, transport=self._transport, limits=UNLIMITED)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._http is not None:
            await self._http.aclose()
            self._http = None

    async def policies(self) -> list[PolicyInfo]:
        """See `PolicyClient.policies`."""
        return (await self.send(calls.list_policies())).policies

    async def policy(self, name: str) -> PolicyInfo:
        """See `PolicyClient.policy`."""
        return await self.send(calls.describe_policy(name))

    async def start(
        self,
        policy: str | None = None,
        target_return: float | None = None,
        *,
        ttl_seconds: int | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> AsyncEpisode:
        """See `PolicyClient.start`."""
        call = calls.start_episode(_new_episode_id(), policy, target_return, ttl_seconds, labels)
        return AsyncEpisode(self, await self.send(call))

    async def resume(self, episode_id: str) -> AsyncEpisode:
        """See `PolicyClient.resume`."""
        return AsyncEpisode(self, await self.send(calls.episode_state(episode_id)))

    async def send(self, call: Call[AnswerT]) -> AnswerT:
        """See `PolicyClient.send`."""
        http = _opened(self._http)
        patience = Patience(self.url, self.deadline_seconds)
        while True:
            try:
                timeout = patience.begin_try()
                response = await http.request(
                    call.method, call.path, content=call.content, headers=call.headers, timeout=timeout
                )
                return call.read(response.status_code, response.headers, response.content)
            except (httpx.RequestError, ServiceError) as error:
                pause = patience.pause_after(error)
            await anyio.sleep(pause)


HttpT = TypeVar("HttpT", httpx.Client, httpx.AsyncClient)


def _opened(http: HttpT | None) -> HttpT:
    if http is None:
        raise RuntimeError("the client is not open: use it in a `with` block")
    return http


def _checked_url(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"url {url!r} does not begin with http:// or https://")
    return url


def _checked_deadline(seconds: float) -> float:
    if not seconds > 0:
        raise ConfigError(f"a deadline of {seconds} s is not positive")
    return seconds


def _new_episode_id() -> str:
    """A random id: a repeated start finds the episode it made, and nobody else's."""
    return secrets.token_urlsafe(EPISODE_ID_BYTES)

"""PolicyClient: the HTTP API from Python, blocking and asynchronous.

What is sent, how answers are read (`clients.calls`) and when the same request is sent again (`clients.patience`)
is pure and written once; the two clients differ only in how they wait. That is why the blocking one needs no
event loop and no thread, which a robot's control loop would feel. Both speak to an httpx transport directly: the
cookies, redirects and environment proxies of an httpx client cost more time than the request itself.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self, TypeVar

import anyio
import httpx
from pydantic import BaseModel

from clients import calls
from clients.calls import Call
from clients.encoding import Encoding
from clients.episode import AsyncEpisode, Episode
from clients.keep_alive import KeepAlive
from clients.patience import Patience
from clients.together import NextStep, Together, portions
from lamo.errors import ConfigError, ServiceError
from lamo.wire import ActAnswer, PolicyInfo

AnswerT = TypeVar("AnswerT", bound=BaseModel | None)

DEFAULT_DEADLINE_SECONDS = 10.0

DEFAULT_ENCODING = Encoding.JSON
"""For tens of numbers msgpack is no faster, and JSON can be read on the wire; for hundreds it takes a third of the
time (`benchmarks/decoding.py`), which is why `lamo-evaluate` speaks it."""

EPISODE_ID_BYTES = 20


class PolicyClient:
    """A service, for blocking code: `with PolicyClient("http://127.0.0.1:8000") as client`.

    Args:
        url: where the service listens.
        deadline_seconds: how long one call may take in all, tries and pauses together.
        encoding: "json" or "msgpack", which carries arrays as raw numbers.
        transport: replaces the network, for a proxy (`httpx.HTTPTransport(proxy=...)`) or a test.

    Raises:
        ConfigError: `url` is no HTTP address, the deadline is not positive, or there is no such encoding.
    """

    def __init__(
        self,
        url: str,
        *,
        deadline_seconds: float = DEFAULT_DEADLINE_SECONDS,
        encoding: str = DEFAULT_ENCODING,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.url = _checked_url(url)
        self.deadline_seconds = _checked_deadline(deadline_seconds)
        self.encoding = _checked_encoding(encoding)
        self._transport = transport
        self._network: httpx.BaseTransport | None = None

    def __enter__(self) -> Self:
        self._network = self._transport or httpx.HTTPTransport()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._network is not None:
            self._network.close()
            self._network = None

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
        patience = Patience(self.url, self.deadline_seconds)
        while True:
            try:
                return self._try(call, patience)
            except (httpx.RequestError, ServiceError) as error:
                pause = patience.pause_after(error)
            time.sleep(pause)

    def act_together(self, steps: Sequence[NextStep[Episode]]) -> list[ActAnswer | ServiceError]:
        """The next step of each of several episodes, in one request where they fit into one.

        Each stands alone: it is answered, sent again as a single act would be, or ends with the ServiceError
        that `Episode.act` would raise; none of them takes the others along.

        Raises:
            InvalidRequest: one of the steps cannot be sent; then none was.
        """
        sent = [Together(portion) for portion in portions(steps)]
        return [outcome for together in sent for outcome in self._together(together)]

    def _together(self, together: Together[Episode]) -> list[ActAnswer | ServiceError]:
        patience = Patience(self.url, self.deadline_seconds)
        while True:
            try:
                together.take(self._try(together.call(), patience))
                return together.ended()
            except (httpx.RequestError, ServiceError) as error:
                try:
                    pause = patience.pause_after(error)
                except ServiceError as final:
                    together.give_up(final)
                    return together.ended()
            time.sleep(pause)

    def _try(self, call: Call[AnswerT], patience: Patience) -> AnswerT:
        request = call.request(self.url, patience.begin_try(), self.encoding)
        response = _opened(self._network).handle_request(request)
        return call.read(response.status_code, response.headers, response.read())


class AsyncPolicyClient:
    """A service, for asynchronous code; the same surface as `PolicyClient`, with `async with` and `await`."""

    def __init__(
        self,
        url: str,
        *,
        deadline_seconds: float = DEFAULT_DEADLINE_SECONDS,
        encoding: str = DEFAULT_ENCODING,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.url = _checked_url(url)
        self.deadline_seconds = _checked_deadline(deadline_seconds)
        self.encoding = _checked_encoding(encoding)
        self._transport = transport
        self._network: httpx.AsyncBaseTransport | None = None

    async def __aenter__(self) -> Self:
        self._network = self._transport or KeepAlive()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._network is not None:
            await self._network.aclose()
            self._network = None

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
        patience = Patience(self.url, self.deadline_seconds)
        while True:
            try:
                return await self._try(call, patience)
            except (httpx.RequestError, ServiceError) as error:
                pause = patience.pause_after(error)
            await anyio.sleep(pause)

    async def act_together(self, steps: Sequence[NextStep[AsyncEpisode]]) -> list[ActAnswer | ServiceError]:
        """See `PolicyClient.act_together`."""
        sent = [Together(portion) for portion in portions(steps)]
        return [outcome for together in sent for outcome in await self._together(together)]

    async def _together(self, together: Together[AsyncEpisode]) -> list[ActAnswer | ServiceError]:
        patience = Patience(self.url, self.deadline_seconds)
        while True:
            try:
                together.take(await self._try(together.call(), patience))
                return together.ended()
            except (httpx.RequestError, ServiceError) as error:
                try:
                    pause = patience.pause_after(error)
                except ServiceError as final:
                    together.give_up(final)
                    return together.ended()
            await anyio.sleep(pause)

    async def _try(self, call: Call[AnswerT], patience: Patience) -> AnswerT:
        request = call.request(self.url, patience.begin_try(), self.encoding)
        response = await _opened(self._network).handle_async_request(request)
        return call.read(response.status_code, response.headers, await response.aread())


NetworkT = TypeVar("NetworkT", httpx.BaseTransport, httpx.AsyncBaseTransport)


def _opened(network: NetworkT | None) -> NetworkT:
    if network is None:
        raise RuntimeError("the client is not open: use it in a `with` block")
    return network


def _checked_url(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ConfigError(f"url {url!r} is no address: {error}") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ConfigError(f"url {url!r} does not begin with http:// or https:// and a host")
    return url.rstrip("/")


def _checked_deadline(seconds: float) -> float:
    if not seconds > 0:
        raise ConfigError(f"a deadline of {seconds} s is not positive")
    return seconds


def _checked_encoding(encoding: str) -> Encoding:
    try:
        return Encoding(encoding)
    except ValueError:
        raise ConfigError(f"encoding {encoding!r} is neither json nor msgpack") from None


def _new_episode_id() -> str:
    """A random id: a repeated start finds the episode it made, and nobody else's."""
    return secrets.token_urlsafe(EPISODE_ID_BYTES)

"""PolicyClient: the HTTP API from Python, blocking and asynchronous.

What is sent, how answers are read (`clients.calls`), when the same request is sent again (`clients.patience`) and
how a lost episode is given back (`clients.memory`) is pure and written once, as talks (`clients.talk`); the two
clients differ only in how they wait. That is why the blocking one needs no event loop and no thread, which a
robot's control loop would feel. Both speak to an httpx transport directly: the cookies, redirects and environment
proxies of an httpx client cost more time than the request itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar, cast

import anyio
import httpx
from pydantic import BaseModel

from clients import calls, together
from clients.access import DEFAULT_DEADLINE_SECONDS, DEFAULT_ENCODING, Access, opened
from clients.at_once import at_once
from clients.calls import Call
from clients.episode import AsyncEpisode, Episode
from clients.episode_ids import new_episode_id
from clients.keep_alive import KeepAlive
from clients.memory import Memory
from clients.patience import Patience
from clients.renewed_pool import RenewedPool
from clients.talk import Each, Pause, Talk, Try, ask
from clients.together import NextStep
from lamo.errors import ServiceError
from lamo.wire import ActAnswer, EpisodeState, PolicyInfo

AnswerT = TypeVar("AnswerT", bound=BaseModel | None)
ResultT = TypeVar("ResultT")


class PolicyClient:
    """A service, for blocking code: `with PolicyClient("http://127.0.0.1:8000") as client`.

    Args:
        url: where the service listens.
        deadline_seconds: how long one call may take in all, tries and pauses together.
        encoding: "json" or "msgpack", which carries arrays as raw numbers.
        api_key: sent with every request, shown nowhere.
        ca_file: certificates (PEM) to trust instead of the public ones, for https with a private authority.
        traceparent: gives the W3C trace context of the call about to be made; each call is its own trace without.
        transport: replaces the network, for a proxy (`httpx.HTTPTransport(proxy=...)`) or a test.

    Raises:
        ConfigError: `url` is no HTTP address, the deadline is not positive, there is no such encoding, or the key
            holds what no header can.
    """

    def __init__(
        self,
        url: str,
        *,
        deadline_seconds: float = DEFAULT_DEADLINE_SECONDS,
        encoding: str = DEFAULT_ENCODING,
        api_key: str | None = None,
        ca_file: str | Path | None = None,
        traceparent: Callable[[], str] | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.access = Access.of(
            url,
            deadline_seconds=deadline_seconds,
            encoding=encoding,
            api_key=api_key,
            ca_file=ca_file,
            traceparent=traceparent,
        )
        self._transport = transport
        self._network: httpx.BaseTransport | None = None
        self._policies: dict[str, PolicyInfo] = {}

    def __enter__(self) -> Self:
        self._network = self._transport or RenewedPool(self.access.security())
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
        call = calls.start_episode(new_episode_id(), policy, target_return, ttl_seconds, labels)
        patience = self.patience()
        state = self.converse(ask(call, patience))
        policy_info = self._policy_of(state, patience)
        return Episode(self, Memory(state, policy=policy_info, start=call, ttl_seconds=ttl_seconds))

    def resume(self, episode_id: str) -> Episode:
        """An episode that was started before this client was.

        It goes on with the step the service expects. If an answer was lost with the client before, its action
        is recorded as history: say with `executed_action` what was executed instead. Should the service lose the
        episode, it is given back what this client has seen of it.

        Raises:
            UnknownEpisode: it was never started, has expired, or was deleted.
        """
        patience = self.patience()
        state = self.converse(ask(calls.episode_state(episode_id), patience))
        return Episode(self, Memory(state, policy=self._policy_of(state, patience)))

    def act_together(self, steps: Sequence[NextStep[Episode]]) -> list[ActAnswer | ServiceError]:
        """The next step of each of several episodes, in one request where they fit into one.

        Each stands alone: it is answered, sent again as a single act would be, or ends with the ServiceError
        that `Episode.act` would raise; none of them takes the others along. Where they need several requests, each
        of those has the deadline to itself.

        Raises:
            InvalidRequest: one of the steps cannot be sent; then none was.
        """
        return self.converse(together.answers(steps, self.patience))

    def send(self, call: Call[AnswerT]) -> AnswerT:
        """The answer to a call, which is sent again as the contract allows until the deadline.

        Raises:
            ServiceError: the service's final answer, or that it gave none.
        """
        return self.converse(ask(call, self.patience()))

    def patience(self, deadline_seconds: float | None = None) -> Patience:
        """How long a call begun now may take; the client's own deadline if not said."""
        return self.access.patience(deadline_seconds)

    def converse(self, talk: Talk[ResultT]) -> ResultT:
        """Do what a talk wants, until it has its result."""
        try:
            wanted = next(talk)
            while True:
                if isinstance(wanted, Pause):
                    time.sleep(wanted.seconds)
                    wanted = next(talk)
                    continue
                if isinstance(wanted, Each):
                    for further in wanted.talks:
                        self.converse(further)
                    wanted = next(talk)
                    continue
                try:
                    answer = self._try(wanted)
                except (httpx.RequestError, ServiceError) as error:
                    wanted = talk.throw(error)
                else:
                    wanted = talk.send(answer)
        except StopIteration as end:
            return cast(ResultT, end.value)

    def _try(self, wanted: Try) -> object:
        response = opened(self._network).handle_request(self.access.request(wanted))
        return wanted.call.read(response.status_code, response.headers, response.read())

    def _policy_of(self, state: EpisodeState, patience: Patience) -> PolicyInfo:
        """The policy that plays an episode, asked for once: how much to remember, and what it takes."""
        policy = f"{state.policy}@{state.revision}"
        if policy not in self._policies:
            self._policies[policy] = self.converse(ask(calls.describe_policy(policy), patience))
        return self._policies[policy]


class AsyncPolicyClient:
    """A service, for asynchronous code; the same surface as `PolicyClient`, with `async with` and `await`."""

    def __init__(
        self,
        url: str,
        *,
        deadline_seconds: float = DEFAULT_DEADLINE_SECONDS,
        encoding: str = DEFAULT_ENCODING,
        api_key: str | None = None,
        ca_file: str | Path | None = None,
        traceparent: Callable[[], str] | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.access = Access.of(
            url,
            deadline_seconds=deadline_seconds,
            encoding=encoding,
            api_key=api_key,
            ca_file=ca_file,
            traceparent=traceparent,
        )
        self._transport = transport
        self._network: httpx.AsyncBaseTransport | None = None
        self._policies: dict[str, PolicyInfo] = {}
        self._asking = anyio.Lock()

    async def __aenter__(self) -> Self:
        self._network = self._transport or KeepAlive(self.access.security())
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
        call = calls.start_episode(new_episode_id(), policy, target_return, ttl_seconds, labels)
        patience = self.patience()
        state = await self.converse(ask(call, patience))
        policy_info = await self._policy_of(state, patience)
        return AsyncEpisode(self, Memory(state, policy=policy_info, start=call, ttl_seconds=ttl_seconds))

    async def resume(self, episode_id: str) -> AsyncEpisode:
        """See `PolicyClient.resume`."""
        patience = self.patience()
        state = await self.converse(ask(calls.episode_state(episode_id), patience))
        return AsyncEpisode(self, Memory(state, policy=await self._policy_of(state, patience)))

    async def act_together(self, steps: Sequence[NextStep[AsyncEpisode]]) -> list[ActAnswer | ServiceError]:
        """See `PolicyClient.act_together`."""
        return await self.converse(together.answers(steps, self.patience))

    async def send(self, call: Call[AnswerT]) -> AnswerT:
        """See `PolicyClient.send`."""
        return await self.converse(ask(call, self.patience()))

    def patience(self, deadline_seconds: float | None = None) -> Patience:
        """See `PolicyClient.patience`."""
        return self.access.patience(deadline_seconds)

    async def converse(self, talk: Talk[ResultT]) -> ResultT:
        """See `PolicyClient.converse`."""
        try:
            wanted = next(talk)
            while True:
                if isinstance(wanted, Pause):
                    await anyio.sleep(wanted.seconds)
                    wanted = next(talk)
                    continue
                if isinstance(wanted, Each):
                    await at_once(self.converse, wanted.talks)
                    wanted = next(talk)
                    continue
                try:
                    answer = await self._try(wanted)
                except (httpx.RequestError, ServiceError) as error:
                    wanted = talk.throw(error)
                else:
                    wanted = talk.send(answer)
        except StopIteration as end:
            return cast(ResultT, end.value)

    async def _try(self, wanted: Try) -> object:
        response = await opened(self._network).handle_async_request(self.access.request(wanted))
        return wanted.call.read(response.status_code, response.headers, await response.aread())

    async def _policy_of(self, state: EpisodeState, patience: Patience) -> PolicyInfo:
        """See `PolicyClient._policy_of`; of many episodes started at once, one asks."""
        policy = f"{state.policy}@{state.revision}"
        async with self._asking:
            if policy not in self._policies:
                self._policies[policy] = await self.converse(ask(calls.describe_policy(policy), patience))
        return self._policies[policy]

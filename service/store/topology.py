"""Topology: the nodes of a Redis Cluster, which slots each one holds, and which of them are away."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from lamo.errors import StoreUnavailable
from service.metrics import Metrics
from service.store.cluster_url import ClusterUrl
from service.store.connecting import Connecting, exchange, leave_idle
from service.store.scripts import Arguments
from service.store.slots import READ_SLOTS, Address, Slots
from service.store.unavailable import unavailable

MEND_SECONDS = 0.1
"""Between two looks at a cluster of which something is away."""


class ClusterNode:
    """One redis-server of a cluster.

    Attributes:
        failure: why it did not answer the last time, None if it did.
    """

    def __init__(self, address: Address, redis: Redis) -> None:
        self.address = address
        self.redis = redis
        self.failure: StoreUnavailable | None = None

    async def ask(self, commands: Sequence[Arguments], until: float) -> list[Any]:
        """Answers to commands, or the node's failure as the answer to each; never raises one.

        Args:
            until: in the event loop's time.
        """
        try:
            async with asyncio.timeout_at(until):
                answers = await exchange(self.redis, commands)
        except (RedisError, OSError, TimeoutError) as error:
            if isinstance(error, (TimeoutError, RedisTimeoutError)):
                await leave_idle(self.redis)
            self.failure = unavailable(error)
            return [self.failure] * len(commands)
        self.failure = None
        return answers


class Topology:
    """What is known of one cluster; it learns more by itself while something is known to be wrong.

    Attributes:
        slots: every slot's master.
    """

    def __init__(self, url: ClusterUrl, connecting: Connecting, metrics: Metrics) -> None:
        self.slots = Slots()
        self._url = url
        self._connecting = connecting
        self._metrics = metrics
        self._nodes: dict[Address, ClusterNode] = {}
        self._mending: asyncio.Task[None] | None = None
        self._asked: set[asyncio.Task[tuple[Address, Any]]] = set()

    def open(self) -> None:
        """Make a client for each node that the URL names.

        Raises:
            ConfigError: the URL names files that cannot be used.
        """
        for seed in self._url.seeds:
            self.node(seed)

    async def close(self) -> None:
        """Close the connections to all nodes."""
        tasks = [*self._asked, *([self._mending] if self._mending else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for node in self._nodes.values():
            await node.redis.aclose()
        self._nodes.clear()

    def node(self, address: Address) -> ClusterNode:
        """The node at an address, known or not yet."""
        node = self._nodes.get(address)
        if node is None:
            node = self._nodes[address] = ClusterNode(address, self._connecting.client(self._url.of(address)))
        return node

    async def learn(self, until: float) -> None:
        """Ask all nodes which slots are whose, and believe the first answer: another one may never come.

        Raises:
            StoreUnavailable: none of them says so.
        """
        asked = [self._start(self._slots_by(address, until)) for address in {*self._nodes, *self._url.seeds}]
        failure: Exception = StoreUnavailable("no node of the Redis Cluster knows of any slot")
        for answered in asyncio.as_completed(asked):
            address, answer = await answered
            if isinstance(answer, Exception):
                failure = answer
            elif answer:
                self.slots.adopt(answer, address)
                return
        self._metrics.redis_up.set(0)
        raise unavailable(failure)

    def tell(self) -> None:
        """The metric, and whatever is to be done about nodes that are away."""
        away = self._away()
        self._metrics.redis_up.set(not away)
        if away:
            self.mend()

    def mend(self) -> None:
        """Look at the cluster anew, soon: something is not as it was known to be."""
        if self._mending is None or self._mending.done():
            self._mending = asyncio.create_task(self._mend())

    async def _mend(self) -> None:
        while True:
            until = asyncio.get_running_loop().time() + self._connecting.timeout_seconds
            with contextlib.suppress(StoreUnavailable):
                await self.learn(until)
            await asyncio.gather(*(node.ask([("PING",)], until) for node in self._away()))
            await self._forget_others()
            away = self._away()
            self._metrics.redis_up.set(not away)
            await asyncio.sleep(MEND_SECONDS)
            if not away:
                return

    def _away(self) -> list[ClusterNode]:
        """Masters that did not answer the last time."""
        masters = (self._nodes.get(address) for address in self.slots.masters)
        return [node for node in masters if node is not None and node.failure is not None]

    async def _slots_by(self, address: Address, until: float) -> tuple[Address, Any]:
        [answer] = await self.node(address).ask([READ_SLOTS], until)
        return address, answer

    def _start(self, asking: Coroutine[Any, Any, tuple[Address, Any]]) -> asyncio.Task[tuple[Address, Any]]:
        """A task that is left to end by itself: cancelling it would cost its connection."""
        task = asyncio.create_task(asking)
        self._asked.add(task)
        task.add_done_callback(self._asked.discard)
        return task

    async def _forget_others(self) -> None:
        """Nodes that are nobody's master any more, but for those that the URL names."""
        for address in self._nodes.keys() - self.slots.masters - {*self._url.seeds}:
            await self._nodes.pop(address).redis.aclose()

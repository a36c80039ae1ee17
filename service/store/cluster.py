"""ClusterStore: the store on a Redis Cluster, where each episode's node answers or fails for itself.

redis-py's own cluster pipeline is not used: one node that does not answer fails the whole batch there, closes the
connections to all others and sleeps (docs/decisions/0008-redis-cluster.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import AskError, ClusterDownError, MovedError

from lamo.errors import StoreUnavailable
from service.store.cluster_url import ClusterUrl
from service.store.scripts import Arguments
from service.store.slots import Address, slot_of
from service.store.store import Store
from service.store.topology import ClusterNode, Topology
from service.store.unavailable import RETRY_AFTER_MS

TRIES = 3
"""How often a command is sent: a slot that moved, and is being moved on, redirects twice."""


@dataclass(frozen=True)
class Routed:
    """A command on its way: its place among the answers, and the node that it is sent to."""

    index: int
    command: Arguments
    address: Address
    asking: bool = False


class ClusterStore(Store):
    """The masters of one cluster, each with connections of its own.

    A node that did not answer is sent nothing until it answers a PING: its commands are refused at once, so that it
    delays those of other nodes in the same batch once and not every time.
    """

    _topology: Topology | None = None

    async def open(self) -> None:
        """Make a client for each node that the URL names; connections are made when they are needed.

        Raises:
            ConfigError: the URL is none, or names files that cannot be used.
        """
        topology = Topology(ClusterUrl.parse(self.url), self._connecting, self.metrics)
        topology.open()
        self._topology = topology

    async def close(self) -> None:
        """Close the connections to all nodes."""
        if self._topology is not None:
            await self._topology.close()
            self._topology = None

    async def pipeline(self, commands: Sequence[Arguments]) -> list[Any]:
        """Send commands to their nodes; one that is refused, or whose node is away, has its failure as its answer.

        Raises:
            StoreUnavailable: no node of the cluster answered.
        """
        topology = self._topology
        if topology is None:
            raise StoreUnavailable("the episode store is not open", retry_after_ms=RETRY_AFTER_MS)
        until = asyncio.get_running_loop().time() + self.timeout_seconds
        if not topology.slots.known:
            await topology.learn(until)
        answers: list[Any] = [None] * len(commands)
        todo = _routed(topology, commands, answers)
        for _ in range(TRIES):
            await _send(topology, todo, answers, until)
            todo = _redirected(topology, todo, answers)
            if not todo:
                break
        if any(isinstance(answer, ClusterDownError) for answer in answers):
            topology.mend()
        topology.tell()
        return answers


def _routed(topology: Topology, commands: Sequence[Arguments], answers: list[Any]) -> list[Routed]:
    """Where each command goes; one whose slot is nobody's is answered."""
    routed = []
    for index, command in enumerate(commands):
        slot = slot_of(command)
        owner = topology.slots.owner(slot)
        if owner is None:
            answers[index] = ClusterDownError(f"no node holds slot {slot}", status_code="CLUSTERDOWN")
        else:
            routed.append(Routed(index, command, owner))
    return routed


async def _send(topology: Topology, routed: Sequence[Routed], answers: list[Any], until: float) -> None:
    by_node: dict[Address, list[Routed]] = {}
    for one in routed:
        by_node.setdefault(one.address, []).append(one)
    await asyncio.gather(
        *(_send_to(topology.node(address), group, answers, until) for address, group in by_node.items())
    )


async def _send_to(node: ClusterNode, routed: Sequence[Routed], answers: list[Any], until: float) -> None:
    if node.failure is not None:
        for one in routed:
            answers[one.index] = node.failure
        return
    commands: list[Arguments] = []
    for one in routed:
        commands += [("ASKING",), one.command] if one.asking else [one.command]
    said = iter(await node.ask(commands, until))
    for one in routed:
        if one.asking:
            next(said)
        answers[one.index] = next(said)


def _redirected(topology: Topology, routed: Sequence[Routed], answers: Sequence[Any]) -> list[Routed]:
    """What has to be sent again to another node, MOVED for good or ASK for this once."""
    again = []
    for one in routed:
        answer = answers[one.index]
        if isinstance(answer, AskError):
            address = (answer.host or one.address[0], answer.port)
            moved = isinstance(answer, MovedError)
            if moved:
                topology.slots.move(answer.slot_id, address)
                topology.mend()  # seldom one slot alone
            again.append(Routed(one.index, one.command, address, asking=not moved))
    return again

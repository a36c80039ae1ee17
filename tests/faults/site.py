"""Site: a Redis, two replicas of the service and the links between them, all real, and what is played on them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lamo.rollout import EpisodeResult
from tests.faults.journal import read_journal
from tests.faults.link import Link, LoopThread
from tests.faults.policies import STANDING, write_policies
from tests.faults.processes import RedisServer, Replica
from tests.faults.relay import Relay
from tests.faults.verdict import Verdict, judge
from tests.faults.workload import Size, Workload

Happening = Callable[["Site", Workload], int]
"""What is done to a site while it is asked; how often it hit. It ends when the fault is over."""


@dataclass(frozen=True)
class Fault:
    """One line of the fault matrix.

    Attributes:
        way: how the client reaches the service: "direct", through a "link", or through a "relay".
        deadline_seconds: of each of the client's calls: the longest outage that it sits out.
    """

    name: str
    happen: Happening
    way: str = "direct"
    deadline_seconds: float = 90.0


@dataclass
class Site:
    """Everything that can be killed, cut or paused.

    Attributes:
        size: of the evaluation that is played.
        first: two HTTP workers before an engine.
        second: one process that does both, on the same Redis.
    """

    folder: Path
    policies: Path
    size: Size
    thread: LoopThread
    redis: RedisServer
    redis_link: Link
    first: Replica
    second: Replica
    link: Link
    relay: Relay

    @cached_property
    def undisturbed(self) -> Sequence[EpisodeResult]:
        """What is played where nothing happens."""
        workload = Workload(self.first.url, Size(self.size.episodes, self.size.steps, step_seconds=0.0))
        workload.begin()
        workload.finish()
        if workload.failure is not None:
            raise workload.failure
        return workload.rounds[0].results

    def suffer(self, fault: Fault) -> Verdict:
        """Play while the fault happens, and judge."""
        undisturbed = self.undisturbed
        ways = {"direct": self.first.url, "link": self.link.url, "relay": self.relay.url}
        tracebacks, strays = self.tracebacks(), self.relay.statuses[500]
        workload = Workload(ways[fault.way], self.size, fault.deadline_seconds)
        workload.begin()
        try:
            hits = fault.happen(self, workload)
        finally:
            workload.finish()
        self.relay.settle()
        errors = self.tracebacks() - tracebacks + self.relay.statuses[500] - strays
        journal = read_journal(self.redis.append_only_files(), STANDING)
        return judge(fault.name, hits, workload, undisturbed, journal, errors)

    def tracebacks(self) -> int:
        """In the logs of all replicas."""
        return self.first.tracebacks() + self.second.tracebacks()


@contextmanager
def opened(size: Size, redis_server: str | None = None, options: Sequence[str] = ()) -> Iterator[Site]:
    """A site whose replicas are ready; nothing of it is left behind.

    Args:
        redis_server: the program; the one that the service itself would start if not given.
        options: more of `lamo-serve`'s, for both replicas.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lamo-faults-")))
        thread = stack.enter_context(LoopThread())
        redis = RedisServer(folder / "redis", executable=redis_server)
        stack.callback(redis.stop)
        redis.start()
        redis_link = Link(thread, redis.port)
        redis_link.start()
        policies = write_policies(folder / "policies")
        url = f"redis://127.0.0.1:{redis_link.port}/0"
        first = Replica(policies, folder / "first.log", "--redis-url", url, "--workers", "2", *options)
        second = Replica(policies, folder / "second.log", "--redis-url", url, *options)
        link, relay = Link(thread, first.port), Relay(thread, [first.port])
        link.start()
        relay.start()
        for replica in (first, second):
            stack.callback(replica.stop)
            replica.start()
        for replica in (first, second):
            replica.wait_until_ready()
        yield Site(folder, policies, size, thread, redis, redis_link, first, second, link, relay)

"""Site: a Redis, two replicas of the service and the links between them, all real, and what is played on them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from lamo.rollout import EpisodeResult
from tests.faults.journal import read_journal
from tests.faults.link import Link, LoopThread
from tests.faults.policies import STANDING, write_policies
from tests.faults.processes import ROOT, RedisServer, Replica
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
    """

    name: str
    happen: Happening
    way: str = "direct"


@dataclass
class Site:
    """Everything that can be killed, cut or paused; `first` is ready, `second` is started when it is asked for.

    Attributes:
        size: of the evaluation that is played.
        first: two HTTP workers before an engine. `second` is one process that does both.
    """

    folder: Path
    policies: Path
    size: Size
    thread: LoopThread
    redis: RedisServer
    redis_link: Link
    first: Replica
    link: Link
    relay: Relay
    _others: list[Replica] = field(default_factory=list)

    @cached_property
    def second(self) -> Replica:
        """Another replica on the same Redis."""
        return self.replica("second")

    def replica(self, name: str, *options: str, code: Path = ROOT) -> Replica:
        """One more, ready; it is stopped with the site."""
        started = Replica(self.policies, self.folder / f"{name}.log", *self.store_options, *options, code=code)
        started.start()
        self._others.append(started)
        started.wait_until_ready()
        return started

    @property
    def store_options(self) -> tuple[str, str]:
        return "--redis-url", f"redis://127.0.0.1:{self.redis_link.port}/0"

    @cached_property
    def undisturbed(self) -> Sequence[EpisodeResult]:
        """What is played where nothing happens."""
        workload = Workload(self.first.url, Size(self.size.episodes, self.size.steps, step_seconds=0.0))
        workload.begin()
        workload.finish()
        return workload.rounds[0].results

    def suffer(self, fault: Fault) -> Verdict:
        """Play while the fault happens, and judge."""
        undisturbed = self.undisturbed
        ways = {"direct": self.first.url, "link": self.link.url, "relay": self.relay.url}
        tracebacks, strays = self.tracebacks(), self.relay.statuses[500]
        workload = Workload(ways[fault.way], self.size)
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
        return sum(replica.tracebacks() for replica in (self.first, *self._others))

    def stop(self) -> None:
        for replica in (*self._others, self.first):
            replica.stop()


@contextmanager
def opened(size: Size) -> Iterator[Site]:
    """A site whose first replica is ready; nothing of it is left behind."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lamo-faults-")))
        thread = stack.enter_context(LoopThread())
        redis = RedisServer(folder / "redis")
        stack.callback(redis.stop)
        redis.start()
        redis_link = Link(thread, redis.port)
        redis_link.start()
        url = f"redis://127.0.0.1:{redis_link.port}/0"
        policies = write_policies(folder / "policies")
        first = Replica(policies, folder / "first.log", "--workers", "2", "--redis-url", url)
        link, relay = Link(thread, first.port), Relay(thread, [first.port])
        link.start()
        relay.start()
        site = Site(folder, policies, size, thread, redis, redis_link, first, link, relay)
        stack.callback(site.stop)
        first.start()
        first.wait_until_ready()
        yield site

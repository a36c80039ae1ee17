"""Real redis-servers on loopback, single or as a cluster formed without any tool; each of them can be killed."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

SLOTS = 16384

READY_SECONDS = 20.0


class RunningRedis:
    """One redis-server; its files outlive its death."""

    def __init__(
        self, executable: str, port: int, directory: Path, options: Sequence[str], *, tls: bool = False
    ) -> None:
        self.port = port
        self.directory = directory
        listening = ["--port", "0", "--tls-port", str(port)] if tls else ["--port", str(port)]
        self._command = [executable, "--bind", "127.0.0.1", *listening, "--dir", str(directory), *options]
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)

    def start(self, *options: str) -> None:
        self._process = subprocess.Popen(
            [*self._command, *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def start_again(self) -> None:
        """From wherever it is: dead, stopped, or alive as ever."""
        if self._process is not None:
            self.signal(signal.SIGCONT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.05)
                self._process = None
        if self._process is None:
            self.start()

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def ask(self, *command: str | int, **options: Any) -> Any:
        """One command over a connection of its own."""
        with redis.Redis(host="127.0.0.1", port=self.port, retry=Retry(NoBackoff(), 0), **options) as client:
            return client.execute_command(*command)

    def leave(self, *command: str | int) -> redis.Connection:
        """Send a command and wait for no answer."""
        connection = redis.Connection(host="127.0.0.1", port=self.port)
        connection.send_command(*command)
        return connection

    def wait_refusing(self, name: str) -> None:
        """Until it says the name of a refusal to whatever it is asked."""
        until = time.monotonic() + READY_SECONDS
        said: object = None
        while name != getattr(said, "status_code", None) and not str(said).startswith(name):
            assert time.monotonic() < until, (self._command, name, said)
            time.sleep(0.02)
            try:
                said = self.ask("GET", "any")
            except redis.RedisError as refusal:
                said = refusal

    def wait_listening(self) -> None:
        until = time.monotonic() + READY_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                assert time.monotonic() < until, self._command
                time.sleep(0.02)

    def wait(self, what: str, *command: str | int, **options: Any) -> None:
        """Until an answer has `what` in it."""
        until = time.monotonic() + READY_SECONDS
        while True:
            answer: object = None
            with contextlib.suppress(redis.RedisError):
                answer = self.ask(*command, **options)
                if what in str(answer):
                    return
            assert time.monotonic() < until, (self._command, what, answer)
            time.sleep(0.02)


class RunningCluster:
    """Three masters with a third of the slots each, and no replicas."""

    def __init__(self, executable: str, directory: Path) -> None:
        self._executable, self._directory = executable, directory
        self._options = ["--cluster-enabled", "yes", "--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        # One master away leaves the others serving; a node is held for dead after half a second.
        self._options += ["--cluster-require-full-coverage", "no", "--cluster-node-timeout", "500"]
        self.nodes = [self._made(port) for port in _ports_with_their_bus(3)]

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def start(self) -> None:
        for node in self.nodes:
            node.start()
        for index, node in enumerate(self.nodes):
            node.wait_listening()
            first, last = SLOTS * index // 3, SLOTS * (index + 1) // 3
            node.ask("CLUSTER", "ADDSLOTS", *range(first, last))
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", index + 1)
        for node in self.nodes[1:]:
            self.nodes[0].ask("CLUSTER", "MEET", "127.0.0.1", node.port)
        self.wait()

    def wait(self) -> None:
        """Until every node serves, and knows that the others do."""
        for node in self.nodes:
            node.wait("'cluster_slots_ok': '16384'", "CLUSTER INFO")
            node.wait("'cluster_known_nodes': '3'", "CLUSTER INFO")
            node.wait("'cluster_state': 'ok'", "CLUSTER INFO")

    def add_replica(self, master: RunningRedis) -> RunningRedis:
        """One that takes the master's place when it dies."""
        [port] = _ports_with_their_bus(1)
        replica = self._made(port)
        self.nodes.append(replica)
        replica.start()
        replica.wait_listening()
        replica.ask("CLUSTER", "MEET", "127.0.0.1", master.port)
        replica.wait("'cluster_known_nodes': '4'", "CLUSTER INFO")
        replica.ask("CLUSTER", "REPLICATE", master.ask("CLUSTER", "MYID").decode())
        replica.wait("'master_link_status': 'up'", "INFO", "replication")
        return replica

    def _made(self, port: int) -> RunningRedis:
        return RunningRedis(self._executable, port, self._directory / str(port), self._options)

    def owner(self, key: str) -> RunningRedis:
        """The node that holds a key."""
        slot = self.nodes[0].ask("CLUSTER", "KEYSLOT", key)
        return next(node for index, node in enumerate(self.nodes) if slot < SLOTS * (index + 1) // 3)

    def stop(self) -> None:
        for node in self.nodes:
            node.kill()


@contextlib.contextmanager
def running_redis(executable: str, directory: Path, *options: str, tls: bool = False) -> Iterator[RunningRedis]:
    """A single one that listens."""
    [port] = _ports_with_their_bus(1)
    server = RunningRedis(executable, port, directory, options, tls=tls)
    try:
        server.start()
        server.wait_listening()
        yield server
    finally:
        server.kill()


def _ports_with_their_bus(count: int) -> Iterator[int]:
    """Free ports of which the one 10000 above, where nodes speak among themselves, is free as well."""
    with contextlib.ExitStack() as held:
        port = 11000 + os.getpid() % 9000  # with their buses below the ports that clients are given
        while count:
            port += 1
            with contextlib.suppress(OSError):
                for each in (port, port + 10000):
                    bound = held.enter_context(socket.socket())
                    bound.bind(("127.0.0.1", each))
                count -= 1
                yield port

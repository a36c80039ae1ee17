"""The proxy of `docker/compose.scale.yml`, really run: before two replicas, and before servers that break off."""

from __future__ import annotations

import shutil
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from lamo.policy import Policy
from service.settings import Settings
from tests.service.conftest import content, in_process, start_redis
from tests.service.test_process import serving, wait_until

CONFIG = (Path(__file__).parents[2] / "docker/haproxy.cfg").read_text(encoding="utf-8")
REPLICAS = "server-template replica 16 service:8000"
STEPS, ROBOTS = 28, 12

pytestmark = pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is not installed")


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def proxy(folder: Path, ports: Sequence[int]) -> Iterator[httpx.Client]:
    """The committed configuration on loopback, before servers on these ports instead of containers."""
    port = free_port()
    servers = "\n    ".join(f"server replica-{upstream} 127.0.0.1:{upstream}" for upstream in ports)
    assert CONFIG.count(REPLICAS) == 2
    assert CONFIG.count("bind :8000") == 1
    config = folder / "haproxy.cfg"
    config.write_text(
        CONFIG.replace(REPLICAS, servers).replace("bind :8000", f"bind 127.0.0.1:{port}"), encoding="utf-8"
    )
    with (folder / "haproxy.log").open("w") as log:
        process = subprocess.Popen(["haproxy", "-db", "-f", str(config)], stdout=log, stderr=log)
    try:
        wait_until(lambda: answers(port))
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
            yield client
    finally:
        process.kill()
        process.wait(10)


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from start_redis(tmp_path_factory.mktemp("redis"))


def drive(url: httpx.URL, robot: int) -> list[list[float]]:
    """An episode by a client that sends each request once and takes nothing but success."""
    actions = []
    with httpx.Client(base_url=url, timeout=20) as client:
        assert client.put(f"/episodes/robot-{robot}", json={"target_return": 20}).status_code == 201
        for step in range(STEPS):
            answer = client.post(f"/episodes/robot-{robot}/act", json=content(step) | {"step": step})
            assert answer.status_code == 200, answer.text
            actions.append(answer.json()["action"])
            time.sleep(0.1)
        ended = client.post(f"/episodes/robot-{robot}/end", json={"step": STEPS, "truncated": True})
        assert ended.status_code == 200, ended.text
        assert client.delete(f"/episodes/robot-{robot}").status_code == 204
    return actions


def test_clients_that_never_try_again_notice_nothing_of_replicas_that_leave(
    checkpoint_directory: Path, policy: Policy, redis_url: str, tmp_path: Path
) -> None:
    options = ("--redis-url", redis_url, "--reproducible", "--batch-limit", "8", "--drain-seconds", "2")
    with ExitStack() as stack:
        replicas = [
            stack.enter_context(serving(checkpoint_directory.parent, tmp_path / name, *options))
            for name in ("told-to-stop", "killed", "stays")
        ]
        (told, _), (killed, _), _ = replicas
        client = stack.enter_context(proxy(tmp_path, [replica.base_url.port or 0 for _, replica in replicas]))
        pool = stack.enter_context(ThreadPoolExecutor(ROBOTS))
        driven = [pool.submit(drive, client.base_url, robot) for robot in range(ROBOTS)]
        wait_until(lambda: all(counted(replica) for _, replica in replicas))  # each has episodes to lose
        told.terminate()
        time.sleep(0.5)
        assert not any(future.done() for future in driven)
        killed.kill()
        played = [future.result() for future in driven]
        assert told.wait(20) == 0
    policy.reproducible = True
    assert played == [in_process(policy, STEPS)] * ROBOTS


def counted(client: httpx.Client) -> float:
    """Steps that a replica committed."""
    lines = client.get("/metrics").text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("lamo_steps_total "))


class BreaksOff(socketserver.StreamRequestHandler):
    """Is ready, and hangs up on whatever else is asked."""

    asked: list[str]

    def handle(self) -> None:
        line = self.rfile.readline().decode()
        while self.rfile.readline().strip():
            pass
        if "/readyz" in line:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        else:
            self.asked.append(line.rpartition(" ")[0])


@pytest.fixture
def breaking_off(tmp_path: Path) -> Iterator[tuple[httpx.Client, list[str]]]:
    """A proxy before two servers that hang up, and what they were asked."""
    asked: list[str] = []
    handler = type("Handler", (BreaksOff,), {"asked": asked})
    with ExitStack() as stack:
        servers = [
            stack.enter_context(socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler)) for _ in range(2)
        ]
        for server in servers:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
        yield stack.enter_context(proxy(tmp_path, [server.server_address[1] for server in servers])), asked


@pytest.mark.parametrize(
    ("method", "path", "repeated"),
    [
        ("POST", "/episodes/robot/act", True),
        ("POST", "/episodes/robot/end", True),
        ("PUT", "/episodes/robot", True),
        ("PUT", "/episodes/robot/window", True),
        ("GET", "/episodes/robot", True),
        ("DELETE", "/episodes/robot", True),
        ("POST", "/act", True),
        ("POST", "/episodes", False),
    ],
)
def test_what_is_harmless_to_repeat_is_repeated_and_nothing_else(
    breaking_off: tuple[httpx.Client, list[str]], method: str, path: str, repeated: bool
) -> None:
    client, asked = breaking_off
    answer = client.request(method, path, json={"step": 0})
    assert answer.status_code in (502, 503)
    assert asked == [f"{method} {path}"] * (4 if repeated else 1)


def test_a_body_too_large_to_be_kept_is_passed_on_once(breaking_off: tuple[httpx.Client, list[str]]) -> None:
    client, asked = breaking_off
    assert client.post("/act", content=b" " * 500_000).status_code in (502, 503)
    assert asked == ["POST /act"]


def test_what_no_replica_should_see_is_refused_at_the_proxy(
    breaking_off: tuple[httpx.Client, list[str]],
) -> None:
    client, asked = breaking_off
    for path in ("/metrics", "/%6detrics", "/metric%73"):
        assert client.get(path).status_code == 404, path
    limit = Settings.model_fields["max_body_bytes"].default
    assert client.post("/act", content=b" " * (limit + 1)).status_code == 413
    assert asked == []


def test_without_a_replica_the_answer_is_a_problem_document_that_says_when_to_come_again(tmp_path: Path) -> None:
    with proxy(tmp_path, [free_port(), free_port()]) as client:
        wait_until(lambda: client.get("/policies").headers.get("content-type") == "application/problem+json")
        answer = client.get("/policies")
        problem = answer.json()
        assert (answer.status_code, problem["status"], problem["retryable"]) == (503, 503, True)
        assert problem["retry_after_ms"] > 0
        assert int(answer.headers["retry-after"]) >= 1

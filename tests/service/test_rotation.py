"""Real processes that ask for keys: rotated while an episode is played, audited together, telling no key."""

from __future__ import annotations

import json
import subprocess
import sys
from multiprocessing import Pipe, get_context
from pathlib import Path

import httpx
import pytest

from clients.policy_client import PolicyClient
from lamo.errors import Unauthorized
from service.processes.http_worker import serve_worker
from service.settings import Settings
from service.web.server import listen
from tests.service.conftest import content, in_process
from tests.service.keyholders import KeysOnDisk, bearer
from tests.service.test_process import ROOT, serving, wait_until
from tests.service.test_workers import below

pytestmark = pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="looks into processes through /proc")


@pytest.fixture
def disk(tmp_path) -> KeysOnDisk:
    return KeysOnDisk(tmp_path / "keys.toml")


def status(client: httpx.Client, key: str) -> int:
    """On a connection of its own, which any worker may have taken."""
    with httpx.Client(base_url=client.base_url, timeout=20) as fresh:
        return fresh.get("/policies", headers=bearer(key)).status_code


def play(client: httpx.Client, key: str, steps: range) -> list[list[float]]:
    actions = []
    for step in steps:
        answer = client.post("/episodes/robot/act", json=content(step) | {"step": step}, headers=bearer(key))
        assert answer.status_code == 200, answer.text
        actions.append(answer.json()["action"])
    return actions


@pytest.mark.parametrize("workers", [0, 2])
def test_keys_are_rotated_while_an_episode_is_played(checkpoint_directory, policy, tmp_path, disk, workers):
    old = disk.add("lab")
    audit = tmp_path / "audit.log"
    options = ("--keys", str(disk.path), "--audit-log", str(audit), "--workers", str(workers), "--reproducible")
    with serving(checkpoint_directory.parent, tmp_path / "data", *options) as (process, client):
        assert client.put("/episodes/robot", json={"target_return": 20}, headers=bearer(old)).status_code == 201
        actions = play(client, old, range(3))

        new = disk.add("lab")
        wait_until(lambda: all(status(client, new) == 200 for _ in range(8)))
        actions += play(client, old, range(3, 5)) + play(client, new, range(5, 7))

        in_place(disk, old)
        wait_until(lambda: all(status(client, old) == 401 for _ in range(8)))
        actions += play(client, new, range(7, 10))
        told_to_clients(str(client.base_url), old, new)
        assert client.delete("/episodes/robot", headers=bearer(new)).status_code == 204
        commands = [Path(f"/proc/{pid}/cmdline").read_text() for pid in (process.pid, *below(process.pid))]
    policy.reproducible = True
    assert actions == in_process(policy, 10)
    tell_no_key(old, new, commands, audit, tmp_path)
    compare_audit(audit, old, new, workers)


def told_to_clients(url: str, old: str, new: str) -> None:
    with PolicyClient(url, api_key=new) as known:
        assert known.policies()
    with PolicyClient(url, api_key=old) as unknown, pytest.raises(Unauthorized, match="or not any more"):
        unknown.policies()


def in_place(disk: KeysOnDisk, key: str) -> None:
    """Removed by an editor that writes over the file, in two halves."""
    text = disk.path.read_text()
    disk.remove(key)
    after = disk.path.read_text()
    disk.path.write_text(text)
    with disk.path.open("w") as file:
        file.write(after[: len(after) // 2])
        file.flush()
        file.write(after[len(after) // 2 :])


def tell_no_key(old: str, new: str, commands: list[str], audit: Path, tmp_path: Path) -> None:
    told = "".join(commands) + audit.read_text() + (tmp_path / "data.log").read_text()
    assert "keys.toml" in told
    for key in (old, new):
        assert key.split("_", 2)[2] not in told


def compare_audit(audit: Path, old: str, new: str, workers: int) -> None:
    """One JSON object per line, of every process; each line of an episode says who did it with which key."""
    lines = [json.loads(line) for line in audit.read_text().splitlines()]
    assert {line["logger"] for line in lines} == {"lamo.audit"}
    old_id, new_id = old.split("_")[1], new.split("_")[1]
    events = [(line["event"], line.get("owner"), line.get("key_id")) for line in lines]
    assert events.count(("key added", "lab", new_id)) == max(1, workers)
    assert events.count(("key removed", "lab", old_id)) == max(1, workers)
    assert ("key refused", None, old_id) in events
    episodes = [line for line in lines if line["event"].startswith("episode")]
    assert [(line["event"], line["key_id"]) for line in episodes] == [
        ("episode started", old_id),
        ("episode deleted", new_id),
    ]
    assert {(line["owner"], line["episode_id"]) for line in episodes} == {("lab", "robot")}
    assert all(line["request_id"] and line["trace_id"] for line in episodes)
    assert episodes[0]["policy"]
    assert episodes[0]["revision"]


def ended_start(policies: Path, *options: str) -> str:
    """What a service says that ends at its start with code 2."""
    arguments = ["--policies", str(policies), "--port", "0", *options]
    command = [sys.executable, "-m", "service.cli", *arguments]
    ended = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    return ended.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("text", "options", "sentence"),
    [
        (None, (), "cannot be read: No such file or directory"),
        ("", ("--workers", "1"), "names no owner"),
        ("[owners.lab]\nlimit = 1", ("--workers", "1"), "owners.lab.limit is unknown"),
    ],
    ids=["missing", "empty", "unusable"],
)
def test_a_keys_file_that_cannot_be_used_ends_the_start(text, options, sentence, tmp_path, checkpoint_directory):
    path = tmp_path / "keys.toml"
    if text is not None:
        path.write_text(text)
    told = ended_start(checkpoint_directory.parent, "--keys", str(path), *options)
    assert told.startswith(f"lamo-serve: keys file {path} ")
    assert sentence in told


def test_an_audit_log_that_cannot_be_written_ends_the_start(tmp_path, checkpoint_directory):
    missing = tmp_path / "missing" / "audit.log"
    told = ended_start(checkpoint_directory.parent, "--workers", "1", "--audit-log", str(missing))
    assert told == f"lamo-serve: audit log {missing} cannot be written to: No such file or directory"


def test_a_worker_that_comes_back_to_a_broken_file_says_so_and_serves_nobody(tmp_path, checkpoint_directory):
    """It is not given the keys of before, one of which may have been taken back since."""
    path = tmp_path / "keys.toml"
    path.write_text("[owners")
    settings = Settings.read({"policies": checkpoint_directory.parent, "keys": path, "workers": 1})
    supervisor, others = Pipe()
    with listen("127.0.0.1", 0) as listener:
        worker = get_context("spawn").Process(target=serve_worker, args=(settings, listener, tmp_path, [], others))
        worker.start()
        worker.join(30)
    assert worker.exitcode == 2
    assert supervisor.recv().startswith(f"keys file {path} is not TOML")

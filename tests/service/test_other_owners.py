"""An owner's episodes are nobody else's: not to be seen, changed, or told from ones that never were."""

from __future__ import annotations

import pytest

from tests.service.conftest import content, in_process
from tests.service.keyholders import KeysOnDisk, bearer, holder
from tests.service.steps.test_restoring import Robot

pytestmark = pytest.mark.anyio

ACT = {"step": 0, "observation": [0.5, -1.0, 2.0, 0.25, 0.0]}


@pytest.fixture
def disk(tmp_path) -> KeysOnDisk:
    return KeysOnDisk(tmp_path / "keys.toml")


def without_ids(answer, episode_id: str) -> tuple[int, str]:
    told = answer.json()
    for name in ("request_id", "trace_id"):
        told.pop(name, None)
    return answer.status_code, repr(told).replace(episode_id, "ID")


ASKED = [
    ("POST", "/episodes/{}/act", ACT),
    ("POST", "/episodes/{}/end", {"step": 1, "terminated": True}),
    ("GET", "/episodes/{}", None),
]


@pytest.mark.parametrize(("method", "path", "body"), ASKED, ids=[path for _, path, _ in ASKED])
async def test_anothers_episode_is_exactly_an_unknown_one(serve, disk, method, path, body):
    keys = [disk.add("lab"), disk.add("plant")]
    async with serve(keys=disk.path) as service, holder(service, keys[0]) as lab, holder(service, keys[1]) as plant:
        theirs = await lab.start()
        await lab.play(theirs, 1)
        answers = [
            without_ids(await plant.client.request(method, path.format(name), json=body), name)
            for name in (theirs, "never-started")
        ]
        assert answers[0] == answers[1]
        assert answers[0][0] == 404


async def test_anothers_episode_in_a_request_for_many_is_exactly_an_unknown_one(serve, disk):
    keys = [disk.add("lab"), disk.add("plant")]
    async with serve(keys=disk.path) as service, holder(service, keys[0]) as lab, holder(service, keys[1]) as plant:
        theirs, own = await lab.start(), await plant.start()
        items = [{"episode_id": name} | ACT for name in (theirs, "never-started", own)]
        told = (await plant.client.post("/act", json={"items": items})).json()["items"]
        assert [item["status"] for item in told] == [404, 404, 200]
        assert told[0]["body"]["detail"].replace(theirs, "ID") == told[1]["body"]["detail"].replace(
            items[1]["episode_id"], "ID"
        )


async def test_one_id_is_two_episodes_for_two_owners(serve, disk, policy):
    keys = [disk.add("lab"), disk.add("plant")]
    policy.reproducible = True
    async with (
        serve(keys=disk.path, reproducible=True) as service,
        holder(service, keys[0]) as lab,
        holder(service, keys[1]) as plant,
    ):
        for owner in (lab, plant):
            started = await owner.client.put("/episodes/robot", json={"target_return": 20.0})
            assert started.status_code == 201
        actions = await lab.play("robot", 5)
        assert (await plant.client.get("/episodes/robot")).json()["committed_step"] == -1
        assert await plant.play("robot", 3) == actions[:3] == in_process(policy, 3)
        assert (await plant.client.delete("/episodes/robot")).status_code == 204
        assert (await plant.client.get("/episodes/robot")).status_code == 404
        assert (await lab.act("robot", 5, **content(5))).status_code == 200


async def test_what_is_anothers_can_be_neither_forgotten_nor_restored_over(serve, disk):
    keys = [disk.add("lab"), disk.add("plant")]
    async with serve(keys=disk.path) as service, holder(service, keys[0]) as lab, holder(service, keys[1]) as plant:
        robot = Robot(lab)
        await robot.start()
        await robot.play(0, 4)
        assert (await plant.client.delete(f"/episodes/{robot.episode}")).status_code == 204
        window = robot.window(3, last=2)
        assert (await plant.client.put(f"/episodes/{robot.episode}/window", json=window)).status_code == 200
        assert (await lab.client.get(f"/episodes/{robot.episode}")).json()["committed_step"] == 3
        assert (await plant.client.get(f"/episodes/{robot.episode}")).json()["committed_step"] == 2


async def test_policies_that_an_owner_may_not_use_are_not_there(serve, disk, checkpoint_directory):
    name = checkpoint_directory.name
    key, other = disk.add("lab", policies=["kitchen*"]), disk.add("plant", policies=[f"{name[:2]}*"])
    async with serve(keys=disk.path) as service:
        answers = {}
        for owner, held in (("lab", key), ("plant", other)):
            listed = (await service.client.get("/policies", headers=bearer(held))).json()["policies"]
            found = await service.client.get(f"/policies/{name}", headers=bearer(held))
            started = await service.client.post("/episodes", json={"policy": name}, headers=bearer(held))
            answers[owner] = ([one["name"] for one in listed], found.status_code, started.status_code)
        assert answers == {"lab": ([], 404, 404), "plant": ([name], 200, 201)}
        refused = await service.client.post("/episodes", json={"policy": name}, headers=bearer(key))
        assert refused.json()["detail"].endswith("these are: none")
        for policy in ("kitchen", f"kitchen@{'0' * 12}"):
            asked = {"json": {"policy": policy}, "headers": bearer(key)}
            told = await service.client.get(f"/policies/{policy}", headers=bearer(key))
            for refused in (told, await service.client.post("/episodes", **asked)):
                assert refused.status_code == 404
                assert refused.json()["detail"].endswith("these are: none"), policy


async def test_the_owner_local_has_the_episodes_from_before_there_were_keys(serve, disk):
    async with serve() as service:
        episode = await service.start()
        await service.play(episode, 2)
    key = disk.add("local")
    async with serve(keys=disk.path) as service, holder(service, key) as local:
        assert (await local.act(episode, 2, **content(2))).status_code == 200

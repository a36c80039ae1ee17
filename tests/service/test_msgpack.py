"""msgpack: the same requests and answers as in JSON, with arrays as raw numbers."""

from __future__ import annotations

import msgpack
import numpy as np
import pytest

from lamo.packing import DTYPES
from tests.service.conftest import OBSERVATION, content

pytestmark = pytest.mark.anyio

MSGPACK = "application/msgpack"


def array(values, dtype="<f4", **changed):
    values = np.array(values, dtype)
    return {"dtype": dtype, "shape": list(values.shape), "data": values.tobytes()} | changed


async def send(service, method, path, body, accept="*/*"):
    packed = body if isinstance(body, bytes) else msgpack.packb(body)
    headers = {"content-type": MSGPACK, "accept": accept}
    return await service.client.request(method, path, content=packed, headers=headers)


def read(answer):
    assert answer.headers["content-type"] == MSGPACK
    assert int(answer.headers["content-length"]) == len(answer.content)
    return msgpack.unpackb(answer.content)


def numbers(packed):
    return np.frombuffer(packed["data"], packed["dtype"]).reshape(packed["shape"])


async def test_an_episode_is_played_in_msgpack_from_start_to_end(serve):
    async with serve() as service:
        other = await service.start(target_return=20)
        actions = await service.play(other, 5)
        state = read(await send(service, "PUT", "/episodes/packed", {"target_return": 20.0}))
        assert (state["episode_id"], state["committed_step"]) == ("packed", -1)
        for step in range(5):
            shown = {
                name: array(value) if isinstance(value, list) else value for name, value in content(step).items()
            }
            answer = read(await send(service, "POST", "/episodes/packed/act", {"step": step, **shown}))
            assert answer["action"]["dtype"] == "<f4"
            assert numbers(answer["action"]).tolist() == pytest.approx(actions[step], abs=1e-6)
        ending = {"step": 5, "reward": 1.0, "observation": array(OBSERVATION), "terminated": True}
        summary = read(await send(service, "POST", "/episodes/packed/end", ending))
        assert (summary["length"], summary["terminated"]) == (5, True)


async def test_a_retry_in_the_other_encoding_is_the_same_step(serve):
    observation = [0.1, -0.25, 1e-30, 16777217.0, 3.0]  # not all of them are float32
    async with serve() as service:
        episode = await service.start()
        fields = {"step": 1, "reward": 0.1, "executed_action": [0.3, -0.125]}
        await service.act(episode, 0)
        first = (await service.act(episode, **fields, observation=observation)).json()
        for sent in (observation, array(observation), array(observation, "<f8")):
            packed = {**fields, "observation": sent, "executed_action": array([0.3, -0.125])}
            answer = read(await send(service, "POST", f"/episodes/{episode}/act", packed))
            assert answer["replayed"]
            assert numbers(answer["action"]).tolist() == first["action"]
        packed = {**fields, "observation": array([*observation[:4], 4.0])}
        assert (await send(service, "POST", f"/episodes/{episode}/act", packed)).status_code == 422


@pytest.mark.parametrize("dtype", DTYPES)
async def test_whole_numbers_are_the_same_in_every_dtype(serve, dtype):
    async with serve() as service:
        episode = await service.start()
        await service.act(episode, 0, observation=[0, 1, 2, 3, 255])
        path, body = f"/episodes/{episode}/act", {"step": 0, "observation": array([0, 1, 2, 3, 255], dtype)}
        assert read(await send(service, "POST", path, body))["replayed"]


async def test_an_array_that_is_not_what_it_says_is_refused_by_name(serve):
    sound = array(OBSERVATION)
    async with serve() as service:
        episode = await service.start()
        for observation, sentence in (
            (sound | {"dtype": ">f4"}, "dtype is '>f4', one of <f4, <f8, |u1, <i4, <i8 is taken"),
            (sound | {"dtype": "O"}, "dtype is 'O'"),
            (sound | {"dtype": ["<f4"]}, "dtype is ['<f4']"),
            (sound | {"shape": [6]}, "data has 20 bytes, shape [6] of <f4 takes 24"),
            (sound | {"shape": [2**40, 2**40]}, "takes 4835703278458516698824704"),
            (sound | {"shape": [0, 2**63], "data": b""}, "aximum"),
            (sound | {"shape": [0, 2**40, 2**40], "data": b""}, "array is too big"),
            (sound | {"shape": [2**64 - 1]}, "takes 73786976294838206460"),
            (sound | {"shape": [0], "data": b""}, "observation has shape [0], policy 'small' takes [5]"),
            (sound | {"shape": [-5]}, "shape is not a list"),
            (sound | {"shape": [True] * 2}, "shape is not a list"),
            (sound | {"shape": 5}, "shape is not a list"),
            (sound | {"shape": [1] * 9}, "at most 8 lengths"),
            (sound | {"data": "x" * 20}, "data is not binary"),
            (sound | {"order": "C"}, "field 'observation' cannot be used: input should be a valid list"),
            (array([0, 0, np.nan, 0, 0]), "observation[2] is nan, not a finite number"),
            (array([[0, 0], [0, 1e39]], "<f8"), "observation[1][1] is 1e+39, not a finite number in float32"),
            (array([OBSERVATION]), "observation has shape [1, 5], policy 'small' takes [5]"),
        ):
            for path in ("act", "end"):
                body = {"step": 0, "observation": observation}
                answer = await send(service, "POST", f"/episodes/{episode}/{path}", body)
                assert answer.status_code in (400, 422), sentence
                assert answer.headers["content-type"] == "application/problem+json"
                if path == "act":
                    assert answer.status_code == 422
                    assert sentence in answer.json()["detail"]
            [outcome] = read(await send(service, "POST", "/act", {"items": [{"episode_id": episode, **body}]}))[
                "items"
            ]
            assert outcome["status"] == 422
            assert sentence in outcome["body"]["detail"]
        assert (await service.act(episode, 0)).status_code == 200


async def test_what_is_no_msgpack_is_400(serve):
    bodies = {
        "nothing": b"",
        "two messages": msgpack.packb({}) * 2,
        "half a message": msgpack.packb({"items": [1, 2, 3]})[:-1],
        "a list of 4 billion": b"\xdd\xff\xff\xff\xff",
        "a map of 4 billion": b"\xdf\xff\xff\xff\xff",
        "text of 4 billion": b"\xdb\xff\xff\xff\xff",
        "binary of 4 billion": b"\xc6\xff\xff\xff\xff",
        "deep": b"\x91" * 100_000,
        "deep and whole": b"\x91" * 900 + b"\xc0",
        "a timestamp": b"\xd6\xff\0\0\0\0",
        "an extension": b"\xd4\x05a",
        "no text": b"\xa1\xff",
        "a number for a name": b"\x81\x01\x02",
    }
    async with serve() as service:
        for path in ("/act", "/episodes/a/act", "/episodes", "/episodes/a/end"):
            for name, body in bodies.items():
                if body or path.endswith("/act"):
                    answer = await send(service, "POST", path, body)
                    refused = 422 if name == "deep and whole" and path.endswith("act") else 400
                    assert answer.status_code == refused, (path, name)
        for body in ({b"items": []}, {"items": [], "x": b""}, b"\x01", b"\xc0"):
            assert (await send(service, "POST", "/act", body)).status_code == 422
        for body in ({"labels": {"a": b"x"}}, {b"policy": None}):
            assert (await send(service, "POST", "/episodes", body)).status_code in (400, 422)


@pytest.mark.parametrize(
    ("sent", "accept", "answered"),
    [
        (MSGPACK, "*/*", MSGPACK),
        (MSGPACK, "", MSGPACK),
        (MSGPACK, "application/*", MSGPACK),
        (MSGPACK, "application/json", "application/json"),
        ("application/json", "Application/MsgPack", MSGPACK),
        ("application/json", "application/msgpack, application/json;q=0.5", MSGPACK),
        ("application/json", "*/*", "application/json"),
    ],
)
async def test_the_answer_is_in_the_encoding_the_client_asks_for_or_speaks(serve, sent, accept, answered):
    async with serve() as service:
        episode = await service.start()
        body = {"step": 0, "observation": OBSERVATION}
        packed = msgpack.packb(body) if sent == MSGPACK else None
        for path in (f"/episodes/{episode}/act", f"/episodes/{episode}/end"):
            answer = await service.client.post(
                path,
                content=packed,
                json=None if packed else body,
                headers={"content-type": sent, "accept": accept},
            )
            assert (answer.status_code, answer.headers["content-type"]) == (200, answered)
            body["step"] = 1
            packed = packed and msgpack.packb(body)
        policies = await service.client.get("/policies", headers={"accept": accept})
        expected = MSGPACK if "msgpack" in accept.lower() else "application/json"
        assert policies.headers["content-type"] == expected


async def test_one_request_for_many_in_msgpack(serve):
    async with serve() as service:
        episodes = [await service.start() for _ in range(3)]
        items = [{"episode_id": episode, "step": 0, "observation": array(OBSERVATION)} for episode in episodes]
        outcomes = read(await send(service, "POST", "/act", {"items": [*items, {}]}))["items"]
        assert [outcome["status"] for outcome in outcomes] == [200, 200, 200, 422]
        assert [numbers(outcome["body"]["action"]).shape for outcome in outcomes[:3]] == [(2,)] * 3
        assert outcomes[3]["body"]["detail"] == "item 3: field 'observation' is missing"


async def test_labels_may_be_called_like_the_fields_of_an_array(serve):
    labels = {"dtype": "<f4", "shape": "round", "data": "none"}
    async with serve() as service:
        state = read(await send(service, "POST", "/episodes", {"labels": labels}))
        assert state["labels"] == labels

"""Acts go around FastAPI: what its document says of them is what they take and answer."""

from __future__ import annotations

import json

import pytest
from pydantic import TypeAdapter, ValidationError

from lamo.wire import ActAnswer, ActRequest, ActTogetherAnswer, ActTogetherRequest
from tests.service.conftest import OBSERVATION

pytestmark = pytest.mark.anyio

ACTS = {"/episodes/{episode_id}/act": (ActRequest, ActAnswer), "/act": (ActTogetherRequest, ActTogetherAnswer)}

GOOD = [
    {"observation": OBSERVATION},
    {"observation": OBSERVATION, "step": None, "reward": None, "executed_action": None},
    {"observation": [0, 1, 2, 3, 4], "step": 1, "reward": 1, "executed_action": [1, 0.5]},
    {"observation": OBSERVATION, "deadline_ms": 1e6, "observed_at": 2**63 - 1},
]
BAD = [
    {},
    {"observation": None},
    {"observation": OBSERVATION, "lost": []},
    {"observation": OBSERVATION, "step": "1"},
    {"observation": OBSERVATION, "step": 1.0},
    {"observation": OBSERVATION, "step": True},
    {"observation": OBSERVATION, "step": 2**31},
    {"observation": OBSERVATION, "reward": "0"},
    {"observation": OBSERVATION, "deadline_ms": 0},
    {"observation": OBSERVATION, "observed_at": 2**63},
    {"observation": [True] * 5},
    {"observation": ["0"] * 5},
    {"observation": [OBSERVATION]},
    {"observation": {"0": 1.0}},
    {"observation": {"dtype": "<f4", "shape": [5], "data": "\0" * 20}},
    {"observation": OBSERVATION, "executed_action": 1.0},
    [],
    "act",
]


def without_nulls(part):
    """FastAPI writes no default of null into its document."""
    return {name: value for name, value in part.items() if value is not None}


def read(document):
    """FastAPI writes limits as floats."""
    return json.loads(document, parse_int=float, object_hook=without_nulls)


def schema(model, mode):
    return read(json.dumps(model.model_json_schema(mode=mode, ref_template="#/components/schemas/{model}")))


@pytest.mark.parametrize("path", ACTS)
async def test_the_document_has_the_models_of_requests_and_answers(serve, path):
    async with serve() as service:
        document = read((await service.client.get("/openapi.json")).content)
        assert "/openapi.json" in (await service.client.get("/docs")).text
    described = document["paths"][path]["post"]
    contents = described["requestBody"]["content"], described["responses"]["200"]["content"]
    for content, model, mode in zip(contents, ACTS[path], ("validation", "serialization"), strict=True):
        reference = content["application/json"]["schema"]["$ref"]
        assert reference == f"#/components/schemas/{model.__name__}"
        expected = schema(model, mode)
        parts = {model.__name__: expected, **expected.pop("$defs", {})}
        for name, part in parts.items():
            assert document["components"]["schemas"][name] == part


@pytest.mark.parametrize("body", [*GOOD, *BAD], ids=json.dumps)
async def test_an_act_is_taken_where_its_model_takes_it(serve, body):
    try:
        ActRequest.model_validate_json(json.dumps(body))
        taken = True
    except ValidationError:
        taken = False
    assert taken == (body in GOOD)
    async with serve() as service:
        episode = await service.start()
        await service.act(episode, 0)
        alone = await service.client.post(f"/episodes/{episode}/act", json=body)
        assert alone.status_code == (200 if taken else 422), alone.text
        if taken:
            answer = ActAnswer.model_validate_json(alone.content, extra="forbid")
            assert answer.episode_id == episode
        if isinstance(body, dict):
            other = await service.start()
            await service.act(other, 0)
            together = await service.client.post("/act", json={"items": [{"episode_id": other, **body}]})
            [outcome] = together.json()["items"]
            assert outcome["status"] == alone.status_code
            ActTogetherAnswer.model_validate_json(together.content, extra="forbid")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"items": []}, 200),
        ({"items": [{}] * 1024}, 200),
        ({"items": [{}] * 1025}, 422),
        ({"items": None}, 422),
        ({"items": {}}, 422),
        ({}, 422),
        ({"items": [], "item": []}, 422),
        ([], 422),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_a_request_for_many_is_refused_as_a_whole_only_for_its_own_form(serve, body, status):
    async with serve() as service:
        answer = await service.client.post("/act", json=body)
        assert answer.status_code == status
        if status == 200:
            assert [item["status"] for item in answer.json()["items"]] == [422] * len(body["items"])
        else:
            assert answer.json()["type"] == "urn:lamo:problem:invalid-request"


@pytest.mark.parametrize("path", ["/act", "/episodes/a/act"])
async def test_what_is_not_json_is_400_for_acts_too(serve, path):
    async with serve() as service:
        for body in (b"", b"{", b"\xff\xfe", b"[" * 100_000, b"null null"):
            answer = await service.client.post(path, content=body, headers={"content-type": "application/json"})
            assert answer.status_code == 400
            assert answer.json()["detail"].startswith("the body is not JSON: ")


@pytest.mark.parametrize(("method", "path"), [("GET", "/act"), ("GET", "/episodes/a/act"), ("PUT", "/act")])
async def test_another_method_is_told_which_one_is_taken(serve, method, path):
    async with serve() as service:
        answer = await service.client.request(method, path)
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


async def test_an_act_under_an_impossible_id_is_refused_with_the_form_of_ids(serve):
    async with serve() as service:
        for episode in ("a b", "{x}", "a" * 129, "ä", "a%0A"):
            answer = await service.client.post(f"/episodes/{episode}/act", json={"observation": OBSERVATION})
            assert answer.status_code == 422
            assert "is not of the form" in answer.json()["detail"]
        assert (await service.client.post("/episodes/a/b/act", json={})).status_code == 404


async def test_an_answer_carries_the_requests_id_and_its_timing(serve):
    async with serve() as service:
        episode = await service.start()
        answer = await service.client.post(
            f"/episodes/{episode}/act", json={"observation": OBSERVATION}, headers={"x-request-id": "robot-7"}
        )
        assert answer.headers["x-request-id"] == "robot-7"
        parts = TypeAdapter(dict[str, float]).validate_python(
            dict(part.split(";dur=") for part in answer.headers["server-timing"].split(", "))
        )
        assert list(parts) == ["queue", "recall", "infer", "commit", "total"]
        assert parts["total"] == pytest.approx(answer.json()["timing"]["total_ms"], abs=1e-3)

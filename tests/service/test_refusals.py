"""Bad input: one clear sentence naming the thing and the numbers, the right status, and nothing is lost."""

from __future__ import annotations

import asyncio
import json
import math

import pytest

from tests.service.conftest import OBSERVATION

pytestmark = pytest.mark.anyio

ACT = "/episodes/{episode}/act"


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"observation": [1.0] * 4}, "observation has shape [4], policy 'small' takes [5]"),
        ({"observation": OBSERVATION, "executed_action": [0.0]}, "executed_action has shape [1], policy"),
        ({"observation": [0, 0, math.nan, 0, 0]}, "observation[2] is nan, not a finite number"),
        ({"observation": [0, 0, 0, 0, math.inf]}, "observation[4] is inf, not a finite number"),
        ({"observation": [1e39, 0, 0, 0, 0]}, "observation[0] is 1e+39, not a finite number in float32"),
        ({"observation": OBSERVATION, "reward": math.nan}, "reward is nan, not a finite number"),
        ({"observation": OBSERVATION, "reward": 1e308}, "takes the episode's return out of range"),
        ({"observation": OBSERVATION, "lost": []}, "field 'lost' is unknown"),
        ({"observation": OBSERVATION, "step": "1"}, "field 'step' cannot be used"),
        ({"observation": OBSERVATION, "step": -1}, "field 'step' cannot be used"),
        ({"observation": OBSERVATION, "step": 1.5}, "field 'step' cannot be used"),
        ({"observation": OBSERVATION, "deadline_ms": 0}, "field 'deadline_ms' cannot be used"),
        ({"observation": [[1.0] * 5]}, "field 'observation.0' cannot be used"),
        ({"observation": "zero"}, "field 'observation' cannot be used"),
        ({"reward": 1.0}, "field 'observation' is missing"),
        ([], "the body cannot be used"),
    ],
    ids=str,
)
async def test_an_act_that_cannot_be_taken_is_refused_by_name(serve, body, sentence):
    async with serve() as service:
        episode = await service.start()
        await service.act(episode, 0)
        answer = await service.client.post(
            f"/episodes/{episode}/act", content=json.dumps(body), headers={"content-type": "application/json"}
        )
        assert answer.status_code == 422
        assert sentence in answer.json()["detail"]
        state = (await service.client.get(f"/episodes/{episode}")).json()
        assert state["committed_step"] == 0
        assert (await service.act(episode, 1)).status_code == 200


async def test_a_shape_is_refused_for_an_episode_this_service_has_not_seen(serve):
    async with serve() as first, serve() as second:
        episode = await first.start()
        answer = await second.act(episode, 0, observation=[1.0] * 6)
        assert answer.status_code == 422
        assert answer.json()["detail"] == "observation has shape [6], policy 'small' takes [5]"


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        ({"policy": "smal"}, 404, "policy 'smal' is not served here; these are: small"),
        ({"policy": "small@000000000000"}, 404, "policy 'small' is served in revision"),
        ({"policy": "../small"}, 404, "is not served here"),
        ({"target_return": math.inf}, 422, "target_return is inf, not a finite number in float32"),
        ({"target_return": -1e300}, 422, "target_return is -1e+300, not a finite number in float32"),
        ({"ttl_seconds": 9}, 422, "field 'ttl_seconds' cannot be used"),
        ({"ttl_seconds": 604801}, 422, "field 'ttl_seconds' cannot be used"),
        ({"labels": {str(n): "" for n in range(17)}}, 422, "field 'labels' cannot be used"),
        ({"labels": {"a": "x" * 257}}, 422, "field 'labels.a' cannot be used"),
        ({"target": 1}, 422, "field 'target' is unknown"),
    ],
    ids=str,
)
async def test_a_start_that_cannot_be_taken_is_refused_by_name(serve, body, status, sentence):
    async with serve() as service:
        answer = await service.client.post(
            "/episodes", content=json.dumps(body), headers={"content-type": "application/json"}
        )
        assert answer.status_code == status
        assert sentence in answer.json()["detail"]


async def test_an_end_that_cannot_be_taken_is_refused_by_name(serve):
    async with serve() as service:
        episode = await service.start()
        await service.act(episode, 0)
        for body, sentence in (
            ({"step": 1, "observation": [0.0]}, "observation has shape [1], policy 'small' takes [5]"),
            ({"step": 1, "terminated": True, "truncated": True}, "either terminated or truncated"),
            ({"step": 1, "reward": "1"}, "field 'reward' cannot be used"),
        ):
            answer = await service.end(episode, **body)
            assert answer.status_code == 422
            assert sentence in answer.json()["detail"]
        assert (await service.end(episode, step=1)).status_code == 200


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("POST", "/act"), ("POST", "/end")])
async def test_an_unknown_episode_is_404(serve, method, path):
    async with serve() as service:
        body = {"observation": OBSERVATION} if path == "/act" else {} if path else None
        answer = await service.client.request(method, f"/episodes/nobody{path}", json=body)
        assert answer.status_code == 404
        assert "episode 'nobody'" in answer.json()["detail"]


async def test_an_id_of_other_characters_is_refused(serve):
    async with serve() as service:
        for bad in ("a b", "{x}", "a" * 129, "ä", "a%0A"):
            assert (await service.client.put(f"/episodes/{bad}", json={})).status_code in (404, 422)
        assert (await service.client.put("/episodes/A-z.0_~", json={})).status_code in (200, 201)


async def test_what_is_not_json_is_400(serve):
    async with serve() as service:
        for body in (b"{", b"\xff\xfe", b"[" * 100_000):
            answer = await service.client.post(
                "/episodes", content=body, headers={"content-type": "application/json; charset=utf-8"}
            )
            assert answer.status_code == 400
            assert answer.json()["type"] == "urn:lamo:problem:malformed-request"


async def test_another_content_type_is_415(serve):
    async with serve() as service:
        for headers in ({"content-type": "application/x-pickle"}, {"content-type": "text/plain"}, {}):
            answer = await service.client.post("/episodes", content=b"{}", headers=headers)
            assert answer.status_code == 415
            assert "send application/json" in answer.json()["detail"]


async def test_a_huge_body_is_refused_before_it_is_read(serve):
    async def announced():
        pytest.fail("the body was read")
        yield b""

    async def unannounced():
        for _ in range(1000):
            yield b" " * 1024

    async with serve(max_body_bytes=2048) as service:
        for body, headers in (
            (announced(), {"content-length": "9999999"}),
            (announced(), {"content-length": "9" * 5000}),
            (unannounced(), {}),
        ):
            answer = await service.client.post(
                "/episodes", content=body, headers={"content-type": "application/json"} | headers
            )
            assert answer.status_code == 413
            assert "2048" in answer.json()["detail"]


async def test_a_wrong_path_or_method_is_a_problem_document_too(serve):
    async with serve() as service:
        assert (await service.client.get("/nowhere")).json()["type"] == "urn:lamo:problem:not-found"
        answer = await service.client.post("/episodes/a")
        assert answer.status_code == 405
        assert answer.json()["type"] == "urn:lamo:problem:method-not-allowed"


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/episodes", "POST"),
        ("/episodes/a", "DELETE, GET, PUT"),
        ("/episodes/a/act", "POST"),
        ("/episodes/a/end", "POST"),
        ("/episodes/a/window", "PUT"),
        ("/act", "POST"),
        ("/policies", "GET"),
        ("/healthz", "GET"),
        ("/openapi.json", "GET, HEAD"),
    ],
)
async def test_a_wrong_method_is_told_all_that_the_path_takes(serve, path, methods):
    async with serve() as service:
        for method in {"DELETE", "GET", "OPTIONS", "PATCH", "POST", "PUT", "STEAL"} - set(methods.split(", ")):
            answer = await service.client.request(method, path)
            assert (answer.status_code, answer.headers["allow"]) == (405, methods), method


async def test_numbers_and_text_at_the_edge_of_json_are_answered_not_failed_on(serve):
    async with serve() as service:
        episode = await service.start()
        await service.act(episode, 0)
        for body in (
            f'{{"step": 1, "observation": [0,0,0,0,0], "reward": 1{"0" * 400}}}',
            f'{{"step": 1{"0" * 5000}, "observation": [0,0,0,0,0]}}',
            '{"step": 1, "observation": [true,0,0,0,0]}',
            '{"step": 1, "observation": [0,0,0,0,0], "\\ud800": 1}',
            "null",
        ):
            answer = await service.client.post(
                f"/episodes/{episode}/act", content=body, headers={"content-type": "application/json"}
            )
            assert answer.status_code in (400, 422), (body[:40], answer.text)
        answer = await service.client.post(
            "/episodes", content='{"labels": {"a": "\\ud800"}}', headers={"content-type": "application/json"}
        )
        assert answer.status_code in (400, 422)


async def test_what_was_not_foreseen_is_a_problem_without_a_traceback(serve, monkeypatch, caplog):
    async with serve() as service:

        async def broken(episode_ids):
            raise ZeroDivisionError("secret detail")

        monkeypatch.setattr(service.lifecycle.acting._episodes, "read", broken)
        answer = await service.client.get("/episodes/a", headers={"x-request-id": "robot-7.42"})
        assert answer.status_code == 500
        assert "secret" not in answer.text
        assert answer.json()["request_id"] == answer.headers["x-request-id"] == "robot-7.42"
        assert "secret detail" in caplog.text
        act = await service.act("a", 0)
        assert act.status_code == 500
        assert "secret" not in act.text


async def test_a_request_id_of_other_characters_is_not_taken_over(serve):
    async with serve() as service:
        answer = await service.client.get("/healthz", headers={"x-request-id": "a b\tc"})
        assert answer.headers["x-request-id"] != "a b\tc"


async def test_a_flood_of_faults_is_refused_without_a_report_of_each(serve):
    async with serve() as service:
        episode = await service.start()
        names = ",".join(f'"{number:x}":0' for number in range(50_000)).encode()
        wrong = b",".join([b'""'] * 100_000)
        for method, path, body, sentence in (
            (
                "POST",
                f"/episodes/{episode}/act",
                b'{"observation": [%b]}' % wrong,
                "field 'observation.0' cannot be",
            ),
            ("POST", f"/episodes/{episode}/act", b"{%b}" % names, "the body cannot be used: it has 50001 faults"),
            ("POST", f"/episodes/{episode}/end", b"{%b}" % names, "50000 names are too many"),
            ("POST", "/episodes", b"{%b}" % names, "50000 names are too many"),
            ("POST", "/episodes", b'{"labels": {%b}}' % names, "50000 names are too many"),
            ("PUT", f"/episodes/{episode}/window", b'{"timesteps": [%b]}' % wrong, "field 'policy' is missing"),
            ("POST", "/act", b'{"items": [%b]}' % wrong, "field 'items' cannot be used"),
        ):
            headers = {"content-type": "application/json"}
            answer = await service.client.request(method, path, content=body, headers=headers)
            assert answer.status_code == 422, path
            assert sentence in answer.json()["detail"]
            assert len(answer.content) < 1000


async def test_an_answer_that_cannot_be_sent_whole_is_not_followed_by_another(serve):
    """Whoever gets half an answer must not take the problem document behind it for the rest."""
    async with serve() as service:
        app, episode = service.client._transport.app, await service.start()
        body = json.dumps({"step": 0, "observation": OBSERVATION}).encode()
        told, asked = [], []

        async def receive():
            asked.append(body)
            if len(asked) > 1:
                await asyncio.Future()
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message):
            told.append(message["type"])
            if message["type"] == "http.response.body":
                raise OSError("the connection is gone")

        headers = [(b"content-type", b"application/json")]
        for method, path in (("POST", f"/episodes/{episode}/act"), ("GET", "/policies")):
            scope = {"type": "http", "method": method, "path": path, "headers": headers, "query_string": b""}
            with pytest.raises(OSError, match="is gone"):
                await app(scope, receive, send)
            assert told == ["http.response.start", "http.response.body"]
            told.clear()
            asked.clear()

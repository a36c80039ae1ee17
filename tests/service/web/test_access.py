"""The log line of a request: who, what, how it went, under which ids; and never what nobody may read there."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Awaitable, Callable

import httpx
import msgpack
import pytest
from redis.exceptions import ResponseError

from service.logs import JsonLines
from service.web.access import LINES_PER_WINDOW
from service.web.traces import Trace
from tests.service.conftest import OBSERVATION
from tests.service.listening import listening

pytestmark = pytest.mark.anyio

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE_ID}-b7ad6b7169203331-01"

SECRET_NUMBER = 31337.0625
SECRETS = ("31337", "s3cret-key", "sneaky-label")


@pytest.fixture
def log():
    """Everything that is logged, by anyone and at every level, as the service writes it."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(JsonLines())
    root, uvicorn = logging.getLogger(), logging.getLogger("uvicorn")
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    logging.getLogger("httpcore").setLevel(logging.WARNING)
    yield written
    root.removeHandler(handler)
    root.setLevel(before)
    assert uvicorn.propagate


def ours(log: io.StringIO) -> list[str]:
    """All that was logged, but not by this test's own client."""
    return [line for line in log.getvalue().splitlines() if json.loads(line)["logger"].split(".")[0] != "httpx"]


def lines(log: io.StringIO) -> list[dict]:
    return [line for line in map(json.loads, log.getvalue().splitlines()) if line["logger"] == "service.web.access"]


async def test_a_flood_of_refusals_is_told_in_a_few_lines_and_a_number(serve, log, monkeypatch):
    monkeypatch.setattr("service.web.access.WINDOW_SECONDS", 0.3)
    many = 3 * LINES_PER_WINDOW
    async with serve() as service:
        answers = await asyncio.gather(*(service.client.get("/episodes/none") for _ in range(many)))
        assert {answer.status_code for answer in answers} == {404}
        assert (await service.client.get("/episodes/ ")).status_code == 422
        await asyncio.sleep(0.4)
        await service.client.get("/episodes/none")
    told = [(line["event"], line["status"], line.get("times")) for line in lines(log) if line["status"] >= 400]
    refused = [("request refused", 404, None)]
    assert told == [
        *LINES_PER_WINDOW * refused,
        ("request refused", 422, None),
        ("request refused, further", 404, many - LINES_PER_WINDOW),
        *refused,
    ]


async def test_a_request_is_told_with_its_ids_and_the_time_it_took(serve, log):
    async with serve() as service:
        episode = await service.start()
        headers = {"x-request-id": "robot-7", "traceparent": TRACEPARENT}
        answer = await service.client.post(
            f"/episodes/{episode}/act", json={"step": 5, "observation": OBSERVATION}, headers=headers
        )
        assert answer.status_code == 409
        line = lines(log)[-1]
        assert line.pop("ms") > 0
        assert line.pop("time")
        span_id = line.pop("span_id")
        assert line == {
            "level": "info",
            "logger": "service.web.access",
            "event": "request refused",
            "method": "POST",
            "path": "/episodes/{episode_id}/act",
            "episode": episode,
            "status": 409,
            "kinds": ["step-conflict"],
            "request_id": "robot-7",
            "trace_id": TRACE_ID,
            "owner": "local",
            "client": "127.0.0.1",
        }
        assert answer.headers["traceparent"] == f"00-{TRACE_ID}-{span_id}-01"
        assert answer.json()["trace_id"] == TRACE_ID
        assert answer.json()["request_id"] == answer.headers["x-request-id"] == "robot-7"


async def test_each_kind_of_outcome_has_its_level(serve, log, monkeypatch):
    async with serve() as service:
        episode = await service.start()
        await service.act(episode, 0)
        items = {"items": [{"episode_id": episode, "step": 9, "observation": OBSERVATION}, {}]}
        await service.client.post("/act", json=items)
        await service.client.get("/s3cret-key?key=s3cret-key")
        await service.client.get("/policies/s3cret-key")

        async def broken(episode_ids):
            raise ZeroDivisionError

        monkeypatch.setattr(service.lifecycle.acting._episodes, "read", broken)
        await service.client.get(f"/episodes/{episode}")
        service.lifecycle.draining = True
        await service.client.get("/readyz")
    told = [(line["level"], line["event"], line["path"], line.get("kinds", [])) for line in lines(log)]
    assert told == [
        ("debug", "request served", "/episodes/{episode_id}", []),
        ("debug", "request served", "/episodes/{episode_id}/act", []),
        ("info", "items refused", "/act", ["invalid-request", "step-conflict"]),
        ("info", "request refused", "none of ours", ["not-found"]),
        ("info", "request refused", "/policies/{name}", ["unknown-policy"]),
        ("warning", "request failed", "/episodes/{episode_id}", ["internal"]),
        ("info", "not ready", "/readyz", []),
    ]
    assert not [line for line in ours(log) if "s3cret-key" in line]


async def test_a_client_that_leaves_is_told_of(serve, held_engine, log):
    async with listening(serve, engine=held_engine) as service:
        episode = await service.service.start()
        body = json.dumps({"step": 0, "observation": OBSERVATION}).encode()
        _, writer = await service.connect()
        writer.write(b"POST /episodes/%b/act HTTP/1.1\r\n" % episode.encode())
        writer.write(b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        await held_engine.holding.wait()
        writer.close()
        async with asyncio.timeout(5):
            while lines(log)[-1]["event"] != "client left":
                await asyncio.sleep(0.01)
        held_engine.let_go.set()


@pytest.mark.parametrize(
    ("trusted", "forwarded", "client"),
    [
        (None, "203.0.113.7", "127.0.0.1"),
        ("10.0.0.0/8", "203.0.113.7", "127.0.0.1"),
        ("127.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("127.0.0.0/8,10.0.0.0/8", "198.51.100.1, 203.0.113.7, 10.1.2.3", "203.0.113.7"),
        ("127.0.0.1", "2001:db8::7", "2001:db8::7"),
        ("127.0.0.1", "<script>", "unreadable"),
        ("127.0.0.1", None, "127.0.0.1"),
    ],
)
async def test_a_client_has_the_address_that_a_trusted_proxy_gives_and_no_other(
    serve, log, trusted, forwarded, client
):
    headers = {} if forwarded is None else {"x-forwarded-for": forwarded}
    async with listening(serve, trusted_proxies=trusted) as service:
        async with httpx.AsyncClient(base_url=service.url) as outside:
            assert (await outside.get("/nowhere", headers=headers)).status_code == 404
        assert lines(log)[-1]["client"] == client
        assert problem_line(await service.exchange(b"nonsense\r\n\r\n"), log)["client"] == "127.0.0.1"


def problem_line(answer: bytes, log: io.StringIO) -> dict:
    assert answer.startswith(b"HTTP/1.1 400")
    line = lines(log)[-1]
    assert line["request_id"].encode() in answer
    return line


async def test_no_log_holds_a_key_an_observation_or_a_body(serve, log, monkeypatch):
    secret = {"observation": [SECRET_NUMBER, *OBSERVATION[1:]], "executed_action": [SECRET_NUMBER, 0.0]}
    headers = {"authorization": "Bearer s3cret-key", "x-api-key": "s3cret-key", "cookie": "a=s3cret-key"}
    sound = {"observation": secret["observation"]}
    bodies = [
        sound,
        {"step": 1, "reward": SECRET_NUMBER} | secret,
        {"step": 1, "reward": 2 * SECRET_NUMBER} | secret,
        {"step": 7} | secret,
        {"step": 2, "observation": [SECRET_NUMBER] * 4},
        {"step": 2, "observation": [str(SECRET_NUMBER)] * 5},
        {"step": "31337"} | secret,
        {"observation": {"31337": SECRET_NUMBER}},
        {"labels": {"a": "sneaky-label"}},
        {"labels": ["sneaky-label"]},
        [SECRET_NUMBER],
    ]
    async with listening(serve) as service, httpx.AsyncClient(base_url=service.url, headers=headers) as outside:

        async def drive(bodies: list[object], episode: str) -> set[int]:
            seen = set()
            for path in (f"/episodes/{episode}/act", "/act", "/episodes", f"/episodes/{episode}/end"):
                for body in bodies:
                    together = {"items": [{"episode_id": episode} | body]} if isinstance(body, dict) else body
                    sent = together if path == "/act" else body
                    for content, kind in (
                        (json.dumps(sent).encode(), "json"),
                        (json.dumps(sent).encode()[:-2], "json"),
                        (msgpack.packb(sent), "msgpack"),
                        (msgpack.packb(sent)[:-2], "msgpack"),
                    ):
                        content_type = {"content-type": f"application/{kind}"}
                        answer = await outside.post(path, content=content, headers=content_type)
                        seen.add(answer.status_code)
            return seen

        assert await drive(bodies, await service.service.start()) >= {200, 201, 400, 409, 422}

        def failing(failure: Exception) -> Callable[..., Awaitable[None]]:
            async def fail(*arguments: object) -> None:
                raise failure

            return fail

        for failure in (ResponseError("unknown command"), ZeroDivisionError("unforeseen")):
            for method in ("commit", "read"):
                episode = await service.service.start()
                with monkeypatch.context() as patch:
                    patch.setattr(service.service.lifecycle.acting._episodes, method, failing(failure))
                    assert 500 in await drive([sound], episode)
        await service.exchange(b"GET /31337 s3cret-key HTTP/1.1\r\nauthorization: s3cret-key\r\n\r\n")
    told = ours(log)
    assert len(told) > 100
    for word in SECRETS:
        assert not [line for line in told if word in line]


@pytest.mark.parametrize(
    "sent",
    [
        TRACEPARENT.upper(),
        f"ff-{TRACE_ID}-b7ad6b7169203331-01",
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"{TRACEPARENT}-extra",
        TRACEPARENT[:-1],
        f"00-{TRACE_ID}-b7ad6b7169203331",
        f"{TRACEPARENT}\n",
        "",
    ],
)
async def test_a_trace_that_is_not_valid_is_begun_anew(sent):
    trace = Trace.of(sent.encode())
    assert trace.trace_id != TRACE_ID
    assert Trace.of(trace.traceparent).trace_id == trace.trace_id


async def test_a_trace_of_a_later_version_is_taken_for_what_is_known_of_it():
    trace = Trace.of(f"cc-{TRACE_ID}-b7ad6b7169203331-03-more".encode())
    assert (trace.trace_id, trace.sampled) == (TRACE_ID, True)
    assert trace.traceparent == f"00-{TRACE_ID}-{trace.span_id}-01".encode()
    assert trace.span_id != "b7ad6b7169203331"

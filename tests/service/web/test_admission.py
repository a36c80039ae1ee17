"""Who is let in: by which key, to which routes; and what those who are not learn, which is nothing."""

from __future__ import annotations

import asyncio
import io
import json
import logging

import pytest
from fastapi.routing import APIRoute

from service.logs import JsonLines
from service.owners.refused_keys import LINES_PER_WINDOW
from service.web.admission import OPEN_PATHS, scopes_for
from service.web.routes import probes, router
from tests.service.conftest import OBSERVATION
from tests.service.keyholders import KeysOnDisk, audited, bearer, holder
from tests.service.listening import listening

pytestmark = pytest.mark.anyio

ROUTES = {
    "POST /episodes": "act",
    "PUT /episodes/{episode_id}": "act",
    "POST /episodes/{episode_id}/act": "act",
    "POST /act": "act",
    "POST /episodes/{episode_id}/end": "act",
    "PUT /episodes/{episode_id}/window": "act",
    "DELETE /episodes/{episode_id}": "act",
    "GET /episodes/{episode_id}": "act read",
    "GET /policies": "act read",
    "GET /policies/{name}": "act read",
    "GET /openapi.json": "act read",
    "GET /docs": "act read",
    "GET /metrics": "admin",
    "GET /healthz": "",
    "GET /readyz": "",
}


@pytest.fixture
def disk(tmp_path) -> KeysOnDisk:
    return KeysOnDisk(tmp_path / "keys.toml")


def test_every_route_is_in_the_table():
    routes = [route for route in (*router.routes, *probes.routes) if isinstance(route, APIRoute)]
    ours = {f"{method} {route.path}" for route in routes for method in route.methods}
    assert ours <= set(ROUTES)
    assert {f"GET {path}" for path in OPEN_PATHS} == {route for route, scopes in ROUTES.items() if not scopes}


@pytest.mark.parametrize("route", ROUTES)
async def test_each_scope_opens_its_routes_and_no_other(serve, disk, route):
    method, path = route.split()
    path = path.format(episode_id="none-of-that-name", name="hopper")
    needed = ROUTES[route].split()
    keys = {scope: disk.add("lab", scope) for scope in ("act", "read", "admin")}
    async with serve(keys=disk.path) as service:
        for scope, key in keys.items():
            answer = await service.client.request(method, path, headers=bearer(key))
            if scope in needed or not needed:
                assert answer.status_code not in {401, 403}, answer.text
            else:
                assert answer.status_code == 403
                assert answer.json()["type"] == "urn:lamo:problem:forbidden"
                wanted = " or ".join(sorted(scopes_for(method, path)))
                assert answer.json()["detail"] == f"this key has scope {scope}; this request needs {wanted}"


@pytest.mark.parametrize("route", ROUTES)
async def test_without_a_good_key_nothing_but_the_probes_answers(serve, disk, route):
    method, path = route.split()
    path = path.format(episode_id="none-of-that-name", name="hopper")
    key = disk.add("lab", "act", "read", "admin")
    async with serve(keys=disk.path) as service:
        refused = [
            await service.client.request(method, path, headers=headers)
            for headers in (
                {},
                {"authorization": key},
                {"authorization": f"Basic {key}"},
                {"authorization": "Bearer"},
                bearer(key[:-3] + "abc"),
                bearer(f"lamo_0123456789ab_{'x' * 43}"),
                {"cookie": f"authorization=Bearer {key}"},
            )
        ]
        if not ROUTES[route]:
            assert {answer.status_code for answer in refused} == {200}
            return
        for answer in refused:
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
            assert answer.json()["type"] == "urn:lamo:problem:unauthorized"
        details = {answer.json()["detail"] for answer in refused}
        assert details == {
            "a key is asked for: send the header 'Authorization: Bearer <key>'",
            "this key is not known here, or not any more",
        }


async def test_paths_of_no_route_say_nothing_to_strangers(serve, disk):
    key = disk.add("lab")
    async with serve(keys=disk.path) as service:
        assert (await service.client.get("/secret")).status_code == 401
        assert (await service.client.get("/metrics/")).status_code == 401
        assert (await service.client.get("/secret", headers=bearer(key))).status_code == 404


async def test_the_scheme_is_read_in_any_case(serve, disk):
    key = disk.add("lab")
    async with serve(keys=disk.path) as service:
        for scheme in ("bearer", "BEARER", "Bearer "):
            answer = await service.client.get("/policies", headers={"authorization": f"{scheme} {key}"})
            assert answer.status_code == 200


async def test_a_stranger_is_refused_before_the_body_is_read(serve, disk):
    disk.add("lab")
    head = b"POST /act HTTP/1.1\r\nhost: x\r\ncontent-length: 500000\r\n\r\n"
    async with listening(serve, keys=disk.path) as at:
        answer = await at.exchange(head)  # and none of the half megabyte that it announces
    assert answer.startswith(b"HTTP/1.1 401 ")


async def test_where_there_are_no_keys_everybody_is_one_owner_and_headers_are_no_matter(serve):
    async with serve() as service:
        assert (await service.client.get("/policies")).status_code == 200
        assert (await service.client.get("/metrics", headers=bearer("anything"))).status_code == 200
        document = (await service.client.get("/openapi.json")).json()
        assert "security" not in document["paths"]["/act"]["post"]


async def test_the_openapi_document_says_where_a_key_is_asked_for(serve, disk):
    key = disk.add("lab")
    async with serve(keys=disk.path) as service:
        document = (await service.client.get("/openapi.json", headers=bearer(key))).json()
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    open_routes = {
        path
        for path, methods in document["paths"].items()
        for operation in methods.values()
        if operation.get("security") != [{"key": []}]
    }
    assert open_routes == OPEN_PATHS


async def test_no_log_line_and_no_answer_holds_a_key(serve, disk):
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(JsonLines())
    root, level = logging.getLogger(), logging.getLogger().level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    audit = logging.getLogger("lamo.audit")
    audit.setLevel(logging.INFO)
    key, weak = disk.add("lab", "act", "read", "admin"), disk.add("lab", "read")
    gone = f"lamo_0123456789ab_{'S3CRET' * 7}A"
    told = []
    try:
        async with serve(keys=disk.path) as service:
            for held in (key, weak, gone, f"{key}x", "S3CRET"):
                body = {"step": 0, "observation": OBSERVATION}
                for method, path in (
                    ("GET", "/policies"),
                    ("POST", "/episodes"),
                    ("GET", "/metrics"),
                    ("GET", "/x"),
                ):
                    told.append(await service.client.request(method, path, headers=bearer(held)))
                told.append(await service.client.post("/episodes/e/act", json=body, headers=bearer(held)))
                told.append(await service.client.post("/act", content=b"{", headers=bearer(held)))
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        audit.setLevel(logging.NOTSET)
    answers = "".join(f"{answer.headers}{answer.text}" for answer in told)
    for secret in (key.split("_", 2)[2], weak.split("_", 2)[2], "S3CRET"):
        ours = [
            line
            for line in written.getvalue().splitlines()
            if json.loads(line)["logger"].split(".")[0] != "httpcore"
        ]
        assert secret not in "".join(ours)
        assert secret not in answers
    assert "key refused" in written.getvalue()


async def test_refused_keys_are_told_with_who_and_why_and_floods_in_a_few_lines(serve, disk, caplog, monkeypatch):
    monkeypatch.setattr("service.owners.refused_keys.WINDOW_SECONDS", 0.2)
    for name in ("lamo.audit", "service.web.access"):
        caplog.set_level(logging.INFO, name)
    reader = disk.add("lab", "read")
    async with serve(keys=disk.path) as service:
        for _ in range(3):
            await service.client.get("/policies")
        await service.client.post("/episodes", headers=bearer(reader) | {"x-request-id": "robot-7"})
        strangers = [f"lamo_{number:012x}_{'x' * 43}" for number in range(2 * LINES_PER_WINDOW)]
        for key in strangers:
            assert (await service.client.get("/policies", headers=bearer(key))).status_code == 401
        await asyncio.sleep(0.4)
        await service.client.get("/policies")
    lines = [line for line in audited(caplog) if "refused" in line["event"]]
    first, scope = lines[0], lines[1]
    assert (first["event"], first["reason"], first["client"]) == ("key refused", "no key", "127.0.0.1")
    assert "key_id" not in first
    assert (scope["reason"], scope["key_id"], scope["owner"]) == ("scope", reader.split("_")[1], "lab")
    assert scope["request_id"] == "robot-7"
    assert len(lines[2:-3]) == LINES_PER_WINDOW - 2
    assert {line["reason"] for line in lines[2:-3]} == {"unknown key"}
    again, others, anew = lines[-3:]
    assert (again["event"], again["reason"], again["times"]) == ("key refused again", "no key", 2)
    assert (others["event"], others["times"]) == ("further keys refused", LINES_PER_WINDOW + 2)
    assert (anew["event"], anew["reason"]) == ("key refused", "no key")
    told_by_both = [line["request_id"] for line in lines if line["event"] == "key refused"]
    assert [record.request_id for record in caplog.records if record.name == "service.web.access"] == told_by_both


async def test_one_client_may_hold_keys_of_two_owners(serve, disk):
    """A connection is nobody's: each request is judged by its own key."""
    keys = [disk.add("lab"), disk.add("plant")]
    async with serve(keys=disk.path) as service, holder(service, keys[0]) as lab, holder(service, keys[1]) as plant:
        episode = await lab.start()
        assert (await plant.act(episode, 0)).status_code == 404
        assert (await lab.act(episode, 0)).status_code == 200


async def test_nobody_makes_a_probe_read_a_body(serve, disk):
    """Nor any other request that has no use for one: a megabyte of small numbers takes half a second to read."""
    key = disk.add("lab", "read")
    async with serve(keys=disk.path) as service:
        unread = {"content": b"\xc1", "headers": {"content-type": "application/msgpack"}}  # what would be a 400
        for method, path, status in (
            ("GET", "/healthz", 200),
            ("GET", "/readyz", 200),
            ("POST", "/healthz", 405),
            ("PUT", "/readyz", 405),
        ):
            answer = await service.client.request(method, path, **unread)
            assert answer.status_code == status, (method, path)
        unread["headers"] |= bearer(key)
        assert (await service.client.request("GET", "/policies", **unread)).status_code == 200


async def test_no_stranger_writes_into_the_audit_log_by_way_of_a_proxy(serve, disk, caplog):
    caplog.set_level(logging.INFO, "lamo.audit")
    disk.add("lab")
    async with listening(serve, keys=disk.path, trusted_proxies="127.0.0.1") as service:
        for said in (b"203.0.113.7", b"lamo_0123_a-lost-key"):
            await service.exchange(
                b"GET /policies HTTP/1.1\r\nconnection: close\r\nx-forwarded-for: %b\r\n\r\n" % said
            )
    told = [line["client"] for line in audited(caplog) if line["event"] == "key refused"]
    assert told == ["203.0.113.7", "unreadable"]

"""What a stranger may send over a connection: bounded in bytes, headers, time and number, and answered."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest

from service.web.connection import MAX_HEAD_BYTES, MAX_HEADERS
from tests.service.listening import listening

pytestmark = pytest.mark.anyio

HOST = b"host: a\r\n"
JSON = b"content-type: application/json\r\n"


def problem(answer: bytes) -> tuple[int, str]:
    """Status and kind of the one answer that these bytes are."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert answer.count(b"HTTP/1.1 ") == 1, answer
    assert b"content-type: application/problem+json" in head
    document = json.loads(body)
    assert document["status"] == int(head[9:12])
    assert b"\r\nx-request-id: %b\r\n" % document["request_id"].encode() in head
    assert b"\r\ntraceparent: 00-%b-" % document["trace_id"].encode() in head
    return document["status"], document["type"].rpartition(":")[2]


HEADS = {
    "many headers": (b"GET /healthz HTTP/1.1\r\n" + b"a:\r\n" * (MAX_HEADERS + 1) + b"\r\n", 431),
    "one long header": (b"GET /healthz HTTP/1.1\r\na: " + b"x" * MAX_HEAD_BYTES + b"\r\n\r\n", 431),
    "a header without an end": (b"GET /healthz HTTP/1.1\r\na: " + b"x" * 300_000, 431),
    "a long path": (b"GET /" + b"x" * MAX_HEAD_BYTES + b" HTTP/1.1\r\n" + HOST + b"\r\n", 431),
    "a path without an end": (b"GET /" + b"x" * 300_000, 431),
    "two lengths": (b"POST /act HTTP/1.1\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}", 400),
    "a length and chunks": (
        b"POST /act HTTP/1.1\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}",
        400,
    ),
    "a length below zero": (b"POST /act HTTP/1.1\r\ncontent-length: -2\r\n\r\n{}", 400),
    "a length that is none": (b"POST /act HTTP/1.1\r\ncontent-length: 0x2\r\n\r\n{}", 400),
    "a length beyond 64 bit": (b"POST /act HTTP/1.1\r\ncontent-length: 99999999999999999999\r\n\r\n{}", 400),
    "an unknown transfer encoding": (b"POST /act HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n{}", 400),
    "a chunk of no size": (b"POST /act HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n", 400),
    "a method of nobody": (b"STEAL / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "a tunnel": (b"CONNECT example:443 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "no path": (b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", 404),
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00" + bytes(64), 400),
    "a folded header": (b"GET /healthz HTTP/1.1\r\n" + HOST + b"a: b\r\n c\r\n\r\n", 400),
    "a header without a name": (b"GET /healthz HTTP/1.1\r\n: b\r\n\r\n", 400),
    "a header with a zero": (b"GET /healthz HTTP/1.1\r\na: \0\r\n\r\n", 400),
    "a path of other characters": (b"GET /\xff\xfe HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "trailers without an end": (
        b"POST /act HTTP/1.1\r\n" + JSON + b"transfer-encoding: chunked\r\n\r\n0\r\n" + b"a:\r\n" * 5000,
        431,
    ),
}


async def test_a_head_that_is_malformed_or_too_large_is_answered_and_hung_up_on(serve):
    async with listening(serve) as service:
        for name, (sent, status) in HEADS.items():
            assert problem(await service.exchange(sent))[0] == status, name
        assert (await service.service.client.get("/healthz")).status_code == 200


async def test_a_head_at_the_limits_is_taken(serve):
    padding = MAX_HEAD_BYTES - 1000
    async with listening(serve) as service:
        for head in (b"a:\r\n" * (MAX_HEADERS - 1), b"a: " + b"x" * padding + b"\r\n"):
            answer = await service.exchange(b"GET /healthz HTTP/1.1\r\nconnection: close\r\n" + head + b"\r\n")
            assert answer.startswith(b"HTTP/1.1 200"), answer[:200]


async def test_a_body_that_is_compressed_is_refused_before_it_is_read(serve):
    async with listening(serve) as service:
        for encoding in (b"gzip", b"br", b"deflate", b"zstd", b"gzip, gzip", b"x" * 5000):
            head = b"POST /act HTTP/1.1\r\n" + JSON + b"connection: close\r\ncontent-encoding: " + encoding
            answer = await service.exchange(head + b"\r\ncontent-length: 9\r\n\r\n")
            assert problem(answer) == (415, "unsupported-media-type")
            assert len(answer) < 1000
        head = b"POST /act HTTP/1.1\r\nconnection: close\r\ncontent-encoding: identity\r\ncontent-length: 12\r\n"
        assert (await service.exchange(head + JSON + b'\r\n{"items":[]}')).startswith(b"HTTP/1.1 200")


def chunks(body: bytes, size: int) -> bytes:
    pieces = (body[start : start + size] for start in range(0, len(body), size))
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


async def test_a_body_in_chunks_is_bounded_by_its_bytes_and_by_those_on_the_wire(serve):
    head = b"POST /act HTTP/1.1\r\n" + JSON + b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n"
    async with listening(serve, max_body_bytes=100_000) as service:
        small = chunks(b'{"items": []}', 1)
        assert (await service.exchange(head, small)).startswith(b"HTTP/1.1 200")
        for sent in (chunks(b" " * 100_001, 50_000), chunks(b" " * 90_000, 1), b"1;" + b"x" * 300_000):
            assert problem(await service.exchange(head, sent)) == (413, "body-too-large")


async def pour(writer: asyncio.StreamWriter, sent: bytes) -> None:
    """The same again and again, for ten seconds at most."""
    async with asyncio.timeout(10):
        while True:
            writer.write(sent)
            await writer.drain()
            await asyncio.sleep(0.01)


async def test_a_client_that_has_its_answer_may_send_no_endless_rest(serve):
    head = b"POST /act HTTP/1.1\r\n" + JSON + b"content-length: 99999999\r\n\r\n"
    async with listening(serve, max_body_bytes=1024) as service:
        reader, writer = await service.connect()
        writer.write(head)
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 413")
        with pytest.raises(ConnectionError):
            await pour(writer, bytes(10_000))
        writer.close()


async def test_whoever_is_slow_is_cut_off_and_whoever_waits_for_us_is_not(serve, held_engine):
    async with listening(serve, engine=held_engine, client_timeout_seconds=0.5) as service:
        episode = await service.service.start()
        body = b'{"step": 0, "observation": [0, 0, 0, 0, 0]}'
        act = b"POST /episodes/%b/act HTTP/1.1\r\n" % episode.encode() + JSON
        whole = act + b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body
        waiting = asyncio.create_task(patient(service, whole))
        slow = {
            "nothing": [],
            "half a head": [b"GET /hea"],
            "one byte at a time": [b"G", b"E", b"T", b" ", b"/"],
            "half a body": [act + b"content-length: 100\r\n\r\n", b"{"],
            "half a chunk": [act + b"transfer-encoding: chunked\r\n\r\n", b"5\r\nab"],
            "an empty line between two requests": [b"GET /healthz HTTP/1.1\r\n\r\n", b"\r\n"],
            "half a head behind a request": [b"GET /healthz HTTP/1.1\r\n\r\nGET /hea"],
            "half a body behind a request": [
                b"GET /healthz HTTP/1.1\r\n\r\n" + act + b"content-length: 100\r\n\r\n{"
            ],
        }
        ended = await asyncio.gather(*(dribble(service, pieces) for pieces in slow.values()))
        answers = dict(zip(slow, ended, strict=True))
        assert answers.pop("nothing") == b""
        assert answers.pop("an empty line between two requests").startswith(b"HTTP/1.1 200")
        for name in ("half a head behind a request", "half a body behind a request"):
            first, _, second = answers[name].partition(b"}")
            assert first.startswith(b"HTTP/1.1 200"), name
            answers[name] = second
        for name, answer in answers.items():
            assert problem(answer) == (408, "request-timeout"), name
        held_engine.let_go.set()
        assert (await waiting).startswith(b"HTTP/1.1 200")


async def dribble(service, pieces):
    """What comes back until the service hangs up on a client that sends these with pauses, and then waits."""
    reader, writer = await service.connect()
    for piece in pieces:
        writer.write(piece)
        await asyncio.sleep(0.1)
    async with asyncio.timeout(4):
        answer = await reader.read()
    writer.close()
    return answer


async def patient(service, sent):
    reader, writer = await service.connect()
    writer.write(sent)
    answer = await reader.read()
    writer.close()
    return answer


async def test_a_client_that_never_takes_its_answers_is_cut_off(serve):
    async with listening(serve, client_timeout_seconds=0.5) as service:
        with socket.socket() as sender:
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sender.connect(("127.0.0.1", service.port))
            reader, writer = await asyncio.open_connection(sock=sender)
            reader._transport.pause_reading()
            with pytest.raises(ConnectionError):
                await pour(writer, b"GET /metrics HTTP/1.1\r\n\r\n" * 100)
            writer.close()
        assert not service.server.server_state.connections


async def test_beyond_so_many_connections_a_client_is_told_and_hung_up_on(serve):
    async with listening(serve, max_connections=2) as service:
        open_connections = [await service.connect() for _ in range(2)]
        await asyncio.sleep(0.05)
        reader, writer = await service.connect()
        assert problem(await reader.read()) == (503, "too-many-connections")
        writer.close()
        for _, writer in open_connections:
            writer.close()
        await asyncio.sleep(0.05)
        answer = await service.exchange(b"GET /healthz HTTP/1.1\r\nconnection: close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200")


async def test_an_answer_is_never_that_of_another_request(serve, held_engine):
    """What cannot be read, behind a request whose answer is not there yet, is hung up on without a word."""
    async with listening(serve, engine=held_engine) as service:
        episode = await service.service.start()
        body = b'{"step": 0, "observation": [0, 0, 0, 0, 0]}'
        act = b"POST /episodes/%b/act HTTP/1.1\r\n" % episode.encode() + JSON
        sound = act + b"content-length: %d\r\n\r\n" % len(body) + body
        assert await service.exchange(sound, b"\0\0\0\0") == b""
        held_engine.let_go.set()


async def test_a_websocket_is_a_request_like_any_other(serve):
    upgrade = b"connection: upgrade, close\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
    async with listening(serve) as service:
        answer = await service.exchange(b"GET /act HTTP/1.1\r\n" + upgrade + b"sec-websocket-key: a\r\n\r\n")
        assert problem(answer) == (405, "method-not-allowed")


async def test_a_path_is_decoded_once(serve):
    async with listening(serve) as service:
        for path, status in (
            (b"/policies/..%2f..%2fetc%2fpasswd", 404),
            (b"/policies/%2e%2e/x", 404),
            (b"/policies/small%00", 404),
            (b"/policies/%252e%252e", 404),
            (b"/policies/" + b"x" * 20_000, 422),
            (b"/policies/%ff%fe", 404),
            (b"/episodes/a%2fb", 404),
            (b"/episodes/a%00", 422),
            (b"/episodes/%ff/act", 422),
            (b"/episodes/" + b"a" * 129, 422),
            (b"//policies", 404),
            (b"/../policies", 404),
        ):
            method = b"POST" if path.endswith(b"act") else b"GET"
            head = method + b" " + path + b" HTTP/1.1\r\nconnection: close\r\n"
            answer = await service.exchange(head + JSON + b"content-length: 2\r\n\r\n{}")
            assert problem(answer)[0] == status, path
            assert len(answer) < 2000, path

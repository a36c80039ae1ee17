import asyncio
import contextlib

import httpx
import pytest

from clients.keep_alive import KeepAlive

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"


class Script:
    """A server that answers each request with the next bytes of its script; None closes the connection."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.connections = 0
        self.received = []
        self.handlers = []

    async def __call__(self, reader, writer):
        self.connections += 1
        self.handlers.append(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while self.answers:
                self.received.append(await read_request(reader))
                answer = self.answers.pop(0)
                if answer is None:
                    break
                for part in answer if isinstance(answer, list) else [answer]:
                    if part is None:
                        writer.close()
                        break
                    writer.write(part)
                    await writer.drain()
                    await asyncio.sleep(0.01)
        writer.close()


async def read_request(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return head + await reader.readexactly(length)


def converse(script, talk):
    async def run():
        server = await asyncio.start_server(script, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/path?q=1"
        async with server:
            async with KeepAlive() as transport:
                told = await talk(transport, url)
            await asyncio.gather(*script.handlers)
        return told

    return asyncio.run(run())


def post(transport, url, seconds=5.0):
    extensions = {"timeout": {"read": seconds}}
    return transport.handle_async_request(httpx.Request("POST", url, content=b"body", extensions=extensions))


def test_calls_one_after_another_share_a_connection():
    script = Script(OK, OK, OK)

    async def talk(transport, url):
        return [(await (await post(transport, url)).aread()) for _ in range(3)]

    assert converse(script, talk) == [b"hi"] * 3
    assert script.connections == 1
    assert script.received[0].startswith(b"POST /path?q=1 HTTP/1.1\r\nHost: 127.0.0.1:")
    assert script.received[0].endswith(b"\r\n\r\nbody")


def test_a_call_that_outlives_anothers_time_leaves_its_connection_to_the_next():
    connections = 0

    async def serve(reader, writer):
        nonlocal connections
        connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while b"slow" in await read_request(reader):
                await asyncio.sleep(0.3)
                writer.write(OK)
            await reader.read()  # nothing else is answered
        writer.close()

    async def run():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server, KeepAlive() as transport:
            slow = asyncio.create_task(post(transport, f"{url}/slow"))
            with pytest.raises(httpx.ReadTimeout):
                await post(transport, f"{url}/never", seconds=0.1)
            await slow
            await post(transport, f"{url}/slow")
        await asyncio.sleep(0.05)

    asyncio.run(run())
    assert connections == 2


def test_calls_at_once_have_connections_of_their_own():
    script = Script(OK, OK, OK)

    async def talk(transport, url):
        return await asyncio.gather(*[post(transport, url) for _ in range(3)])

    assert [response.status_code for response in converse(script, talk)] == [200] * 3
    assert script.connections == 3


def test_an_answer_in_pieces_and_chunks_is_put_together():
    pieces = [
        b"HTTP/1.1 503 No",
        b"pe\r\nRetry-After: 2\r\nTransfer-Encoding: chunked\r\n\r",
        b"\n2\r\nab\r\n1\r\nc\r\n",
    ]

    async def talk(transport, url):
        response = await post(transport, url)
        return response.status_code, response.headers["retry-after"], await response.aread()

    assert converse(Script([*pieces, b"0\r\n\r\n"]), talk) == (503, "2", b"abc")


def test_a_connection_the_service_closes_is_not_used_again():
    script = Script(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n", OK)

    async def talk(transport, url):
        await post(transport, url)
        return (await post(transport, url)).status_code

    assert converse(script, talk) == 200
    assert script.connections == 2


@pytest.mark.parametrize("answer", [[OK, OK], OK + OK])
def test_bytes_nobody_asked_for_are_no_answer(answer):
    script = Script(answer, OK)

    async def talk(transport, url):
        await post(transport, url)
        await asyncio.sleep(0.1)
        return (await post(transport, url)).status_code

    assert converse(script, talk) == 200
    assert script.connections == 2


@pytest.mark.parametrize("word", [b"100 Continue", b"102 Processing", b"103 Early Hints\r\nlink: </a>"])
def test_a_word_that_the_answer_is_still_to_come_is_not_the_answer(word):
    script = Script([b"HTTP/1.1 " + word + b"\r\n\r\n", OK], OK)

    async def talk(transport, url):
        return [(await post(transport, url)).status_code for _ in range(2)]

    assert converse(script, talk) == [200, 200]
    assert script.connections == 1


@pytest.mark.parametrize("version", [b"HTTP/1.0", b"HTTP/1.1"])
def test_an_answer_that_ends_with_its_connection_is_whole(version):
    async def talk(transport, url):
        response = await post(transport, url)
        return response.status_code, await response.aread(), (await post(transport, url)).status_code

    script = Script([version + b" 401 Unauthorized\r\n\r\nno key", None], OK)
    assert converse(script, talk) == (401, b"no key", 200)


@pytest.mark.parametrize(
    ("answer", "error", "sentence"),
    [
        (None, httpx.NetworkError, "closed the connection before its answer was whole"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhi", httpx.ReadTimeout, "no answer within 0.2 s"),
        (
            b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
            httpx.NetworkError,
            "another protocol",
        ),
        (b"\x00\x01 no HTTP at all\r\n\r\n", httpx.RemoteProtocolError, "Expected HTTP/"),
    ],
)
def test_what_is_no_whole_answer_is_an_error_of_the_network(answer, error, sentence):
    async def talk(transport, url):
        with pytest.raises(error, match=sentence):
            await post(transport, url, seconds=0.2)
        return (await post(transport, url)).status_code

    assert converse(Script(answer, OK), talk) == 200


def test_a_closed_port_is_an_error_of_the_network():
    async def talk(transport, url):
        with pytest.raises(httpx.NetworkError, match="Connect call failed"):
            await post(transport, "http://127.0.0.1:1/")

    converse(Script(), talk)

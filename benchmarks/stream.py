"""What a WebSocket stream of acts would gain over requests on connections that stay open.

    python benchmarks/stream.py [--seconds 3] [--out FILE]

One server answers both: acts over HTTP by the service's own route, and the same acts as JSON messages of a
WebSocket, read and written by the same code. It does so twice: with acts that are answered at once, which leaves
the transport and the message alone, and with the service's real acts of a network that costs next to nothing, with
validation, engine and commit. The callers are one other process, with one connection each.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import multiprocessing
import socket
import statistics
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path

import uvicorn
from benchmark_policies import MLP, write_random
from fastapi import FastAPI
from load.closed_loop import Caller, Exchange, Robot, closed_loop, fill_windows
from load.redis_process import embedded
from load.service_process import ServiceProcess
from pages.page import describe_machine, markdown_table
from pages.results import Cell, Load
from starlette.types import ASGIApp, Receive, Scope, Send
from websockets.asyncio.client import ClientConnection, connect

from clients import calls
from clients.encoding import Encoding
from clients.policy_client import AsyncPolicyClient
from lamo.wire import ActAnswer, ActItem, Timing
from service.metrics import Metrics
from service.processes.lifecycle import Lifecycle
from service.processes.local import Local
from service.serving import AskedStep, Serving
from service.settings import Settings
from service.steps.contents import StepContent
from service.web import bodies
from service.web.arrival import Arrival
from service.web.asgi import asgi_app
from service.web.server import KEEP_ALIVE_SECONDS, listen, url_of

AT_ONCE, REAL = "answered at once", "the service's"

HTTP, STREAM = "HTTP", "stream"

READY_SECONDS, STOP_SECONDS = 120.0, 30.0

HEAD = (
    "acts|connections|HTTP acts/s|stream acts/s|ratio|HTTP p50 ms|stream p50|"
    "server's CPU ms per act: HTTP|stream|ratio|callers' CPU: HTTP|stream"
)


class Instant(Local):
    """Answers every act at once, without policy and store."""

    async def act(self, asked: AskedStep) -> ActAnswer:
        """An answer of the usual size."""
        step = asked.content.step or 0
        return ActAnswer(
            episode_id=asked.episode_id,
            step=step,
            action=[0.123456789, -0.987654321],
            return_to_go=76.0,
            policy="mlp",
            revision="0123456789abcdef",
            committed_step=step,
            replayed=False,
            clipped=[],
            observation_zscore=2.3456789,
            timing=Timing(queue_ms=0.1, recall_ms=0, infer_ms=0.2, commit_ms=0.3, total_ms=0.6, batch_size=1),
        )


class Streaming:
    """An ASGI application that takes acts over a WebSocket too, one answered before the next is read."""

    def __init__(self, app: ASGIApp, serving: Serving) -> None:
        self._app = app
        self._serving = serving

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection or request."""
        if scope["type"] != "websocket":
            await self._app(scope, receive, send)
            return
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] != "websocket.disconnect":
            await send({"type": "websocket.send", "text": await self._answer(message["text"].encode())})

    async def _answer(self, body: bytes) -> str:
        arrival = Arrival(request_id="stream", content_type=bodies.JSON, accept=bodies.JSON)
        item = bodies.read(ActItem, arrival, body)
        asked = AskedStep(item.episode_id, StepContent.of(item), arrival.received_at, math.inf)
        return bodies.written(await self._serving.act(asked), arrival)[0].decode()


def application(settings: Settings, kind: str) -> Streaming:
    """The service, put together as `service.processes.app` does it."""
    metrics = Metrics()
    lifecycle = Lifecycle.of(settings, metrics)
    serving = Local(lifecycle) if kind == REAL else Instant(lifecycle)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with lifecycle:
            yield

    app = asgi_app(serving, metrics, keys=None, lifespan=lifespan, max_body_bytes=settings.max_body_bytes)
    return Streaming(app, serving)


def serve(listener: socket.socket, folder: str, kind: str) -> None:
    """The server's process, until it is told to stop."""
    settings = Settings.read({"policies": f"{folder}/policies", "data_dir": f"{folder}/data", "device": "cpu"})
    config = uvicorn.Config(
        application(settings, kind),
        loop="uvloop",
        http="httptools",
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        log_config=None,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )
    uvicorn.Server(config).run([listener])


@contextmanager
def running(folder: str, kind: str) -> Iterator[ServiceProcess]:
    """The server, ready; told to stop at the end."""
    listener = listen("127.0.0.1", 0)
    url = url_of(listener)
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(listener, folder, kind))
    process.start()
    try:
        wait_until_ready(url)
        yield ServiceProcess(url, embedded(Path(folder) / "data"), process.pid or 0)
    finally:
        process.terminate()
        process.join(STOP_SECONDS)
        listener.close()


def wait_until_ready(url: str) -> None:
    """Ask until it takes episodes."""
    until = time.monotonic() + READY_SECONDS
    while time.monotonic() < until:
        with suppress(OSError):
            urllib.request.urlopen(f"{url}/readyz", timeout=2).close()
            return
        time.sleep(0.1)
    raise SystemExit(f"the server at {url} was not ready within {READY_SECONDS:.0f} s")


class StreamingRobot:
    """A robot whose acts go over a WebSocket; its episodes begin and end over HTTP."""

    def __init__(self, robot: Robot, socket: ClientConnection) -> None:
        self._robot = robot
        self._socket = socket

    async def act(self) -> Exchange:
        """The next step."""
        step = self._robot.next_step()
        sent_at = time.perf_counter()
        item = calls.item(step.episode.episode_id, step.episode.step, step.observation, step.reward, None)
        await self._socket.send(Encoding.JSON.write(item), text=True)
        answer = step.episode.answered(item, ActAnswer.model_validate_json(await self._socket.recv(decode=False)))
        exchange = Exchange(sent_at, time.perf_counter(), answer.timing)
        await self._robot.go_on()
        return exchange


@asynccontextmanager
async def callers(service: ServiceProcess, connections: int, transport: str) -> AsyncIterator[list[Caller]]:
    """One per connection, with full windows."""
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(AsyncPolicyClient(service.url))
        robots = [Robot(client, "mlp", MLP, seed) for seed in range(connections)]
        await fill_windows(robots, MLP)
        if transport == HTTP:
            yield [robot.act for robot in robots]
            return
        address = service.url.replace("http://", "ws://")
        opened = [connect(address, compression=None, proxy=None) for _ in robots]
        sockets = [await stack.enter_async_context(one) for one in opened]
        yield [StreamingRobot(robot, one).act for robot, one in zip(robots, sockets, strict=True)]


async def measure(service: ServiceProcess, connections: int, transport: str, seconds: float) -> Cell:
    """One transport, all connections in a closed loop."""
    async with callers(service, connections, transport) as asking:
        return Cell.of(Load(transport, connections), await closed_loop(service, asking, seconds))


def row(service: ServiceProcess, kind: str, connections: int, options: argparse.Namespace) -> list[str]:
    """The table's row; the transports take turns, and the median of each figure counts."""
    turns: dict[str, list[Cell]] = {HTTP: [], STREAM: []}
    for _ in range(options.rounds):
        for transport, cells in turns.items():
            cells.append(asyncio.run(measure(service, connections, transport, options.seconds)))
    (rate, p50, server, calling), (rate_s, p50_s, server_s, calling_s) = map(medians, turns.values())
    speeds = (f"{rate:.0f}", f"{rate_s:.0f}", f"{rate_s / rate:.2f}", f"{p50:.2f}", f"{p50_s:.2f}")
    costs = (f"{server:.3f}", f"{server_s:.3f}", f"{server / server_s:.2f}", f"{calling:.3f}", f"{calling_s:.3f}")
    return [kind, str(connections), *speeds, *costs]


def medians(cells: list[Cell]) -> list[float]:
    """Acts per second, median latency, and CPU per act of the server and of the callers, ms."""
    figures = [(cell.per_second, cell.p50_ms, cell.cpu_ms[0], cell.cpu_ms[2]) for cell in cells]
    return [statistics.median(column) for column in zip(*figures, strict=True)]


def main() -> None:
    """Measure and print the page."""
    options = parse_options()
    facts = [f"- {name}: {value}" for name, value in describe_machine(1).items()]
    rows = []
    for kind in (AT_ONCE, REAL):
        with tempfile.TemporaryDirectory(prefix="lamo-bench-") as folder:
            write_random(Path(folder) / "policies" / "mlp", MLP)
            with running(folder, kind) as service:
                rows += [row(service, kind, connections, options) for connections in options.connections]
    page = "\n\n".join(["# benchmarks/stream.py", "\n".join(facts), markdown_table(HEAD, rows)]) + "\n"
    print(page, end="")
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(page, encoding="utf-8")


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 64], help="one caller on each")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each turn, after warm-up")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each transport")
    parser.add_argument("--out", type=Path, help="also write the page here")
    return parser.parse_args()


if __name__ == "__main__":
    main()

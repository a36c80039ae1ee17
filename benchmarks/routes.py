"""What the layers around a route cost per request: FastAPI's route, Starlette's, a middleware, and none of them.

    python benchmarks/routes.py

Every variant reads the same act with the same model and answers the same bytes; the application is called directly,
so no server, socket or policy is in the figures. Prints microseconds of CPU per request, of the best round.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator

from fastapi import FastAPI, Request
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lamo.wire import ActRequest, Answer

PATH = "/episodes/e/act"
BODY = json.dumps({"step": 3, "reward": 0.5, "observation": [0.1] * 12}).encode()
ROUNDS, REQUESTS = 7, 300


class Action(Answer):
    """What every variant answers."""

    action: list[float]


ANSWER = Action(action=[0.5, 0.5])


async def documented(episode_id: str, request: Request, body: ActRequest) -> Action:
    """FastAPI's way: it reads the body, and writes the answer."""
    return ANSWER


class Plain:
    """An ASGI application that reads the act and answers it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        ActRequest.model_validate_json((await receive())["body"])
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": ANSWER.model_dump_json().encode()})


class Between:
    """A middleware; with `act` it answers acts itself."""

    def __init__(self, app: ASGIApp, act: ASGIApp | None = None) -> None:
        self._app = app
        self._act = act

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass it on."""
        if self._act is not None and scope["type"] == "http" and scope["path"].endswith("/act"):
            await self._act(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def variants() -> Iterator[tuple[str, ASGIApp]]:
    """The applications, from the most layers to the fewest; each has one middleware of its own."""
    app = FastAPI()
    app.add_middleware(Between)
    app.post("/episodes/{episode_id}/act")(documented)
    yield "FastAPI route", app
    app = FastAPI()
    app.add_middleware(Between)
    app.router.routes.insert(0, Route("/episodes/{episode_id}/act", Plain(), methods=["POST"]))
    yield "Starlette route in the FastAPI application", app
    app = FastAPI()
    app.add_middleware(Between, act=Plain())
    yield "inside the application's own middleware", app
    yield "before the application (what the service does)", Between(FastAPI(), act=Plain())


async def request(app: ASGIApp) -> list[Message]:
    """One act, and what came back."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": BODY, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode())]
    scope = {"type": "http", "method": "POST", "path": PATH, "query_string": b"", "headers": headers}
    await app({**scope, "root_path": "", "http_version": "1.1"}, receive, send)
    return sent


async def microseconds(app: ASGIApp) -> float:
    """Per request, of the best round."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.thread_time()
        for _ in range(REQUESTS):
            await request(app)
        best = min(best, (time.thread_time() - began) / REQUESTS)
    return 1e6 * best


async def main() -> None:
    """Measure and print the table."""
    print("| an act answered by | us |\n| --- | ---: |")
    for title, app in variants():
        answer = await request(app)
        if answer[0]["status"] != 200:
            raise SystemExit(f"{title}: {answer}")
        print(f"| {title} | {await microseconds(app):.0f} |")


if __name__ == "__main__":
    asyncio.run(main())

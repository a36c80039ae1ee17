"""FakeService: a small real service that keeps the contract's step rules in a dict and fails on request."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import msgpack
import numpy as np
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from lamo.errors import (
    BodyTooLarge,
    ContentChanged,
    EpisodeEnded,
    InvalidRequest,
    ServiceError,
    StepConflict,
    Unauthorized,
    UnknownEpisode,
    UnknownPolicy,
)
from lamo.packing import MEDIA_TYPE, array_of, is_array, pack
from lamo.wire import DEFAULT_TTL_SECONDS, MAX_MISSED

POLICY = {
    "name": "drift",
    "revision": "0123456789ab",
    "task": "drift",
    "observation": {"shape": [3], "dtype": "float32", "mean": [0.0] * 3, "std": [1.0] * 3},
    "action": {"shape": [2], "dtype": "float32", "low": [-1.0, -1.0], "high": [1.0, 1.0]},
    "context_length": 4,
    "hop": 2,
    "dtype": "float32",
    "return_scale": 1.0,
    "target_returns": [9.0, 5.0],
    "max_timesteps": 6,
    "environment": "Drift-v0",
}
TIMING = dict.fromkeys(("queue_ms", "recall_ms", "infer_ms", "commit_ms", "total_ms"), 0.1) | {"batch_size": 1}

Reply = Callable[[], Response]


@dataclass
class Episode:
    """What the service keeps of one episode: the start's fields, each step as it was told of, and the end.

    A restored one begins with the first timestep it was given, and with the rewards up to the last of them.
    """

    start: dict[str, Any]
    steps: list[dict[str, Any]] = field(default_factory=list)
    end: dict[str, Any] | None = None
    first: int = 0
    earned_before: float = 0.0

    @property
    def committed_step(self) -> int:
        return self.first + len(self.steps) - 1

    def recorded(self, step: int) -> dict[str, Any] | None:
        """What was told of a step, None if it is not recorded (any more)."""
        return self.steps[step - self.first] if self.first <= step <= self.committed_step else None

    def record(self, told: dict[str, Any]) -> None:
        """A step is recorded once; told of again it has to be the same."""
        known = self.recorded(told["step"])
        if known is None and told["step"] == self.committed_step + 1:
            self.steps.append(told)
        elif known is not None and content(known) != content(told):
            raise ContentChanged(f"step {told['step']} was recorded with other content")

    @property
    def target_return(self) -> float:
        return float(self.start.get("target_return", POLICY["target_returns"][0]))

    @property
    def episode_return(self) -> float:
        return self.earned_before + sum(step.get("reward") or 0.0 for step in [*self.steps, self.end or {}])


class FakeService:
    """Serves one policy whose action is a simple function of observation and step.

    Attributes:
        policy: what is served.
        episodes: by id.
        refusals: answers given instead of looking at the next requests; None lets one pass.
        most_bytes: larger bodies are refused.
        item_refusals: the same for the next items of requests for many.
        older: whether it answers without the fields that came later.
        forgetful: whether an episode is forgotten as soon as it was restored.
        windows: what episodes were restored with, in order.
        delay_seconds, restore_seconds: how long an act, or a restore, takes.
        requests: method and path of everything that came.
        headers: of everything that came.
        key: without it nothing is answered, if there is one.
        most_acting, most_restoring: the most acts, or restores, that were under way at once.
    """

    def __init__(self) -> None:
        self.policy: dict[str, Any] = dict(POLICY)
        self.episodes: dict[str, Episode] = {}
        self.refusals: deque[Reply | None] = deque()
        self.most_bytes = 1_048_576
        self.delay_seconds = 0.0
        self.item_refusals: deque[ServiceError] = deque()
        self.older = False
        self.forgetful = False
        self.windows: list[dict[str, Any]] = []
        self.requests: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.key: str | None = None
        self.most_acting = 0
        self._acting = 0
        self.restore_seconds = 0.0
        self.most_restoring = 0
        self._restoring = 0
        self.app = Starlette(
            routes=[
                Route("/policies", self._guarded(self._policies)),
                Route("/policies/{name}", self._guarded(self._policy)),
                Route("/episodes/{id}", self._guarded(self._start), methods=["PUT"]),
                Route("/episodes/{id}", self._guarded(self._state), methods=["GET"]),
                Route("/episodes/{id}", self._guarded(self._delete), methods=["DELETE"]),
                Route("/episodes/{id}/act", self._guarded(self._act), methods=["POST"]),
                Route("/episodes/{id}/window", self._guarded(self._restore), methods=["PUT"]),
                Route("/act", self._guarded(self._act_together), methods=["POST"]),
                Route("/episodes/{id}/end", self._guarded(self._end), methods=["POST"]),
            ]
        )

    def refuse(self, error: ServiceError, times: int = 1, headers: dict[str, str] | None = None) -> None:
        self.refusals.extend([lambda: problem(error, headers)] * times)

    def answer(self, status: int, body: str, times: int = 1) -> None:
        self.refusals.extend([lambda: Response(body, status, media_type="text/html")] * times)

    def _guarded(self, handler: Callable[[Request], Awaitable[Response]]) -> Any:
        async def guarded(request: Request) -> Response:
            self.requests.append(f"{request.method} {request.url.path}")
            self.headers.append(dict(request.headers))
            if self.key is not None and request.headers.get("authorization") != f"Bearer {self.key}":
                return problem(Unauthorized("the request names no key that is known here"))
            if self.refusals and (reply := self.refusals.popleft()) is not None:
                return reply()
            try:
                if int(request.headers.get("content-length", 0)) > self.most_bytes:
                    raise BodyTooLarge(f"the body has more than {self.most_bytes} bytes")
                return await handler(request)
            except ServiceError as error:
                return problem(error)

        return guarded

    async def _policies(self, request: Request) -> Response:
        return JSONResponse({"api_version": "1", "server_version": "0", "policies": [self.policy]})

    async def _policy(self, request: Request) -> Response:
        self._check_policy(request.path_params["name"])
        return JSONResponse(self.policy)

    def _check_policy(self, name: str) -> None:
        if name.partition("@")[0] != self.policy["name"]:
            raise UnknownPolicy(f"policy {name!r} is not served")

    async def _start(self, request: Request) -> Response:
        fields = await read(request)
        self._check_policy(fields.get("policy", self.policy["name"]))
        known = request.path_params["id"] in self.episodes
        self.episodes.setdefault(request.path_params["id"], Episode(fields))
        return JSONResponse(self._describe(request), 200 if known else 201)

    async def _state(self, request: Request) -> Response:
        return JSONResponse(self._describe(request))

    async def _delete(self, request: Request) -> Response:
        self._episode(request)
        del self.episodes[request.path_params["id"]]
        return Response(status_code=204)

    async def _restore(self, request: Request) -> Response:
        sent = await read(request)
        self._restoring += 1
        self.most_restoring = max(self.most_restoring, self._restoring)
        await asyncio.sleep(self.restore_seconds)
        self._restoring -= 1
        timesteps, known = sent["timesteps"], self.episodes.get(request.path_params["id"])
        if len(timesteps) > self.policy["context_length"]:
            raise InvalidRequest(f"{len(timesteps)} timesteps are more than the policy sees")
        if known is not None and known.committed_step > timesteps[-1]["step"]:
            raise StepConflict("it stands beyond the window", committed_step=known.committed_step)
        if known is not None and known.end is not None:
            raise EpisodeEnded("the episode has ended")
        self.windows.append(sent)
        start = {name: sent[name] for name in ("target_return", "labels", "ttl_seconds") if name in sent}
        within = sum(timestep.get("reward") or 0.0 for timestep in timesteps)
        self.episodes[request.path_params["id"]] = Episode(
            start, list(timesteps), first=timesteps[0]["step"], earned_before=sent["episode_return"] - within
        )
        state = self._describe(request)
        if self.forgetful:
            self.episodes.clear()
        return JSONResponse(state)

    async def _act(self, request: Request) -> Response:
        return written(request, await self._answer(request.path_params["id"], await read(request)))

    async def _act_together(self, request: Request) -> Response:
        async def outcome(item: dict[str, Any]) -> dict[str, Any]:
            try:
                if self.item_refusals:
                    raise self.item_refusals.popleft()
                return {"status": 200, "body": await self._answer(item.pop("episode_id"), item)}
            except ServiceError as error:
                return {"status": error.status, "body": error.problem()}

        items = (await read(request))["items"]
        return written(request, {"items": await asyncio.gather(*map(outcome, items))})

    async def _answer(self, episode_id: str, sent: dict[str, Any]) -> dict[str, Any]:
        self._acting += 1
        self.most_acting = max(self.most_acting, self._acting)
        await asyncio.sleep(self.delay_seconds)
        self._acting -= 1
        episode, step = self._known(episode_id), sent["step"]
        if episode.end is not None:
            raise EpisodeEnded("the episode has ended")
        replayed = (known := episode.recorded(step)) is not None
        if known is not None:
            episode.record(sent)
            if known.get("missed"):
                raise StepConflict("recorded without an action", committed_step=episode.committed_step)
        else:
            self._take(episode, step, sent)
            episode.record(sent)
        return {
            "episode_id": episode_id,
            "step": step,
            "action": propose(sent["observation"], step),
            "return_to_go": episode.target_return,
            "policy": self.policy["name"],
            "revision": self.policy["revision"],
            "committed_step": episode.committed_step,
            "replayed": replayed,
            "clipped": [],
            "observation_zscore": 0.0,
            "timing": TIMING,
            "a_field_of_a_newer_service": 1,
        }

    async def _end(self, request: Request) -> Response:
        sent = await read(request)
        episode = self._episode(request)
        if episode.end not in (None, sent):
            raise ContentChanged("the episode ended otherwise")
        episode.end = dict(sent)
        self._take(episode, sent["step"], sent)
        return JSONResponse(
            {
                "episode_id": request.path_params["id"],
                "length": episode.committed_step + 1,
                "episode_return": episode.episode_return,
                "target_return": episode.target_return,
                "terminated": sent.get("terminated", False),
                "truncated": sent.get("truncated", False),
                "success": sent.get("success"),
            }
        )

    def _take(self, episode: Episode, step: int, sent: dict[str, Any]) -> None:
        """Record what was missed before a step, which has to be the next one then."""
        missed = sent.pop("missed", [])
        if len(missed) > MAX_MISSED:
            raise InvalidRequest(f"{len(missed)} steps were missed, at most {MAX_MISSED} are taken")
        first = missed[0]["step"] if missed else step
        if first > episode.committed_step + 1 or step <= episode.committed_step:
            raise StepConflict(
                f"step {first} is not the expected {episode.committed_step + 1}",
                committed_step=episode.committed_step,
                expected_step=episode.committed_step + 1,
            )
        for passed, after in pairwise([*missed, sent]):
            if after.get("executed_action") is None:
                raise InvalidRequest(f"executed_action is missing after the missed step {passed['step']}")
        for passed in missed:
            episode.record(passed | {"missed": True})

    def _episode(self, request: Request) -> Episode:
        return self._known(request.path_params["id"])

    def _known(self, episode_id: str) -> Episode:
        if episode_id not in self.episodes:
            raise UnknownEpisode(f"episode {episode_id} is unknown")
        return self.episodes[episode_id]

    def _describe(self, request: Request) -> dict[str, Any]:
        episode = self._episode(request)
        return {
            "episode_id": request.path_params["id"],
            **{name: self.policy[name] for name in ("revision", "hop", "dtype")},
            "policy": self.policy["name"],
            "target_return": episode.target_return,
            "return_to_go": episode.target_return,
            "episode_return": episode.episode_return,
            "committed_step": episode.committed_step,
            "expected_step": episode.committed_step + 1,
            "labels": episode.start.get("labels", {}),
            **({} if self.older else {"ttl_seconds": episode.start.get("ttl_seconds", DEFAULT_TTL_SECONDS)}),
            "expires_at": 0.0,
            "ended": episode.end is not None,
        }


def content(told: dict[str, Any]) -> tuple[Any, ...]:
    """What a step that is told of again is recognised by."""
    return told["observation"], told.get("reward") or 0.0, told.get("executed_action")


async def read(request: Request) -> dict[str, Any]:
    if request.headers["content-type"] == "application/json":
        return await request.json()
    return msgpack.unpackb(
        await request.body(), object_hook=lambda value: array_of(value).tolist() if is_array(value) else value
    )


def written(request: Request, answer: dict[str, Any]) -> Response:
    """In the request's encoding, actions as arrays where it has any."""
    if request.headers["content-type"] == "application/json":
        return JSONResponse(answer)
    for body in [item["body"] for item in answer.get("items", [])] or [answer]:
        if "action" in body:
            body["action"] = np.array(body["action"])
    return Response(pack(answer), media_type=MEDIA_TYPE)


def propose(observation: list[float], step: int) -> list[float]:
    return [max(-1.0, min(1.0, observation[0] / 3 + 0.1 * step)), max(-1.0, min(1.0, observation[1] / 7))]


def problem(error: ServiceError, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse(error.problem(), error.status, headers, "application/problem+json")

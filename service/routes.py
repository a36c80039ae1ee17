"""Routes: the HTTP paths, each one call of the acting interface."""

from __future__ import annotations

import math
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response

from lamo.wire import (
    EPISODE_ID_PATTERN,
    ActAnswer,
    ActRequest,
    EndRequest,
    EpisodeState,
    EpisodeSummary,
    Health,
    PolicyInfo,
    PolicyList,
    StartRequest,
    Timing,
)
from service.contents import StepContent
from service.metrics import CONTENT_TYPE, Metrics
from service.serving import AskedStep, Serving

router = APIRouter()

EpisodeId = Annotated[str, Path(pattern=EPISODE_ID_PATTERN)]


async def serving(request: Request) -> Serving:
    """What answers, in this process or beyond a socket."""
    asked: Serving = request.app.state.serving
    return asked


_ANY_EPISODE = StartRequest.model_validate({})

Asked = Annotated[Serving, Depends(serving)]


@router.post("/episodes", status_code=201)
async def start_episode(service: Asked, response: Response, body: StartRequest | None = None) -> EpisodeState:
    """Start an episode under an id of the service's choice."""
    state, _ = await service.start(body or _ANY_EPISODE)
    response.headers["Location"] = f"/episodes/{state.episode_id}"
    return state


@router.put("/episodes/{episode_id}", status_code=201)
async def put_episode(
    service: Asked, episode_id: EpisodeId, response: Response, body: StartRequest | None = None
) -> EpisodeState:
    """Start an episode under the client's id; repeating it is harmless."""
    state, started = await service.start(body or _ANY_EPISODE, episode_id)
    response.status_code = 201 if started else 200
    response.headers["Location"] = f"/episodes/{state.episode_id}"
    return state


@router.post("/episodes/{episode_id}/act")
async def act(
    service: Asked, episode_id: EpisodeId, request: Request, response: Response, body: ActRequest
) -> ActAnswer:
    """Answer one step."""
    received_at: float = request.state.received_at
    deadline = math.inf if body.deadline_ms is None else received_at + body.deadline_ms / 1000
    answer = await service.act(AskedStep(episode_id, StepContent.of(body), received_at, deadline))
    response.headers["Server-Timing"] = _server_timing(answer.timing)
    return answer


@router.post("/episodes/{episode_id}/end")
async def end_episode(service: Asked, episode_id: EpisodeId, body: EndRequest) -> EpisodeSummary:
    """End an episode."""
    return await service.end(episode_id, body)


@router.get("/episodes/{episode_id}")
async def get_episode(service: Asked, episode_id: EpisodeId) -> EpisodeState:
    """Where an episode stands."""
    return await service.state(episode_id)


@router.delete("/episodes/{episode_id}", status_code=204)
async def delete_episode(service: Asked, episode_id: EpisodeId) -> None:
    """Forget an episode."""
    await service.delete(episode_id)


@router.get("/policies")
async def list_policies(service: Asked) -> PolicyList:
    """What is served."""
    return await service.policies()


@router.get("/policies/{name}")
async def get_policy(service: Asked, name: str) -> PolicyInfo:
    """One policy."""
    return await service.policy(name)


@router.get("/healthz")
async def healthz(service: Asked, response: Response) -> Health:
    """Whether the service still makes progress."""
    return _probed(await service.health(), "ok", response)


@router.get("/readyz")
async def readyz(service: Asked, response: Response) -> Health:
    """Whether the service takes episodes."""
    return _probed(await service.readiness(), "ready", response)


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Prometheus' exposition text."""
    told: Metrics = request.app.state.metrics
    return Response(told.render(), media_type=CONTENT_TYPE)


def _probed(health: Health, good: str, response: Response) -> Health:
    if health.status != good:
        response.status_code = 503
    return health


def _server_timing(timing: Timing) -> str:
    parts = ("queue", "recall", "infer", "commit", "total")
    return ", ".join(f"{part};dur={getattr(timing, f'{part}_ms'):.3f}" for part in parts)

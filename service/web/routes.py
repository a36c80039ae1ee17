"""Routes: the HTTP paths, each one call of the acting interface."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.responses import PlainTextResponse
from fastapi.security import HTTPBearer

from lamo.errors import InternalError
from lamo.wire import (
    EPISODE_ID_PATTERN,
    MAX_POLICY_LENGTH,
    ActAnswer,
    ActRequest,
    ActTogetherAnswer,
    ActTogetherRequest,
    EndRequest,
    EpisodeState,
    EpisodeSummary,
    Health,
    PolicyInfo,
    PolicyList,
    StartRequest,
    WindowRequest,
)
from service.callers import Caller
from service.metrics import CONTENT_TYPE, Metrics
from service.serving import Serving
from service.web.document import refusals

router = APIRouter()
probes = APIRouter()
"""Asked without a key."""

KEY = HTTPBearer(scheme_name="key", description="A key of the service's keys file: `lamo_...`", auto_error=False)
"""For the OpenAPI document; keys are asked for in the intake, before a route is looked for."""

EpisodeId = Annotated[str, Path(pattern=EPISODE_ID_PATTERN)]
PolicyName = Annotated[str, Path(max_length=MAX_POLICY_LENGTH)]


async def serving(request: Request) -> Serving:
    """What answers, in this process or beyond a socket."""
    asked: Serving = request.app.state.serving
    return asked


async def caller(request: Request) -> Caller:
    """Who asks, as the intake found out."""
    known: Caller = request.state.caller
    return known


_FAILED: dict[int | str, dict[str, Any]] = {503: {"model": Health, "description": "It does not"}}

_ANY_EPISODE = StartRequest.model_validate({})

Asked = Annotated[Serving, Depends(serving)]
Asking = Annotated[Caller, Depends(caller)]


@router.post("/episodes", status_code=201, responses=refusals(404, 429, body=True))
async def start_episode(
    service: Asked, asking: Asking, response: Response, body: StartRequest | None = None
) -> EpisodeState:
    """Start an episode under an id of the service's choice."""
    state, _ = await service.start(asking, body or _ANY_EPISODE)
    response.headers["Location"] = f"/episodes/{state.episode_id}"
    return state


@router.put(
    "/episodes/{episode_id}",
    status_code=201,
    responses=refusals(404, 409, 429, body=True)
    | {200: {"model": EpisodeState, "description": "It lives already, started with the same fields"}},
)
async def put_episode(
    service: Asked, asking: Asking, episode_id: EpisodeId, response: Response, body: StartRequest | None = None
) -> EpisodeState:
    """Start an episode under the client's id; repeating it is harmless."""
    state, started = await service.start(asking, body or _ANY_EPISODE, episode_id)
    response.status_code = 201 if started else 200
    response.headers["Location"] = f"/episodes/{state.episode_id}"
    return state


@router.post("/episodes/{episode_id}/act", responses=refusals(404, 409, 410, 429, 504, body=True))
async def act(episode_id: EpisodeId, body: ActRequest) -> ActAnswer:
    """Answer one step."""
    raise _documented_only()


@router.post("/act", responses=refusals(body=True))
async def act_together(body: ActTogetherRequest) -> ActTogetherAnswer:
    """Answer one step of each of several episodes; each item stands alone."""
    raise _documented_only()


@router.post("/episodes/{episode_id}/end", responses=refusals(404, 409, body=True))
async def end_episode(service: Asked, asking: Asking, episode_id: EpisodeId, body: EndRequest) -> EpisodeSummary:
    """End an episode."""
    return await service.end(asking, episode_id, body)


@router.put("/episodes/{episode_id}/window", responses=refusals(404, 409, 410, 429, body=True))
async def restore_episode(
    service: Asked, asking: Asking, episode_id: EpisodeId, body: WindowRequest
) -> EpisodeState:
    """Give an episode that is lost, or behind what its client saw answered, its last timesteps back."""
    return await service.restore(asking, episode_id, body)


@router.get("/episodes/{episode_id}", responses=refusals(404, 422))
async def get_episode(service: Asked, asking: Asking, episode_id: EpisodeId) -> EpisodeState:
    """Where an episode stands."""
    return await service.state(asking, episode_id)


@router.delete("/episodes/{episode_id}", status_code=204, response_class=Response, responses=refusals(422))
async def delete_episode(service: Asked, asking: Asking, episode_id: EpisodeId) -> None:
    """Forget an episode."""
    await service.delete(asking, episode_id)


@router.get("/policies", responses=refusals())
async def list_policies(service: Asked, asking: Asking) -> PolicyList:
    """What is served."""
    return await service.policies(asking)


@router.get("/policies/{name}", responses=refusals(404, 422))
async def get_policy(service: Asked, asking: Asking, name: PolicyName) -> PolicyInfo:
    """One policy."""
    return await service.policy(asking, name)


@probes.get("/healthz", responses=_FAILED)
async def healthz(service: Asked, response: Response) -> Health:
    """Whether the service still makes progress."""
    return _probed(await service.health(), "ok", response)


@probes.get("/readyz", responses=_FAILED)
async def readyz(service: Asked, response: Response) -> Health:
    """Whether the service takes episodes."""
    return _probed(await service.readiness(), "ready", response)


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """Prometheus' exposition text."""
    told: Metrics = request.app.state.metrics
    return Response(told.render(), media_type=CONTENT_TYPE)


def _probed(health: Health, good: str, response: Response) -> Health:
    if health.status != good:
        response.status_code = 503
    return health


def _documented_only() -> InternalError:
    return InternalError("acts are answered by service.hot, before the router")

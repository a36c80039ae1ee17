"""Routes: the HTTP paths, each one call of the acting interface."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response

from lamo.errors import Draining, NotReady
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
from service.acting import Acting
from service.lifecycle import Lifecycle
from service.metrics import CONTENT_TYPE

router = APIRouter()

EpisodeId = Annotated[str, Path(pattern=EPISODE_ID_PATTERN)]


async def running(request: Request) -> Lifecycle:
    """The service, whatever its state."""
    lifecycle: Lifecycle = request.app.state.lifecycle
    return lifecycle


async def ready(lifecycle: Annotated[Lifecycle, Depends(running)]) -> Acting:
    """What acts, once policies are loaded and warmed up."""
    if not lifecycle.opened:
        raise NotReady("the policies are still being loaded", retry_after_ms=1000)
    return lifecycle.acting


async def starting(lifecycle: Annotated[Lifecycle, Depends(running)]) -> None:
    """Refuses new episodes while the service shuts down."""
    if lifecycle.draining:
        raise Draining("the service shuts down and takes no new episodes", retry_after_ms=1000)


_ANY_EPISODE = StartRequest.model_validate({})

Running = Annotated[Lifecycle, Depends(running)]
Ready = Annotated[Acting, Depends(ready)]


@router.post("/episodes", status_code=201, dependencies=[Depends(starting)])
async def start_episode(acting: Ready, response: Response, body: StartRequest | None = None) -> EpisodeState:
    """Start an episode under an id of the service's choice."""
    state, _ = await acting.start(body or _ANY_EPISODE)
    response.headers["Location"] = f"/episodes/{state.episode_id}"
    return state


@router.put("/episodes/{episode_id}", status_code=201, dependencies=[Depends(starting)])
async def put_episode(
    acting: Ready, episode_id: EpisodeId, response: Response, body: StartRequest | None = None
) -> EpisodeState:
    """Start an episode under the client's id; repeating it is harmless."""
    state, started = await acting.start(body or _ANY_EPISODE, episode_id)
    response.status_code = 201 if started else 200
    response.headers["Location"] = f"/episodes/{state.episode_id}"
    return state


@router.post("/episodes/{episode_id}/act")
async def act(
    acting: Ready, episode_id: EpisodeId, request: Request, response: Response, body: ActRequest
) -> ActAnswer:
    """Answer one step."""
    answer = await acting.act(episode_id, body, request.state.received_at)
    response.headers["Server-Timing"] = _server_timing(answer.timing)
    return answer


@router.post("/episodes/{episode_id}/end")
async def end_episode(acting: Ready, episode_id: EpisodeId, body: EndRequest) -> EpisodeSummary:
    """End an episode."""
    return await acting.end(episode_id, body)


@router.get("/episodes/{episode_id}")
async def get_episode(acting: Ready, episode_id: EpisodeId) -> EpisodeState:
    """Where an episode stands."""
    return await acting.state(episode_id)


@router.delete("/episodes/{episode_id}", status_code=204)
async def delete_episode(acting: Ready, episode_id: EpisodeId) -> None:
    """Forget an episode."""
    await acting.delete(episode_id)


@router.get("/policies")
async def list_policies(acting: Ready) -> PolicyList:
    """What is served."""
    return acting.policies()


@router.get("/policies/{name}")
async def get_policy(acting: Ready, name: str) -> PolicyInfo:
    """One policy."""
    return acting.policy(name)


@router.get("/healthz")
async def healthz(lifecycle: Running, response: Response) -> Health:
    """Whether the service still makes progress."""
    if lifecycle.stalled:
        response.status_code = 503
        return Health(status="stalled", detail="work is queued and nothing was finished for 10 s")
    return Health(status="ok")


@router.get("/readyz")
async def readyz(lifecycle: Running, response: Response) -> Health:
    """Whether the service takes episodes."""
    if lifecycle.draining or not lifecycle.opened:
        response.status_code = 503
        return Health(status="draining" if lifecycle.draining else "loading")
    return Health(status="ready")


@router.get("/metrics")
async def metrics(lifecycle: Running) -> Response:
    """Prometheus' exposition text."""
    return Response(lifecycle.metrics.render(), media_type=CONTENT_TYPE)


def _server_timing(timing: Timing) -> str:
    parts = ("queue", "recall", "infer", "commit", "total")
    return ", ".join(f"{part};dur={getattr(timing, f'{part}_ms'):.3f}" for part in parts)

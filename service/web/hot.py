"""Hot: the two requests that robots send at every step, answered around FastAPI's machinery.

`service.web.routes` documents both, and a test holds the document and this code together. What FastAPI's and
Starlette's layers take of each request is measured by `benchmarks/routes.py`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from starlette.types import Scope

from lamo.errors import InvalidRequest, ServiceError
from lamo.wire import (
    EPISODE_ID_PATTERN,
    ActAnswer,
    ActItem,
    ActOutcome,
    ActRequest,
    ActTogetherAnswer,
    Problem,
    Timing,
)
from service.callers import Caller
from service.serving import AskedStep, Serving
from service.steps.contents import StepContent
from service.web import bodies
from service.web.arrival import Arrival, Reply
from service.web.problems import Problems

Handler = Callable[[Scope, Caller, Arrival, bytes], Coroutine[Any, Any, Reply]]

_ACT = re.compile(r"/episodes/([^/]+)/act")
_EPISODE_ID = re.compile(EPISODE_ID_PATTERN)


class Hot:
    """Answers acts."""

    def __init__(self, serving: Serving, problems: Problems) -> None:
        self._serving = serving
        self._problems = problems

    def handler(self, scope: Scope) -> Handler | None:
        """What answers a request, None if it is no act."""
        path: str = scope["path"]
        if scope["method"] != "POST" or not path.endswith("/act"):
            return None
        if path == "/act":
            return self.act_together
        return self.act if _ACT.fullmatch(path) else None

    async def act(self, scope: Scope, caller: Caller, arrival: Arrival, body: bytes) -> Reply:
        """One step."""
        episode_id = scope["path"][len("/episodes/") : -len("/act")]
        if not _EPISODE_ID.fullmatch(episode_id):
            raise InvalidRequest(f"episode id {episode_id!r} is not of the form {EPISODE_ID_PATTERN}")
        request = bodies.read(ActRequest, arrival, body)
        answer = await self._serving.act(_asked(caller, episode_id, request, arrival))
        return Reply(*bodies.written(answer, arrival), _server_timing(answer.timing))

    async def act_together(self, scope: Scope, caller: Caller, arrival: Arrival, body: bytes) -> Reply:
        """One step of each of several episodes; each stands alone."""
        asked = [_asked_or_refused(caller, item, arrival) for item in bodies.read_items(arrival, body)]
        sound = [step for step in asked if isinstance(step, AskedStep)]
        answered = iter(await self._serving.act_together(sound))
        outcomes = [step if isinstance(step, ServiceError) else next(answered) for step in asked]
        answer = ActTogetherAnswer(items=self._items(outcomes, arrival))
        return Reply(*bodies.written(answer, arrival))

    def _items(self, outcomes: Sequence[ActAnswer | ServiceError], arrival: Arrival) -> list[ActOutcome]:
        items = []
        for outcome in outcomes:
            if isinstance(outcome, ActAnswer):
                items.append(ActOutcome(status=200, body=outcome))
            else:
                document = self._problems.document(arrival, outcome)
                items.append(ActOutcome(status=outcome.status, body=Problem.model_validate(document)))
        return items


def _asked(caller: Caller, episode_id: str, request: ActRequest, arrival: Arrival) -> AskedStep:
    deadline = math.inf if request.deadline_ms is None else arrival.received_at + request.deadline_ms / 1000
    return AskedStep(caller, episode_id, StepContent.of(request), arrival.received_at, deadline)


def _asked_or_refused(caller: Caller, item: ActItem | ServiceError, arrival: Arrival) -> AskedStep | ServiceError:
    if isinstance(item, ServiceError):
        return item
    try:
        return _asked(caller, item.episode_id, item, arrival)
    except ServiceError as error:
        return error


def _server_timing(timing: Timing) -> str:
    return (
        f"queue;dur={timing.queue_ms:.3f}, recall;dur={timing.recall_ms:.3f}, infer;dur={timing.infer_ms:.3f}, "
        f"commit;dur={timing.commit_ms:.3f}, total;dur={timing.total_ms:.3f}"
    )

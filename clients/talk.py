"""Talk: what a client asks of the service and what it does with the answers, written once for both clients. Pure.

A talk is a generator: it yields the tries, pauses and further talks it wants, is sent the answers or thrown the
errors of its tries, and returns what came of it all. The blocking and the asynchronous client differ only in how
they wait.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel

from clients.calls import Call
from clients.patience import Patience
from lamo.errors import ServiceError

AnswerT = TypeVar("AnswerT", bound=BaseModel | None)
ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class Try:
    """Send this call once, as part of this trace, and wait so long for its answer."""

    call: Call[Any]
    seconds: float
    traceparent: str


@dataclass(frozen=True)
class Pause:
    """Wait before the next try."""

    seconds: float


@dataclass(frozen=True)
class Each:
    """Have all of these talks, at once where the client can; none of them raises a ServiceError."""

    talks: Sequence[Talk[None]]


Talk = Generator[Try | Pause | Each, Any, ResultT]


def ask(call: Call[AnswerT], patience: Patience) -> Talk[AnswerT]:
    """The answer to a call, which is sent again as the contract allows until patience ends.

    Raises:
        ServiceError: the service's final answer, or that it gave none.
    """
    while True:
        try:
            answer: AnswerT = yield Try(call, patience.begin_try(), patience.traceparent)
            return answer
        except (httpx.RequestError, ServiceError) as error:
            pause = patience.pause_after(error)
        yield Pause(pause)

"""What the examples of docs/wire ask, in the order in which the service is asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lamo.errors import (
    ActionNotFinite,
    EngineUnavailable,
    Forbidden,
    HeadTooLarge,
    OwnerLimit,
    RequestTimeout,
    RevisionNotLoaded,
    ServiceError,
    StoreUnavailable,
    TooManyConnections,
    Unauthorized,
)

EPISODE, ACT = "/episodes/arm-7", "/episodes/arm-7/act"
FALLBACK = [0.25, -0.25]


@dataclass(frozen=True)
class Ask:
    """One request.

    Attributes:
        text, packed: a body that is no message, in either encoding.
        media_type: what it says it is, where that is neither.
    """

    name: str
    what: str
    method: str
    path: str
    body: Any = None
    text: str | None = None
    packed: bytes | None = None
    media_type: str | None = None


def seen(step: int) -> list[float]:
    return [0.5, -1.0 + step / 8, 2.0, 0.25 * step, 0.0]


def act(name: str, what: str, step: int, **fields: Any) -> Ask:
    return Ask(name, what, "POST", ACT, {"observation": seen(step), "step": step} | fields)


def passed(step: int, **fields: Any) -> dict[str, Any]:
    return {"step": step, "observation": seen(step), "reward": 0.5} | fields


def remembered(step: int, return_to_go: float, action: list[float] | None = None, **fields: Any) -> dict[str, Any]:
    told = {"step": step, "observation": seen(step), "reward": 0.5} | fields
    return told if action is None else told | {"action": action, "return_to_go": return_to_go}


START = {"policy": "arm", "target_return": 20.0, "ttl_seconds": 600, "labels": {"cell": "north"}}
MISSED = [passed(5), passed(6, executed_action=FALLBACK)]
LATE = [passed(9, executed_action=[0.5, 0.0]), passed(10, executed_action=FALLBACK)]

LIFE = [
    Ask("policies", "What is served.", "GET", "/policies"),
    Ask("policy", "One policy.", "GET", "/policies/arm"),
    Ask("healthz", "Whether the service makes progress.", "GET", "/healthz"),
    Ask("readyz", "Whether the service takes episodes.", "GET", "/readyz"),
    Ask("start.post", "Start an episode under an id of the service's choice.", "POST", "/episodes", START),
    Ask("start", "Start an episode under the client's id.", "PUT", EPISODE, START),
    Ask("start.again", "The same start again: harmless.", "PUT", EPISODE, START),
    act("act.first", "The first step has no reward.", 0),
    act("act", "One step, with the reward that the action before earned.", 1, reward=0.5),
    act("act.replayed", "The same step again: the stored action.", 1, reward=0.5),
    act(
        "act.executed-action",
        "A safety layer replaced the action of step 1; it may be beyond the bounds.",
        2,
        reward=0.25,
        executed_action=[1.5, 0.0],
    ),
    act(
        "act.deadline",
        "Inference must start within 10 s of receipt; observed_at is stored, not compared.",
        3,
        reward=0.5,
        deadline_ms=10000.0,
        observed_at=1767225600123456789,
    ),
    Ask(
        "act.next",
        "Without a step the next one is meant, for a person with curl: it cannot be repeated safely.",
        "POST",
        ACT,
        {"observation": seen(4), "reward": 0.5},
    ),
    act(
        "act.missed",
        "Steps 5 and 6 passed without an answer; they are recorded with step 7.",
        7,
        reward=0.5,
        executed_action=FALLBACK,
        missed=MISSED,
    ),
    Ask(
        "act-together",
        "One step of each of several episodes; an item that cannot be answered takes no other along.",
        "POST",
        "/act",
        {
            "items": [
                {"observation": seen(8), "step": 8, "reward": 0.5, "episode_id": "arm-7"},
                {"observation": seen(0), "step": 0, "episode_id": "nobody"},
            ]
        },
    ),
    Ask(
        "act-together.refused",
        "An item that cannot be used is refused by itself, by its place and the field's name.",
        "POST",
        "/act",
        {"items": [{"observation": seen(0), "step": 0, "colour": "red", "episode_id": "arm-8"}]},
    ),
    Ask("episode", "Where an episode stands.", "GET", EPISODE),
    act("problem.step-conflict", "A step that leaves a gap.", 20, reward=0.5),
    act("problem.step-conflict.older", "A step that has left the record.", 2, reward=0.25),
    act("problem.content-changed", "A recorded step with another reward.", 7, reward=9.0, executed_action=FALLBACK),
    act("problem.invalid-request", "An observation of another shape.", 9, observation=[0.5, -1.0]),
    act("problem.invalid-request.unknown-field", "A field that this version does not know.", 9, colour="red"),
    Ask(
        "problem.episode-exists",
        "The id lives, started with other fields.",
        "PUT",
        EPISODE,
        START | {"target_return": 12.0},
    ),
    Ask("problem.unknown-episode", "Never started, expired, or another owner's.", "GET", "/episodes/nobody"),
    Ask("problem.unknown-policy", "A policy that is not served.", "POST", "/episodes", {"policy": "leg"}),
    Ask("problem.not-found", "A path that does not exist.", "GET", "/episode"),
    Ask("problem.method-not-allowed", "A method that the path does not take.", "POST", EPISODE, {}),
    Ask(
        "problem.malformed-request",
        "Half a message.",
        "POST",
        ACT,
        text='{"step": 9, "obs',
        packed=b"\x82\xa4step\x09\xa3obs",
    ),
    Ask(
        "problem.unsupported-media-type",
        "Neither JSON nor msgpack.",
        "POST",
        ACT,
        text="step,observation",
        media_type="text/csv",
    ),
    Ask(
        "problem.body-too-large",
        "A body over --max-body-bytes.",
        "POST",
        ACT,
        {"observation": [0.0] * 5, "step": 9, "missed": [passed(9)] * 40},
    ),
    Ask(
        "end.missed",
        "The episode ended in step 11 while steps 9 and 10 passed unanswered.",
        "POST",
        f"{EPISODE}/end",
        {
            "step": 11,
            "reward": 1.5,
            "observation": seen(11),
            "executed_action": FALLBACK,
            "missed": LATE,
            "terminated": True,
        },
    ),
    act("problem.episode-ended", "A new step of an ended episode.", 11, reward=0.5),
    Ask("delete", "Forget an episode.", "DELETE", EPISODE),
    Ask(
        "window",
        "Give a lost episode its last timesteps back; step 6 was missed.",
        "PUT",
        f"{EPISODE}/window",
        {
            "policy": "arm",
            "revision": "0123456789ab",
            "target_return": 20.0,
            "episode_return": 3.25,
            "ttl_seconds": 600,
            "labels": {"cell": "north"},
            "timesteps": [
                remembered(4, 18.25, [0.125, -0.5]),
                remembered(5, 17.75, [0.375, -0.25]),
                remembered(6, 17.25),
                remembered(7, 16.75, [0.25, 0.0], executed_action=FALLBACK),
            ],
        },
    ),
    act("act.restored", "The episode goes on where its client saw it answered.", 8, reward=0.5),
    Ask(
        "end",
        "The last reward, and how the episode ended.",
        "POST",
        f"{EPISODE}/end",
        {"step": 9, "reward": 1.5, "terminated": False, "truncated": True, "success": True},
    ),
    Ask(
        "end.again",
        "The same end again: the same summary.",
        "POST",
        f"{EPISODE}/end",
        {"step": 9, "reward": 1.5, "terminated": False, "truncated": True, "success": True},
    ),
]

IN_FLIGHT = act("problem.step-in-flight", "The step before is being computed.", 1, reward=0.5)
QUEUE_FULL = Ask(
    "problem.queue-full",
    "Too many requests wait.",
    "POST",
    "/episodes/arm-8/act",
    {"observation": seen(0), "step": 0},
)
DEADLINE = act("problem.deadline-exceeded", "Inference did not start in time.", 0, deadline_ms=20.0)
DRAINING = Ask("readyz.draining", "The service shuts down.", "GET", "/readyz")
DRAINING_START = Ask("problem.draining", "No new episodes while shutting down.", "PUT", EPISODE, START)
LOADING = Ask("readyz.loading", "The policies are being loaded.", "GET", "/readyz")
NOT_READY = act("problem.not-ready", "The policies are being loaded.", 0)

REFUSED: list[tuple[Exception, Ask]] = [
    (
        Unauthorized("a key is asked for: send the header 'Authorization: Bearer <key>'"),
        act("problem.unauthorized", "No key, or an unknown one.", 0),
    ),
    (
        Forbidden("this key has scope read; this request needs act"),
        act("problem.forbidden", "The key's scopes do not include this.", 0),
    ),
    (
        OwnerLimit("owner 'north' has 8 acts under way, and may have 8", retry_after_ms=50),
        act("problem.owner-limit", "The key's owner asks for more than it may.", 0),
    ),
    (
        RevisionNotLoaded("episode 'arm-7' stays with arm@0123456789ab, which is not loaded here"),
        act("problem.revision-not-loaded", "The episode's revision is not held here.", 0),
    ),
    (
        StoreUnavailable("the episode store did not answer", retry_after_ms=500),
        act("problem.store-unavailable", "It may be committed: send the same step again.", 0),
    ),
    (
        EngineUnavailable("the engine went away; send the same request again", retry_after_ms=500),
        act("problem.engine-unavailable", "It may be committed: send the same step again.", 0),
    ),
    (
        ActionNotFinite("policy 'arm' proposed an action that is not finite; nothing was committed"),
        act("problem.action-not-finite", "Nothing was committed.", 0),
    ),
    (ZeroDivisionError(), act("problem.internal", "The unforeseen; the log has it under the request's id.", 0)),
]
"""Troubles that a test would need hours or a broken machine for, raised by what acts in place of the service."""

NOT_WHOLE: list[tuple[ServiceError, Ask]] = [
    (
        RequestTimeout("the request did not come whole within 10 s"),
        Ask(
            "problem.request-timeout",
            "A request that does not come to its end.",
            "POST",
            ACT,
            text='{"step": 9, "obs',
        ),
    ),
    (
        HeadTooLarge("the request has more than 100 headers, or 32768 bytes before its body"),
        Ask("problem.head-too-large", "A request with a hundred headers more.", "GET", EPISODE),
    ),
    (
        TooManyConnections("1000 connections are open already"),
        Ask("problem.too-many-connections", "A client too many; it is cut off.", "GET", EPISODE),
    ),
]
"""What is told before a request is looked at, by what reads the connection."""

PROBLEMS_OF_CLIENTS = ("service-unreachable", "unreadable-answer")
BASES = ("conflict", "unavailable")
"""Kinds that only their subclasses are raised as."""


def kinds() -> set[str]:
    """Every kind of problem that leaves the service."""
    known = {error.kind for error in ServiceError.subclasses() if "kind" in vars(error)} | {ServiceError.kind}
    return known - {*PROBLEMS_OF_CLIENTS, *BASES}

"""Realtime: a 50 Hz controller that never waits, through a link that comes and goes, and what is recorded of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Any

import numpy as np

from clients.calls import Call
from clients.policy_client import AsyncPolicyClient
from lamo.errors import ServiceError
from lamo.window import Actions, Observations
from lamo.wire import ActAnswer, ActRequest, EndRequest, EpisodeSummary
from tests.faults.journal import Recorded, read_journal
from tests.faults.link import Link
from tests.faults.policies import ENVIRONMENT, STANDING, TARGETS
from tests.faults.site import Site
from tests.faults.verdict import Verdict
from training.environments import make_environment

PERIOD_SECONDS = 0.02

AWAY_SECONDS, EVERY_SECONDS = 0.2, 2.0

REQUEST_SECONDS = 1.0

FALLBACK = np.zeros(2, np.float32)
"""What the robot does by itself where no action came in time."""


@dataclass(frozen=True)
class Shown:
    """One timestep as the robot lived it.

    Attributes:
        reward: what the action before earned; None at step 0.
        executed_action: the action before, where it was not the proposed one.
    """

    step: int
    observation: Observations
    reward: float | None
    executed_action: Actions | None

    def message(self) -> dict[str, Any]:
        fields = {"step": self.step, "observation": self.observation.tolist(), "reward": self.reward}
        if self.executed_action is not None:
            fields["executed_action"] = self.executed_action.tolist()
        return {name: value for name, value in fields.items() if value is not None}


@dataclass
class Controller:
    """Drives one episode; what is not known to be recorded goes along with the next request.

    Attributes:
        shown: every timestep, in order.
        done: the action executed at each.
        rewards: what each of them earned.
        fresh: when an action came in time, on the monotonic clock.
    """

    client: AsyncPolicyClient
    shown: list[Shown] = field(default_factory=list)
    done: list[Actions] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    fresh: list[float] = field(default_factory=list)
    _open: list[Shown] = field(default_factory=list)
    _asking: asyncio.Task[ActAnswer | None] | None = None

    async def drive(self, steps: int) -> str:
        """Play so many timesteps at the robot's pace; the episode's id."""
        environment = make_environment(ENVIRONMENT)
        observation, _ = environment.reset(seed=1)
        episode_id = (await self.client.start("standing", TARGETS[0])).episode_id
        reward, executed, due = None, None, time.monotonic()
        for step in range(steps):
            due += PERIOD_SECONDS
            self._show(episode_id, Shown(step, np.asarray(observation, np.float32), reward, executed))
            action = await self._action_by(due)
            executed = FALLBACK if action is None else None
            self.done.append(FALLBACK if action is None else action)
            observation, earned, *_ = environment.step(self.done[-1])
            reward = float(earned)
            self.rewards.append(reward)
        environment.close()
        await self._end(episode_id, steps, reward, executed)
        return episode_id

    def _show(self, episode_id: str, now: Shown) -> None:
        """Ask, if nothing is being asked; else this timestep is missed unless it is asked later."""
        self.shown.append(now)
        self._settle()
        if self._asking is None:
            missed = [timestep.message() for timestep in self._open]
            request = ActRequest.model_validate({**now.message(), "missed": missed})
            self._asking = asyncio.create_task(self._ask(episode_id, request))
        self._open.append(now)

    async def _ask(self, episode_id: str, request: ActRequest) -> ActAnswer | None:
        try:
            return await self.client.send(Call("POST", f"/episodes/{episode_id}/act", ActAnswer, request))
        except ServiceError as error:
            if not error.retryable and error.status != 503:
                raise
            return None

    async def _action_by(self, due: float) -> Actions | None:
        """The action for what is shown now, if it comes in time."""
        while time.monotonic() < due:
            await asyncio.sleep(max(0.0, min(0.002, due - time.monotonic())))
        answer = self._settle()
        if answer is None or answer.step != self.shown[-1].step:
            return None
        self.fresh.append(time.monotonic())
        return np.array(answer.action, np.float32)

    def _settle(self) -> ActAnswer | None:
        """Take an answer that has come: everything up to its step is recorded."""
        if self._asking is None or not self._asking.done():
            return None
        answer = self._asking.result()
        self._asking = None
        if answer is not None:
            self._open = [timestep for timestep in self._open if timestep.step > answer.step]
        return answer

    async def _end(self, episode_id: str, steps: int, reward: float | None, executed: Actions | None) -> None:
        if self._asking is not None:
            await asyncio.wait([self._asking])
            self._settle()
        fields: dict[str, Any] = {"step": steps, "reward": reward, "truncated": True}
        if executed is not None:
            fields["executed_action"] = executed.tolist()
        request = EndRequest.model_validate({**fields, "missed": [timestep.message() for timestep in self._open]})
        await self.client.send(Call("POST", f"/episodes/{episode_id}/end", EpisodeSummary, request))


def come_and_go(link: Link, over: Event) -> None:
    """Away for a moment, again and again."""
    while not over.wait(EVERY_SECONDS - AWAY_SECONDS):
        link.go_away()
        over.wait(AWAY_SECONDS)
        link.come_back()


def drive(site: Site, steps: int) -> Verdict:
    """The verdict on one drive; its trace is compared with the record, since nobody else lived through the same."""
    tracebacks, over = site.tracebacks(), Event()
    weather = Thread(target=come_and_go, args=(site.link, over))

    async def driving() -> tuple[Controller, str]:
        async with AsyncPolicyClient(site.link.url, deadline_seconds=REQUEST_SECONDS) as client:
            controller = Controller(client)
            return controller, await controller.drive(steps)

    weather.start()
    try:
        controller, episode_id = asyncio.run(driving())
    finally:
        over.set()
        weather.join()
    recorded = read_journal(site.redis.append_only_files(), STANDING)[episode_id]
    missed = sum(record.timestep.proposed_action is None for record in recorded.records.values())
    return Verdict(
        fault=f"50 Hz, away {1000 * AWAY_SECONDS:.0f} ms every {EVERY_SECONDS:.0f} s",
        hits=missed,
        steps=steps,
        lost=sum(not is_recorded(recorded, timestep) for timestep in controller.shown),
        doubled=recorded.doubled + (recorded.episode_return != sum(controller.rewards)),
        equal=executed_actions(recorded, steps) == [action.tobytes() for action in controller.done[:-1]],
        errors=site.tracebacks() - tracebacks,
        longest_gap_ms=1000 * float(np.diff(controller.fresh).max()),
        failure="",
    )


def is_recorded(recorded: Recorded, shown: Shown) -> bool:
    """Whether the record holds what the robot saw."""
    record = recorded.records.get(shown.step)
    return record is not None and record.timestep.observation.tobytes() == shown.observation.tobytes()


def executed_actions(recorded: Recorded, steps: int) -> Sequence[bytes]:
    """What the record says was executed at each timestep but the last: it says so with the one after."""
    executed = []
    for step in range(steps - 1):
        known = recorded.records[step + 1].timestep.executed_action
        proposed = recorded.records[step].timestep.proposed_action
        action = known if known is not None else proposed
        assert action is not None, f"nobody knows what was executed at step {step}"
        executed.append(np.clip(action, -1.0, 1.0).astype(np.float32).tobytes())
    return executed

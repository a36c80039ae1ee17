"""Realtime: a 50 Hz controller that never waits, through a link that comes and goes, and what is recorded of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Event, Thread

import numpy as np

from clients.policy_client import PolicyClient
from clients.realtime import RealtimeEpisode
from lamo.window import Actions, Observations
from tests.faults.journal import Recorded, read_journal
from tests.faults.link import Link
from tests.faults.policies import ENVIRONMENT, STANDING, TARGETS
from tests.faults.site import Site
from tests.faults.verdict import Verdict
from training.environments import make_environment

PERIOD_SECONDS = 0.02

AWAY_SECONDS, EVERY_SECONDS = 0.2, 2.0

REQUEST_SECONDS = 10.0

ROOM_SECONDS = 0.004
"""What the loop needs for itself in each period."""

FALLBACK = np.zeros(2, np.float32)
"""What the robot does by itself where no action came in time."""


@dataclass
class Controller:
    """Drives one episode at the robot's pace, and does what is safe where no action came in time.

    Attributes:
        shown: what the robot saw at every timestep.
        done: the action executed at each.
        rewards: what each of them earned.
        fresh: when an action came in time, on the monotonic clock.
    """

    episode: RealtimeEpisode
    shown: list[Observations] = field(default_factory=list)
    done: list[Actions] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    fresh: list[float] = field(default_factory=list)

    def drive(self, steps: int) -> None:
        """Play so many timesteps and end the episode."""
        environment = make_environment(ENVIRONMENT)
        observation, _ = environment.reset(seed=1)
        reward, executed, due = None, None, time.monotonic()
        for _ in range(steps):
            due += PERIOD_SECONDS
            self.shown.append(np.asarray(observation, np.float32))
            action = self._ask(reward, executed, due)
            executed = FALLBACK if action is None else None
            self.done.append(FALLBACK if action is None else action)
            observation, earned, *_ = environment.step(self.done[-1])
            reward = float(earned)
            self.rewards.append(reward)
            time.sleep(max(0.0, due - time.monotonic()))
        environment.close()
        self.episode.end(reward, executed_action=executed, truncated=True)

    def _ask(self, reward: float | None, executed: Actions | None, due: float) -> Actions | None:
        within_seconds = max(0.0, due - ROOM_SECONDS - time.monotonic())
        answer = self.episode.act(self.shown[-1], reward, executed, within_seconds=within_seconds)
        if answer is None:
            return None
        self.fresh.append(time.monotonic())
        return np.array(answer.action, np.float32)


def come_and_go(link: Link, over: Event) -> None:
    """Away for a moment, again and again."""
    while not over.wait(EVERY_SECONDS - AWAY_SECONDS):
        link.go_away()
        over.wait(AWAY_SECONDS)
        link.come_back()


def drive(site: Site, steps: int) -> Verdict:
    """The verdict on one drive; its trace is compared with the record, since nobody else lived through the same."""
    tracebacks, over = site.tracebacks(), Event()
    weather = Thread(target=come_and_go, args=(site.link, over), daemon=True)
    weather.start()
    try:
        with PolicyClient(site.link.url, deadline_seconds=REQUEST_SECONDS) as client:
            started = client.start("standing", TARGETS[0])
            with RealtimeEpisode(started) as episode:
                controller = Controller(episode)
                controller.drive(steps)
    finally:
        over.set()
        weather.join()
    recorded = read_journal(site.redis.append_only_files(), STANDING)[started.episode_id]
    missed = sum(record.timestep.proposed_action is None for record in recorded.records.values())
    return Verdict(
        fault=f"50 Hz, away {1000 * AWAY_SECONDS:.0f} ms every {EVERY_SECONDS:.0f} s",
        hits=missed,
        steps=steps,
        lost=sum(not is_recorded(recorded, step, shown) for step, shown in enumerate(controller.shown)),
        doubled=recorded.doubled + (recorded.episode_return != sum(controller.rewards)),
        equal=executed_actions(recorded, steps) == [action.tobytes() for action in controller.done[:-1]],
        errors=site.tracebacks() - tracebacks,
        longest_gap_ms=1000 * float(np.diff(controller.fresh).max()),
        failure="",
    )


def is_recorded(recorded: Recorded, step: int, shown: Observations) -> bool:
    """Whether the record holds what the robot saw."""
    record = recorded.records.get(step)
    return record is not None and record.timestep.observation.tobytes() == shown.tobytes()


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

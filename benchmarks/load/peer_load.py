"""PeerLoad: callers who play episodes against one server, in closed or open loop, and what they saw."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from load.closed_loop import draw_observations
from load.peer_process import PeerProcess
from load.peer_wire import Connection, Step, Wire
from numpy.typing import NDArray

from lamo.config import PolicyConfig
from lamo.policy import Policy

PATIENCE = 2.0
"""An open loop is given up after this many times its seconds; what is unanswered then counts as it stands."""

REFUSED_SECONDS = 0.02
"""Pause of a caller who was refused."""

CHECKED_EPISODES, FIRST_ANSWER_SECONDS = 4, 120.0


@dataclass
class Sample:
    """All steps of one load.

    Attributes:
        latencies_ms: of answered steps; of an open loop's other steps, the time until it was given up.
        unanswered: how many of the latencies belong to steps that were given up.
        refused: answers that were no action; the same step was sent again.
        seconds, cpu_seconds: of the whole; CPU time of the server's processes.
        others_seconds: CPU time of everything else on the machine but the callers.
    """

    latencies_ms: list[float] = field(default_factory=list)
    unanswered: int = 0
    refused: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    others_seconds: float = 0.0


class Caller:
    """Plays one episode after another on a connection of its own, with observations drawn at random."""

    def __init__(self, wire: Wire, port: int, name: str, config: PolicyConfig, seed: int) -> None:
        self.config = config
        self.observations = draw_observations(config, seed)  # [64, *observation_shape]
        self._written = [json.dumps(row.tolist()) for row in self.observations]
        self._wire = wire
        self._connection = Connection(port)
        self._name = name
        self._episode = ""
        self._step = config.max_timesteps

    async def open(self, step: int = 0) -> None:
        """Begin an episode, at a later step where the server takes episodes over, else with real steps up to it."""
        await self.leave()
        self._episode, self._step = secrets.token_hex(8), 0
        if self._wire.begins:
            status, content = await self._connection.ask(
                "PUT", f"/episodes/{self._episode}", f'{{"policy": "{self._name}"}}'
            )
            if status != 201:
                raise SystemExit(f"no episode was begun: {status} {content!r}")
        if step and self._wire.takes_over:
            await self._ask(Step(self._episode, step, self._written[step], 0.0, tuple(self._written[:step])))
            self._step = step + 1
        while self._step < step:
            await self.act()

    async def act(self, reward: float = 0.0) -> list[float] | None:
        """The action of the next step, None if the server refused; the same step is the next one then."""
        action = await self._ask(
            Step(self._episode, self._step, self._written[self._step % len(self._written)], reward)
        )
        self._step += action is not None
        return action

    async def go_on(self) -> None:
        """Begin another episode where this one is over: between two steps, outside every latency."""
        if self._step == self.config.max_timesteps:
            await self.open()

    async def leave(self) -> None:
        """Forget the episode under way."""
        if self._episode and self._wire.begins:
            await self._connection.ask("DELETE", f"/episodes/{self._episode}")
        self._episode = ""

    async def close(self) -> None:
        """Leave, and hang up."""
        await self.leave()
        self._connection.close()

    async def _ask(self, step: Step) -> list[float] | None:
        status, answer = await self._connection.ask("POST", *self._wire.act(step))
        return self._wire.action(answer) if status == 200 else None


async def closed_loop(process: PeerProcess, callers: Sequence[Caller], seconds: float) -> Sample:
    """Each caller asks again as soon as it is answered; steps under way at the end are waited for and counted."""
    sample, before, began = Sample(), _used(process), time.perf_counter()

    async def play(caller: Caller) -> None:
        while (now := time.perf_counter()) < began + seconds:
            await _step(caller, sample, since=now)

    await asyncio.gather(*map(play, callers))
    return _finish(sample, process, began, before)


async def open_loop(process: PeerProcess, callers: Sequence[Caller], rate: float, seconds: float) -> Sample:
    """So many steps per second, each caller's at even distances; a step's latency counts from when it was due.

    A caller who still waits for its last step cannot send the next: that one's latency grows meanwhile, so a
    slow server does not thin out its own load.
    """
    sample, before, began = Sample(), _used(process), time.perf_counter()
    period = len(callers) / rate
    phases = np.random.default_rng(0).permutation(len(callers)) / len(callers)

    async def play(caller: Caller, phase: float) -> None:
        for due in began + period * (phase + np.arange(round(seconds / period))):
            now = time.perf_counter()
            if now > began + PATIENCE * seconds:
                sample.unanswered += 1
                sample.latencies_ms.append(1000 * (now - due))
                continue
            await asyncio.sleep(max(0.0, due - now))
            await _step(caller, sample, since=float(due))

    await asyncio.gather(*map(play, callers, phases.tolist()))
    return _finish(sample, process, began, before)


async def check_actions(policy: Policy, callers: Sequence[Caller], title: str) -> None:
    """A few episodes at once, a little longer than the window, must get the actions of the policy in process.

    Raises:
        SystemExit: they do not, to 1e-5; nothing is reported about such a server.
    """
    checked = callers[:CHECKED_EPISODES]
    rewards = np.random.default_rng(1).standard_normal(policy.config.context_length + 3).astype(np.float32)
    rewards[0] = 0.0
    wanted = np.array([_in_process(policy, caller.observations, rewards) for caller in checked])
    await asyncio.wait_for(_first_answer(checked[0]), FIRST_ANSWER_SECONDS)
    await asyncio.gather(*(caller.open() for caller in checked))
    got = [await asyncio.gather(*(caller.act(float(reward)) for caller in checked)) for reward in rewards]
    if any(action is None for actions in got for action in actions):
        raise SystemExit(f"{title} refuses steps of {CHECKED_EPISODES} episodes at once")
    difference = np.abs(np.array(got).swapaxes(0, 1) - wanted).max()
    if not difference <= 1e-5:
        raise SystemExit(f"{title} gives other actions than the policy in process: they differ by {difference:.1g}")


async def _first_answer(caller: Caller) -> None:
    """A server may listen before its worker or its routes are there."""
    await caller.open()
    while await caller.act() is None:
        await asyncio.sleep(REFUSED_SECONDS)


def _in_process(
    policy: Policy,
    observations: NDArray[np.float32],  # [64, *observation_shape]
    rewards: NDArray[np.float32],  # [steps]
) -> NDArray[np.float32]:  # [steps, action_dim]
    window, actions = policy.begin(policy.config.target_returns[0]), []
    for observation, reward in zip(observations, rewards, strict=False):
        window = window.observe(observation, float(reward))
        action = policy.clip(policy.propose([window]))[0]
        window = window.propose(action)
        actions.append(action)
    return np.array(actions)


async def _step(caller: Caller, sample: Sample, *, since: float) -> None:
    while await caller.act() is None:
        sample.refused += 1
        await asyncio.sleep(REFUSED_SECONDS)
    sample.latencies_ms.append(1000 * (time.perf_counter() - since))
    await caller.go_on()


def _used(process: PeerProcess) -> NDArray[np.float64]:  # [2], CPU seconds
    return np.array([process.cpu_seconds(), process.others_seconds()])


def _finish(sample: Sample, process: PeerProcess, began: float, before: NDArray[np.float64]) -> Sample:
    sample.seconds = time.perf_counter() - began
    sample.cpu_seconds, sample.others_seconds = (_used(process) - before).tolist()
    return sample

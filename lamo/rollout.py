"""Rollout: many episodes at once with one batched agent; the one loop behind every evaluation.

The agent may be a policy in this process or a service far away: the loop does not know. Each episode runs in an
environment of its own, reset with a seed of its own, so what it plays does not depend on who else is playing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, SupportsFloat

import numpy as np
from numpy.typing import NDArray

from lamo.window import Actions, Observations


@dataclass(frozen=True)
class EpisodePlan:
    """One episode to be played: what is asked for, and the seed its environment is reset with."""

    target_return: float
    seed: int


@dataclass(frozen=True)
class Turn:
    """One episode's request for an action.

    Attributes:
        episode: which of the planned episodes, by index.
        step: the timestep, from 0.
        observation: what the environment shows now.
        reward: what the action of the timestep before earned; 0 at step 0.
    """

    episode: int
    step: int
    observation: Observations
    reward: float


@dataclass(frozen=True)
class Ending:
    """An episode's last message: the step that would come next, the last reward, and how it ended."""

    episode: int
    step: int
    reward: float
    terminated: bool
    truncated: bool


@dataclass(frozen=True)
class Trace:
    """All that happened in one episode of T timesteps.

    Attributes:
        observations: [T, *observation_shape], what the agent saw.
        actions: [T, action_dim] float32, what was executed.
        rewards: [T] float64, rewards[t] is what actions[t] earned.
    """

    observations: Observations
    actions: NDArray[np.float32]
    rewards: NDArray[np.float64]


@dataclass(frozen=True)
class EpisodeResult:
    """What came of an episode plan."""

    plan: EpisodePlan
    episode_return: float
    episode_length: int
    terminated: bool
    truncated: bool
    trace: Trace | None = None


class Agent(Protocol):
    """Acts in several episodes at once; episodes are named by their index among the plans."""

    def start(self, episodes: Sequence[tuple[int, EpisodePlan]]) -> None:
        """These episodes begin."""
        ...

    def act(self, turns: Sequence[Turn]) -> Sequence[Actions]:
        """One action per turn, in the order of the turns, each [action_dim] and within the bounds."""
        ...

    def end(self, endings: Sequence[Ending]) -> None:
        """These episodes are over."""
        ...


class Environment(Protocol):
    """The part of `gymnasium.Env` that a rollout uses."""

    def reset(self, *, seed: int | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        ...

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Execute an action: observation, reward, terminated, truncated, info."""
        ...

    def render(self) -> Any:
        """The picture of now; whoever watches asks for it, the rollout itself does not."""
        ...

    def close(self) -> None:
        """Free the simulator."""
        ...


@dataclass(eq=False)
class _Episode:
    """An episode being played in one of the parallel environments."""

    index: int
    plan: EpisodePlan
    environment: Environment
    observation: Observations
    reward: float = 0.0
    episode_return: float = 0.0
    rewards: list[float] = field(default_factory=list)
    observations: list[Observations] = field(default_factory=list)
    actions: list[Actions] = field(default_factory=list)
    terminated: bool = False
    truncated: bool = False

    @property
    def turn(self) -> Turn:
        return Turn(self.index, len(self.rewards), self.observation, self.reward)

    @property
    def ending(self) -> Ending:
        return Ending(self.index, len(self.rewards), self.reward, self.terminated, self.truncated)


def play(
    agent: Agent,
    make_environment: Callable[[], Environment],
    plans: Sequence[EpisodePlan],
    *,
    parallel: int,
    max_timesteps: int,
    observation_dtype: str = "float32",
    traces: bool = False,
    on_step: Callable[[int], None] = lambda steps: None,
    on_episode: Callable[[EpisodeResult], None] = lambda result: None,
    watch: Callable[[int, Environment], None] = lambda episode, environment: None,
) -> list[EpisodeResult]:
    """Play every plan, at most `parallel` at a time; results come in the order of the plans.

    Args:
        max_timesteps: an episode still running after this many is truncated here.
        traces: keep observations, actions and rewards of every episode.
        on_step: told how many episodes were stepped, after each round.
        on_episode: told each result as it comes, in the order in which episodes end.
        watch: shown every episode, by the index of its plan, before each of its steps.
    """
    environments = [make_environment() for _ in range(min(parallel, len(plans)))]
    results: dict[int, EpisodeResult] = {}
    waiting = iter(enumerate(plans))
    try:
        playing = _begin(agent, waiting, environments, observation_dtype)
        while playing:
            for episode in playing:
                watch(episode.index, episode.environment)
            _step(playing, agent.act([episode.turn for episode in playing]), max_timesteps, observation_dtype)
            on_step(len(playing))
            ended = [episode for episode in playing if episode.terminated or episode.truncated]
            if ended:
                agent.end([episode.ending for episode in ended])
                for episode in ended:
                    results[episode.index] = _result(episode, keep_trace=traces)
                    on_episode(results[episode.index])
                playing = [episode for episode in playing if episode not in ended]
                playing += _begin(agent, waiting, [episode.environment for episode in ended], observation_dtype)
    finally:
        for environment in environments:
            environment.close()
    return [results[index] for index in range(len(plans))]


def _begin(
    agent: Agent,
    waiting: Iterator[tuple[int, EpisodePlan]],
    environments: Sequence[Environment],
    observation_dtype: str,
) -> list[_Episode]:
    """Reset the next waiting plans into free environments and announce them to the agent together."""
    begun = []
    for environment, (index, plan) in zip(environments, waiting, strict=False):
        observation, _ = environment.reset(seed=plan.seed)
        begun.append(_Episode(index, plan, environment, np.asarray(observation, observation_dtype)))
    if begun:
        agent.start([(episode.index, episode.plan) for episode in begun])
    return begun


def _step(
    playing: Sequence[_Episode], actions: Sequence[Actions], max_timesteps: int, observation_dtype: str
) -> None:
    for episode, action in zip(playing, actions, strict=True):
        episode.observations.append(episode.observation)
        episode.actions.append(action)
        observation, reward, terminated, truncated, _ = episode.environment.step(action)
        episode.observation = np.asarray(observation, observation_dtype)
        episode.reward = float(reward)
        episode.rewards.append(episode.reward)
        episode.episode_return += episode.reward  # one by one, as the service adds them up
        episode.terminated = bool(terminated)
        episode.truncated = bool(truncated) or (len(episode.rewards) >= max_timesteps and not terminated)


def _result(episode: _Episode, *, keep_trace: bool) -> EpisodeResult:
    trace = None
    if keep_trace:
        trace = Trace(
            np.stack(episode.observations), np.stack(episode.actions), np.array(episode.rewards, np.float64)
        )
    return EpisodeResult(
        plan=episode.plan,
        episode_return=episode.episode_return,
        episode_length=len(episode.rewards),
        terminated=episode.terminated,
        truncated=episode.truncated,
        trace=trace,
    )

"""EpisodeWindow: the last K timesteps of one episode, and all arithmetic on rewards. Pure numpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Observations = NDArray[Any]
"""In the policy's declared dtype: float32, or uint8 for images."""

Actions = NDArray[np.float32]


def window_start(timestep: int, context_length: int, hop: int) -> int:
    """First timestep the policy sees at `timestep`.

    0 while the episode is shorter than K; then hop * ceil((timestep - K + 1) / hop): with hop 1 the window
    slides every step, with hop h it stands still for h steps and holds between K - h + 1 and K timesteps.
    It depends on the timestep alone, so every replica computes the same window.
    """
    if timestep < context_length:
        return 0
    return -(-(timestep - context_length + 1) // hop) * hop


def next_return_to_go(return_to_go: float, reward: float, *, delayed_reward: bool) -> float:
    """Return-to-go of the next timestep: what was asked for, less what `reward` brought. Raw, float64.

    With `delayed_reward` all that was asked for is still to come until the episode is over.
    """
    return return_to_go if delayed_reward else return_to_go - reward


@dataclass(frozen=True)
class Timestep:
    """One recorded timestep t of an episode.

    Attributes:
        step: t, from 0.
        reward: what the action of t - 1 earned; 0 at t = 0.
        return_to_go: rewards still to come at t; raw.
        executed_action: the action really executed at t - 1 where it was not the proposed one, [action_dim].
        observation: what the environment showed at t.
        proposed_action: the policy's answer at t before clipping, [action_dim]; None where nothing was asked.
    """

    step: int
    reward: float
    return_to_go: float
    executed_action: Actions | None
    observation: Observations
    proposed_action: Actions | None


@dataclass(frozen=True)
class EpisodeWindow:
    """The timesteps `start..step` of one live episode, as the policy sees them at `step`.

    A window is a value: `observe` and `propose` return a new one, so a step that fails leaves nothing behind.

    Attributes:
        context_length, hop: K and the hop of the policy.
        delayed_reward: whether rewards leave the return-to-go as it is.
        step: t, the last timestep; -1 before the first.
        return_to_go: raw return-to-go of timestep `step`; the target return before the first.
        returns_to_go: [n] float64, raw.
        observations: [n, *observation_shape] in the policy's dtype.
        actions: [n, action_dim] float32; the last row is open (zeros) until the policy has answered.
    """

    context_length: int
    hop: int
    delayed_reward: bool
    step: int
    return_to_go: float
    returns_to_go: NDArray[np.float64]
    observations: Observations
    actions: Actions

    @classmethod
    def begin(
        cls,
        target_return: float,
        *,
        context_length: int,
        hop: int,
        observation_shape: Sequence[int],
        action_dim: int,
        observation_dtype: str = "float32",
        delayed_reward: bool = False,
    ) -> EpisodeWindow:
        """The empty window of an episode that asks for `target_return`."""
        return cls(
            context_length=context_length,
            hop=hop,
            delayed_reward=delayed_reward,
            step=-1,
            return_to_go=target_return,
            returns_to_go=np.empty(0, np.float64),
            observations=np.empty((0, *observation_shape), observation_dtype),
            actions=np.empty((0, action_dim), np.float32),
        )

    @property
    def start(self) -> int:
        """The first timestep in the window."""
        return self.step + 1 - len(self.returns_to_go)

    def observe(
        self,
        observation: Observations,  # [*observation_shape]
        reward: float = 0.0,
        executed_action: Actions | None = None,  # [action_dim]
    ) -> EpisodeWindow:
        """The window one timestep later.

        `reward` is what the action of the timestep before earned. `executed_action` replaces that action in
        what the policy sees; without it the proposed one stands.
        """
        step = self.step + 1
        return_to_go = self.return_to_go
        if step > 0:
            return_to_go = next_return_to_go(return_to_go, reward, delayed_reward=self.delayed_reward)
        first = max(0, window_start(step, self.context_length, self.hop) - self.start)
        actions = _longer(self.actions, first, None)
        if executed_action is not None and len(actions) > 1:
            actions[-2] = executed_action
        return self._moved(
            step,
            return_to_go,
            _longer(self.returns_to_go, first, return_to_go),
            _longer(self.observations, first, observation),
            actions,
        )

    def propose(
        self,
        action: Actions,  # [action_dim]
    ) -> EpisodeWindow:
        """The window with the last timestep's action filled in, as the policy will see it from then on."""
        actions = self.actions.copy()
        actions[-1] = action
        return self._moved(self.step, self.return_to_go, self.returns_to_go, self.observations, actions)

    def resume(
        self,
        timesteps: Sequence[Timestep],
        low: Actions,  # [action_dim]
        high: Actions,  # [action_dim]
    ) -> EpisodeWindow:
        """The window that recorded consecutive timesteps leave, for an episode whose `begin` this window is.

        The action of t is the executed one recorded with t + 1 where there is one, else the proposed one of
        t clipped to the bounds. Where `timesteps` do not reach back to the start of the window they end in, the
        policy sees less than it would have.
        """
        last = timesteps[-1].step
        kept = timesteps[max(0, window_start(last, self.context_length, self.hop) - timesteps[0].step) :]
        observations = np.zeros((len(kept), *self.observations.shape[1:]), self.observations.dtype)
        actions = np.zeros((len(kept), self.actions.shape[1]), np.float32)
        for row, timestep in enumerate(kept):
            observations[row] = timestep.observation
            if timestep.proposed_action is not None:
                actions[row] = np.clip(timestep.proposed_action, low, high)
            if timestep.executed_action is not None and row > 0:
                actions[row - 1] = timestep.executed_action
        returns_to_go = np.array([timestep.return_to_go for timestep in kept], np.float64)
        return self._moved(last, kept[-1].return_to_go, returns_to_go, observations, actions)

    def _moved(
        self,
        step: int,
        return_to_go: float,
        returns_to_go: NDArray[np.float64],  # [n]
        observations: Observations,  # [n, *observation_shape]
        actions: Actions,  # [n, action_dim]
    ) -> EpisodeWindow:
        """The window of the same episode at another moment; `dataclasses.replace` takes three times as long."""
        return EpisodeWindow(
            self.context_length,
            self.hop,
            self.delayed_reward,
            step,
            return_to_go,
            returns_to_go,
            observations,
            actions,
        )


def _longer(
    rows: NDArray[Any],  # [n, ...]
    first: int,
    last: object,
) -> NDArray[Any]:  # [n - first + 1, ...]
    """The rows from `first` on and one more, zeros if it is None."""
    longer = np.empty((len(rows) - first + 1, *rows.shape[1:]), rows.dtype)
    longer[:-1] = rows[first:]
    longer[-1] = 0 if last is None else last
    return longer

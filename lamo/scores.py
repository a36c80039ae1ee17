"""Reference returns of the known tasks, and the normalized score they define."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from lamo.errors import ConfigError


@dataclass(frozen=True)
class ReferenceReturns:
    """Mean episode returns, raw, that a task's scores 0 and 100 stand for."""

    random: float
    expert: float


# The three locomotion tasks: D4RL (Fu et al. 2020, arXiv 2004.07219), `infos.py`. Reacher2d: the LaMo paper
# (Shi et al., ICLR 2024), whose score is the return itself: its episodes have 100 steps of reward 0 or 1.
REFERENCE_RETURNS = MappingProxyType(
    {
        "reacher2d": ReferenceReturns(random=0.0, expert=100.0),
        "hopper": ReferenceReturns(random=-20.272305, expert=3234.3),
        "walker2d": ReferenceReturns(random=1.629008, expert=4592.3),
        "halfcheetah": ReferenceReturns(random=-280.178953, expert=12135.0),
    }
)


def reference_returns(task: str) -> ReferenceReturns:
    """The reference returns of `task`; ConfigError lists the known names when there are none."""
    if task not in REFERENCE_RETURNS:
        known = ", ".join(REFERENCE_RETURNS)
        raise ConfigError(f"no reference returns are known for task {task!r}; known tasks: {known}")
    return REFERENCE_RETURNS[task]


def normalized_score(task: str, episode_return: float) -> float:
    """100 * (return - random) / (expert - random), of one episode return or of a mean of them."""
    reference = reference_returns(task)
    return 100.0 * (episode_return - reference.random) / (reference.expert - reference.random)

"""Signatures: ways in which training fails, named where what was watched shows them.

Three of them are what language models fail by when they are fine-tuned for control; the fourth, collapse, is why a
best score is worth little where nobody can stop at it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from training.watching.evaluations import Evaluation
from training.watching.watch import Watch

OVERFITTING_SHARE = 0.1
"""Rise of the held-out action loss over its minimum. Between two looks at a run that learns it wavers by a few
percent, because the weights do."""

FORGETTING_NATS = 0.3
"""Rise of the held-out language loss over that before training. As much separates GPT-2 from GPT-2 medium,
which has three times its parameters: more than that is no longer the language model it was."""

ADAPTED_NORM = 0.001
"""Update norm below which a trunk is the one it was: at LaMo's learning rate LoRA passes it within the warm-up's
first hundred updates, and is at a percent some hundred later."""

ADAPTED_SHARE = 0.05
"""Fall of the action loss from its start below which nothing was learned: around a trunk that is left as it was,
embeddings and head alone bring more within a hundred updates."""

FALSE_ALARM = 0.05
"""Share of runs whose score does not change at all that may be called collapsed."""

DEFINITIONS = {
    "overfitting": "the action loss on training trajectories fell while that on held-out ones rose more than "
    f"{OVERFITTING_SHARE:.0%} over its minimum",
    "forgetting": f"the trunk's loss on held-out text rose by more than {FORGETTING_NATS} nats per token over the "
    "language model's own",
    "insufficient adaptation": f"the trunk's update norm is below {ADAPTED_NORM:.1%} and the held-out action loss "
    f"(the training one where nothing is held out) fell by less than {ADAPTED_SHARE:.0%} from its start",
    "collapse": "the last score is below the best by more standard errors of their difference than the best of as "
    f"many equal scores would be in {FALSE_ALARM:.0%} of all runs",
}
"""What each name means."""


@dataclass(frozen=True)
class Signature:
    """A way of failing that shows in a run.

    Attributes:
        name: a key of `DEFINITIONS`.
        sentence: the numbers it shows in.
    """

    name: str
    sentence: str

    @property
    def definition(self) -> str:
        """What the name means."""
        return DEFINITIONS[self.name]


def signatures(watches: Sequence[Watch], evaluations: Sequence[Evaluation]) -> list[Signature]:
    """The signatures that show at a run's last look, by its looks and evaluations in the order of their updates."""
    sentences = {
        "overfitting": _overfitting(watches),
        "forgetting": _forgetting(watches),
        "insufficient adaptation": _insufficient_adaptation(watches),
        "collapse": _collapse(evaluations),
    }
    return [Signature(name, sentence) for name, sentence in sentences.items() if sentence is not None]


def _overfitting(watches: Sequence[Watch]) -> str | None:
    known = [(item.held_out_action_loss, item) for item in watches if item.held_out_action_loss is not None]
    if not known:
        return None
    (lowest, best), (loss, last) = min(known, key=lambda pair: pair[0]), known[-1]
    rises = loss > lowest * (1 + OVERFITTING_SHARE)
    falls = last.training_action_loss < best.training_action_loss
    if not (rises and falls and lowest > 0):
        return None
    return (
        f"From update {best.update} to {last.update} the held-out action loss rose from {lowest:.3g} to {loss:.3g} "
        f"(+{loss / lowest - 1:.0%}), while on the training trajectories it fell from "
        f"{best.training_action_loss:.3g} to {last.training_action_loss:.3g}."
    )


def _forgetting(watches: Sequence[Watch]) -> str | None:
    known = [(item.update, item.language_loss) for item in watches if item.language_loss is not None]
    if not known or known[0][0] != 0:  # without a look before training there is nothing to compare with
        return None
    before, (update, after) = known[0][1], known[-1]
    if after <= before + FORGETTING_NATS:
        return None
    return (
        f"After {update} updates the trunk predicts held-out text at {after:.2f} nats per token, "
        f"{after - before:.2f} more than the {before:.2f} it began with."
    )


def _insufficient_adaptation(watches: Sequence[Watch]) -> str | None:
    if len(watches) < 2 or watches[-1].update_norm is None:
        return None
    first, last = watches[0], watches[-1]
    name, before, after = "training", first.training_action_loss, last.training_action_loss
    if first.held_out_action_loss is not None and last.held_out_action_loss is not None:
        name, before, after = "held-out", first.held_out_action_loss, last.held_out_action_loss
    norm = watches[-1].update_norm
    if norm >= ADAPTED_NORM or after < before * (1 - ADAPTED_SHARE) or before == 0:
        return None
    return (
        f"After {last.update} updates the trunk has moved by {norm:.2%} of its weights' norm, and the {name} "
        f"action loss is {after:.3g}, {after / before:.0%} of the {before:.3g} it began with."
    )


def _collapse(evaluations: Sequence[Evaluation]) -> str | None:
    if len(evaluations) < 2:
        return None
    best, last = max(evaluations, key=lambda item: item.score), evaluations[-1]
    if best.standard_error is None or last.standard_error is None:  # one episode says nothing about chance
        return None
    drop, error = best.score - last.score, math.hypot(best.standard_error, last.standard_error)
    if drop <= error * errors_by_chance(len(evaluations)):
        return None
    return (
        f"The score fell from {best.score:.1f} at update {best.update} to {last.score:.1f} at {last.update}: "
        f"by {drop:.1f}, with a standard error of {error:.1f}."
    )


def errors_by_chance(evaluations: int) -> float:
    """How far the best of so many equal scores lies above the last in a share `FALSE_ALARM` of runs, at most.

    In standard errors of their difference: Bonferroni's bound over the evaluations that the best is picked from.
    """
    return NormalDist().inv_cdf(1 - FALSE_ALARM / (evaluations - 1))

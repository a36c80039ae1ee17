"""The model card of an exported policy."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lamo.config import PolicyConfig
from lamo.evaluation import ScoreSummary
from training.learning.algorithms import NO_LM
from training.watching.action_error import ActionError, markdown_table


def card(config: PolicyConfig, record: Mapping[str, Any], summaries: Sequence[ScoreSummary]) -> str:
    """The card's Markdown, from the policy's config and its `training.json`."""
    sections = [
        f"# A policy for {config.task}",
        _what(config, record),
        "## Scores",
        _scores(summaries),
        "## Action error",
        markdown_table(ActionError.from_json(record["action_error"])),
        "## Training",
        _training(record),
        "## Use",
        _use(config),
    ]
    return "\n\n".join(sections) + "\n"


def _what(config: PolicyConfig, record: Mapping[str, Any]) -> str:
    chosen = record["config"]
    sentences = [_network(config, chosen), _trained(record)]
    sentences.append(
        f"It takes {config.observation.size} numbers, answers {config.action.size}, sees the last "
        f"{config.context_length} timesteps, and is meant to be asked for returns of "
        f"{', '.join(f'{target:g}' for target in config.target_returns)}."
    )
    return "\n".join(sentences)


def _trained(record: Mapping[str, Any]) -> str:
    trainable = sum(record["parameters"]["trainable"].values())
    return f"{trainable:,} of {record['parameters']['total']:,} parameters were trained."


_ADAPTATIONS = {
    "lora": "adapted with LoRA, which is merged into the weights here",
    "full": "all of whose weights were trained",
    "frozen": "whose weights stayed as they were",
}


def _network(config: PolicyConfig, chosen: Mapping[str, Any]) -> str:
    trunk = config.trunk
    if trunk is None:
        return "Behavior cloning: a network without memory, from the observation to the action."
    origin = (
        "random weights"
        if chosen["lm"] == NO_LM
        else f"random weights in the shape of the language model `{chosen['lm']}`"
        if chosen["random_init"]
        else f"the language model `{chosen['lm']}`"
    )
    return (
        f"A Decision Transformer whose trunk is GPT-2's ({trunk.n_layer} layers, {trunk.n_embd} wide), initialised "
        f"from {origin}, {_ADAPTATIONS[chosen['adaptation']]}."
    )


def _scores(summaries: Sequence[ScoreSummary]) -> str:
    if not summaries:
        return "Not evaluated."
    rows = [
        "| hop | target return | episodes | return | length | normalized score |",
        "|---|---|---|---|---|---|",
    ]
    rows += [
        f"| {item.hop} | {item.target_return:g} | {item.episodes} | {item.mean_return:.1f} ± {item.std_return:.1f} "
        f"| {item.mean_length:.0f} | {_normalized(item)} |"
        for item in summaries
    ]
    known = [item.mean_score for item in summaries if item.mean_score is not None]
    table = "\n".join(rows) + "\n\nMean ± standard deviation over episodes, in process, after the last update."
    if not known:
        return table
    return f"{table}\nBest target: {max(known):.1f}; mean over targets: {sum(known) / len(known):.1f}."


def _normalized(summary: ScoreSummary) -> str:
    return "-" if summary.mean_score is None else f"{summary.mean_score:.1f} ± {summary.std_score:.1f}"


def _training(record: Mapping[str, Any]) -> str:
    data = record["data"]
    used = len(data["trajectories"])
    return (
        f"{record['updates']:,} updates on {used:,} trajectories ({data['steps']:,} steps, mean return "
        f"{data['mean_return']:.1f}) of `{data['name']}`, SHA-256 `{data['sha256']}`.\n"
        f"Merging LoRA changed no action on the training data by more than {record['merge_difference']:.2g}.\n"
        f"Code version {record['code_version']}, torch {record['torch_version']}; everything that decided the run "
        f"is in `training.json`:\n\n```json\n{json.dumps(record['config'], indent=2)}\n```"
    )


def _use(config: PolicyConfig) -> str:
    return (
        "Put this directory into a folder of policies and serve that with `lamo-serve --policies FOLDER`, "
        "or play it in this process with `lamo-train evaluate DIRECTORY`.\n"
        f"It knows only what its data shows of `{config.environment}`; observations far from the data "
        "(see `normalization.json`) get actions without meaning."
    )

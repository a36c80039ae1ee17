"""Evaluate: play a policy in its environment in this process; also `lamo-train evaluate`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

from lamo.agent import PolicyAgent
from lamo.errors import ConfigError, SimulatorError
from lamo.evaluation import plans, scores_of, summarize, table, write_scores, write_traces
from lamo.policy import SLOT_BYTES, Policy
from lamo.rollout import EpisodePlan, EpisodeResult, play
from training.environments import make_environment
from training.learning.device import usable_device
from training.runs.origin import read_origin
from training.runs.videos import VideoRecorder, frames_per_second, recording, video_files


def evaluate(
    policy: Policy,
    episodes: Sequence[EpisodePlan],
    *,
    hop: int,
    parallel: int,
    traces: bool = False,
    on_step: Callable[[int], None] = lambda steps: None,
    on_episode: Callable[[EpisodeResult], None] = lambda result: None,
    recorder: VideoRecorder | None = None,
) -> list[EpisodeResult]:
    """Play every planned episode in the policy's environment, `parallel` at a time, filmed by `recorder`.

    Raises:
        ConfigError: the hop is outside 1..K, or nothing may be played at a time.
        SimulatorError: the environment cannot be made or does not fit the policy.
    """
    config = policy.config
    if not 1 <= hop <= config.context_length:
        raise ConfigError(f"hop {hop} is outside 1..{config.context_length}, the context length")
    if parallel < 1:
        raise ConfigError(f"parallel is {parallel}, it must be at least 1")
    name = _environment_of(policy)
    return play(
        PolicyAgent(policy, hop),
        lambda: make_environment(name, render_mode="rgb_array" if recorder else None),
        episodes,
        parallel=parallel,
        max_timesteps=config.max_timesteps,
        observation_dtype=config.observation.dtype,
        traces=traces,
        on_step=on_step,
        on_episode=on_episode,
        watch=recorder.watch if recorder else lambda episode, environment: None,
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `evaluate` on its parser."""
    add = parser.add_argument
    add("checkpoint", type=Path, metavar="CHECKPOINT", help="checkpoint directory")
    add("--episodes", type=int, default=20, help="episodes per target return (default %(default)s)")
    add("--target-returns", type=float, nargs="+", metavar="R", help="raw (default: the policy's)")
    add("--seed", type=int, default=0, help="of the episodes (default %(default)s)")
    add(
        "--hops",
        type=int,
        nargs="+",
        metavar="H",
        help="how far the window moves at a time (default: the policy's)",
    )
    add("--parallel", type=int, default=64, help="episodes at a time (default %(default)s)")
    add("--reproducible", action="store_true", help="the same bits whoever shares the batch, and over HTTP")
    add("--device", default="cpu", help="cpu or cuda (default %(default)s)")
    add("--out", type=Path, metavar="DIR", help="folder for scores.csv and traces.npz")
    add("--traces", action="store_true", help="also write every observation, action and reward")
    add("--video", type=Path, metavar="DIR", help="folder for videos (MP4) of the first episodes of each target")
    add("--videos", type=int, metavar="N", help="how many of each target (default 1)")


def run(arguments: argparse.Namespace) -> None:
    """Carry out the parsed command; an InputError it raises is one sentence for whoever typed it."""
    _refuse_contradictions(arguments)
    policy = Policy.load(
        arguments.checkpoint,
        device=str(usable_device(arguments.device)),
        reproducible=arguments.reproducible,
        slot_bytes=SLOT_BYTES,
    )
    targets = arguments.target_returns or policy.config.target_returns
    episodes = plans(targets, arguments.episodes, arguments.seed)
    hops = arguments.hops or [policy.config.hop]
    name = arguments.checkpoint.resolve().name
    origin = read_origin(arguments.checkpoint)
    scores, played = [], []
    with tqdm(total=len(episodes) * len(hops), desc="evaluating", unit="episode") as bar:
        for hop in hops:
            with _filming(arguments, policy, episodes, hop) as recorder:
                results = evaluate(
                    policy,
                    episodes,
                    hop=hop,
                    parallel=arguments.parallel,
                    traces=arguments.traces,
                    on_episode=lambda result: count(bar),
                    recorder=recorder,
                )
            scores += scores_of(
                results,
                task=policy.config.task,
                policy=name,
                revision=policy.revision,
                hop=hop,
                reference=policy.config.reference_returns,
                origin=origin,
            )
            played += results
    if arguments.out is not None:
        write_scores(arguments.out / "scores.csv", scores, append=True)
    if arguments.traces:
        write_traces(arguments.out / "traces.npz", played)
    sys.stdout.write(table(summarize(scores)))


def _refuse_contradictions(arguments: argparse.Namespace) -> None:
    if arguments.videos is not None and arguments.video is None:
        raise ConfigError("--videos says how many: name the folder for them with --video")
    if arguments.traces and arguments.out is None:
        raise ConfigError("--traces writes a file: name its folder with --out")
    if arguments.traces and len(arguments.hops or ()) > 1:
        raise ConfigError(f"--traces holds the episodes of one hop, not of {len(arguments.hops)}")


def count(bar: tqdm[NoReturn]) -> None:
    """One more episode on the bar."""
    bar.update()


def _filming(
    arguments: argparse.Namespace, policy: Policy, episodes: Sequence[EpisodePlan], hop: int
) -> AbstractContextManager[VideoRecorder | None]:
    if arguments.video is None:
        return nullcontext()
    files = video_files(arguments.video, episodes, hop, 1 if arguments.videos is None else arguments.videos)
    return recording(files, frames_per_second(_environment_of(policy)))


def _environment_of(policy: Policy) -> str:
    """The name of the policy's environment, whose spaces must be the policy's."""
    config = policy.config
    if config.environment is None:
        raise SimulatorError(f"the config of policy {config.task!r} names no environment")
    environment = make_environment(config.environment)
    shapes = (environment.observation_space.shape, environment.action_space.shape)
    environment.close()
    if shapes != (config.observation.shape, config.action.shape):
        raise SimulatorError(
            f"environment {config.environment!r} has observations {list(shapes[0] or ())} and actions "
            f"{list(shapes[1] or ())}, the policy {list(config.observation.shape)} and {list(config.action.shape)}"
        )
    return config.environment

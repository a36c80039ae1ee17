"""Updates per second beside a Decision Transformer trained the usual way, factor by factor, in one run.

    python benchmarks/train.py [--device cuda] [--shapes seed gpt2-small] [--out FILE]

Every row of a table is a whole training loop of one size, batch and context; each adds something to the row above.
The loops take turns, so that whatever else the machine does slows all of them alike. Weights and data are random:
they cost what trained weights and recorded data cost. Also measured: drawing a batch, and evaluating many episodes
at once against one after another.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from benchmark_policies import DEMO, GPT2_SMALL
from network.usual_training import UsualBatches, as_usual, usual_model, usual_update
from pages.page import describe_machine, markdown_table
from torch import nn

from lamo.batch import Batch, Scaling
from lamo.config import PolicyConfig
from lamo.model import LamoModel
from lamo.normalization import Normalization
from lamo.policy import Policy
from lamo.rollout import EpisodePlan
from lamo.trunk import Trunk
from training.data.sampling import SubtrajectorySampler
from training.data.trajectories import Trajectories, Trajectory
from training.learning.config import TrainConfig
from training.learning.learner import Learner
from training.learning.lora import add_lora
from training.learning.objective import Objective, Whole
from training.learning.processes import Processes
from training.runs.evaluate import evaluate

HOPPER = dataclasses.replace(GPT2_SMALL, environment="Hopper-v4", max_timesteps=60)
SHAPES = {"seed": dataclasses.replace(HOPPER, trunk=DEMO.trunk), "gpt2-small": HOPPER}
"""The seed language model's trunk and GPT-2 small's, both on Hopper."""

DROPOUT = 0.1
LOOPS = ("usual", "sampling", "network", "lora", "bf16", "compile")
WHAT = {
    "usual": "transformers' model, batches by Python",
    "sampling": "+ vectorised batches",
    "network": "+ this project's network and optimizer step",
    "lora": "+ frozen trunk with LoRA",
    "bf16": "+ bf16",
    "compile": "+ torch.compile",
}


@dataclass
class Loop:
    """One way to train, and how long its updates took, seconds each."""

    name: str
    update: Callable[[], None]
    seconds: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Updates per second, by the median."""
        return 1 / statistics.median(self.seconds)


class Bench:
    """One shape, with its data and everything that trains on it."""

    def __init__(self, config: PolicyConfig, batch_size: int, device: str) -> None:
        self.config = config
        self.batch_size = batch_size
        self.device = device
        self.trajectories = noise(config)
        self.usual = UsualBatches(self.trajectories, config, device)
        self.sampler = SubtrajectorySampler(self.trajectories, config.context_length, np.random.default_rng(0))
        observations = np.concatenate([item.observations for item in self.trajectories])
        self.normalization = Normalization.of(observations)
        self.scaling = Scaling(config, self.normalization, device)

    def loop(self, name: str) -> Loop:
        """The loop of that name."""
        torch.manual_seed(0)
        if name in {"usual", "sampling"}:
            draw = self._draw_usual if name == "usual" else lambda: as_usual(self.draw())
            return Loop(name, usual_update(usual_model(self.config, DROPOUT).to(self.device), draw))
        return Loop(name, self._everything() if name == "network" else self._lora(name))

    def draw(self) -> Batch:
        """The next batch, this project's way."""
        cuts = self.sampler.draw(self.batch_size)
        lengths = cuts.attention_mask.sum(axis=1, dtype=np.int64)
        return self.scaling.batch(cuts.returns_to_go, cuts.observations, cuts.actions, cuts.timesteps, lengths)

    def _draw_usual(self) -> dict[str, torch.Tensor]:
        return self.usual.draw(self.batch_size)

    def _everything(self) -> Callable[[], None]:
        """This project's network with nothing frozen."""
        objective = Objective(self._model(), None).train()
        weights = list(objective.parameters())
        optimizer = torch.optim.AdamW(weights, lr=1e-4, weight_decay=1e-5, fused=True)

        def update() -> None:
            batch = self.draw()
            optimizer.zero_grad()
            objective(batch, None, Whole.of(batch, None)).action.backward()
            nn.utils.clip_grad_norm_(weights, 0.25)
            optimizer.step()

        return update

    def _lora(self, name: str) -> Callable[[], None]:
        """The learner as `lamo-train train` runs it."""
        config = TrainConfig.of(
            "hopper-medium",
            batch_size=self.batch_size,
            device=self.device,
            precision="float32" if name == "lora" else "bf16",
            compile=name == "compile",
        )
        model = self._model()
        add_lora(model.trunk, rank=config.lora_rank, alpha=config.lora_alpha, dropout=config.lora_dropout)
        learner = Learner(model, config, Processes.join(config))

        def update() -> None:
            learner.update(self.draw(), None, 1e-4)

        return update

    def _model(self) -> LamoModel:
        return LamoModel(self.config, Trunk(self.config.trunk, DROPOUT)).to(self.device)

    def draw_seconds(self) -> tuple[float, float]:
        """Of one batch, the usual way and this project's."""
        return seconds_of(self._draw_usual, self.device), seconds_of(self.draw, self.device)

    def evaluation_rates(self, episodes: int) -> tuple[float, float]:
        """Environment steps per second, one episode at a time and all at once."""
        policy = Policy(self.config, self.normalization, self._model(), device=self.device)
        plans = [EpisodePlan(self.config.target_returns[0], seed) for seed in range(episodes)]
        rates = []
        for parallel, some in ((1, plans[: max(2, episodes // 16)]), (episodes, plans)):
            began = time.perf_counter()
            results = evaluate(policy, some, hop=1, parallel=parallel)
            rates.append(sum(item.episode_length for item in results) / (time.perf_counter() - began))
        return rates[0], rates[1]


def measure(loops: list[Loop], device: str, rounds: int, updates: int) -> None:
    """Let the loops take turns; the first turn of each, which compiles and allocates, does not count."""
    for turn in range(rounds + 1):
        for loop in loops:
            seconds = seconds_of(loop.update, device, updates if turn else 1)
            loop.seconds += [seconds] if turn else []
            say(f"  turn {turn}, {loop.name}: {1 / seconds:.3f} updates/s")


def seconds_of(action: Callable[[], object], device: str, times: int = 10) -> float:
    """Of one call, on average, the device's work included."""
    wait = torch.cuda.synchronize if device.startswith("cuda") else lambda: None
    wait()
    began = time.perf_counter()
    for _ in range(times):
        action()
    wait()
    return (time.perf_counter() - began) / times


def noise(config: PolicyConfig) -> Trajectories:
    """Episodes of random numbers, as long as Hopper's."""
    generator = np.random.default_rng(0)
    return Trajectories(
        tuple(
            Trajectory(
                observations=generator.normal(size=(length, config.observation.size)).astype(np.float32),
                actions=generator.uniform(-1, 1, (length, config.action.size)).astype(np.float32),
                rewards=generator.normal(2.5, 1, length),
                terminated=True,
            )
            for length in generator.integers(200, 1000, 200)
        ),
        name="noise",
    )


def updates_table(loops: list[Loop]) -> str:
    """One row per loop: its speed, against the usual one and against the row above."""
    rows = []
    for above, loop in zip([loops[0], *loops], loops, strict=False):
        paired = zip(loop.seconds, loops[0].seconds, strict=True)
        lowest, *_, highest = sorted(theirs / ours for ours, theirs in paired) * 2
        spread = f"{lowest:.2f}-{highest:.2f}"
        ratios = (loop.rate / loops[0].rate, loop.rate / above.rate)
        rows.append([WHAT[loop.name], f"{loop.rate:.3f}", *(f"{ratio:.2f}" for ratio in ratios), spread])
    return markdown_table("loop|updates/s|x usual|x row above|x usual, by turn", rows)


def section(name: str, options: argparse.Namespace) -> str:
    """Measure one shape and write about it."""
    bench = Bench(SHAPES[name], options.batch_size, options.device)
    say(f"{name}: updates")
    loops = [bench.loop(loop) for loop in options.loops]
    measure(loops, options.device, options.rounds, options.updates)
    usual, ours = (1000 * seconds for seconds in bench.draw_seconds())
    share = 100 * ours * loops[-1].rate / 1000
    say(f"{name}: evaluation")
    alone, together = bench.evaluation_rates(options.episodes)
    drawing = f"Drawing a batch: {usual:.2f} ms the usual way, {ours:.2f} ms here, {share:.2f} % of the last loop."
    evaluation = (
        f"Evaluation: {alone:.1f} steps/s one episode after another, {together:.1f} with {options.episodes} "
        f"at a time: {together / alone:.1f} x."
    )
    title = f"## {name}: batch {options.batch_size}, context {bench.config.context_length}"
    return "\n\n".join([title, updates_table(loops), drawing, evaluation])


def main() -> None:
    """Measure and print the page."""
    options = parse_options()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    machine = describe_machine(options.threads)
    if options.device.startswith("cuda"):
        machine["GPU"] = torch.cuda.get_device_name(options.device)
    facts = "\n".join(f"- {name}: {value}" for name, value in machine.items())
    page = "\n\n".join(["# benchmarks/train.py", facts, *(section(name, options) for name in options.shapes)])
    print(page)
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(page + "\n", encoding="utf-8")


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES), help="networks to train")
    add("--loops", nargs="+", choices=LOOPS, default=list(LOOPS[:4]), help="what is compared, the usual one first")
    add("--batch-size", type=int, default=64, help="subtrajectories per update")
    add("--rounds", type=int, default=5, help="turns of each loop, after one that does not count")
    add("--updates", type=int, default=3, help="of each turn")
    add("--episodes", type=int, default=64, help="evaluated at once")
    add("--device", default="cpu", help="cpu or cuda")
    add("--threads", type=int, help="CPU threads of torch")
    add("--out", type=Path, help="also write the page here")
    return parser.parse_args()


def say(text: str) -> None:
    """Progress; the page alone goes to standard output."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

"""The whole service on an accelerator: durable steps per second and latency, single requests and batches.

    make gpu-wheels  # here: what the other machine lacks, into build/gpu-wheels, which is carried along
    python -m pip install --no-index --no-deps --target build/gpu-site build/gpu-wheels/*.whl  # there
    PYTHONPATH=.:benchmarks:build/gpu-site python benchmarks/gpu_service.py [--quick] [--out FILE]

Starts a real `lamo-serve` with several HTTP workers and its private Redis, and asks it from several processes, all
on one machine. Ends within eight minutes.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import platform
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from benchmark_policies import DEMO, GPT2_SMALL, write_random
from load.many_callers import START_SECONDS, Errand, Heard, ask_from_many
from load.service_process import serving

from lamo.config import PolicyConfig

EPISODES_OF_ONE_PROCESS = 64


@dataclass(frozen=True)
class Load:
    """One row: so many episodes in all, so many of them in one request."""

    policy: str
    episodes: int
    together: int
    encoding: str

    @property
    def title(self) -> str:
        """How it is asked."""
        return "single" if self.together == 1 else f"{self.together} in one request"


def loads(shape: str) -> list[Load]:
    """Each answers one of the questions: latency at 64 episodes, most single requests, most steps."""
    names = (f"{shape}-standing", shape)
    single = [Load(name, episodes, 1, "json") for name in names for episodes in (1, 64, 256, 512)]
    batch = [Load(name, 1024, 64, "msgpack") for name in names]
    return [*single, Load(names[0], 256, 1, "msgpack"), *batch]


def configs(shape: str) -> dict[str, PolicyConfig]:
    """The policy with a sliding window, and with one that moves by half its length."""
    config = {"demo": DEMO, "gpt2-small": GPT2_SMALL}[shape]
    return {shape: config, f"{shape}-standing": dataclasses.replace(config, hop=config.context_length // 2)}


def measure(url: str, load: Load, processes: int, seconds: float) -> list[Heard]:
    """One load from as many processes as its episodes occupy, at most `processes`."""
    count = max(1, min(processes, load.episodes // max(load.together, EPISODES_OF_ONE_PROCESS // 4)))
    begins_at = time.time() + START_SECONDS
    config = configs(load.policy.removesuffix("-standing"))[load.policy]
    errands = [
        Errand(
            url=url,
            policy=load.policy,
            config=config,
            episodes=load.episodes // count,
            together=load.together,
            encoding=load.encoding,
            seed=10_000 * index,
            begins_at=begins_at,
            seconds=seconds,
        )
        for index in range(count)
    ]
    return ask_from_many(errands)


def row(load: Load, heard: list[Heard], seconds: float) -> str:
    """The table's row."""
    latencies = np.concatenate([part.latencies_ms for part in heard])
    queue, infer, commit, total = np.concatenate([part.timing_ms for part in heard]).mean(axis=0)
    p50, p95, p99 = np.percentile(latencies, (50, 95, 99))
    rate = sum(part.steps for part in heard) / seconds
    late = max(part.late_seconds for part in heard)
    milliseconds = " | ".join(f"{value:.2f}" for value in (p50, p95, p99, queue, infer, commit, total))
    asked = f"{load.title}, {load.encoding} | {load.episodes} | {len(heard)}"
    return f"| {load.policy} | {asked} | {rate:.0f} | {milliseconds} | {late:.1f} |"


HEAD = (
    "| policy | requests | episodes | caller processes | steps/s | p50 ms | p95 | p99 "
    "| queue | infer | commit | total | late s |"
)


def main() -> None:
    """Measure and print the page."""
    options = parse_options()
    lines = ["# benchmarks/gpu_service.py", "", *facts(options), "", HEAD, "| --- | --- |" + " ---: |" * 11]
    with tempfile.TemporaryDirectory(prefix="lamo-bench-") as temporary:
        folder = Path(temporary)
        for name, config in configs(options.shape).items():
            write_random(folder / "policies" / name, config)
        service_options = (
            "--device", options.device, "--dtype", options.dtype, "--workers", str(options.workers),
            "--batch-limit", "256", "--queue-limit", "8192", "--slot-megabytes", str(options.slot_megabytes),
        )  # fmt: skip
        (folder / "data").mkdir()
        with serving(folder / "policies", folder / "data", *service_options) as service:
            for load in loads(options.shape)[:: 4 if options.quick else 1]:
                print(load, file=sys.stderr, flush=True)
                heard = measure(service.url, load, options.processes, options.seconds)
                lines.append(row(load, heard, options.seconds))
                print(lines[-1], file=sys.stderr, flush=True)
    page = "\n".join([*lines, ""])
    print(page)
    if options.out is not None:
        options.out.write_text(page, encoding="utf-8")


def facts(options: argparse.Namespace) -> list[str]:
    """The machine and the command."""
    device = torch.cuda.get_device_name(options.device) if options.device.startswith("cuda") else "CPU"
    return [
        f"- command: python {' '.join(sys.argv)}",
        f"- device: {options.device}: {device}; {os.cpu_count()} cores, {options.workers} HTTP workers",
        f"- Python: {platform.python_version()}, torch: {torch.__version__}, dtype: {options.dtype}",
    ]


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--device", default="cuda", help="cuda, cuda:1, or cpu to try the script itself")
    add("--shape", choices=("gpt2-small", "demo"), default="gpt2-small", help="of the policy; weights are random")
    add("--dtype", default="bfloat16", help="what networks compute in")
    add("--workers", type=int, default=6, help="HTTP workers")
    add("--processes", type=int, default=6, help="most processes that ask")
    add("--slot-megabytes", type=int, default=8192, help="of each policy, for standing windows")
    add("--seconds", type=float, default=8.0, help="of each load")
    add("--quick", action="store_true", help="a quarter of the loads")
    add("--out", type=Path, help="also write the page here")
    return parser.parse_args()


if __name__ == "__main__":
    main()

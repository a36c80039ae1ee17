"""Choices: threads and torch.compile for a forward pass on a CPU, and how long a policy takes to start."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from benchmark_policies import write_random
from network.forward import Forward
from network.turns import fastest
from pages.page import markdown_table

from lamo.config import PolicyConfig
from lamo.model import LamoModel
from lamo.policy import SLOT_BYTES, Policy

SERVED_BATCH = 64
"""The largest batch that a service is warmed up for."""


@dataclass(frozen=True)
class Threaded:
    """One pass: seconds with one thread and with several."""

    title: str
    one: float
    several: float


@dataclass(frozen=True)
class Compiled:
    """One pass: seconds without torch.compile and with it, and seconds of compiling."""

    title: str
    eager: float
    compiled: float
    compiling: float


@dataclass(frozen=True)
class Start:
    """Seconds of a policy's start; its checkpoint was just written, so the system has it in memory."""

    policy: str
    load: float
    warm_up: float


def forward_of(config: PolicyConfig, rows: int) -> Forward:
    """float32, random weights."""
    torch.manual_seed(0)
    return Forward(config, LamoModel(config).eval().requires_grad_(False), torch.float32, rows)


def measure_threads(name: str, config: PolicyConfig, rows: int, threads: int, seconds: float) -> list[Threaded]:
    """One thread against several, a step and a whole window."""
    forward = forward_of(config, rows)
    pairs = []
    before = torch.get_num_threads()
    for what, run in (("step", forward.step()), ("whole window", forward.fill())):
        took = []
        for count in (1, threads):
            torch.set_num_threads(count)
            took.append(fastest({what: run}, seconds)[what])
        pairs.append(Threaded(f"{name}, {what}, batch {rows}", *took))
    torch.set_num_threads(before)
    return pairs


def measure_compile(name: str, config: PolicyConfig, rows: int, seconds: float) -> Compiled:
    """A step without and with torch.compile, which compiles once for every shape of batch."""
    forward = forward_of(config, rows)
    torch.compiler.reset()
    compiled = forward.step(lambda network: torch.compile(network.__call__, dynamic=False))
    began = time.perf_counter()
    compiled()
    compiling = time.perf_counter() - began
    took = fastest({"eager": forward.step(), "compiled": compiled}, seconds)
    return Compiled(f"{name}, step, batch {rows}", took["eager"], took["compiled"], compiling)


def measure_start(name: str, config: PolicyConfig) -> Start:
    """What a service does before it is ready: load the policy and run the shapes that serving will use."""
    with tempfile.TemporaryDirectory(prefix="lamo-bench-") as temporary:
        write_random(Path(temporary) / name, config)
        began = time.perf_counter()
        policy = Policy.load(Path(temporary) / name, slot_bytes=SLOT_BYTES)
        loaded = time.perf_counter()
        policy.warm_up(SERVED_BATCH)
        return Start(name, loaded - began, time.perf_counter() - loaded)


def threads_table(passes: list[Threaded], threads: int) -> str:
    """One row per pass."""
    rows = [
        [item.title, f"{1000 * item.one:.2f}", f"{1000 * item.several:.2f}", f"{item.one / item.several:.2f}"]
        for item in passes
    ]
    return markdown_table(f"pass|1 thread, ms|{threads} threads, ms|faster by", rows)


def compiled_table(passes: list[Compiled]) -> str:
    """One row per pass."""
    rows = [
        [
            item.title,
            f"{1000 * item.eager:.2f}",
            f"{1000 * item.compiled:.2f}",
            f"{item.eager / item.compiled:.2f}",
            f"{item.compiling:.0f}",
        ]
        for item in passes
    ]
    return markdown_table("pass|as it is, ms|compiled, ms|faster by|compiling, s", rows)


def starts_table(starts: list[Start]) -> str:
    """One row per policy."""
    rows = [[start.policy, f"{start.load:.1f}", f"{start.warm_up:.1f}"] for start in starts]
    return markdown_table("policy|load s|warm-up s", rows)

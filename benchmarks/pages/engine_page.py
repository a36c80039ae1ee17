"""Engine page: steps per second by batch size as a table and a plot, beside what the roofline allows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import matplotlib
from pages.page import markdown_table

matplotlib.use("Agg")
from matplotlib import pyplot as plt

SLIDING_BATCH = 32
"""Where a standing window is compared with a sliding one."""


@dataclass(frozen=True)
class Cell:
    """One policy asked for one batch again and again.

    Attributes:
        seconds: of one forward pass with its preparation, over a cycle of the hop.
        least: seconds that the roofline allows for the same.
        bound: which of its two limits that is.
    """

    policy: str
    dtype: str
    hop: int
    rows: int
    seconds: float
    least: float
    bound: str

    @property
    def rate(self) -> float:
        """Steps per second of all episodes."""
        return self.rows / self.seconds


def cells_table(cells: list[Cell]) -> str:
    """One row per cell."""
    rows = [
        [
            f"{cell.policy}, {cell.dtype}",
            str(cell.hop),
            str(cell.rows),
            f"{cell.rate:.1f}",
            f"{1000 * cell.seconds:.2f}",
            f"{1000 * cell.seconds / cell.rows:.2f}",
            f"{100 * cell.least / cell.seconds:.0f} %",
            cell.bound,
        ]
        for cell in cells
    ]
    return markdown_table("policy|hop|batch|steps/s|ms per pass|ms per step|of the roofline|bound by", rows)


def standing_table(cells: list[Cell]) -> str:
    """Standing windows against sliding ones of the same policy and batch."""
    sliding = {(cell.policy, cell.dtype, cell.rows): cell for cell in cells if cell.hop == 1}
    rows = [
        [f"{cell.policy}, {cell.dtype}", str(cell.hop), str(cell.rows), f"{cell.rate / beside.rate:.1f}"]
        for cell in cells
        if cell.hop > 1 and (beside := sliding.get((cell.policy, cell.dtype, cell.rows)))
    ]
    return markdown_table("policy|hop|batch|x sliding", rows)


def plot_cells(cells: list[Cell], path: Path) -> None:
    """Steps per second by batch, float32, one panel per policy, dashed what the roofline allows."""
    policies = list(dict.fromkeys(cell.policy for cell in cells))
    figure, axes = plt.subplots(1, len(policies), figsize=(5 * len(policies), 4), squeeze=False)
    for axis, policy in zip(axes[0], policies, strict=True):
        mine = [cell for cell in cells if cell.policy == policy and cell.dtype == "float32"]
        for color, hop in zip(("tab:blue", "tab:orange"), sorted({cell.hop for cell in mine}), strict=False):
            line = [cell for cell in mine if cell.hop == hop]
            batches = [cell.rows for cell in line]
            axis.plot(batches, [cell.rate for cell in line], "o-", color=color, label=f"hop {hop}")
            allowed = [cell.rows / cell.least for cell in line]
            axis.plot(batches, allowed, "--", color=color, label=f"hop {hop}, roofline")
        axis.set(title=f"{policy}, float32", xlabel="batch", xscale="log", yscale="log")
        axis.set_xticks(batches, [str(batch) for batch in batches])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    axes[0][0].set_ylabel("steps per second")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)

"""Five times what a service can answer: it refuses at once, answers the others, and is soon itself again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.faults.processes import ROOT


def test_a_service_asked_for_five_times_its_capacity_refuses_quickly_and_recovers(tmp_path: Path) -> None:
    words = [sys.executable, "benchmarks/overload.py", "--seconds", "3", "--json", str(tmp_path / "figures.json")]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run(words, check=True, cwd=ROOT, env=environment, capture_output=True, timeout=120)
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["failed"] == 0
    assert figures["refused"] > 0
    # The pages of results have the promised bounds; others may use this machine's cores meanwhile.
    assert figures["refused_p50_ms"] < 50
    assert figures["refused_p99_ms"] < 1000
    assert figures["admitted_p99_ms"] < 4 * max(figures["capacity_p99_ms"], 500)
    assert figures["recovery_seconds"] < 2
    assert figures["answered_share"] > 0.5

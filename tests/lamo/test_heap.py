"""Freed memory is used again without the system's help."""

from __future__ import annotations

import subprocess
import sys

import pytest

PAGES_TAKEN = """
import resource, sys
from lamo.heap import keep_freed_memory
kept = keep_freed_memory()
def fill():
    for size in (3 << 20, 7 << 20):
        bytearray(b"x" * size)
fill()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
fill()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_what_one_pass_frees_the_next_one_takes_without_fresh_pages() -> None:
    answer = subprocess.run([sys.executable, "-c", PAGES_TAKEN], capture_output=True, text=True, check=True)
    kept, pages = answer.stdout.split()
    if kept == "False":
        pytest.skip("the C library is not glibc")
    assert int(pages) < 100

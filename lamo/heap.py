"""Heap: memory that a forward pass frees is kept for the next one instead of going back to the system."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's mallopt (malloc.h)."""

KEPT_BYTES = 1 << 29
"""Freed memory above this goes back: a large network's batch of 64 windows leaves less."""

LARGEST_BYTES = 1 << 25
"""Blocks up to this, the largest glibc allows, come from the heap and not from pages of their own."""


def keep_freed_memory() -> bool:
    """For all of this process, where the C library is glibc; says whether it is.

    Hidden states of some hundred kilobytes are allocated and freed in every block of a network; by default each
    pass takes thousands of fresh pages for them, a fifth of the time of a small network's batch of 64.
    """
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    return bool(library.mallopt(M_MMAP_THRESHOLD, LARGEST_BYTES) and library.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES))

"""Large tensors on a processor: the C library gives their memory back and fetches it anew, page by page.

With tensors of tens of megabytes a layer that costs a seventh of the time. glibc can be told to keep it.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

TRIM_THRESHOLD, MMAP_MAX = -1, -4
"""Numbers of `mallopt`'s parameters, malloc.h."""
USUAL = {TRIM_THRESHOLD: 128 * 1024, MMAP_MAX: 65_536}
KEEPING = {TRIM_THRESHOLD: 2**31 - 1, MMAP_MAX: 0}


@contextmanager
def keep_heap(device: str) -> Iterator[None]:
    """Inside, freed memory stays with the process for the next tensor; at the end it is given back.

    Does nothing where the device is no processor or the C library is not glibc.
    """
    libc = _glibc() if device == "cpu" else None
    if libc is None:
        yield
        return
    _set(libc, KEEPING)
    try:
        yield
    finally:
        _set(libc, USUAL)
        libc.malloc_trim(0)


def _set(libc: Any, values: dict[int, int]) -> None:
    for name, value in values.items():
        libc.mallopt(name, value)


def _glibc() -> Any:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    known = all(hasattr(libc, name) for name in ("gnu_get_libc_version", "mallopt", "malloc_trim"))
    return libc if known else None

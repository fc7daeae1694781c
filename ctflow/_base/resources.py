"""Checks of memory and disk space: a run that cannot fit is refused before it starts."""

import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import jax

from ctflow._base.host_memory import host_bytes, in_words


def processors() -> int:
    """How many processor cores this process should use: NPROC, which XLA obeys too, or all.

    As for XLA, what is no whole number above 0 counts as not given.
    """
    given = os.environ.get("NPROC", "")
    return int(given) if given.isdecimal() and int(given) > 0 else os.cpu_count() or 1


def cores_in_words(count: int) -> str:
    """A number of cores in words, such as `1 core` or `2 cores`."""
    return f"{count} core{'' if count == 1 else 's'}"


def total_bytes() -> int:
    """Memory of the default device in bytes: the limit of an accelerator, or the memory of the host."""
    statistics = jax.local_devices()[0].memory_stats() or {}
    return int(statistics["bytes_limit"]) if "bytes_limit" in statistics else host_bytes()


_ALLOWED: ContextVar[bool] = ContextVar("memory allowed", default=False)


@contextmanager
def allowed(force: bool) -> Iterator[None]:
    """Inside this context, if `force` is true, `check_fits` never raises: the `--force` of the scripts."""
    token = _ALLOWED.set(force)
    try:
        yield
    finally:
        _ALLOWED.reset(token)


def check_fits(
    what: str, needed: float, *, force: bool, told: bool, there: float | None = None, of: str = "memory"
) -> None:
    """Raise MemoryError if a run needs more bytes than there are, unless `force` is set.

    Args:
        what: name of the run, used in the message.
        needed: bytes that the run needs.
        force: do not raise.
        told: first print both numbers to stderr.
        there: bytes that there are; the device's memory by default.
        of: the resource, memory or disk, used in the message.
    """
    there = total_bytes() if there is None else there
    if told:
        print(f"{what} needs about {in_words(needed)} of {in_words(there)} of {of}", file=sys.stderr)
    if needed > there and not (force or _ALLOWED.get()):
        raise MemoryError(
            f"{what} needs about {in_words(needed)} of {of}, but there is only {in_words(there)}; make it "
            "smaller, or run it anyway with force=True (--force)"
        )


def check_array(what: str, *shape: int, itemsize: int = 8) -> None:
    """Raise MemoryError if an array cannot fit in memory; on a CPU, JAX would end the process instead."""
    needed, there = 3 * math.prod(shape) * itemsize, total_bytes()
    if needed > there:
        raise MemoryError(
            f"{what} need about {in_words(needed)} of memory, but there is only {in_words(there)}; use fewer"
        )


def check_pairs(n: int, d: int) -> None:
    """Raise MemoryError if n points in d dimensions, or a list of all their pairs, cannot fit in memory."""
    check_array(f"{n} points in {d} dimensions", max(n, d), d)
    check_array(f"all pairs of {n} points", n, n)


def program_bytes(compiled: Any) -> int:
    """Bytes that one call of a compiled program takes for arguments, results and temporaries."""
    found = compiled.memory_analysis()
    return found.argument_size_in_bytes + found.output_size_in_bytes + found.temp_size_in_bytes


def tree_bytes(tree: Any) -> int:
    """Bytes that the arrays in a tree take; leaves may also be shapes with a dtype."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def seconds_in_words(seconds: float) -> str:
    """A duration as text, e.g. `3 min`."""
    for unit, size in (("s", 60), ("min", 60), ("h", 48)):
        if seconds < size:
            return f"{seconds:.2g} {unit}"
        seconds /= 24 if unit == "h" else 60
    return f"{seconds:.2g} days"

"""How much memory and disk there is, so that what cannot fit is refused before it starts."""

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import jax

from ctflow._base.host_memory import host_bytes, in_words


def total_bytes() -> int:
    """Memory of the default device: what an accelerator may use, or the host's within its control group."""
    statistics = jax.local_devices()[0].memory_stats() or {}
    return int(statistics["bytes_limit"]) if "bytes_limit" in statistics else host_bytes()


_ALLOWED: ContextVar[bool] = ContextVar("memory allowed", default=False)


@contextmanager
def allowed(force: bool) -> Iterator[None]:
    """Within, and if so, runs are started whatever memory they may need: the `--force` of the scripts."""
    token = _ALLOWED.set(force)
    try:
        yield
    finally:
        _ALLOWED.reset(token)


def check_fits(
    what: str, needed: float, *, force: bool, told: bool, there: float | None = None, of: str = "memory"
) -> None:
    """Raise MemoryError if a run needs more bytes than there are, unless forced; `told`, print both first.

    Args:
        what: of what there is talk, for the message.
        needed: bytes.
        force: do not raise.
        told: print.
        there: bytes; the device's memory by default.
        of: what they are bytes of.
    """
    there = total_bytes() if there is None else there
    if told:
        print(f"{what} needs about {in_words(needed)} of {in_words(there)} of {of}", file=sys.stderr)
    if needed > there and not (force or _ALLOWED.get()):
        raise MemoryError(
            f"{what} needs about {in_words(needed)} of {of} and there is {in_words(there)}; make it "
            "smaller, or run it all the same with force=True (--force)"
        )


def check_array(what: str, *shape: int, itemsize: int = 8) -> None:
    """Raise MemoryError for an array that memory has no room to make; JAX on a CPU would end the process."""
    needed, there = 3 * math.prod(shape) * itemsize, total_bytes()
    if needed > there:
        raise MemoryError(f"{what} take about {in_words(needed)} of memory and there is {in_words(there)}")


def check_pairs(n: int, d: int) -> None:
    """Raise MemoryError where clouds of n points in d dimensions, or a list of all pairs, cannot be."""
    check_array(f"{n} points in {d} dimensions", max(n, d), d)
    check_array(f"all pairs of {n} points", n, n)


def program_bytes(compiled: Any) -> int:
    """Memory that one call of a compiled program takes: arguments, results, and what lies between."""
    found = compiled.memory_analysis()
    return found.argument_size_in_bytes + found.output_size_in_bytes + found.temp_size_in_bytes


def tree_bytes(tree: Any) -> int:
    """What the arrays in a tree take, or would take if they are only shapes."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def seconds_in_words(seconds: float) -> str:
    """A duration, e.g. `3 min`."""
    for unit, size in (("s", 60), ("min", 60), ("h", 48)):
        if seconds < size:
            return f"{seconds:.2g} {unit}"
        seconds /= 24 if unit == "h" else 60
    return f"{seconds:.2g} days"

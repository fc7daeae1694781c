"""The paper's claims (arXiv 2601.19597) as numbers: each predicted by theory, simulated, and compared.

One module a claim, each with a TITLE, a SOURCE and `run(quick=…, seed=…) → Evidence`. A verdict comes from a
stated tolerance, never from looking at a curve. `verify` runs them; `ctflow verify` prints the table.
"""

import json
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from importlib import import_module
from typing import Any, NamedTuple

import jax
import numpy as np

from ctflow._base.checks import check_choice
from ctflow.claims.evidence import Check, Evidence
from ctflow.storage import checkpoints
from ctflow.storage.identity import identity
from ctflow.storage.interrupts import Interrupted, Note, deferred

__all__ = ["CLAIMS", "Check", "Evidence", "Finding", "module_of", "verify"]

CLAIMS = (
    "consistency",
    "convexity",
    "relaxation",
    "equilibrium",
    "low_temperature",
    "tie_breaker",
    "sharpening",
    "stability",
    "knife_edge",
    "barrier",
    "initialisation",
    "directions",
    "mean_field",
    "overlap",
    "phases",
)
"""The claims' names, in the paper's order."""


class Finding(NamedTuple):
    """A claim that was run.

    Attributes:
        name: of its module.
        title: what it claims.
        source: where the prediction comes from.
        evidence: its checks and curves.
        seconds: how long it took.
    """

    name: str
    title: str
    source: str
    evidence: Evidence
    seconds: float


def module_of(name: str) -> Any:
    """The module of a claim."""
    check_choice("claim", name, CLAIMS)
    return import_module(f"ctflow.claims.{name}")


def verify(
    names: Sequence[str] = CLAIMS,
    *,
    quick: bool = True,
    seed: int = 0,
    done: Callable[[Finding], Any] = lambda finding: None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> list[Finding]:
    """Run claims, in float64, a claim a core at a time.

    Args:
        names: which, of `CLAIMS`.
        quick: smaller samples and fewer settings, two minutes in all on two cores; else under half an
            hour.
        seed: of the random numbers.
        done: called with every finding, in the order of `names`.
        checkpoint: a folder for the findings; those that are there already are not run again. Ctrl-C and
            SIGTERM then wait for the claims under way.

    Raises:
        ValueError: an unknown name; a checkpoint of other claims, damaged, or in use.
        Interrupted: with a checkpoint, Ctrl-C or SIGTERM came.
    """
    modules = {name: module_of(name) for name in names}

    def run(name: str) -> Finding:
        started, module = time.perf_counter(), modules[name]
        with jax.enable_x64(True):  # of this thread
            evidence = module.run(quick=quick, seed=seed)
        return Finding(name, module.TITLE, module.SOURCE, evidence, time.perf_counter() - started)

    findings: list[Finding] = []
    made_of = None if checkpoint is None else identity(names=tuple(modules), quick=quick, seed=seed)
    with (
        checkpoints.opened(checkpoint, made_of, resume=True) as store,
        deferred() if store is not None else nullcontext(Note()) as note,
        # Much of a claim's time is compilation, which takes one core.
        ThreadPoolExecutor(min(len(modules) or 1, os.cpu_count() or 1)) as pool,
    ):
        before = None if store is None else store.load()
        for finding in [] if before is None else _unpacked(before.arrays):
            findings.append(finding)
            done(finding)
        waiting = [pool.submit(run, name) for name in list(modules)[len(findings) :]]
        try:
            for future in waiting:
                if future.cancelled():
                    break
                findings.append(future.result())
                done(findings[-1])
                if store is not None:
                    store.write(len(findings), _packed(findings))
                if note.signum is not None:
                    pool.shutdown(wait=False, cancel_futures=True)
        except BaseException:  # of a claim, or Ctrl-C: those that have not begun never will
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        if note.signum is not None and len(findings) < len(modules):
            raise Interrupted(note.signum)
    return findings


def _packed(findings: Sequence[Finding]) -> dict[str, np.ndarray]:
    """Findings as arrays: JSON, which keeps every float64, in bytes."""
    text = json.dumps([[*f[:3], f.evidence, f.seconds] for f in findings], default=_typed)
    return {"findings": np.frombuffer(text.encode(), np.uint8)}


def _typed(value: Any) -> Any:
    array = np.asarray(value)
    return {"dtype": array.dtype.str, "values": array.tolist()}


def _unpacked(arrays: dict[str, np.ndarray]) -> list[Finding]:
    """The findings that `_packed` was given."""

    def restored(entry: dict[str, Any]) -> Any:
        return np.array(entry["values"], entry["dtype"]) if set(entry) == {"dtype", "values"} else entry

    rows = json.loads(arrays["findings"].tobytes(), object_hook=restored)
    return [
        Finding(name, title, source, Evidence([Check(*check) for check in checks], curves, sample), seconds)
        for name, title, source, (checks, curves, sample), seconds in rows
    ]

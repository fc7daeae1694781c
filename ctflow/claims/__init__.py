"""The paper's claims (arXiv 2601.19597) as numbers: each predicted by theory, simulated, and compared.

One module a claim, each with a TITLE, a SOURCE and `run(quick=…, seed=…) → Evidence`. A verdict comes from a
stated tolerance, never from looking at a curve. `verify` runs them; `ctflow verify` prints the table.
"""

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any, NamedTuple

import jax

from ctflow.checks import check_choice
from ctflow.claims.evidence import Check, Evidence

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
) -> list[Finding]:
    """Run claims, in float64, a claim a core at a time.

    Args:
        names: which, of `CLAIMS`.
        quick: smaller samples and fewer settings, about two minutes in all; else about a quarter of an hour.
        seed: of the random numbers.
        done: called with every finding, in the order of `names`.

    Raises:
        ValueError: an unknown name.
    """
    modules = {name: module_of(name) for name in names}

    def run(name: str) -> Finding:
        started, module = time.perf_counter(), modules[name]
        with jax.enable_x64(True):  # of this thread
            evidence = module.run(quick=quick, seed=seed)
        return Finding(name, module.TITLE, module.SOURCE, evidence, time.perf_counter() - started)

    findings = []
    # Much of a claim's time is compilation, which takes one core.
    with ThreadPoolExecutor(min(len(modules) or 1, os.cpu_count() or 1)) as pool:
        for finding in pool.map(run, modules):
            findings.append(finding)
            done(finding)
    return findings

"""The paper's claims (arXiv 2601.19597) as numbers: each predicted by theory, simulated, and compared.

One module a claim, each with a TITLE, a SOURCE and `run(quick=…, seed=…) → Evidence`. A verdict comes from a
stated tolerance, never from looking at a curve. `verify` runs them; `ctflow verify` prints the table.
"""

import time
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, NamedTuple

import jax

from ctflow.checks import check_choice
from ctflow.claims.evidence import Check, Evidence

__all__ = ["CLAIMS", "Check", "Evidence", "Finding", "module_of", "verify"]

CLAIMS = ("convexity", "sharpening", "stability")
"""The claims' names, in the order in which they are run."""


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
    """Run claims, in float64.

    Args:
        names: which, of `CLAIMS`.
        quick: smaller samples and fewer settings, about two minutes in all; else about a quarter of an hour.
        seed: of the random numbers.
        done: called with every finding as it comes.

    Raises:
        ValueError: an unknown name.
    """
    modules = [module_of(name) for name in names]
    findings = []
    for name, module in zip(names, modules, strict=True):
        started = time.perf_counter()
        with jax.enable_x64(True):
            evidence = module.run(quick=quick, seed=seed)
        finding = Finding(name, module.TITLE, module.SOURCE, evidence, time.perf_counter() - started)
        findings.append(finding)
        done(finding)
    return findings

"""The paper's claims (arXiv 2601.19597) as numbers: each predicted by theory, simulated, and compared.

Each claim is a module with a TITLE, a SOURCE and `run(quick=…, seed=…) → Evidence`. A verdict comes from a
stated tolerance, never from the look of a curve. `verify` runs them; `ctflow verify` prints the table.
"""

import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

import jax
import numpy as np

from ctflow._base.checks import check_choice
from ctflow._base.resources import processors
from ctflow.claims.evidence import Check, Evidence
from ctflow.storage.identity import identity
from ctflow.storage.resuming import as_json, from_json, in_order, resumable

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
    "onset",
    "least_control",
    "modalities",
    "sigmoid",
    "batches",
)
"""The claims' names: the paper's in its order, then those that go beyond it, from `overlap` on."""


class Finding(NamedTuple):
    """A claim that was run, with its evidence and the time that it took.

    Attributes:
        name: the name of its module.
        title: what is claimed.
        source: where the prediction comes from.
        evidence: the checks and curves.
        seconds: how long the run took.
    """

    name: str
    title: str
    source: str
    evidence: Evidence
    seconds: float


def module_of(name: str) -> Any:
    """The module that holds a claim: its TITLE, its SOURCE and its function `run`."""
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
    """Run claims in float64, one claim per core at a time.

    Args:
        names: the claims to run, out of `CLAIMS`.
        quick: smaller samples and fewer settings: all claims take three minutes on two cores. Otherwise they
            take about six.
        seed: seed of the random numbers.
        done: called with every finding, in the order of `names`.
        checkpoint: a folder for the findings. Claims whose findings are there are not run again, and Ctrl-C
            and SIGTERM wait for the claims that have begun.

    Raises:
        ValueError: an unknown name; a checkpoint that is damaged, in use, or of other claims.
        Interrupted: with a checkpoint, Ctrl-C or SIGTERM came.

    Examples:
        >>> import ctflow as ct
        >>> for finding in ct.claims.verify(["convexity"]):
        ...     print(finding.name, finding.evidence.holds)
        convexity True
    """
    modules = {name: module_of(name) for name in names}

    def run(name: str) -> Finding:
        started, module = time.perf_counter(), modules[name]
        with jax.enable_x64(True):  # of this thread
            evidence = module.run(quick=quick, seed=seed)
        return Finding(name, module.TITLE, module.SOURCE, evidence, time.perf_counter() - started)

    made_of = None if checkpoint is None else identity(names=tuple(modules), quick=quick, seed=seed)
    # Much of a claim's time is compilation, which takes one core.
    workers = min(len(modules) or 1, processors())
    with resumable(checkpoint, made_of, unit="claims") as session:
        findings = [_finding(row) for row in from_json(session.found, _restored)]
        for finding in findings:
            done(finding)
        left = list(enumerate((partial(run, name) for name in modules), start=1))[len(findings) :]
        options = {"workers": workers, "ahead": len(modules)}
        for finding in in_order(left, session, lambda _: as_json(_rows(findings), _typed), **options):
            findings.append(finding)
            done(finding)
    return findings


def _rows(findings: Sequence[Finding]) -> list[Any]:
    """Findings as JSON can hold them, which keeps every float64."""
    return [[*f[:3], f.evidence, f.seconds] for f in findings]


def _typed(value: Any) -> Any:
    array = np.asarray(value)
    return {"dtype": array.dtype.str, "values": array.tolist()}


def _restored(entry: dict[str, Any]) -> Any:
    return np.array(entry["values"], entry["dtype"]) if set(entry) == {"dtype", "values"} else entry


def _finding(row: Any) -> Finding:
    """The finding of one of the `_rows`."""
    name, title, source, (checks, curves, sample), seconds = row
    return Finding(
        name, title, source, Evidence([Check(*check) for check in checks], curves, sample), seconds
    )

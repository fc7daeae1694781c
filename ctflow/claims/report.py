"""Findings as text and as tables."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ctflow.claims import Finding
from ctflow.claims.evidence import Check


def verdict(passed: bool) -> str:
    """A verdict in words."""
    return "holds" if passed else "FAILS"


def line(check: Check) -> str:
    """One check as a line: verdict, predicted value (none for a bound), simulated ± error, rule, quantity."""
    simulated = f"{check.simulated:.5g}" + (f" ± {check.error:.1g}" if check.error else "")
    bounded = not np.isnan(check.bound)
    predicted, rule = ("", f"{check.rule} {check.bound:.4g}") if bounded else (check.predicted, check.rule)
    numbers = f"{predicted:>11{'' if bounded else '.5g'}}  {simulated:<21} {rule:<20}"
    return f"  {verdict(check.passed)}  {numbers} {check.quantity}"


def text(finding: Finding) -> str:
    """A claim's title, source and checks, one per line."""
    checks = finding.evidence.checks
    count = f"{sum(check.passed for check in checks)} of {len(checks)}, {finding.seconds:.0f} s"
    head = f"{finding.title}: {verdict(finding.evidence.holds)} ({count})"
    columns = f"         {'predicted':>11}  {'simulated':<21} {'rule':<20} quantity"
    source = f"  source: {finding.source}; run: {finding.evidence.sample}"
    return "\n".join([head, source, columns, *map(line, checks), ""])


def rows(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """A table row for every check of every claim; commas in texts become semicolons, for the CSV file."""
    return [
        {
            "claim": finding.name,
            "source": finding.source.replace(",", ";"),
            "quantity": check.quantity.replace(",", ";"),
            "predicted": check.predicted,
            "bound": check.bound,
            "simulated": check.simulated,
            "error": check.error,
            "rule": check.rule,
            "verdict": verdict(check.passed),
        }
        for finding in findings
        for check in finding.evidence.checks
    ]


def summary(findings: Sequence[Finding]) -> str:
    """How many claims and checks hold, with the names of the claims that do not."""
    checks = [check for finding in findings for check in finding.evidence.checks]
    broken = [finding.title for finding in findings if not finding.evidence.holds]
    counts = f"{len(findings) - len(broken)} of {len(findings)} claims hold, "
    counts += f"{sum(check.passed for check in checks)} of {len(checks)} numbers"
    return counts + (f"; not: {'; '.join(broken)}" if broken else "")

"""What a claim hands back: numbers predicted and simulated, with the tolerance that decides on them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np


class Check(NamedTuple):
    """One number that theory predicts and a simulation must hit.

    Attributes:
        quantity: what it is, and where: "S², τ = 0.1, degree 2: growth".
        predicted: by theory; NaN where there is a bound only.
        bound: that must not be passed; NaN where there is a prediction.
        simulated: what came out.
        error: standard error of `simulated`; 0 where nothing is random.
        rule: how the two are compared, in words.
        passed: the verdict of that rule.
    """

    quantity: str
    predicted: float
    bound: float
    simulated: float
    error: float
    rule: str
    passed: bool


class Evidence(NamedTuple):
    """What running a claim gave.

    Attributes:
        checks: the numbers that decide.
        curves: tables of what a figure shows, by name.
        sample: how many particles, draws and seeds it ran, in words.
    """

    checks: list[Check]
    curves: dict[str, dict[str, np.ndarray]]
    sample: str = "quadrature, no samples"

    @property
    def holds(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)


def within(
    quantity: str, predicted: Any, simulated: Any, error: Any, *, sigmas: float = 4.0, slack: float = 0.0
) -> Check:
    """Simulated within `sigmas` standard errors of predicted, plus a known systematic error `slack`."""
    p, s, e = float(predicted), float(simulated), float(error)
    more = f" + {slack:.2g}" if slack else ""
    return Check(
        quantity, p, np.nan, s, e, f"within {sigmas:g}σ{more}", bool(abs(s - p) <= sigmas * e + slack)
    )


def close(
    quantity: str, predicted: Any, simulated: Any, *, relative: float = 0.0, absolute: float = 0.0
) -> Check:
    """Simulated equal to predicted up to a relative or absolute difference, where nothing is random."""
    p, s = float(predicted), float(simulated)
    rule = f"within {relative:.2g} of it" if relative else f"within {absolute:.2g}"
    return Check(quantity, p, np.nan, s, 0.0, rule, bool(abs(s - p) <= relative * abs(p) + absolute))


def at_most(quantity: str, bound: Any, simulated: Any, error: Any = 0.0, *, sigmas: float = 4.0) -> Check:
    """Simulated not above a bound by more than `sigmas` standard errors."""
    b, s, e = float(bound), float(simulated), float(error)
    return Check(quantity, np.nan, b, s, e, "at most", bool(s <= b + sigmas * e))


def at_least(quantity: str, bound: Any, simulated: Any, error: Any = 0.0, *, sigmas: float = 4.0) -> Check:
    """Simulated not below a bound by more than `sigmas` standard errors."""
    b, s, e = float(bound), float(simulated), float(error)
    return Check(quantity, np.nan, b, s, e, "at least", bool(s >= b - sigmas * e))


def sphere(d: int) -> str:
    """The name of the unit sphere of R^d."""
    return {2: "S¹", 3: "S²"}.get(d, f"d = {d}")


def table(rows: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Rows that share their names as columns."""
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}

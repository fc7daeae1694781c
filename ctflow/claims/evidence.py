"""What a claim returns: predicted and simulated numbers, with the tolerance that decides each verdict."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np


class Check(NamedTuple):
    """One number that theory predicts and a simulation must hit.

    Attributes:
        quantity: what is compared, and at which settings: "S², τ = 0.1, degree 2: growth".
        predicted: value by theory; NaN if there is only a bound.
        bound: limit for `simulated`, from above or below as `rule` says; NaN if there is a prediction.
        simulated: the measured value.
        error: standard error of `simulated`; 0 if nothing is random.
        rule: how the two are compared, in words.
        passed: whether `simulated` satisfies the rule.
    """

    quantity: str
    predicted: float
    bound: float
    simulated: float
    error: float
    rule: str
    passed: bool


class Evidence(NamedTuple):
    """The numbers that a claim compares, and the curves of its figure.

    Attributes:
        checks: the compared numbers, with verdicts.
        curves: tables of columns for the claim's figure, by name.
        sample: number of particles, draws and seeds of the run, in words.
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
    """Check that |simulated − predicted| <= `sigmas`·error + `slack`, a known systematic error."""
    p, s, e = float(predicted), float(simulated), float(error)
    more = f" + {slack:.2g}" if slack else ""
    return Check(
        quantity, p, np.nan, s, e, f"within {sigmas:g}σ{more}", bool(abs(s - p) <= sigmas * e + slack)
    )


def close(
    quantity: str, predicted: Any, simulated: Any, *, relative: float = 0.0, absolute: float = 0.0
) -> Check:
    """Check that |simulated − predicted| <= `relative`·|predicted| + `absolute`; nothing is random."""
    p, s = float(predicted), float(simulated)
    rule = f"within {relative:.2g} of it" if relative else f"within {absolute:.2g}"
    return Check(quantity, p, np.nan, s, 0.0, rule, bool(abs(s - p) <= relative * abs(p) + absolute))


def each_close(
    rows: Sequence[Mapping[str, Any]], quantity: Callable[[Any], str], **tolerances: float
) -> list[Check]:
    """`close` for each row of a table with the columns `predicted` and `simulated`."""
    return [close(quantity(row), row["predicted"], row["simulated"], **tolerances) for row in rows]


def at_most(quantity: str, bound: Any, simulated: Any, error: Any = 0.0, *, sigmas: float = 4.0) -> Check:
    """Check that simulated <= bound + `sigmas`·error."""
    b, s, e = float(bound), float(simulated), float(error)
    return Check(quantity, np.nan, b, s, e, "at most", bool(s <= b + sigmas * e))


def at_least(quantity: str, bound: Any, simulated: Any, error: Any = 0.0, *, sigmas: float = 4.0) -> Check:
    """Check that simulated >= bound − `sigmas`·error."""
    b, s, e = float(bound), float(simulated), float(error)
    return Check(quantity, np.nan, b, s, e, "at least", bool(s >= b - sigmas * e))


def sphere(d: int) -> str:
    """Name of the unit sphere of R^d in texts: S¹, S², or d = 8."""
    return {2: "S¹", 3: "S²"}.get(d, f"d = {d}")

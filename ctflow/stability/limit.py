"""The critical temperature of a law of latents: the limit of many latents."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ctflow._base.checks import check_count
from ctflow.couplings import Coupling
from ctflow.stability.critical import CriticalTemperature, critical_temperature


class LimitingTemperature(NamedTuple):
    """The critical temperature in the limit of many latents.

    Attributes:
        value: τ* extrapolated to n → ∞.
        error: the largest of three: the distance of the extrapolation from the largest size's τ*, how far it
            moves if the smallest size is left out, and the errors of the τ* themselves.
        sizes: numbers of latents, ascending, [s].
        temperatures: τ* at each size, [s]; 0 where overlap is stable at all temperatures looked at.
        largest: what was found at the largest size.
    """

    value: float
    error: float
    sizes: np.ndarray
    temperatures: Float[np.ndarray, " s"]
    largest: CriticalTemperature

    def __str__(self) -> str:
        found = ", ".join(f"{tau:.4g} ({n})" for n, tau in zip(self.sizes, self.temperatures, strict=True))
        return (
            f"critical temperature for n → ∞: {self.value:.4g} ± {self.error:.1g}\n"
            f"at finite sizes: {found}\n"
            "extrapolated by a straight line in 1/n\n"
            f"overlap at the largest size is unstable: "
            f"{', '.join(f'{a:.4g} to {b:.4g}' for a, b in self.largest.unstable) or 'nowhere'}\n"
            "stable against small displacements; a parted state of lower energy may exist beside"
        )


def limiting_temperature(
    law: Callable[[int], Coupling], d: int, *, sizes: Sequence[int] = (48, 80, 160), **options: Any
) -> LimitingTemperature:
    """The critical temperature τ* of a law of latents in the limit of many of them, from several sizes.

    The latents may stand for their law in any way, as random draws, quantiles or weighted quadrature points;
    the last converge fastest, because they do not change which latents lie between clusters. A straight line
    in 1/n is fitted to τ* by least squares.

    Args:
        law: the coupling of n latents, as a function of n.
        d: dimension of the ambient space, >= 2.
        sizes: at least three numbers of latents, ascending.
        options: of `critical_temperature`.

    Raises:
        ValueError: fewer than three sizes or not ascending; as `critical_temperature`.
    """
    sizes = tuple(sizes)
    for n in sizes:
        check_count("sizes", n, minimum=2)
    if len(sizes) < 3 or sorted(set(sizes)) != list(sizes):
        raise ValueError(f"sizes must be at least three, ascending, got {sizes}")
    found = [critical_temperature(law(n), d, **options) for n in sizes]
    stars, inverse = np.array([one.value for one in found]), 1 / np.array(sizes)

    def limit(first: int) -> float:
        return float(np.polyfit(inverse[first:], stars[first:], 1)[1])

    value = limit(0)
    error = max(abs(value - stars[-1]), abs(value - limit(1)), *(one.error for one in found))
    return LimitingTemperature(value, float(error), np.array(sizes), stars, found[-1])

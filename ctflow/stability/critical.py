"""The temperatures at which overlap is unstable against parting, and the highest of them."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ctflow._base.checks import check_count, check_positive
from ctflow.clouds import as_dtype
from ctflow.couplings import Coupling
from ctflow.energies import symmetric
from ctflow.stability.parting import neutral_apart, parting
from ctflow.stability.shared import SharedEquilibrium, check_rests, precise_clouds, shared_equilibrium
from ctflow.stability.spectrum import Modes


class CriticalTemperature(NamedTuple):
    """The highest temperature at which overlap is unstable against parting.

    Attributes:
        value: τ*; 0 if overlap is stable at all temperatures that were looked at.
        error: half the width of the interval in which τ* was found to lie.
        mode: the displacements along which the modalities part just below τ*; None if τ* = 0.
        shared: the shared cloud just below τ*, or at the lowest temperature.
        unstable: the intervals (lowest, highest) of temperatures at which overlap is unstable, from the
            highest. There may be more than one, and overlap may be stable again at low temperatures.
        temperatures: the temperatures that were looked at, descending.
        curvatures: the lowest antiphase curvature of the shared cloud at each of them.
        neutral: how many of the four lowest antiphase curvatures are 0 within rounding, at each of them.
            Along neutral directions the start decides, not the loss.
    """

    value: float
    error: float
    mode: Any
    shared: SharedEquilibrium
    unstable: tuple[tuple[float, float], ...]
    temperatures: Float[np.ndarray, " t"]
    curvatures: Float[np.ndarray, " t"]
    neutral: np.ndarray

    def __str__(self) -> str:
        low, high = self.temperatures.min(), self.temperatures.max()
        first = (
            f"critical temperature: {self.value:.4g} ± {self.error:.1g}"
            if self.value > 0
            else "no critical temperature: overlap is stable at all temperatures looked at"
        )
        intervals = ", ".join(f"{a:.4g} to {b:.4g}" for a, b in self.unstable) or "nowhere"
        inside = [any(a <= tau <= b for a, b in self.unstable) for tau in self.temperatures]
        crossing = [
            any(abs(tau / e - 1) < 0.02 for ab in self.unstable for e in ab) for tau in self.temperatures
        ]
        flat = self.temperatures[(self.neutral > 0) & ~np.asarray(inside) & ~np.asarray(crossing)]
        start = (
            f"neutral from {flat.min():.3g} to {flat.max():.3g}: there the start decides, not the loss"
            if len(flat)
            else "neutral at no other temperature"
        )
        return (
            f"{first}\n"
            f"overlap is unstable: {intervals}\n"
            f"{start}\n"
            f"looked at {len(self.temperatures)} temperatures from {low:.3g} to {high:.3g}\n"
            "stable against small displacements; a parted state of lower energy may exist beside"
        )


def critical_temperature(
    coupling: Coupling,
    d: int,
    *,
    loss: Callable[..., Any] = symmetric,
    temperatures: Sequence[float] = (0.05, 2.0),
    scan: int = 40,
    rtol: float = 2e-3,
    tolerance: float = 1e-3,
    **options: Any,
) -> CriticalTemperature:
    """The critical temperature τ*, below which overlap is unstable and the modalities part.

    The best shared cloud is followed from the highest temperature to the lowest, in equal steps of log τ, at
    each step from where it was and from further starts. Where the sign of its lowest antiphase curvature
    changes, the temperature is found by bisection. An interval that is narrower than a step can be missed.
    Overlap is locally stable elsewhere; a parted state of lower energy may exist beside it.

    Args:
        coupling: the law of positive pairs, a symmetric matrix.
        d: dimension of the ambient space, >= 2.
        loss: the energy as a function `loss(coupling, temperature=τ)`.
        temperatures: the lowest and the highest τ to look at, > 0.
        scan: number of temperatures of the scan, >= 2.
        rtol: relative accuracy of the ends of the intervals, > 0.
        tolerance: as in `modes`.
        options: of `shared_equilibrium`.

    Raises:
        ValueError: as `shared_equilibrium`; a coupling or loss that is not symmetric; a range of temperatures
            in the wrong order, or overlap that is unstable at the highest of them already.

    Examples:
        >>> import numpy as np
        >>> import ctflow as ct
        >>> angle = np.arange(6) * np.pi / 3
        >>> similarity = np.exp(np.cos(angle[:, None] - angle) / 0.5)
        >>> coupling = ct.couplings.from_matrix(similarity / similarity.sum())
        >>> options = {"scan": 6, "temperatures": (0.2, 1.0)}
        >>> found = ct.stability.critical_temperature(coupling, d=2, **options)
        >>> round(found.value, 2)
        0.43
    """
    low, high = temperatures
    check_positive("temperatures", low)
    check_positive("rtol", rtol)
    check_count("scan", scan, minimum=2)
    if not low < high:
        raise ValueError(f"temperatures must be (lowest, highest), got {tuple(temperatures)}")

    looked: dict[float, tuple[SharedEquilibrium, Modes]] = {}

    def stable_at(tau: float, near: float | None) -> bool:
        """Whether overlap is stable; the shared cloud at the temperature `near` is the first start."""
        energy, more = loss(coupling, temperature=tau), dict(options)
        if near is not None:
            more["start"] = looked[near][0].cloud
        shared = shared_equilibrium(energy, d, **more)
        check_rests(shared)
        with jax.enable_x64(True):
            energy, size = as_dtype(energy, jnp.float64), shared.coordinates
            lowest = parting(energy, precise_clouds(shared), min(4, size), tolerance=tolerance)
        looked[tau] = shared, lowest
        return lowest.stable

    grid = np.geomspace(high, low, scan).tolist()
    stable = [stable_at(tau, near) for tau, near in zip(grid, [None, *grid], strict=False)]
    if not stable[0]:
        raise ValueError(
            f"overlap is unstable at the highest temperature, {high:g}, already; raise temperatures[1]"
        )
    edges: list[tuple[float, float]] = []
    for number in np.flatnonzero(np.diff(stable)):
        above, below, was = grid[number], grid[number + 1], stable[number]
        while above - below > rtol * above:
            middle = (above * below) ** 0.5
            if stable_at(middle, below) == was:
                above = middle
            else:
                below = middle
        edges.append((below, above))
    middles = [(below + above) / 2 for below, above in edges] + [low] * (len(edges) % 2)
    unstable = tuple((middles[i + 1], middles[i]) for i in range(0, len(middles), 2))
    order = sorted(looked, reverse=True)
    curvatures = np.array([looked[tau][1].value[0] for tau in order])
    neutral = np.array([neutral_apart(looked[tau][1]) for tau in order])
    seen = unstable, np.array(order), curvatures, neutral
    if not edges:
        return CriticalTemperature(0.0, 0.0, None, looked[grid[-1]][0], *seen)
    below, above = edges[0]
    shared, lowest = looked[below]
    mode = jax.tree.map(lambda u: u[0], lowest.mode)
    return CriticalTemperature(middles[0], (above - below) / 2, mode, shared, *seen)

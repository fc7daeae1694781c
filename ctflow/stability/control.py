"""The least strength of a control that makes overlap stable against parting."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ctflow._base.checks import check_positive
from ctflow.clouds import as_dtype, points
from ctflow.energy import as_energy
from ctflow.partition.staged import exactly
from ctflow.stability import chart
from ctflow.stability.parting import parting
from ctflow.stability.shared import SharedEquilibrium, check_rests, precise_clouds, shared_equilibrium
from ctflow.stability.spectrum import Modes

_ROUNDS = 40
_UNREACHABLE = 1e4  # a control that would take this times the largest strength has curvature by rounding only


class LeastControl(NamedTuple):
    """The least λ for which overlap of E + λ·C is stable against parting.

    Attributes:
        value: λ*; 0 if overlap is stable without a control, infinite if no strength suffices.
        error: half the width of the interval in which λ* was found to lie, and the strength that makes up for
            the uncertainty of curvatures; large where the lowest curvature rises slowly with λ.
        mode: the displacements that part the modalities just below λ*, or that resist every strength.
        shared: the shared cloud at λ*, or at the largest strength that was tried.
        stays: whether the control leaves the shared cloud where it is, as those do that are least on overlap.
        uncontrolled: the lowest curvature in antiphase without the control.
        resists: curvatures (of the energy, of the control) along the mode that no strength stabilises; None
            if some strength suffices.
        largest: the largest strength that was tried or, where one mode resists, that is known not to suffice.
        uncertainty: of the curvatures, as in `Modes`: parting at lower rates than this, 1/time, is not seen.
            Where curvatures rise slowly with λ, slow parting can go on well above `value`.
    """

    value: float
    error: float
    mode: Any
    shared: SharedEquilibrium
    stays: bool
    uncontrolled: float
    resists: tuple[float, float] | None
    largest: float
    uncertainty: float

    def __str__(self) -> str:
        if self.value == 0:
            first = "no control is needed: overlap is stable"
        elif np.isinf(self.value):
            first = f"no strength suffices, up to {self.largest:.3g}"
            if self.resists is not None and self.stays:
                energy, control = self.resists
                first = (
                    f"no strength suffices: along one mode the energy has curvature {energy:.3g} and the "
                    f"control {control:.2g}"
                )
        else:
            first = f"least strength: {self.value:.4g} ± {self.error:.1g}"
        kept = "stays" if self.stays else "moves with the strength, and was found anew at each"
        return (
            f"{first}\n"
            f"lowest antiphase curvature without control: {self.uncontrolled:.4g}; parting at rates below "
            f"{self.uncertainty:.1g} is not seen\n"
            f"the shared cloud {kept}\n"
            f"energy of the shared cloud: {self.shared.value:.6g} nats, speed left {self.shared.error:.1g}\n"
            "stable against small displacements; a parted state of lower energy may exist beside"
        )


def least_control(
    energy: Any,
    control: Any,
    d: int,
    *,
    shared: SharedEquilibrium | None = None,
    largest: float = 100.0,
    rtol: float = 1e-3,
    tolerance: float = 1e-3,
    **options: Any,
) -> LeastControl:
    """The least λ >= 0 for which the shared cloud of E + λ·C is stable against parting.

    The lowest antiphase curvature μ(λ) of E + λ·C at the shared cloud is negative below λ*. A control that is
    least on overlap (`SymmetricDivergence`, MMD², the distance of the means) leaves the shared cloud where it
    is. Then μ is concave in λ, and with a mode u of the lowest curvature at some λ the tangent
    u'(E'' + λC'')u bounds it from above. So λ* is approached from below by Newton's steps, and a tangent that
    does not rise proves that no strength suffices. Other controls (uniformity) move the shared cloud, which
    is found anew for every λ; λ* is then the first crossing that doubling strengths up to `largest` find.

    Args:
        energy: an energy of two or more clouds, such as `ct.energies.symmetric`.
        control: the energy C to add λ times.
        d: dimension of the ambient space.
        shared: the shared cloud of `energy`, if it is known.
        largest: largest strength to try, > 0, for a control that moves the shared cloud. For others a
            strength of 10⁴ times this counts as out of reach.
        rtol: relative accuracy of λ*, > 0.
        tolerance: as in `modes`.
        options: of `shared_equilibrium`.

    Raises:
        ValueError: as `shared_equilibrium`; a coupling that is not symmetric, or a loss that treats the
            modalities differently: overlap is then not at rest, and there is nothing to stabilise.
    """
    energy, control = as_energy(energy), as_energy(control)
    check_positive("largest", largest)
    check_positive("rtol", rtol)
    shared = shared_equilibrium(energy, d, **options) if shared is None else shared
    check_rests(shared)
    with jax.enable_x64(True):
        energy, control = (as_dtype(part, jnp.float64) for part in (energy, control))
        push = float(np.linalg.norm(chart.slope(control, shared.clouds, kind="all")))
        stays = push <= 1e-6 * (1 + abs(float(control(shared.clouds))))
        lowest = parting(energy, precise_clouds(shared), tolerance=tolerance)
        if lowest.stable:
            none = 0.0, 0.0, _first(lowest), shared, stays, float(lowest.value[0]), None, 0.0
            return LeastControl(*none, float(lowest.uncertainty[0]))
        if stays:
            return _at_rest(energy, control, shared, lowest, largest, rtol, tolerance)
        return _moving(energy, control, shared, lowest, largest, rtol, tolerance, options)


def _first(found: Modes) -> Any:
    return jax.tree.map(lambda u: u[0], found.mode)


def along(energy: Any, clouds: Any, mode: Any) -> float:
    """The curvature of an energy along a displacement."""
    dtype = jax.tree.leaves(points(clouds))[0].dtype
    return float(_along(as_dtype(exactly(energy, dtype), dtype), clouds, mode))


@jax.jit
def _along(energy, clouds, mode):
    def value(t):
        return energy(chart.moved(clouds, jax.tree.map(lambda u: t * u, mode)))

    dtype = jax.tree.leaves(points(clouds))[0].dtype
    return jax.jvp(jax.grad(value), (jnp.zeros((), dtype),), (jnp.ones((), dtype),))[1]


def _at_rest(
    energy: Any,
    control: Any,
    shared: SharedEquilibrium,
    lowest: Modes,
    largest: float,
    rtol: float,
    tolerance: float,
) -> LeastControl:
    """λ* for a control that leaves the shared cloud where it is, by tangents of μ."""
    clouds, uncontrolled = precise_clouds(shared), float(lowest.value[0])
    strength, step, rise, mode = 0.0, np.inf, 0.0, _first(lowest)
    for _ in range(_ROUNDS):
        rise = along(control, clouds, mode)
        own = float(lowest.value[0]) - strength * rise
        enough = -own / rise if rise > 0 else np.inf  # no strength below this one suffices
        if enough > _UNREACHABLE * largest:
            found = np.inf, 0.0, mode, shared, True, uncontrolled, (own, rise), enough
            return LeastControl(*found, float(lowest.uncertainty[0]))
        step, strength = enough - strength, enough
        if step <= 0.1 * rtol * strength:
            break
        lowest = parting(energy + strength * control, clouds, tolerance=tolerance)
        if lowest.stable:
            break
        mode = _first(lowest)
    error = max(step, rtol * strength) / 2 + lowest.uncertainty[0] / rise
    found = strength, error, mode, shared, True, uncontrolled, None, strength
    return LeastControl(*found, float(lowest.uncertainty[0]))


def _moving(
    energy: Any,
    control: Any,
    shared: SharedEquilibrium,
    lowest: Modes,
    largest: float,
    rtol: float,
    tolerance: float,
    options: dict[str, Any],
) -> LeastControl:
    """λ* for a control that moves the shared cloud: the first crossing among doubling strengths."""
    uncontrolled, d = float(lowest.value[0]), points(shared.cloud).shape[1]

    def at(strength: float, near: SharedEquilibrium) -> tuple[SharedEquilibrium, Modes]:
        whole = energy + strength * control
        found = shared_equilibrium(whole, d, **(options | {"start": near.cloud, "starts": 1}))
        return found, parting(whole, precise_clouds(found), tolerance=tolerance)

    below, above, near, found = 0.0, largest / 2**14, shared, lowest
    while True:
        here, modes_here = at(above, near)
        if modes_here.stable:
            break
        below, near, found = above, here, modes_here
        if above >= largest:
            mode = _first(found)
            resists = along(energy, precise_clouds(near), mode), along(control, precise_clouds(near), mode)
            none = np.inf, 0.0, mode, near, False, uncontrolled, resists, largest
            return LeastControl(*none, float(found.uncertainty[0]))
        above = min(2 * above, largest)
    while above - below > rtol * above:
        middle = (above + below) / 2
        here, modes_here = at(middle, near)
        if modes_here.stable:
            above = middle
        else:
            below, near, found = middle, here, modes_here
    half = (above - below) / 2
    some = below + half, half, _first(found), near, False, uncontrolled, None, above
    return LeastControl(*some, float(found.uncertainty[0]))

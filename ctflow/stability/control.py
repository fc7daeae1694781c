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
# Where so many times the largest strength would be needed, the control's curvature is rounding: at the first
# the search ends, and what it finds above the second is no strength either.
_UNREACHABLE, _FAR = 1e4, 100.0


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
            strength of 100 times this counts as out of reach.
        rtol: relative accuracy of λ*, > 0.
        tolerance: as in `modes`.
        options: of `shared_equilibrium`.

    Raises:
        ValueError: as `shared_equilibrium`; a coupling that is not symmetric, or a loss that treats the
            modalities differently: overlap is then not at rest, and there is nothing to stabilise.

    Examples:
        >>> import numpy as np
        >>> import ctflow as ct
        >>> angle = np.arange(6) * np.pi / 3
        >>> similarity = np.exp(np.cos(angle[:, None] - angle) / 0.5)
        >>> coupling = ct.couplings.from_matrix(similarity / similarity.sum())
        >>> energy = ct.energies.symmetric(coupling, temperature=0.3)
        >>> control = ct.energies.SymmetricDivergence(ct.kernels.Exponential(0.3))
        >>> round(ct.stability.least_control(energy, control, d=2).value, 2)
        0.14
    """
    energy, control = as_energy(energy), as_energy(control)
    check_positive("largest", largest)
    check_positive("rtol", rtol)
    shared = shared_equilibrium(energy, d, **options) if shared is None else shared
    check_rests(shared)
    with jax.enable_x64(True):
        energy, control = (as_dtype(part, jnp.float64) for part in (energy, control))
        push = chart.speed(control, shared.clouds)
        stays = push <= 1e-6 * (1 + abs(float(control(shared.clouds))))
        lowest = parting(energy, precise_clouds(shared), tolerance=tolerance)
        if lowest.stable:
            value, error, unstable, near, resists, tried = 0.0, 0.0, lowest, shared, None, 0.0
        elif stays:
            near = shared
            value, error, unstable, resists, tried = _at_rest(
                energy, control, precise_clouds(shared), lowest, largest, rtol, tolerance
            )
        else:
            value, error, unstable, near, resists, tried = _moving(
                energy, control, shared, lowest, largest, rtol, tolerance, options
            )
    return LeastControl(
        value,
        error,
        _first(unstable),
        near,
        stays,
        float(lowest.value[0]),
        resists,
        tried,
        float(unstable.uncertainty[0]),
    )


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
    energy: Any, control: Any, clouds: Any, lowest: Modes, largest: float, rtol: float, tolerance: float
) -> tuple[float, float, Modes, tuple[float, float] | None, float]:
    """λ* by tangents of μ, for a control that leaves the shared cloud where it is.

    Returns:
        λ*, its error, modes just below it, curvatures along a mode that resists, the largest strength.
    """
    strength, step, rise, own = 0.0, np.inf, np.inf, 0.0
    for _ in range(_ROUNDS):
        rise = along(control, clouds, _first(lowest))
        own = float(lowest.value[0]) - strength * rise
        enough = -own / rise if rise > 0 else np.inf  # no strength below this one suffices
        if enough > _FAR * largest and lowest.stable:  # what is left is uncertain, and no strength removes it
            break
        if enough > _UNREACHABLE * largest:
            return np.inf, 0.0, lowest, (own, rise), enough
        step, strength = enough - strength, enough
        if step <= 0.1 * rtol * strength:
            break
        found = parting(energy + strength * control, clouds, tolerance=tolerance)
        if found.value[0] >= -max(1e-7 * abs(found.fastest), found.error[0]):
            break
        lowest = found
    if strength > _FAR * largest:
        return np.inf, 0.0, lowest, (own, rise), strength
    unseen = float(lowest.uncertainty[0]) / rise if rise > 0 else np.inf
    error = max(step, rtol * strength) / 2 + unseen
    return strength, error, lowest, None, strength


def _moving(
    energy: Any,
    control: Any,
    shared: SharedEquilibrium,
    lowest: Modes,
    largest: float,
    rtol: float,
    tolerance: float,
    options: dict[str, Any],
) -> tuple[float, float, Modes, SharedEquilibrium, tuple[float, float] | None, float]:
    """λ* for a control that moves the shared cloud: the first crossing among doubling strengths.

    Returns:
        As `_at_rest`, with the shared cloud after the modes.
    """
    d = points(shared.cloud).shape[1]
    options = options | {"starts": 1, "modalities": shared.modalities}

    def at(strength: float, near: SharedEquilibrium) -> tuple[SharedEquilibrium, Modes]:
        whole = energy + strength * control
        found = shared_equilibrium(whole, d, **(options | {"start": near.cloud}))
        return found, parting(whole, precise_clouds(found), tolerance=tolerance)

    below, above, near = 0.0, largest / 2**14, shared
    while True:
        here, found = at(above, near)
        if found.stable:
            break
        below, near, lowest = above, here, found
        if above >= largest:
            clouds, mode = precise_clouds(near), _first(lowest)
            return (
                np.inf,
                0.0,
                lowest,
                near,
                (along(energy, clouds, mode), along(control, clouds, mode)),
                largest,
            )
        above = min(2 * above, largest)
    while above - below > rtol * above:
        middle = (above + below) / 2
        here, found = at(middle, near)
        if found.stable:
            above = middle
        else:
            below, near, lowest = middle, here, found
    return (below + above) / 2, (above - below) / 2, lowest, near, None, above

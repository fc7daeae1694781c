"""What a control costs: energy and recall, predicted to second order in its strength and then simulated."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse.linalg
from jax.flatten_util import ravel_pytree
from jaxtyping import Float

from ctflow._base.checks import check_positive
from ctflow.clouds import as_dtype, points
from ctflow.couplings import Coupling
from ctflow.energy import as_energy, check_energy
from ctflow.partition.staged import exactly
from ctflow.stability import chart
from ctflow.stability.descent import descend
from ctflow.stability.lowest import distance
from ctflow.stability.shared import couplings_of, matrix_of
from ctflow.stability.spectrum import DENSE_COORDINATES, modes

_NEUTRAL = 1e-6  # curvatures below this multiple of the fastest count as 0

_minres: Any = scipy.sparse.linalg.minres
_operator: Any = scipy.sparse.linalg.LinearOperator


class ControlPrice(NamedTuple):
    """Energy and recall that a control costs at several strengths, from a state at rest without it.

    Attributes:
        value: rise of the energy above the state, in nats, simulated: [s].
        error: root mean square speed, in radians per time, left at the ends of the descents, [s].
        predicted: the rise to second order in the strength, ½λ²·g'H⁺g, [s].
        strengths: λ, ascending, [s].
        control: the control's own value at the ends, [s].
        control_predicted: the same to first order, C - λ·g'H⁺g, [s].
        distance: the energy distance of the clouds at the ends, [s].
        recall: the chance that a partner drawn from the coupling is the nearest, mean of both ways, [s]; NaN
            for an energy without a coupling, or with several.
        recall_predicted: the same at the clouds displaced to first order, [s].
        before: energy, control, distance and recall of the state without control.
        above_bound: the energy above its lower bound at the ends, [s]; NaN where no bound is known.
        reach: the strength up to which second order can be trusted: there it halves the control, C/(2·g'H⁺g).
        free: the share of the control's squared slope along neutral directions, where closing costs nothing
            to second order; NaN where the Hessian is too large for a matrix.
        clouds: the states at the ends, one for each strength.
    """

    value: Float[np.ndarray, " s"]
    error: Float[np.ndarray, " s"]
    predicted: Float[np.ndarray, " s"]
    strengths: Float[np.ndarray, " s"]
    control: Float[np.ndarray, " s"]
    control_predicted: Float[np.ndarray, " s"]
    distance: Float[np.ndarray, " s"]
    recall: Float[np.ndarray, " s"]
    recall_predicted: Float[np.ndarray, " s"]
    before: tuple[float, float, float, float]
    above_bound: Float[np.ndarray, " s"]
    reach: float
    free: float
    clouds: tuple[Any, ...]

    def __str__(self) -> str:
        def row(values: Any) -> str:
            return ", ".join(f"{value:.3g}" for value in values)

        _, _, apart, recall = self.before
        return (
            f"strengths: {row(self.strengths)}\n"
            f"energy paid, in nats: {row(self.value)} (to second order: {row(self.predicted)}, "
            f"up to {self.reach:.1g})\n"
            f"energy distance left of {apart:.3g}: {row(self.distance)}\n"
            f"recall@1, {recall:.3g} before: {row(self.recall)}\n"
            f"energy above the bound: {row(self.above_bound)} nats"
        )


def control_price(
    energy: Any,
    control: Any,
    clouds: Any,
    strengths: Sequence[float],
    *,
    tolerance: float = 1e-6,
    max_iterations: int = 3000,
) -> ControlPrice:
    """What adding λ·C to E costs, from a state at rest under E, such as one of `lowest_state`.

    With g the slope of C and H the Hessian of E at the state, the clouds move by -λH⁺g to first order, E
    rises by ½λ²·g'H⁺g and C falls by λ·g'H⁺g. H⁺ is the inverse apart from neutral directions: from a matrix
    with up to 600 coordinates, and by MINRES (`scipy.sparse.linalg`) beyond. The price itself is found by
    descents of E + λ·C (L-BFGS) from one strength to the next. Where the clouds overlap it is the energy of
    the shared cloud above the state. They can stay parted somewhat above λ*, where a parted state lies
    beside the stable overlap.

    Args:
        energy: the energy E.
        control: the energy C >= 0 to add λ times.
        clouds: a state at rest under E, in float64.
        strengths: λ > 0, ascending.
        tolerance: descents end where the gradient is below this times that at random points.
        max_iterations: of each descent.

    Raises:
        ValueError: bad clouds or energies, clouds that are not at rest, strengths that are not positive or
            not ascending.
    """
    energy, control = as_energy(energy), as_energy(control)
    levels = [float(strength) for strength in strengths]
    if not levels or sorted(set(levels)) != levels:
        raise ValueError(f"strengths must ascend and not be empty, got {tuple(strengths)}")
    for strength in levels:
        check_positive("strengths", strength)
    with jax.enable_x64(True):
        clouds = check_energy(energy, as_dtype(clouds, jnp.float64), name="clouds")
        check_energy(control, clouds, name="clouds")
        energy, control = (
            exactly(as_dtype(part, jnp.float64), jnp.dtype("float64")) for part in (energy, control)
        )
        modes(energy, clouds)  # refuses clouds that are not at rest
        step, gain, free = _response(energy, control, clouds)
        shifted = [chart.moved(clouds, jax.tree.map(lambda u, s=s: s * u, step)) for s in levels]
        ends, errors, near = [], [], clouds
        for strength in levels:
            whole = energy + strength * control
            _, near = descend(whole, near, tolerance, max_iterations)
            ends.append(near)
            errors.append(chart.speed(whole, near))
        start, values = float(energy(clouds)), np.array([float(energy(end)) for end in ends])
        couplings = list(couplings_of(energy))
        pairing = couplings[0] if len(couplings) == 1 and len(jax.tree.leaves(points(clouds))) == 2 else None
        first = float(control(clouds))
        bound = _lower_bound(energy, clouds)
        lam = np.array(levels)
        return ControlPrice(
            value=values - start,
            error=np.array(errors),
            predicted=lam**2 * gain / 2,
            strengths=lam,
            control=np.array([float(control(end)) for end in ends]),
            control_predicted=first - lam * gain,
            distance=np.array([distance(end) for end in ends]),
            recall=np.array([recall(pairing, end) for end in ends]),
            recall_predicted=np.array([recall(pairing, end) for end in shifted]),
            before=(start, first, distance(clouds), recall(pairing, clouds)),
            above_bound=values - bound,
            reach=first / (2 * gain) if gain > 0 else np.inf,
            free=free,
            clouds=tuple(ends),
        )


def _response(energy: Any, control: Any, clouds: Any) -> tuple[Any, float, float]:
    """The displacement -H⁺g per strength, g'H⁺g, and the share of |g|² along neutral directions."""
    slope, unravel = ravel_pytree(chart.slope(control, clouds, kind="all"))
    g = np.asarray(slope)
    if len(g) <= DENSE_COORDINATES:
        matrix = np.asarray(chart.hessian(energy, clouds, kind="all"))
        values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
        along, stiff = vectors.T @ g, values > _NEUTRAL * np.abs(values).max()
        u = -vectors[:, stiff] @ (along[stiff] / values[stiff])
        free = float(np.sum(along[~stiff] ** 2) / max(np.sum(g**2), np.finfo(float).tiny))
    else:

        def times(vector: np.ndarray) -> np.ndarray:
            found = chart.curvature(energy, clouds, unravel(jnp.asarray(vector.ravel())), kind="all")
            return np.asarray(ravel_pytree(found)[0])

        u = -_minres(_operator((len(g), len(g)), matvec=times, dtype=g.dtype), g, rtol=1e-6)[0]
        free = np.nan
    step = chart.displacements(clouds, jnp.asarray(u)[None], kind="all")
    return jax.tree.map(lambda v: v[0], step), float(-(g @ u)), free


def _lower_bound(energy: Any, clouds: Any) -> float:
    """The energy's lower bound, NaN if it knows none."""
    bound = getattr(energy, "lower_bound", None)
    return np.nan if bound is None else float(bound(jax.tree.leaves(points(clouds))[0].shape[1]))


def recall(coupling: Coupling | None, clouds: Any) -> float:
    """The chance that a partner drawn from π(·|i) is the nearest, mean of both ways; NaN without π."""
    if coupling is None:
        return np.nan
    x, y = (np.asarray(z) for z in points(clouds))
    pi = matrix_of(coupling)
    ways = []
    for law, a, b in ((pi, x, y), (pi.T.tocsr(), y, x)):
        nearest = np.concatenate([np.argmax(a[i : i + 1024] @ b.T, axis=1) for i in range(0, len(a), 1024)])
        ways.append(float(np.sum(law[np.arange(len(a)), nearest])))
    return sum(ways) / 2

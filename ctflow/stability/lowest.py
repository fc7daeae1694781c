"""The lowest state with all clouds free: whether a parted one lies below overlap, stable or not."""

from itertools import combinations
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ctflow._base.checks import check_count, check_positive
from ctflow.clouds import as_dtype, points, with_points
from ctflow.diagnostics import energy_distance
from ctflow.energy import as_energy
from ctflow.partition import planned
from ctflow.stability import chart
from ctflow.stability.descent import descend
from ctflow.stability.parting import parting
from ctflow.stability.shared import SharedEquilibrium, check_rests, precise_clouds, shared_equilibrium
from ctflow.stability.spectrum import MANY, Modes

APART = 1e-4
"""Energy distance from which two clouds count as parted; at overlap descents leave 1e-8 and less."""
_LOWER = 1e-8  # nats below overlap, as a multiple of 1 + |energy|, beyond what descents leave
STARTS = ("beside overlap", "opposite cones", "random")


class Reached(NamedTuple):
    """The end of one descent.

    Attributes:
        start: which of the `STARTS`.
        energy: in nats.
        distance: the largest energy distance between two of the clouds.
    """

    start: str
    energy: float
    distance: float


class LowestState(NamedTuple):
    """The state of lowest energy that was found with all clouds free, beside overlap.

    Attributes:
        value: how far it lies below overlap, in nats; 0 if nothing below overlap was found.
        error: root mean square speed, in radians per time, that is left at the state.
        clouds: the state; the shared cloud for all modalities if nothing lower was found.
        distance: its largest energy distance between two clouds.
        reached: the end of every descent, from the lowest energy.
        shared: the best shared cloud.
        overlap: the lowest antiphase curvatures of overlap; `overlap.stable` is local stability.
    """

    value: float
    error: float
    clouds: Any
    distance: float
    reached: tuple[Reached, ...]
    shared: SharedEquilibrium
    overlap: Modes

    @property
    def parted(self) -> bool:
        """Whether the lowest state is parted and lies below overlap."""
        return self.value > 0 and self.distance > APART

    @property
    def verdict(self) -> str:
        """Which kind of stability overlap has."""
        beside = self._equal()
        if not self.overlap.stable:
            return "overlap is unstable: a gap opens from the smallest displacement"
        if self.parted:
            return (
                "overlap is stable against small displacements, yet not the lowest state: the start decides"
            )
        if beside:
            return f"overlap is the lowest state, with parted ones of the same energy ({beside} found)"
        return "overlap is stable, and no lower state was found"

    def _equal(self) -> int:
        """How many descents ended parted, as low as overlap within rounding."""
        limit = self.shared.value + _rounding(self.shared.value)
        return sum(end.distance > APART and end.energy <= limit for end in self.reached)

    def __str__(self) -> str:
        ends = ", ".join(
            f"{end.energy:.6g} ({end.start}, {end.distance:.1g} apart)" for end in self.reached[:3]
        )
        return (
            f"{self.verdict}\n"
            f"lowest state: {self.value:.3g} nats below overlap, energy distance {self.distance:.3g}\n"
            f"lowest antiphase curvature of overlap: {self.overlap.value[0]:.4g}\n"
            f"energies reached from {len(self.reached)} starts: {ends}\n"
            "a lower state elsewhere is not excluded"
        )


def lowest_state(
    energy: Any,
    d: int,
    *,
    shared: SharedEquilibrium | None = None,
    starts: int = 2,
    displacement: float = 0.05,
    seed: int = 0,
    tolerance: float = 1e-6,
    max_iterations: int = 3000,
    **options: Any,
) -> LowestState:
    """The lowest state with every cloud free, sought from beside overlap, from far apart, and at random.

    `modes` tells whether overlap is stable against small displacements. A parted state of lower energy can
    exist nonetheless (a first-order transition): then a run that starts overlapped stays so, and one that
    starts elsewhere may not. This looks for such states by descents (`scipy.optimize`, L-BFGS) in float64.

    Args:
        energy: an energy of two or more clouds, such as `ct.energies.symmetric`.
        d: dimension of the ambient space.
        shared: the shared cloud of `energy`, if it is known.
        starts: number of starts of each of the three kinds, >= 1.
        displacement: root mean square displacement of the starts beside overlap, in radians, > 0.
        seed: for the starts.
        tolerance: descents end where the gradient is below this times that at random points.
        max_iterations: of each descent.
        options: of `shared_equilibrium`.

    Raises:
        ValueError: as `shared_equilibrium`; a coupling or loss that is not symmetric.
    """
    energy = as_energy(energy)
    check_count("starts", starts)
    check_positive("displacement", displacement)
    shared = shared_equilibrium(energy, d, **options) if shared is None else shared
    check_rests(shared)
    with jax.enable_x64(True):
        whole = as_dtype(energy, jnp.float64)
        overlap = parting(whole, precise_clouds(shared), min(4, shared.coordinates))
        n = points(shared.cloud).shape[0]
        free = planned(whole, n, d, jnp.dtype("float64"), evaluations=1000) if n * d > MANY else whole
        rng, ends = np.random.default_rng(seed), []
        for kind in STARTS * starts:
            begin = with_points(shared.clouds, _start(kind, shared, displacement, rng))
            ends.append((kind, *descend(free, begin, tolerance, max_iterations)))
        reached = [Reached(kind, value, distance(clouds)) for kind, value, clouds in ends]
        best = int(np.argmin([end.energy for end in reached]))
        clouds, apart = ends[best][2], reached[best].distance
        below = shared.value - reached[best].energy
        if below <= _rounding(shared.value):
            below, clouds, apart = 0.0, shared.clouds, 0.0
        speed = chart.speed(whole, clouds)
    order = sorted(reached, key=lambda end: end.energy)
    return LowestState(below, speed, clouds, apart, tuple(order), shared, overlap)


def distance(clouds: Any) -> float:
    """The largest energy distance between two of several clouds, as measures."""
    return max(float(energy_distance(x, y, estimator="v")) for x, y in combinations(clouds, 2))


def _rounding(energy: float) -> float:
    return _LOWER * (1 + abs(energy))


def _start(kind: str, shared: SharedEquilibrium, size: float, rng: np.random.Generator) -> Any:
    """Points of all clouds: beside overlap, in cones about different poles, or random."""
    z = np.asarray(points(shared.cloud))
    clouds = []
    for number in range(shared.modalities):
        noise = rng.standard_normal(z.shape)
        if kind == "beside overlap":
            moved = z + size * noise / np.sqrt(z.shape[1] - 1)
        elif kind == "random":
            moved = noise
        else:
            pole = np.zeros(z.shape[1])
            pole[-1 - number // 2 % z.shape[1]] = 1 - 2 * (number % 2)
            moved = pole + 0.15 * noise
        clouds.append(moved / np.linalg.norm(moved, axis=1, keepdims=True))
    return jax.tree.unflatten(jax.tree.structure(points(shared.clouds)), clouds)

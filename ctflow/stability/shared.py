"""The best cloud that several modalities can share, and whether the flow leaves it alone."""

from collections.abc import Iterator
from dataclasses import KW_ONLY
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from jaxtyping import Float

from ctflow._base.checks import check_count, check_positive
from ctflow._base.pytree import static
from ctflow.clouds import Pair, WeightedCloud, as_dtype, check_cloud, points
from ctflow.couplings import Coupling
from ctflow.energy import Energy, as_energy, check_energy, terms_of, value_of
from ctflow.partition import planned
from ctflow.stability import chart
from ctflow.stability.descent import descend
from ctflow.stability.spectrum import MANY

FEW_DIMENSIONS = 16  # in more dimensions descents start where one in so many ends
_PROBE = 30  # steps of a descent that tells whether a state is a minimum
_IMBALANCE = 1e-4  # radians per time; rounding leaves 1e-8, and asymmetric losses have 0.01 or more


class Together(Energy):
    """An energy of several clouds as an energy of one that serves as all of them."""

    part: Energy
    _: KW_ONLY
    count: int = static(default=2)

    def __call__(self, clouds):
        """The part's energy of (z, z, …)."""
        return value_of(self.part, repeated(clouds, self.count))

    def terms(self, clouds):
        """The part's terms."""
        return terms_of(self.part, repeated(clouds, self.count))


def repeated(cloud: Any, count: int) -> Any:
    """The clouds (z, z, …), as a Pair if there are two."""
    return Pair(cloud, cloud) if count == 2 else (cloud,) * count


class SharedEquilibrium(NamedTuple):
    """The cloud of lowest energy that was found for all modalities together.

    Attributes:
        value: its energy, in nats.
        error: root mean square speed, in radians per time, at which the flow still moves the shared cloud;
            0 at rest.
        cloud: the shared cloud, [n, d] or a `WeightedCloud`, as NumPy arrays in float64.
        imbalance: root mean square speed at which the flow parts the modalities from it. It is 0 where
            coupling and loss are symmetric; where they are not, no shared cloud is at rest, and there is no
            stability to ask for.
        symmetric: whether every coupling is a symmetric matrix.
        starts: energies reached from the starts, in ascending order.
        modalities: their number.
    """

    value: float
    error: float
    cloud: Any
    imbalance: float
    symmetric: bool
    starts: tuple[float, ...]
    modalities: int

    @property
    def clouds(self) -> Any:
        """The clouds of all modalities: the shared one, repeated."""
        return repeated(self.cloud, self.modalities)

    @property
    def rests(self) -> bool:
        """Whether the flow leaves the shared cloud together."""
        return self.symmetric and self.imbalance < _IMBALANCE

    @property
    def coordinates(self) -> int:
        """The number of coordinates of displacements in antiphase, (modalities - 1)·n·(d - 1)."""
        n, d = points(self.cloud).shape
        return (self.modalities - 1) * n * (d - 1)

    @property
    def reason(self) -> str:
        """Why the flow parts the modalities, and how fast."""
        what = (
            "the loss treats the modalities differently"
            if self.symmetric
            else "the coupling is not symmetric"
        )
        return f"{what}: the flow parts the modalities at speed {self.imbalance:.2g}"

    def __str__(self) -> str:
        n, d = points(self.cloud).shape
        reached = ", ".join(f"{energy:.6g}" for energy in self.starts[:5])
        parted = "the flow leaves the modalities together" if self.rests else self.reason
        return (
            f"energy of the shared cloud: {self.value:.6g} nats; {n} points in {d} dimensions\n"
            f"speed left: {self.error:.1g}\n"
            f"{parted}\n"
            f"energies reached from {len(self.starts)} starts: {reached}\n"
            "the lowest of them is taken; a lower one elsewhere is not excluded"
        )


def check_rests(shared: SharedEquilibrium) -> None:
    """Raise ValueError unless the shared cloud is at rest for all modalities."""
    if not shared.rests:
        raise ValueError(
            f"overlap is not at rest, so there is no stability to lose; {shared.reason}. Symmetrise the "
            "coupling, (π + π')/2, and the loss, or simulate with ct.solve"
        )


def precise_clouds(shared: SharedEquilibrium) -> Any:
    """The shared clouds, in float32 if there are so many coordinates that curvatures are that inaccurate."""
    return shared.clouds if shared.coordinates <= MANY else as_dtype(shared.clouds, jnp.float32)


def couplings_of(energy: Any) -> Iterator[Coupling]:
    """The couplings in an energy."""
    for node in jax.tree.leaves(energy, is_leaf=lambda node: isinstance(node, Coupling)):
        if isinstance(node, Coupling):
            yield node


def matrix_of(coupling: Coupling) -> Any:
    """π as a sparse matrix in float64; pairs that are listed twice are added."""
    weights = np.asarray(coupling.weights, np.float64)
    return scipy.sparse.csr_matrix(
        (weights, (np.asarray(coupling.rows), np.asarray(coupling.cols))), shape=coupling.shape
    )


def is_symmetric(coupling: Coupling) -> bool:
    """Whether π_ij = π_ji, up to rounding of float32."""
    pi = matrix_of(coupling)
    if pi.shape[0] != pi.shape[1]:
        return False
    return bool(abs(pi - pi.T).max() <= 1e-5 * pi.max())


def shared_equilibrium(
    energy: Any,
    d: int,
    *,
    n: int | None = None,
    start: Any = None,
    starts: int = 3,
    modalities: int = 2,
    seed: int = 0,
    tolerance: float | None = None,
    max_iterations: int = 3000,
) -> SharedEquilibrium:
    """The cloud of lowest energy that all modalities can share: x = y = z, and E(z, z) least.

    It is sought by `scipy.optimize`'s L-BFGS in float64, on points that are scaled to the sphere, from
    several starts: the leading eigenvectors of the symmetric part of the coupling, which place paired points
    together, and random clouds. If the marginals of the coupling are not uniform, the cloud has them as its
    weights.

    Args:
        energy: an energy of several clouds of `ct.energies`, such as `ct.energies.symmetric`, or a function.
        d: dimension of the ambient space, >= 2.
        n: number of points, for an energy without a coupling.
        start: a cloud [n, d] to start from first.
        starts: number of further starts, >= 0; at least one in all.
        modalities: their number, >= 2.
        seed: for the random starts.
        tolerance: descents end where the gradient is below this times that at random points; 1e-8 by default,
            1e-3 for more than 100,000 coordinates.
        max_iterations: of each descent.

    Raises:
        ValueError: a bad energy, d, n or start; a coupling whose matrix is not square or whose two marginals
            differ, so that no cloud can be shared, or with points that have no partner; no n where the energy
            has no coupling.
    """
    energy = as_energy(energy)
    check_count("d", d, minimum=2)
    check_count("modalities", modalities, minimum=2)
    check_count("starts", starts, minimum=0 if start is not None else 1)
    if tolerance is not None:
        check_positive("tolerance", tolerance)
    check_count("max_iterations", max_iterations)
    found = list(couplings_of(energy))
    weights = _marginal(found)
    if start is not None:
        with jax.enable_x64(True):
            start = check_cloud("start", start)
        n = _agreed(n, points(start).shape[0], "start")
    n = _agreed(n, len(weights), "the coupling") if weights is not None else n
    if n is None:
        raise ValueError("n is required for an energy without a coupling, got None")
    check_count("n", n)
    tolerance = tolerance or (1e-8 if n * d <= MANY else 1e-3)
    with jax.enable_x64(True):
        rng = np.random.default_rng(seed)
        clouds = [] if start is None else [np.asarray(points(start), np.float64)]
        for number in range(starts):
            spectral = number == 0 and bool(found)
            clouds.append(_embedded(found[0], d, rng) if spectral else _random(n, d, rng))
        whole = as_dtype(energy, jnp.float64)

        def cloud_of(z: np.ndarray) -> Any:
            if weights is None or np.allclose(weights, 1 / len(z), rtol=1e-6):
                return z
            return WeightedCloud(z, weights)

        check_energy(whole, repeated(cloud_of(clouds[0]), modalities), name="the shared cloud")
        together = planned(Together(whole, count=modalities), n, d, jnp.dtype("float64"), evaluations=1000)
        if d > FEW_DIMENSIONS and start is None:
            clouds = [
                _from_few_dimensions(together, cloud_of, z, tolerance, max_iterations, rng) for z in clouds
            ]
        ends = [descend(together, cloud_of(z), tolerance, max_iterations) for z in clouds]
        value, cloud = min(ends, key=lambda end: end[0])
        both = repeated(cloud, modalities)
        together_speed, parting_speed = (
            chart.speed(whole, both, kind=kind) for kind in ("in phase", "antiphase")
        )
    return SharedEquilibrium(
        value,
        together_speed,
        cloud,
        parting_speed,
        all(map(is_symmetric, found)),
        tuple(sorted(energy for energy, _ in ends)),
        modalities,
    )


def _from_few_dimensions(
    together: Any,
    cloud_of: Any,
    z: np.ndarray,
    tolerance: float,
    max_iterations: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """A start [n, d] from the end of a descent in a few dimensions, or z itself if the energy is tied to d.

    The best shared cloud usually spans few dimensions, and in further ones it is at rest by symmetry. A short
    descent from beside it tells whether it is a minimum there: if it moves away, its end is the start.
    """
    few = z[:, :FEW_DIMENSIONS]
    few = few / np.linalg.norm(few, axis=1, keepdims=True)
    try:
        _, end = descend(together, cloud_of(few), tolerance, max_iterations)
    except (TypeError, ValueError):
        return z
    padded = np.pad(points(end), ((0, 0), (0, z.shape[1] - FEW_DIMENSIONS)))
    near = padded + 0.01 * rng.standard_normal(z.shape) / np.sqrt(z.shape[1])
    near = near / np.linalg.norm(near, axis=1, keepdims=True)
    beside = points(descend(together, cloud_of(near), tolerance, _PROBE)[1])
    before, after = (np.linalg.norm(cloud[:, FEW_DIMENSIONS:]) for cloud in (near, beside))
    return beside if after > before else padded


def _agreed(n: int | None, other: int, name: str) -> int:
    if n is not None and n != other:
        raise ValueError(f"n must be the size of {name}, {other}, got {n}")
    return other


def _marginal(found: list[Coupling]) -> np.ndarray | None:
    """The marginal that all couplings share, or None without couplings."""
    weights = None
    for coupling in found:
        if coupling.shape[0] != coupling.shape[1]:
            raise ValueError(
                f"coupling must be square for a shared cloud, got shape {coupling.shape}; list a point once "
                "for each of its partners"
            )
        for marginal in (coupling.row_marginal(), coupling.col_marginal()):
            marginal = np.asarray(marginal, np.float64)
            if weights is not None and not np.allclose(marginal, weights, rtol=1e-4, atol=1e-9):
                raise ValueError(
                    "coupling must have two equal marginals for a shared cloud, but the points of the two "
                    "modalities have different weights; balance it first: ct.couplings.balance"
                )
            weights = marginal if weights is None else weights
    if weights is None:
        return None
    if (alone := np.flatnonzero(weights <= 0)).size:
        raise ValueError(
            f"coupling must give every point a partner: {alone.size} of {len(weights)} have none, the first "
            f"at index {alone[0]}; leave them out"
        )
    return weights / weights.sum()


def _random(n: int, d: int, rng: np.random.Generator) -> Float[np.ndarray, "n d"]:
    z = rng.standard_normal((n, d))
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def _embedded(coupling: Coupling, d: int, rng: np.random.Generator) -> Float[np.ndarray, "n d"]:
    """The leading eigenvectors of π's symmetric part relative to its marginal, with noise of a tenth."""
    pi = matrix_of(coupling)
    n = pi.shape[0]
    half = 1 / np.sqrt(np.asarray(pi.sum(axis=1)).ravel())
    relative = scipy.sparse.diags(half) @ ((pi + pi.T) / 2) @ scipy.sparse.diags(half)
    k = min(d + 1, n - 1)
    if k < 2:
        return _random(n, d, rng)
    if n <= 2000:
        values, vectors = np.linalg.eigh(relative.toarray())
        values, vectors = values[::-1][:k], vectors[:, ::-1][:, :k]
    else:
        values, vectors = scipy.sparse.linalg.eigsh(relative, k, v0=rng.standard_normal(n))
        order = np.argsort(-values)
        values, vectors = values[order], vectors[:, order]
    z = 0.1 * rng.standard_normal((n, d))
    z[:, : k - 1] += np.sqrt(n) * vectors[:, 1:k] * np.sqrt(np.maximum(values[1:k], 0))
    return z / np.linalg.norm(z, axis=1, keepdims=True)

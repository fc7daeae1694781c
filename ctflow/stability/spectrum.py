"""The lowest curvatures of an energy at clouds that are at rest, and their modes."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Float
from scipy.sparse import linalg

from ctflow._base.blas import one_blas_thread
from ctflow._base.checks import check_choice, check_count, check_positive
from ctflow.clouds import as_dtype, points
from ctflow.energy import as_energy, check_energy
from ctflow.partition.staged import exactly
from ctflow.stability import chart

# SciPy has no types for these.
_operator: Any = linalg.LinearOperator
_eigsh: Any = linalg.eigsh

# Up to so many coordinates the Hessian is a matrix; beyond, only its products with vectors are taken.
DENSE_COORDINATES = 600
# Beyond so many, the lowest curvatures are a dense cluster, which converges slowly: they are less accurate.
MANY = 100_000


class Modes(NamedTuple):
    """The lowest curvatures of an energy.

    Attributes:
        value: the curvatures in ascending order, [k], in nats per unit of the modes' mean square. Minus a
            curvature is the rate, 1/time, at which the gradient flow grows along its mode.
        error: bounds on the errors of the curvatures, [k], at these clouds and in exact arithmetic: the
            norms of H u - value·u.
        mode: the displacements, shaped like the points with a leading axis [k]; tangent, with ∫|u|² dq = 1.
        fastest: the curvature of largest modulus, within a few percent unless the Hessian was a matrix.
        speed: root mean square speed of the flow at the clouds, which is 0 at rest, in radians per time.
        kind: which displacements: `all`, `antiphase` or `in phase`.
        method: `matrix` or `Krylov`.
    """

    value: Float[np.ndarray, " k"]
    error: Float[np.ndarray, " k"]
    mode: Any
    fastest: float
    speed: float
    kind: str
    method: str

    @property
    def neutral(self) -> int:
        """How many of the curvatures are `near_zero`."""
        return int(np.sum(self.near_zero))

    @property
    def near_zero(self) -> np.ndarray:
        """Which curvatures are within 1e-4 of the fastest, or their `uncertainty`, of 0: bool, [k]."""
        return np.abs(self.value) < np.maximum(1e-4 * abs(self.fastest), self.uncertainty)

    @property
    def stable(self) -> bool:
        """Whether the lowest curvature is positive, or 0 within its `uncertainty`."""
        return bool(self.value[0] >= -self.uncertainty[0])

    @property
    def uncertainty(self) -> Float[np.ndarray, " k"]:
        """How far the curvatures may be from those at rest, [k]: by `error`, rounding, or the speed left.

        A speed v is left at a distance of about (v/H)^{1/3} from rest along a direction in which the energy
        grows with the fourth power of the displacement, where H is the fastest curvature. Curvatures are then
        off by about H·(v/H)^{2/3}, of which this takes four times.
        """
        fastest = abs(self.fastest) or 1.0
        moving = 4 * fastest * (self.speed / fastest) ** (2 / 3)
        return np.maximum(self.error, max(1e-6 * fastest, moving))

    def __str__(self) -> str:
        values = ", ".join(f"{value:.4g}" for value in self.value[:6]) + (
            ", …" if len(self.value) > 6 else ""
        )
        lowest = "stable" if self.stable else f"grows at rate {-self.value[0]:.4g}"
        return (
            f"lowest curvatures ({self.kind}): {values}\n"
            f"lowest mode: {lowest}, error at most {self.error[0]:.1g}\n"
            f"neutral (near 0 of a largest {abs(self.fastest):.3g}): {self.neutral} of {len(self.value)}; "
            f"along these the start decides\n"
            f"speed at the clouds: {self.speed:.1g}\n"
            f"method: {self.method}"
        )


def modes(
    energy: Any, clouds: Any, k: int = 1, kind: str = "all", *, tolerance: float = 1e-3, seed: int = 0
) -> Modes:
    """The k lowest curvatures of an energy at clouds at rest, and their modes.

    The curvatures are the eigenvalues of the Hessian of the energy on the product of the spheres, in the
    metric ∫|u|² dq in which the gradient flow descends: the flow's growth rates are their negatives. With up
    to 600 coordinates the Hessian is a matrix (`numpy.linalg.eigh`). Beyond, only its products with vectors
    are taken, by the exact sums in tiles and in bounded memory (`scipy.sparse.linalg.eigsh`, an implicitly
    restarted Lanczos method), to 1e-7 of the fastest curvature, with more than 100,000 coordinates to 1e-3.

    Args:
        energy: an energy of `ct.energies`, or a function of the clouds.
        clouds: where its gradient vanishes, e.g. the end of a run. Their dtype is that of the computation:
            float64 clouds, as NumPy arrays, are taken as such whether or not JAX's 64-bit mode is on.
        k: how many curvatures, >= 1.
        kind: `all` displacements; or, for several clouds of the same points, `antiphase` (the displacements
            of the clouds add up to 0) or `in phase` (all clouds move alike).
        tolerance: largest speed of the flow at the clouds, as a multiple of the fastest curvature: about the
            distance to a state at rest, in radians.
        seed: of the first vector of the Krylov method.

    Raises:
        ValueError: bad clouds, energy, k or kind; clouds that move faster than `tolerance` allows; for
            `antiphase` and `in phase`, clouds that differ.
    """
    check_count("k", k)
    check_choice("kind", kind, chart.KINDS)
    check_positive("tolerance", tolerance)
    # Clouds of float64 keep their digits, those of float32 stay so.
    with jax.enable_x64(True), one_blas_thread():
        return _modes(as_energy(energy), clouds, k, kind, tolerance, seed)


def _modes(energy: Any, clouds: Any, k: int, kind: str, tolerance: float, seed: int) -> Modes:
    """`modes`, of arguments that have been checked."""
    clouds = check_energy(energy, clouds, name="clouds")
    z = jax.tree.leaves(points(clouds))
    if kind != "all" and len(z) < 2:
        raise ValueError(f"kind={kind!r} is for several clouds, got one; use kind='all'")
    if kind != "all" and not chart.coincide(clouds):
        raise ValueError(
            f"kind={kind!r} needs clouds of the same points and weights, such as those of "
            "ct.stability.shared_equilibrium; for clouds that differ use kind='all'"
        )
    dtype = z[0].dtype
    energy = as_dtype(exactly(energy, dtype), dtype)
    speed = chart.speed(energy, clouds)
    rest = chart.at_rest(clouds, chart.mixing(kind, len(z)))
    flat, unravel = ravel_pytree(rest)
    if k > len(flat):
        raise ValueError(f"k must be <= {len(flat)}, the number of coordinates, got {k}")
    if len(flat) <= DENSE_COORDINATES:
        matrix = np.asarray(chart.hessian(energy, clouds, kind=kind), np.float64)
        if not np.isfinite(matrix).all():
            raise ValueError("the energy's second derivatives at the clouds are not finite")
        every, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
        fastest, method = float(every[np.argmax(np.abs(every))]), "matrix"
        value, vectors = every[:k], vectors[:, :k]
        error = np.linalg.norm(matrix @ vectors - value * vectors, axis=0)
    else:

        def times(vector: np.ndarray) -> np.ndarray:
            found = chart.curvature(energy, clouds, unravel(jnp.asarray(vector.ravel(), dtype)), kind=kind)
            return np.asarray(ravel_pytree(found)[0])

        fastest, value, vectors, error = _krylov(times, len(flat), np.dtype(dtype), k, seed)
        method = "Krylov"
    if speed > tolerance * abs(fastest):
        raise ValueError(
            f"clouds are not at rest: they move at a root mean square speed of {speed:.2g}, and the fastest "
            f"curvature is {abs(fastest):.2g}, so curvatures here mean nothing; descend further, or raise "
            f"tolerance={tolerance:g}"
        )
    mode = jax.tree.map(np.asarray, chart.displacements(clouds, jnp.asarray(vectors.T, dtype), kind=kind))
    return Modes(value, error, mode, fastest, speed, kind, method)


def _krylov(times: Any, size: int, dtype: Any, k: int, seed: int) -> tuple[float, Any, Any, Any]:
    """The fastest curvature, and the k lowest with vectors and residuals.

    The lowest are sought as the largest of c - H, with c near the largest curvature. There the stopping rule
    is relative to c, where for H it would be relative to an eigenvalue that may be 0. A Lanczos method may
    miss copies of a multiple eigenvalue, so what it found is taken out of H until nothing lower is left.
    """
    rng = np.random.default_rng(seed)

    def start() -> np.ndarray:
        return rng.standard_normal(size).astype(dtype)

    operator = _operator((size, size), matvec=times, dtype=dtype)
    fastest = float(_eigsh(operator, 1, which="LM", v0=start(), tol=0.03, return_eigenvectors=False)[0])
    if not np.isfinite(fastest):
        raise ValueError("the energy's second derivatives at the clouds are not finite")
    c = 1.05 * abs(fastest)
    known = np.zeros((size, 0), dtype)

    def turned(vector: np.ndarray) -> np.ndarray:
        rest = vector - known @ (known.T @ vector)
        found = c * rest - times(rest)
        return found - known @ (known.T @ found)

    accuracy = 1e-7 if size <= MANY else 1e-3
    values: list[float] = []
    while True:
        more, tol = (1, 10 * accuracy) if values else (k, accuracy)
        found, vectors = _eigsh(
            _operator((size, size), matvec=turned, dtype=dtype),
            more,
            v0=start(),
            ncv=min(size, 4 * more + 20),
            which="LA",
            tol=tol,
        )
        if values and c - found[0] >= sorted(values)[k - 1] - tol * c:
            break
        values += (c - found.astype(np.float64)).tolist()
        known = np.concatenate([known, vectors.astype(dtype)], axis=1)
        if k == 1:  # copies of the lowest do not matter
            break
    order = np.argsort(values)[:k]
    value, vectors = np.asarray(values)[order], known[:, order]
    residuals = [times(v).astype(np.float64) - x * v for x, v in zip(value, vectors.T, strict=True)]
    return fastest, value, vectors, np.array([np.linalg.norm(r) for r in residuals])

"""Minibatch descent of free points on the ring, and where its noise pushes along neutral states.

Each step draws B pairs from π and moves every point by z ← exp_z(-η G), where G is n times the tangential
gradient of CLIP's loss of the batch. Below τ*_N, N = B - 1, parallel rings at heights a, b rest if
(1 - a²)(1 - b²) = (τ/τ*_N)². The coordinate of this family is ψ with tan ψ = b/a: mirror images are at -45°,
rings of which one is flat at 0, rings of equal height at 45°.

The loss of a batch also depends on parallel rings through p/τ only. So to first order in η no step changes
a/b, and along the family there is no diffusion, only a drift dψ/dt = η K(ψ) in the time t = η·steps. With
Φ(z) the end of the deterministic flow from z, K = ½ E[G' ∇²(ψ∘Φ) G], which is ∝ n/B. The second derivative
has two parts:

    ∇²(ψ∘Φ) = ∇²ψ + ∫_0^∞ e^{-Ht} D e^{-Ht} dt,   D = ∇²(dψ/dt),

where H is the Hessian of the mean loss. The first part is the curvature of the sphere: a step of length |u|
along a geodesic lowers the height a of a point by a|u|²/2. With the mean squares C_x, C_y of G per point
this gives K the term

    ¼ sin 2ψ (C_x - C_y).

The higher ring has the larger gradients, so the term leads away from ψ = 0, to heights of equal size. The
second part is how fluctuations of single points move the rings before they decay. It leads towards equal
heights from every ψ between the ends. Mirror images attract their neighbours where the first part prevails:
at temperatures below about 0.85 τ* for σ = 1.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Drift(NamedTuple):
    """The drift of ψ at one state, radians per unit of t and of η.

    Attributes:
        total: K, the mean of dψ/dt divided by η.
        error: standard error of `total` from the drawn batches.
        curvature: the part of ∇²ψ.
        noise: C_x and C_y, the mean squares of the batch gradient per point.
        first_order: the largest change of ψ to first order in η of any drawn batch; 0 by theory.
        lowest: the lowest curvature of the mean loss except in the neutral direction and the three rotations.
            K describes the noise at rest only if it is positive.
    """

    total: float
    error: float
    curvature: float
    noise: tuple[float, float]
    first_order: float
    lowest: float


def angle(clouds: np.ndarray) -> Any:
    """ψ in radians of clouds [..., 2, n, 3], from the Gram matrix of their means; the axis may be any."""
    return np.arctan2(*_doubled(clouds)) / 2


def draw(rng: np.random.Generator, law: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Indices i and j of pairs drawn from π [n, n], which depends on i - j mod n only."""
    n = len(law)
    rows = rng.integers(n, size=shape)
    return rows, (rows + rng.choice(n, size=shape, p=n * law[0])) % n


def batch_gradient(clouds: np.ndarray, rows: np.ndarray, cols: np.ndarray, tau: float) -> np.ndarray:
    """G [..., 2, n, 3]: n times the tangential gradient of CLIP's loss of pairs x_rows, y_cols [..., B].

    The axes in front are those of independent runs or draws. It is written in NumPy since one step is small:
    compiling takes longer than all steps of a claim.
    """
    n, size = clouds.shape[-2], rows.shape[-1]
    picked = rows[..., None] == np.arange(n), cols[..., None] == np.arange(n)
    x, y = (one @ clouds[..., k, :, :] for k, one in enumerate(picked))
    w = np.exp((x @ y.swapaxes(-1, -2) - 1) / tau)
    share = (w / w.sum(axis=-1, keepdims=True) + w / w.sum(axis=-2, keepdims=True)) / 2
    slopes = (share - np.eye(size)) * (n / (size * tau))
    moved = slopes @ y, slopes.swapaxes(-1, -2) @ x
    gradients = np.stack([one.swapaxes(-1, -2) @ g for one, g in zip(picked, moved, strict=True)], axis=-3)
    return gradients - (gradients * clouds).sum(axis=-1, keepdims=True) * clouds


def descend(
    rng: np.random.Generator,
    clouds: np.ndarray,
    law: np.ndarray,
    tau: float,
    size: int,
    *,
    step_size: float,
    saves: int,
    steps_per_save: int,
) -> np.ndarray:
    """ψ [saves, runs] along minibatch descent of `clouds` [runs, 2, n, 3] with batches of `size` pairs."""
    angles = []
    for _ in range(saves):
        for _ in range(steps_per_save):
            pairs = draw(rng, law, (len(clouds), size))
            clouds = _unit(clouds - step_size * batch_gradient(clouds, *pairs, tau))
        angles.append(angle(clouds))
    return np.array(angles)


def drift(
    rng: np.random.Generator, clouds: np.ndarray, law: np.ndarray, tau: float, size: int, *, draws: int
) -> Drift:
    """K(ψ) at one state [2, n, 3] of the family, with G from `draws` batches of `size` pairs.

    The curvatures are exact to first order in 1/(B - 1) (`_mean_loss`).
    """
    frames = _frames(clouds)
    of_angle, curvature, response, hessian = (
        np.asarray(part) for part in _derivatives(clouds, frames, law, tau, size - 1)
    )
    rates, vectors = np.linalg.eigh(hessian)
    sums = rates[:, None] + rates
    # The neutral direction and rotations do not decay, but G has no part along them.
    decaying = np.abs(rates) > 1e-2
    both = decaying[:, None] & decaying
    integral = np.where(both, vectors.T @ response @ vectors / np.where(both, sums, 1.0), 0.0)
    whole = curvature + vectors @ integral @ vectors.T

    pairs = draw(rng, law, (draws, size))
    gradients = batch_gradient(clouds, *pairs, tau)
    g = (gradients[..., None, :] * frames).sum(axis=-1).reshape(draws, -1)
    changes = (g @ whole * g).sum(axis=1) / 2
    c_x, c_y = (gradients**2).sum(axis=-1).mean(axis=(0, 2))
    return Drift(
        total=changes.mean(),
        error=changes.std(ddof=1) / np.sqrt(draws),
        curvature=(g @ curvature * g).sum(axis=1).mean() / 2,
        noise=(c_x, c_y),
        first_order=np.abs(g @ of_angle).max(),
        lowest=rates[decaying].min(),
    )


@jax.jit
def _derivatives(clouds, frames, law, tau, negatives) -> Any:
    """∇ψ, ∇²ψ, ∇²(dψ/dt) and H in the orthonormal coordinates of `frames`, [4n] and [4n, 4n]."""
    n = clouds.shape[-2]

    def loss(z):
        return n * _mean_loss(z, law, tau, negatives)

    def psi(z):
        return jnp.arctan2(*_doubled(z)) / 2

    def rate(z):
        gradient = jax.grad(loss)(z)
        return -jnp.sum(jax.grad(psi)(z) * (gradient - jnp.sum(gradient * z, axis=-1, keepdims=True) * z))

    def at(coordinates):
        moved = clouds + jnp.einsum("kia,kiad->kid", coordinates.reshape(2, n, 2), frames)
        return moved / jnp.linalg.norm(moved, axis=-1, keepdims=True)

    origin = jnp.zeros(4 * n)
    values = [jax.hessian(lambda u, f=f: f(at(u)))(origin) for f in (psi, rate, loss)]
    return jax.grad(lambda u: psi(at(u)))(origin), *values


def _mean_loss(clouds, law, tau, negatives):
    """The mean of CLIP's loss over batches, less log N, to first order in 1/N for any clouds."""
    x, y = clouds
    cosines = x @ y.T
    w = jnp.exp(cosines / tau)

    def half(w, conditional):
        mean, second = jnp.mean(w, axis=1), jnp.mean(w**2, axis=1)
        share = jnp.sum(conditional * w, axis=1) / mean
        return jnp.mean(jnp.log(mean) + (share - (second / mean**2 - 1) / 2) / negatives)

    conditional = law * len(law)
    return -jnp.sum(law * cosines) / tau + (half(w, conditional) + half(w.T, conditional.T)) / 2


def _doubled(clouds) -> tuple[Any, Any]:
    """R² sin 2ψ and R² cos 2ψ, with heights a = R cos ψ and b = R sin ψ."""
    means = clouds.mean(axis=-2)
    x, y = means[..., 0, :], means[..., 1, :]
    return 2 * (x * y).sum(axis=-1), (x**2).sum(axis=-1) - (y**2).sum(axis=-1)


def _frames(clouds: np.ndarray) -> np.ndarray:
    """Two orthonormal tangents [..., 2, 3] at every point: along its parallel, and along its meridian."""
    along = _unit(np.stack([-clouds[..., 1], clouds[..., 0], 0 * clouds[..., 0]], axis=-1))
    return np.stack([along, np.cross(clouds, along)], axis=-2)


def _unit(z: np.ndarray) -> np.ndarray:
    return z / np.linalg.norm(z, axis=-1, keepdims=True)

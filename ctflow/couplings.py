"""Couplings: laws π of positive pairs (i, j) of points in two clouds, as weighted index pairs (COO).

`paired` couples i with i; `corrupted` shuffles some of the partners; `from_latents` and `misaligned` couple
points by their latent angles, with uniform marginals; `from_matrix` and `from_pairs` take your own π.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ctflow._base.annotations import AnyArray, Real
from ctflow._base.checks import check_concrete, check_count, check_key, check_positive, is_concrete
from ctflow._base.products import weighted_cosine
from ctflow._base.pytree import assign, pytree, static
from ctflow._base.sinkhorn import balance
from ctflow.clouds import WeightedCloud, points

__all__ = [
    "Coupling",
    "balance",
    "complete",
    "corrupted",
    "displaced",
    "from_latents",
    "from_matrix",
    "from_pairs",
    "misaligned",
    "paired",
]

MAX_DENSE_SIZE = 8192
MIN_BANDWIDTH = 0.03
_NUMBER = int | float | np.number | np.ndarray | jax.Array


@pytree
class Coupling:
    """A probability law of pairs of indices, π = Σ_k weights[k] δ_(rows[k], cols[k]).

    Args:
        rows: indices into the first cloud, [k].
        cols: indices into the second cloud, [k].
        weights: [k], >= 0 and summing to 1.
        shape: (n, m).
        complete: whether all n·m pairs are listed in row-major order. The indices are then not stored, sums
            are matrix products, and `jax.grad` over the coupling or over an energy of it meets no integers
            (that of other couplings needs `allow_int=True`).
    """

    weights: Float[AnyArray, " k"]
    pairs: tuple[Int[Array, " k"], Int[Array, " k"]] | None
    shape: tuple[int, int] = static()

    def __init__(
        self,
        rows: Any = None,
        cols: Any = None,
        weights: Any = None,
        *,
        shape: tuple[int, int],
        complete: bool = False,
        pairs: Any = None,  # what `dataclasses.replace` passes on
    ):
        listed = pairs if rows is None else (rows, cols)
        assign(self, weights=weights, pairs=None if complete else listed, shape=shape)

    @property
    def complete(self) -> bool:
        """Whether all pairs are listed, in row-major order."""
        return self.pairs is None

    @property
    def rows(self) -> Int[Array, " k"]:
        """Indices into the first cloud, [k]."""
        return _all_pairs(*self.shape)[0] if self.pairs is None else self.pairs[0]

    @property
    def cols(self) -> Int[Array, " k"]:
        """Indices into the second cloud, [k]."""
        return _all_pairs(*self.shape)[1] if self.pairs is None else self.pairs[1]

    def row_marginal(self) -> Float[Array, " n"]:
        """p_i = Σ_j π_ij, the marginal law of the first index, [n]."""
        return jax.ops.segment_sum(self.weights, self.rows, self.shape[0])

    def col_marginal(self) -> Float[Array, " m"]:
        """q_j = Σ_i π_ij, the marginal law of the second index, [m]."""
        return jax.ops.segment_sum(self.weights, self.cols, self.shape[1])

    def mean_cosine(self, x: Float[AnyArray, "n d"], y: Float[AnyArray, "m d"]) -> Float[Array, ""]:
        """E_π⟨x_i, y_j⟩, the mean cosine of the positive pairs."""
        weights = jnp.asarray(self.weights, x.dtype)
        if self.complete:
            return weighted_cosine(weights.reshape(self.shape), x, y)
        return jnp.sum(weights * jnp.sum(x[self.rows] * y[self.cols], axis=-1))

    def mean_of(
        self, function: Callable[[Any], Any], x: Float[AnyArray, "n d"], y: Float[AnyArray, "m d"]
    ) -> Float[Array, ""]:
        """E_π f(⟨x_i, y_j⟩), the mean of a function of the cosine over the positive pairs."""
        if self.complete:
            cosine = jnp.ravel(jnp.matmul(x, y.T, precision="highest"))
        else:
            cosine = jnp.sum(x[self.rows] * y[self.cols], axis=-1)
        return jnp.sum(jnp.asarray(self.weights, cosine.dtype) * function(cosine))

    def mutual_information(self) -> Float[Array, ""]:
        """I(π) = Σ π_ij log(π_ij / p_i q_j) in nats; -I(π) bounds J^Sym + log V from below.

        No pair may be listed twice.
        """
        independent = self.row_marginal()[self.rows] * self.col_marginal()[self.cols]
        listed = self.weights > 0
        ratio = jnp.where(listed, self.weights, 1) / jnp.where(listed, independent, 1)
        return jnp.sum(self.weights * jnp.log(ratio))


def _all_pairs(n: int, m: int) -> tuple[Int[Array, " k"], Int[Array, " k"]]:
    return jnp.repeat(jnp.arange(n), m), jnp.tile(jnp.arange(m), n)


def complete(matrix: Float[AnyArray, "n m"]) -> Coupling:
    """The coupling that lists every pair with its probability π_ij, [n, m].

    Nothing is checked, so `matrix` may be traced.
    """
    n, m = matrix.shape
    return Coupling(None, None, jnp.ravel(matrix), shape=(n, m), complete=True)


def paired(n: int, *, dtype=None) -> Coupling:
    """Couple each x_i with y_i, with weight 1/n: I(π) = log n.

    Examples:
        >>> import ctflow as ct
        >>> coupling = ct.couplings.paired(4)
        >>> coupling.shape, round(float(coupling.mutual_information()), 3)  # log 4
        ((4, 4), 1.386)
    """
    check_count("n", n)
    index = jnp.arange(n)
    return Coupling(index, index, jnp.full(n, 1 / n, dtype), shape=(n, n))


def corrupted(key: Array, n: int, *, probability: Any, dtype=None) -> Coupling:
    """Like `paired`, but a random subset of the points x_i have their partners shuffled among themselves.

    Both marginals stay uniform. Each index is in the subset with probability p, independently. The partners
    of the K ~ Binomial(n, p) points in it are permuted uniformly, which on average leaves one in place (if
    K > 0), so the expected share of wrong pairs is p - (1 - (1-p)^n)/n. The shapes do not depend on the
    draw, so the function works under `jit` and under `vmap` over keys and probabilities.

    Args:
        key: a JAX random key.
        n: number of points in each cloud.
        probability: p in [0, 1], the probability that a pair is in the shuffled subset.
        dtype: dtype of the weights.
    """
    check_count("n", n)
    check_key("key", key)
    if is_concrete(probability):
        number = not isinstance(probability, bool) and np.ndim(probability) == 0
        if not (number and isinstance(probability, _NUMBER) and 0 <= probability <= 1):
            raise ValueError(f"probability must lie in [0, 1], got {probability!r}")
    rows, cols = jnp.arange(n), _shuffled_partners(key, jnp.asarray(probability, float), n=n)
    return Coupling(rows, cols, jnp.full(n, 1 / n, dtype), shape=(n, n))


@partial(jax.jit, static_argnames="n")
def _shuffled_partners(key: Array, probability: Array, *, n: int) -> Int[Array, " n"]:
    """A permutation of 0 … n-1 that shuffles a random subset of the indices and fixes all others.

    It maps the subset in ascending order to the subset in a random order. In both lists the other indices
    follow in ascending order, so the shapes do not depend on the size of the subset.
    """
    key_which, key_order = jax.random.split(key)
    shuffled = jax.random.bernoulli(key_which, probability, (n,))
    ranks = jnp.where(shuffled, jax.random.permutation(key_order, n), n)
    return jnp.arange(n).at[jnp.argsort(~shuffled)].set(jnp.argsort(ranks))


def from_pairs(rows: Any, cols: Any, weights: Any = None, *, shape: tuple[int, int], dtype=None) -> Coupling:
    """A coupling from your own index pairs; arguments as in `Coupling`, with weights 1/k by default.

    Raises:
        ValueError: an index outside `shape`, a pair listed twice, or weights that are not probabilities.

    Examples:
        >>> import ctflow as ct
        >>> images = [0, 0, 0, 1]  # image 0 has three captions, image 1 has one
        >>> captions = ct.couplings.from_pairs(images, [0, 1, 2, 3], shape=(2, 4))
        >>> captions.row_marginal().tolist()
        [0.75, 0.25]
    """
    check_concrete("from_pairs", rows=rows, cols=cols, weights=weights)
    rows, cols = np.asarray(rows), np.asarray(cols)
    if rows.ndim != 1 or rows.shape != cols.shape or rows.size == 0:
        raise ValueError(
            f"rows and cols must be non-empty with the same shape [k], got {rows.shape} and {cols.shape}"
        )
    for name, index, size in (("rows", rows, shape[0]), ("cols", cols, shape[1])):
        if not np.issubdtype(index.dtype, np.integer):
            raise ValueError(f"{name} must be integers, got {index.dtype}")
        if index.min() < 0 or index.max() >= size:
            raise ValueError(
                f"{name} must lie in [0, {size}) for shape {shape}, got [{index.min()}, {index.max()}]"
            )
    if np.unique(rows.astype(np.int64) * shape[1] + cols).size != rows.size:
        raise ValueError("rows and cols must not list a pair twice; merge such pairs and add their weights")
    w = np.full(rows.size, 1 / rows.size) if weights is None else _probabilities("weights", weights)
    if w.shape != rows.shape:
        raise ValueError(f"weights must have shape {rows.shape}, one weight per pair, got {w.shape}")
    return Coupling(jnp.asarray(rows), jnp.asarray(cols), jnp.asarray(w, dtype), shape=shape)


def from_matrix(matrix: Any, *, dtype=None) -> Coupling:
    """A coupling from the whole matrix π [n, m], with entries >= 0 that sum to 1."""
    check_concrete("from_matrix", matrix=matrix)
    pi = _probabilities("matrix", matrix)
    if pi.ndim != 2:
        raise ValueError(f"matrix must be 2-D, [n, m], got shape {pi.shape}")
    return complete(jnp.asarray(pi, dtype))


def displaced(key: Array, latents: Float[AnyArray, " n"], *, sigma: Real) -> Float[Array, " n"]:
    """The latent angles θ + σξ of the second modality in radians, with ξ standard normal."""
    check_key("key", key)
    check_concrete("displaced", latents=latents, sigma=sigma)
    latents = jnp.asarray(_angles("latents", latents))
    if not isinstance(sigma, int | float | np.number) or not np.isfinite(sigma) or sigma < 0:
        raise ValueError(f"sigma must be finite and >= 0, got {sigma!r}")
    return latents + sigma * jax.random.normal(key, latents.shape, latents.dtype)


def from_latents(theta: Any, phi: Any, *, bandwidth: Real, dtype=None) -> Coupling:
    """Couple points whose latent angles are close; both marginals are uniform.

    π_ij = a_i b_j exp(-wrap(φ_j - θ_i)²/2h²), where a_i and b_j make the marginals uniform.

    Args:
        theta: latent angles θ of the first modality, radians, [n].
        phi: latent angles φ of the second modality, radians, [m].
        bandwidth: h > 0, radians: how far apart the latent angles of a positive pair typically are.
        dtype: dtype of the weights.
    """
    check_concrete("from_latents", theta=theta, phi=phi, bandwidth=bandwidth)
    check_positive("bandwidth", bandwidth)
    theta, phi = (_angles(name, a) for name, a in (("theta", theta), ("phi", phi)))
    if max(theta.size, phi.size) > MAX_DENSE_SIZE:
        raise ValueError(
            f"from_latents lists every pair: n and m must be <= {MAX_DENSE_SIZE}, got {theta.size} and "
            f"{phi.size}; list the near pairs yourself and use from_pairs"
        )
    difference = np.remainder(phi[None, :] - theta[:, None] + np.pi, 2 * np.pi) - np.pi
    return from_matrix(balance(-(difference**2) / (2 * float(bandwidth) ** 2)), dtype=dtype)


def misaligned(
    key: Array,
    latents: Float[AnyArray, " n"],
    *,
    sigma: Real,
    target_latents: Float[AnyArray, " m"] | None = None,
    dtype=None,
) -> Coupling:
    """A coupling blurred by σ: `from_latents(θ, θ' + σξ, bandwidth=max(σ, 0.03))`.

    Args:
        key: random key of ξ; `displaced(key, target_latents, sigma=sigma)` returns the same angles θ' + σξ.
        latents: θ, radians, [n].
        sigma: σ >= 0, radians: the heterogeneity of the pairing.
        target_latents: θ', radians, [m]; `latents` by default.
        dtype: dtype of the weights.

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> import ctflow as ct
        >>> theta = jnp.linspace(0.0, 3.0, 20)
        >>> coupling = ct.couplings.misaligned(jax.random.key(0), theta, sigma=0.3)
        >>> information = coupling.mutual_information()  # of pairs one to one: log 20
        >>> coupling.shape, bool(information < jnp.log(20))
        ((20, 20), True)
    """
    check_concrete("misaligned", latents=latents, sigma=sigma, target_latents=target_latents, key=key)
    phi = displaced(key, latents if target_latents is None else target_latents, sigma=sigma)
    return from_latents(latents, phi, bandwidth=max(float(sigma), MIN_BANDWIDTH), dtype=dtype)


def check_coupling(coupling: Any, clouds: Any) -> None:
    """Raise ValueError unless the coupling's shape and marginals are the sizes and weights of the clouds."""
    if not isinstance(coupling, Coupling):
        raise ValueError(
            f"coupling must be a Coupling of ct.couplings, got {type(coupling).__name__}; "
            f"turn a matrix into one with ct.couplings.from_matrix"
        )
    size = tuple(z.shape[0] for z in points(clouds))
    if coupling.shape != size:
        raise ValueError(
            f"coupling must have shape {size}, the sizes of the clouds, got {coupling.shape}; make a new one"
        )
    if not is_concrete(coupling, clouds):
        return
    for axis, (name, cloud) in enumerate(zip("xy", clouds, strict=True)):
        n = coupling.shape[axis]
        w = np.asarray(cloud.weights, np.float64) if isinstance(cloud, WeightedCloud) else 1 / n
        error = float(np.abs(_marginal(coupling, axis) - w).sum())
        if not error <= 1e-5:
            raise ValueError(
                f"the coupling's marginal must equal the weights of cloud {name}, got a total difference of "
                f"{error:.2g}; give the cloud the marginal as weights: ct.WeightedCloud(points, weights)"
            )


def _marginal(coupling: Coupling, axis: int) -> np.ndarray:
    """The marginal of the first or second index in float64. NumPy is faster here than several JAX calls."""
    weights = np.asarray(coupling.weights)
    if coupling.complete:
        return weights.reshape(coupling.shape).sum(axis=1 - axis, dtype=np.float64)
    name, n = ("rows", "cols")[axis], coupling.shape[axis]
    index = np.asarray(getattr(coupling, name))
    if index.size and (index.min() < 0 or index.max() >= n):
        raise ValueError(
            f"the coupling's {name} must lie in [0, {n}), got [{index.min()}, {index.max()}]; "
            f"ct.couplings.from_pairs checks them"
        )
    return np.bincount(index, weights, n)


def _probabilities(name: str, values: Any) -> np.ndarray:
    w = np.asarray(values, dtype=np.float64)
    if not (np.isfinite(w).all() and (w >= 0).all()):
        raise ValueError(f"{name} must be finite and >= 0, got a smallest value of {w.min()}")
    if abs(w.sum() - 1) > 1e-6:
        raise ValueError(f"{name} must sum to 1, got {w.sum():.9g}; divide by the sum")
    return w


def _angles(name: str, values: Any) -> np.ndarray:
    a = np.asarray(values, dtype=np.float64)
    if a.ndim != 1 or a.size == 0 or not np.isfinite(a).all():
        raise ValueError(
            f"{name} must be a non-empty vector of finite angles in radians, got shape {a.shape}"
        )
    return a

"""What an energy acts on: a cloud [n, d], a weighted cloud, a Pair of clouds, or a tuple of more.

A cloud is the measure Σ w_i δ_{z_i} on S^{d-1}; a bare array means equal weights 1/n.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ctflow.checks import is_concrete


class WeightedCloud(NamedTuple):
    """Points [n, d] on the sphere with weights [n] that are >= 0 and sum to 1."""

    points: Float[Array, "n d"]
    weights: Float[Array, " n"]


class Pair(NamedTuple):
    """Two clouds on the same sphere, one a modality."""

    x: Any
    y: Any


def _is_weighted(node: Any) -> bool:
    return isinstance(node, WeightedCloud)


def points(clouds: Any) -> Any:
    """The same structure with every cloud replaced by its points [n, d]."""
    return jax.tree.map(lambda c: c.points if _is_weighted(c) else c, clouds, is_leaf=_is_weighted)


def weights(clouds: Any) -> Any:
    """The same structure with every cloud replaced by its weights [n] (1/n for a bare array)."""

    def of(cloud):
        if _is_weighted(cloud):
            return cloud.weights
        return jnp.full(cloud.shape[0], 1 / cloud.shape[0], cloud.dtype)

    return jax.tree.map(of, clouds, is_leaf=_is_weighted)


def with_points(clouds: Any, moved: Any) -> Any:
    """`clouds` with its points replaced by `moved`, weights kept."""

    def of(cloud, new):
        return cloud._replace(points=new) if _is_weighted(cloud) else new

    return jax.tree.map(of, clouds, moved, is_leaf=_is_weighted)


def mean(cloud: Any, values: Float[Array, " n"]) -> Float[Array, ""]:
    """∫ f dq = Σ w_i f(z_i) for values f(z_i) on one cloud."""
    return jnp.sum(cloud.weights * values) if _is_weighted(cloud) else jnp.mean(values)


def check_cloud(name: str, cloud: Any) -> Any:
    """Return the cloud as JAX arrays, or raise a ValueError that says what is wrong with it.

    A point may be off the unit sphere by 64 rounding errors of its dtype, no more.
    """
    if _is_weighted(cloud):
        z = check_cloud(f"{name}.points", cloud.points)
        return WeightedCloud(z, check_weights(f"{name}.weights", cloud.weights, z.shape[0], z.dtype))
    try:
        z = jnp.asarray(cloud)
    except (TypeError, ValueError, RuntimeError):  # RuntimeError is PyTorch's, of a tensor that requires grad
        raise ValueError(
            f"{name} must be an array [n, d] of points on the sphere, got {type(cloud).__name__}"
        ) from None
    if z.ndim != 2:
        raise ValueError(f"{name} must be 2-D, [n, d], got shape {z.shape}")
    n, d = z.shape
    if n < 1 or d < 2:
        raise ValueError(f"{name} must have n >= 1 points in d >= 2 dimensions, got shape {z.shape}")
    if not jnp.issubdtype(z.dtype, jnp.floating):
        raise ValueError(f"{name} must hold real floating-point numbers, got {z.dtype}; cast it first")
    if not is_concrete(z):
        return z
    rows = _rows_here(z)
    n = rows.shape[0]
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if bad.size:
        raise ValueError(f"{name} must be finite: {bad.size} of {n} rows are not, the first is row {bad[0]}")
    with np.errstate(over="ignore"):
        norms = np.linalg.norm(rows, axis=1)
    bad = np.flatnonzero(norms == 0)
    if bad.size:
        raise ValueError(f"{name} has {bad.size} zero rows (the first is row {bad[0]}); drop them")
    bad = np.flatnonzero(np.abs(norms - 1) > 64 * float(jnp.finfo(z.dtype).eps))
    if bad.size:
        raise ValueError(
            f"{name} must have rows of unit norm: {bad.size} of {n} have not, row {bad[0]} has norm "
            f"{norms[bad[0]]:.9g}; use ct.sphere.normalize({name})"
        )
    return z


def _rows_here(z: Array) -> np.ndarray:
    """The array as NumPy float64; of one cut over several processes, the rows that this process holds."""
    if z.is_fully_addressable:
        return np.asarray(z, np.float64)
    return np.concatenate([np.asarray(shard.data, np.float64) for shard in z.addressable_shards])


def as_dtype(tree: Any, dtype: Any) -> Any:
    """The tree with every real number in it, Python's and NumPy's too, in `dtype`; integer arrays stay."""

    def cast(leaf):
        real = isinstance(leaf, int | float) or jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
        return jnp.asarray(leaf, dtype) if real else leaf

    return jax.tree.map(cast, tree)


def check_weights(name: str, values: Any, n: int, dtype: Any) -> Float[Array, " n"]:
    """Return weights [n] as a JAX array of `dtype`, or raise a ValueError: >= 0, summing to 1."""
    try:
        w = jnp.asarray(values, dtype)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be numbers, got {values!r}") from None
    if w.shape != (n,):
        raise ValueError(f"{name} must have shape ({n},), one weight a point, got {w.shape}")
    if is_concrete(w):
        numbers = _rows_here(w)
        if not (np.isfinite(numbers).all() and (numbers >= 0).all()):
            raise ValueError(f"{name} must be finite and >= 0, got a smallest value of {numbers.min()}")
        if w.is_fully_addressable and abs(numbers.sum() - 1) > 64 * n**0.5 * float(jnp.finfo(w.dtype).eps):
            raise ValueError(f"{name} must sum to 1, got {numbers.sum():.9g}; divide them by their sum")
    return w


def check_clouds(name: str, clouds: Any) -> Any:
    """`check_cloud` on a cloud, a Pair or a tuple of clouds, which must share d and dtype."""
    if not isinstance(clouds, tuple) or _is_weighted(clouds):
        return check_cloud(name, clouds)
    labels = getattr(clouds, "_fields", range(len(clouds)))
    checked = [check_cloud(f"{name}.{label}", cloud) for label, cloud in zip(labels, clouds, strict=True)]
    shapes = {(z.shape[1], str(z.dtype)) for z in (points(c) for c in checked)}
    if len(shapes) != 1:
        found = ", ".join(f"d = {d} in {dtype}" for d, dtype in sorted(shapes))
        raise ValueError(f"{name} must hold clouds of one dimension d and one dtype, got {found}")
    return type(clouds)(*checked) if hasattr(clouds, "_fields") else tuple(checked)

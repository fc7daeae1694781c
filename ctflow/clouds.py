"""The arguments of an energy: a cloud [n, d], a `WeightedCloud`, a `Pair` of clouds, or a longer tuple.

A cloud stands for the measure Σ w_i δ_{z_i} on S^{d-1}. A bare array has equal weights 1/n.
"""

import sys
import warnings
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ctflow._base.annotations import AnyArray
from ctflow._base.checks import is_concrete
from ctflow._base.pytree import check_registered

__all__ = [
    "Cloud",
    "Clouds",
    "Pair",
    "PrecisionWarning",
    "WeightedCloud",
    "as_dtype",
    "mean",
    "points",
    "weights",
    "with_points",
]


class WeightedCloud(NamedTuple):
    """Points [n, d] on the sphere with weights [n] that are >= 0 and sum to 1.

    Examples:
        >>> import jax.numpy as jnp
        >>> import ctflow as ct
        >>> points = jnp.array([[1.0, 0.0], [0.0, 1.0]])
        >>> cloud = ct.WeightedCloud(points, jnp.array([0.75, 0.25]))
        >>> float(ct.clouds.mean(cloud, points[:, 0]))
        0.75
    """

    points: Float[AnyArray, "n d"]
    weights: Float[AnyArray, " n"]


class Pair(NamedTuple):
    """Two clouds on the same sphere, one per modality.

    Attributes:
        x: the first cloud, [n, d] or a `WeightedCloud`.
        y: the second cloud, [m, d] or a `WeightedCloud`.

    Examples:
        >>> import jax.numpy as jnp
        >>> import ctflow as ct
        >>> x = jnp.array([[1.0, 0.0], [0.0, 1.0]])
        >>> y = jnp.array([[-1.0, 0.0], [0.0, 1.0]])
        >>> clouds = ct.Pair(x, y)
        >>> float(ct.energies.CentroidGap()(clouds))
        1.0
    """

    x: Any
    y: Any


Cloud = AnyArray | WeightedCloud
"""One cloud: points [n, d] of equal weight, or a `WeightedCloud`."""

Clouds = Cloud | Pair | tuple[Any, ...]
"""What an energy acts on and a flow moves: a cloud, a `Pair`, or a tuple of more clouds."""


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


def mean(cloud: Any, values: Float[AnyArray, " n"]) -> Float[Array, ""]:
    """∫ f dq = Σ w_i f(z_i) for values f(z_i) on one cloud."""
    return jnp.sum(cloud.weights * values) if _is_weighted(cloud) else jnp.mean(values)


def described(clouds: Any) -> str:
    """A description for messages: one cloud with its shape, or the kind and number of several clouds."""
    if isinstance(clouds, tuple) and not _is_weighted(clouds):
        kind = "a Pair" if isinstance(clouds, Pair) else f"a {type(clouds).__name__}"
        return f"{kind} of {len(clouds)} clouds"
    return f"one cloud {list(jnp.shape(points(clouds)))}"


def is_pair(clouds: Any) -> bool:
    """Whether `clouds` is a Pair or a plain tuple of two clouds."""
    return isinstance(clouds, Pair) or (type(clouds) is tuple and len(clouds) == 2)


def check_cloud(name: str, cloud: Any) -> Any:
    """Return the cloud as JAX arrays, or raise a ValueError that says what is wrong with it.

    The norm of a point may differ from 1 by at most 64 eps of its dtype. A traced cloud has no values yet,
    so only its rank, dimension and dtype are checked.
    """
    if _is_weighted(cloud):
        z = check_cloud(f"{name}.points", cloud.points)
        return WeightedCloud(z, check_weights(f"{name}.weights", cloud.weights, z.shape[0], z.dtype))
    if isinstance(cloud, Pair):
        raise ValueError(f"{name} must be one cloud [n, d], got {described(cloud)}; pass one of the two")
    try:
        z = as_jax(name, cloud)
    except RecursionError:
        raise
    except (TypeError, ValueError, RuntimeError):  # PyTorch: RuntimeError for a tensor that requires grad
        raise ValueError(
            f"{name} must be an array [n, d] of points on the sphere, got {type(cloud).__name__}; "
            f"pass a NumPy or JAX array of float32 or float64"
        ) from None
    if z.ndim != 2:
        advice = {1: f"; a single point is {name}[None]", 3: "; several clouds are ct.Pair(x, y)"}
        raise ValueError(f"{name} must be 2-D, [n, d], got shape {z.shape}{advice.get(z.ndim, '')}")
    n, d = z.shape
    if n < 1 or d < 2:
        raise ValueError(f"{name} must have n >= 1 points in d >= 2 dimensions, got shape {z.shape}")
    if not jnp.issubdtype(z.dtype, jnp.floating):
        raise ValueError(
            f"{name} must hold real floating-point numbers, got {z.dtype}; cast it to float32 or float64"
        )
    if z.dtype not in (jnp.float32, jnp.float64):
        raise ValueError(
            f"{name} must hold float32 or float64 numbers, got {z.dtype}; cast it to float32 and normalise "
            f"it again: ct.sphere.normalize(jnp.asarray({name}, jnp.float32))"
        )
    if is_concrete(z):
        _check_unit(name, z)
    return z


def as_jax(name: str, given: Any, dtype: Any = None) -> Array:
    """Convert to a JAX array. With x64 off, NumPy float64 becomes float32 with a warning, lists without."""
    if not isinstance(given, jax.Array | list | tuple):
        given = np.asarray(given)
    if jax.dtypes.canonicalize_dtype(np.float64) != np.float64:
        arrays = [leaf for leaf in jax.tree.leaves(given) if isinstance(leaf, np.ndarray | np.generic)]
        if any(leaf.dtype == np.float64 for leaf in arrays):
            _warn_of_float32(name)
    return jnp.asarray(given, None if dtype is None else jax.dtypes.canonicalize_dtype(dtype))


class PrecisionWarning(UserWarning):
    """Float64 numbers were rounded to float32 because JAX's flag `jax_enable_x64` is off."""


_warned = False


def _warn_of_float32(name: str) -> None:
    """Warn once per process, at the line that called ctflow: programs often pass many float64 arrays."""
    global _warned
    if _warned:
        return
    frame, level = sys._getframe(), 1
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "ctflow":
        frame, level = frame.f_back, level + 1
    warnings.warn(
        f"{name} holds float64 numbers, which become float32 because jax_enable_x64 is off; to keep float64, "
        f"call jax.config.update('jax_enable_x64', True) at the start of the program; to use float32 without "
        f"this warning, pass {name}.astype('float32')",
        PrecisionWarning,
        stacklevel=level,
    )
    _warned = True


_BLOCK = 2**16
# JAX arrays are immutable, so each is checked once. The keys are ids because JAX arrays are not hashable.
_checked: WeakValueDictionary[int, Array] = WeakValueDictionary()


def _check_unit(name: str, z: Array) -> None:
    """Raise ValueError unless every row is finite and has norm 1 to within 64 eps."""
    if _checked.get(id(z)) is z:
        return
    rows, tolerance = _rows_here(z), 64 * float(np.finfo(z.dtype).eps)
    if not _largest_offset(rows) <= tolerance:  # also true for NaN
        _refuse_rows(name, np.asarray(rows, np.float64), tolerance)
    _checked[id(z)] = z


def _largest_offset(rows: np.ndarray) -> float:
    """The largest | ‖z_i‖ - 1 |, in blocks that fit the cache: cheap compared with an energy evaluation."""
    size, ones, offset = max(1, _BLOCK // rows.shape[1]), np.ones(rows.shape[1]), np.float64(0)
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, rows.shape[0], size):
            block = rows[start : start + size].astype(np.float64)
            squares = np.square(block, out=block) @ ones
            ends = np.abs(np.sqrt([squares.min(), squares.max()]) - 1)
            offset = np.maximum(offset, ends.max())  # propagates NaN, unlike Python's max
    return float(offset)


def _refuse_rows(name: str, rows: np.ndarray, tolerance: float) -> None:
    """Raise the ValueError for a cloud whose rows do not all have norm 1, and say which rows and why."""
    n = rows.shape[0]
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if bad.size:
        raise ValueError(
            f"{name} must be finite: {bad.size} of {n} rows are not, the first is row {bad[0]}; drop them"
        )
    with np.errstate(over="ignore"):
        norms = np.linalg.norm(rows, axis=1)
    bad = np.flatnonzero(~rows.any(axis=1))
    if bad.size:
        raise ValueError(f"{name} has {bad.size} zero rows (the first is row {bad[0]}); drop them")
    bad = np.flatnonzero(np.abs(norms - 1) > tolerance)
    if bad.size:
        raise ValueError(
            f"{name} must have rows of unit norm: {bad.size} of {n} do not, row {bad[0]} has norm "
            f"{norms[bad[0]]:.9g}; use ct.sphere.normalize({name})"
        )


def _rows_here(z: Array) -> np.ndarray:
    """The rows as a NumPy array. If several processes share the array, only the rows held by this one."""
    if z.is_fully_addressable:
        return np.asarray(z)
    return np.concatenate([np.asarray(shard.data) for shard in z.addressable_shards])


def as_dtype(tree: Any, dtype: Any) -> Any:
    """The tree with all real numbers (Python, NumPy or JAX) cast to `dtype`; integer arrays stay unchanged.

    Raises:
        ValueError: an object in the tree that is not registered with JAX.
    """
    check_registered(type(tree).__name__, tree)

    def cast(leaf):
        real = isinstance(leaf, int | float) or jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
        return jnp.asarray(leaf, dtype) if real else leaf

    return jax.tree.map(cast, tree)


def check_weights(name: str, values: Any, n: int, dtype: Any) -> Float[Array, " n"]:
    """Return weights [n] as a JAX array of `dtype`; raise ValueError unless they are >= 0 and sum to 1."""
    try:
        w = as_jax(name, values, dtype)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"{name} must be numbers, got {values!r}") from None
    if w.shape != (n,):
        raise ValueError(f"{name} must have shape ({n},), one weight per point, got {w.shape}")
    if is_concrete(w):
        numbers = _rows_here(w).astype(np.float64)
        bad = np.flatnonzero(~(np.isfinite(numbers) & (numbers >= 0)))
        if bad.size:
            raise ValueError(
                f"{name} must be finite and >= 0, got a smallest value of {numbers.min()} (entry {bad[0]} is "
                f"{numbers[bad[0]]}); set such weights to 0 and divide all by their sum"
            )
        if w.is_fully_addressable and abs(numbers.sum() - 1) > 64 * n**0.5 * float(jnp.finfo(w.dtype).eps):
            raise ValueError(f"{name} must sum to 1, got {numbers.sum():.9g}; divide them by their sum")
    return w


def check_clouds(name: str, clouds: Any) -> Any:
    """Apply `check_cloud` to a cloud, a Pair or a tuple of clouds; all must have the same d and dtype."""
    if not isinstance(clouds, tuple) or _is_weighted(clouds):
        return check_cloud(name, clouds)
    labels = getattr(clouds, "_fields", range(len(clouds)))
    checked = [check_cloud(f"{name}.{label}", cloud) for label, cloud in zip(labels, clouds, strict=True)]
    if not checked:
        raise ValueError(f"{name} must hold at least one cloud [n, d], got an empty tuple")
    kinds = [(z.shape[1], str(z.dtype)) for z in map(points, checked)]
    if len(set(kinds)) != 1:
        found = ", ".join(f"d = {d} in {t} for {name}.{k}" for k, (d, t) in zip(labels, kinds, strict=True))
        advice = "cast one of them" if len({d for d, _ in kinds}) == 1 else "give all of them the same d"
        raise ValueError(f"{name} must hold clouds of the same d and dtype, got {found}; {advice}")
    return type(clouds)(*checked) if hasattr(clouds, "_fields") else tuple(checked)

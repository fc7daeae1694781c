"""The unit sphere S^{d-1} in R^d: geometry and sampling. Geometry broadcasts over leading axes."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ctflow._base.annotations import AnyArray, Real
from ctflow._base.checks import check_count, check_key, check_positive, is_concrete
from ctflow._base.resources import check_array
from ctflow.clouds import as_jax, check_cloud

__all__ = [
    "exp_map",
    "geodesic_distance",
    "log_map",
    "normalize",
    "project_tangent",
    "safe_norm",
    "uniform",
    "von_mises_fisher",
]


def safe_norm(x: Float[AnyArray, "... d"]) -> Float[Array, "... 1"]:
    """Euclidean norm whose gradient at 0 is 0 instead of NaN."""
    square = jnp.sum(x * x, axis=-1, keepdims=True)
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)


def normalize(x: Float[AnyArray, "... d"]) -> Float[Array, "... d"]:
    """Scale rows to unit length.

    Raises:
        ValueError: a row is zero or not finite, so it has no direction (not checked under jit).
    """
    unit, valid = _normalized(as_jax("x", x))
    if is_concrete(valid) and not bool(valid):
        raise ValueError("x must have finite, non-zero rows to be normalised; drop or repair the others")
    return unit


@jax.jit
def _normalized(x: Float[Array, "... d"]) -> tuple[Float[Array, "... d"], Bool[Array, ""]]:
    """The rows scaled to unit length, and whether all could be."""
    x = x / jnp.max(jnp.abs(x), axis=-1, keepdims=True)  # prevents underflow and overflow of the squares
    unit = x / jnp.linalg.norm(x, axis=-1, keepdims=True)
    return unit, jnp.isfinite(unit).all()


def project_tangent(z: Float[AnyArray, "... d"], v: Float[AnyArray, "... d"]) -> Float[Array, "... d"]:
    """P_z v = v - ⟨v, z⟩ z, the component of v tangent to the sphere at z."""
    return jnp.asarray(v) - jnp.sum(z * v, axis=-1, keepdims=True) * z


def exp_map(z: Float[AnyArray, "... d"], v: Float[AnyArray, "... d"]) -> Float[Array, "... d"]:
    """Move from z along the geodesic in the direction of the tangent vector v, by the length ‖v‖ (radians).

    The result is renormalised, so rounding errors do not move points off the sphere in a long flow.
    """
    z, v = as_jax("z", z), as_jax("v", v)
    angle = safe_norm(v)
    moved = jnp.cos(angle) * z + jnp.sinc(angle / jnp.pi) * v
    return moved / jnp.linalg.norm(moved, axis=-1, keepdims=True)


def log_map(z: Float[AnyArray, "... d"], w: Float[AnyArray, "... d"]) -> Float[Array, "... d"]:
    """The tangent vector v at z with exp_map(z, v) = w and ‖v‖ = the geodesic distance (radians).

    At the antipode w = -z all directions are equally short, so the result and its gradient are 0. This holds
    for all w whose tangent part is shorter than 8 eps, where rounding hides the direction (within 1e-6 rad of
    -z in float32, 2e-15 rad in float64). Elsewhere the direction is accurate, because near -z it is computed
    from z + w; the gradient grows as π divided by the distance to -z.
    """
    z, w = as_jax("z", z), as_jax("w", w)
    side = jnp.where(jnp.sum(z * w, axis=-1, keepdims=True) < 0, -1, 1).astype(z.dtype)
    # P_z w = P_z(w - z) = P_z(w + z). The shorter of w - z and w + z has no cancellation near z or -z.
    tangent = project_tangent(z, w - side * z)
    length = safe_norm(tangent)
    antipode = (side < 0) & (length < 8 * jnp.finfo(length.dtype).eps)
    ahead = ~antipode & (length > 0)
    angle = geodesic_distance(z, w)[..., None]
    # At w = z the factor is 1, so the derivative there is P_z.
    return jnp.where(antipode, 0, jnp.where(ahead, angle / jnp.where(ahead, length, 1), 1)) * tangent


def geodesic_distance(z: Float[AnyArray, "... d"], w: Float[AnyArray, "... d"]) -> Float[Array, "..."]:
    """Angle between z and w, in [0, π] radians, as 2·atan2(‖z-w‖, ‖z+w‖).

    It is accurate at coincident and antipodal points, where arccos⟨z, w⟩ loses half of its digits and has an
    infinite gradient. The gradient of this function at such points is 0.
    """
    z, w = as_jax("z", z), as_jax("w", w)
    return 2 * jnp.arctan2(safe_norm(z - w), safe_norm(z + w))[..., 0]


def uniform(key: Array, n: int, d: int, dtype=None) -> Float[Array, "n d"]:
    """Draw n independent points of the uniform law on S^{d-1} (d >= 2).

    Raises:
        ValueError: n or d is out of range, or `key` is not a JAX random key.
        MemoryError: the points do not fit in memory.

    Examples:
        >>> import jax
        >>> import ctflow as ct
        >>> z = ct.sphere.uniform(jax.random.key(0), n=4, d=3)
        >>> z.shape
        (4, 3)
        >>> (z**2).sum(axis=1).round(4).tolist()
        [1.0, 1.0, 1.0, 1.0]
    """
    check_count("n", n)
    check_count("d", d, minimum=2)
    check_key("key", key)
    itemsize = jax.dtypes.canonicalize_dtype(float if dtype is None else dtype).itemsize
    check_array(f"{n} points in {d} dimensions", n, d, itemsize=itemsize)
    x = jax.random.normal(key, (n, d), dtype)
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)


def von_mises_fisher(
    key: Array, mean_direction: Float[AnyArray, " d"], concentration: Real, n: int
) -> Float[Array, "n d"]:
    """Draw n independent points of the von Mises-Fisher law, density ∝ exp(κ⟨z, m⟩).

    Wood's rejection sampler (Communications in Statistics B 23, 1994): exact for any κ > 0 and d >= 2.

    Args:
        key: a JAX random key.
        mean_direction: unit vector m, [d].
        concentration: κ > 0.
        n: number of points.
    """
    check_count("n", n)
    if is_concrete(concentration):
        check_positive("concentration", concentration)
    check_key("key", key)
    m = jnp.asarray(mean_direction)
    if m.ndim != 1 or m.shape[0] < 2:
        raise ValueError(f"mean_direction must have shape [d] with d >= 2, got {m.shape}")
    m = check_cloud("mean_direction[None]", m[None])[0]
    check_array(f"{n} points in {m.shape[0]} dimensions", n, m.shape[0], itemsize=m.dtype.itemsize)
    if is_concrete(concentration) and float(concentration) * float(jnp.finfo(m.dtype).eps) > 0.1:
        raise ValueError(f"concentration must be < 0.1/eps of {m.dtype} to be drawn, got {concentration}")
    return _wood(key, m, jnp.asarray(concentration, m.dtype), n)


@partial(jax.jit, static_argnames="n")
def _wood(key, m, kappa, n):
    d, dtype = m.shape[0], m.dtype
    b = (d - 1) / (2 * kappa + jnp.sqrt(4 * kappa**2 + (d - 1) ** 2))
    x0 = (1 - b) / (1 + b)
    # Heights are near 1 at high concentration, so all formulas use 1 - height, which keeps full precision.
    gap = 2 * b / (1 + b)  # 1 - x0
    key_height, key_azimuth = jax.random.split(key)

    def propose(state):
        below, accepted, attempt = state
        key_beta, key_uniform = jax.random.split(jax.random.fold_in(key_height, attempt))
        beta = jax.random.beta(key_beta, (d - 1) / 2, (d - 1) / 2, (n,), dtype)
        u = 2 * b * beta / (1 - (1 - b) * beta)  # 1 - w of Wood's w
        log_u = jnp.log1p(-jax.random.uniform(key_uniform, (n,), dtype))
        fits = kappa * (gap - u) + (d - 1) * jnp.log((gap + x0 * u) / (gap * (1 + x0))) >= log_u
        return jnp.where(accepted, below, u), accepted | fits, attempt + 1

    start = (jnp.zeros(n, dtype), jnp.zeros(n, bool), 0)
    below, _, _ = jax.lax.while_loop(lambda state: ~jnp.all(state[1]), propose, start)
    v = project_tangent(m[None], jax.random.normal(key_azimuth, (n, d), dtype))
    v = v / jnp.linalg.norm(v, axis=-1, keepdims=True)
    points = (1 - below)[:, None] * m[None] + jnp.sqrt(jnp.clip(below * (2 - below), 0))[:, None] * v
    return points / jnp.linalg.norm(points, axis=-1, keepdims=True)

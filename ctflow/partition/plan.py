"""Choose the method of a sum and predict its memory and error, before anything runs."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from ctflow._base.checks import check_choice, check_count, check_numbers, check_positive, is_concrete
from ctflow._base.pytree import check_registered
from ctflow._base.resources import in_words, total_bytes
from ctflow.clouds import as_dtype
from ctflow.kernels import Kernel, as_kernel
from ctflow.partition.bounds import GRADIENT_FACTOR
from ctflow.partition.harmonics import zonal_samples
from ctflow.partition.scaling import is_bounded
from ctflow.partition.series import CHUNK, coefficients, profile, wide

METHODS = ("auto", "dense", "tiled", "spectral", "ring")
# On a CPU a larger matrix leaves the cache, and tiles are faster; accelerators take one of so many bytes.
DENSE_POINTS = 1024
DENSE_BYTES = 2**30
BLOCK_SIZE = 512
# Below this many points a sum in harmonics is never faster than an exact one.
SPECTRAL_POINTS = 500
# CPU seconds for value and gradient, of a pair of points and of a point and a wave of the harmonics, and for
# the compilation of a sum in harmonics. Measured on a CPU of two cores; only their ratios matter.
PAIR_SECONDS, WAVE_SECONDS, COMPILE_SECONDS = 4e-9, 0.35e-9, 6.0
# How often a sum is assumed to be taken if nothing is known: outside and inside a compiled function.
EVALUATIONS, TRACED_EVALUATIONS = 100, 10_000
# Only these degrees are used, so that a new temperature rarely needs a new compilation.
DEGREES = {2: (8, 16, 32, 64, 128, 256), 3: (8, 16, 24, 32, 40, 48, 64, 80)}
# Default tolerances of L for a spectral sum, set by the round-off that it has in each precision.
RTOL = {"float32": 1e-5, "float64": 1e-9}
_SMALLEST = 1e-13  # a smaller tail cannot be measured in float64


class Degrees(NamedTuple):
    """Degrees at which a kernel's series of harmonics is truncated.

    Attributes:
        narrow: degree for the attempt in the points' own dtype.
        wide: degree for the float64 attempt that may follow; accurate for smaller sums too.
        tail: sup|κ - κ_L| for L = `narrow`, divided by the field of the uniform law.
    """

    narrow: int
    wide: int
    tail: float


def attempts_in(dtype: Any) -> tuple[str, ...]:
    """The dtypes in which a spectral sum is attempted: the points' own, then float64; then it is exact."""
    return ("float64",) if dtype == jnp.float64 else (jnp.dtype(dtype).name, "float64")


def check_sums(method: str, rtol: float | None) -> None:
    """Raise ValueError for an unknown method of a sum, or a tolerance that is not > 0."""
    check_choice("method", method, METHODS)
    if rtol is not None:
        check_positive("rtol", rtol)


def tolerance(rtol: float | None, dtype: Any) -> float:
    """`rtol`, or the dtype's default for None."""
    return RTOL.get(jnp.dtype(dtype).name, RTOL["float32"]) if rtol is None else float(rtol)


def check_kernel(kernel: Any) -> None:
    """Raise ValueError unless `kernel` is a kernel with parameters in range."""
    if isinstance(kernel, type) and issubclass(kernel, Kernel):
        raise ValueError(
            f"kernel must be a kernel, got the class {kernel.__name__} itself; call it with its settings, "
            "such as ct.kernels.Exponential(0.1)"
        )
    check_numbers(kernel)
    if not isinstance(kernel, Kernel):
        raise ValueError(
            f"kernel must be a kernel of ct.kernels, got {type(kernel).__name__}; write for example "
            "ct.kernels.Exponential(0.1)"
        )
    check_registered("kernel", kernel)


def _numbers(kernel: Kernel) -> Kernel:
    """The kernel with `stop_gradient`: a parameter that is traced only by `grad` has a known value."""
    return kernel if is_concrete(kernel) else jax.lax.stop_gradient(kernel)


@partial(jax.jit, static_argnums=(1, 2))
def _measured(kernel: Kernel, d: int, degree: int) -> tuple[Any, tuple[Any, Any]]:
    """The kernel's coefficients, and its profile."""
    return coefficients(kernel, d, degree), profile(kernel, d, degree)


def choose_degrees(kernel: Kernel, n: int, m: int, d: int, dtype: Any, rtol: float | None) -> Degrees | None:
    """The lowest degrees whose truncation error is within `rtol` of the smallest expected field, or None.

    In float32 that field is a uniform cloud's; in float64 also an isolated point's among m, 1/m. None means
    that no degree suffices for a uniform cloud, or that the kernel is traced, d > 3 or the dtype another.
    """
    kernel = _numbers(kernel)
    if d not in DEGREES or jnp.dtype(dtype).name not in RTOL or not is_concrete(kernel):
        return None
    with jax.ensure_compile_time_eval(), wide():
        most = DEGREES[d][-1]
        c, (exact, exact_slope) = jax.tree.map(np.asarray, _measured(kernel, d, most))
    samples, level = zonal_samples(d, most), float(c[0])
    value_tail = np.abs(exact - np.cumsum(c[:, None] * samples.values, axis=0)).max(axis=1)
    slope_tail = np.abs(exact_slope - np.cumsum(c[:, None] * samples.slopes, axis=0)).max(axis=1)
    allowed = tolerance(rtol, dtype) / 2
    tails = np.maximum(value_tail, slope_tail / GRADIENT_FACTOR)

    def lowest(floor: float) -> int | None:
        good = (degree for degree in DEGREES[d] if tails[degree] <= max(allowed * floor, _SMALLEST))
        return next(good, None)

    generous, strict = lowest(level / 4), lowest(min(level / 4, 1 / m))
    if generous is None:
        return None
    strict = most if strict is None else strict
    narrow = generous if jnp.dtype(dtype) == jnp.float32 else strict
    return Degrees(narrow, strict, float(value_tail[narrow]) / level)


def worthwhile_degrees(
    kernel: Kernel, n: int, m: int, d: int, dtype: Any, rtol: float | None, several: bool, evaluations: int
) -> Degrees | None:
    """The degrees of `choose_degrees`, or None if harmonics are not worth their compilation.

    Over `several` devices they always are: they pass moments on, and not points.
    """

    def pay(degree: int) -> bool:
        waves = degree ** (d - 1) * (n + m)
        saved = evaluations * (PAIR_SECONDS * n * m - WAVE_SECONDS * waves)
        return several or saved > COMPILE_SECONDS

    if min(n, m) < SPECTRAL_POINTS or d not in DEGREES or not pay(DEGREES[d][0]):
        return None
    degrees = choose_degrees(kernel, n, m, d, dtype, rtol)
    return degrees if degrees is not None and pay(degrees.narrow) else None


def choose_method(n: int, m: int, d: int, dtype: Any, *, spectral: bool, mesh: Mesh | None) -> str:
    """The method that `auto` stands for; `spectral` says whether a sum in harmonics is possible and pays."""
    if spectral and min(n, m) >= SPECTRAL_POINTS:
        return "spectral"
    if mesh is not None:
        return "ring"
    if jax.default_backend() == "cpu":
        return "dense" if max(n, m) <= DENSE_POINTS else "tiled"
    fits = n * m * jnp.dtype(dtype).itemsize <= DENSE_BYTES
    return "dense" if fits and (d >= 64 or max(n, m) <= 2000) else "tiled"


def needed_bytes(
    method: str,
    n: int,
    m: int,
    d: int,
    dtype: Any,
    *,
    block_size: int,
    degree: int,
    devices: int,
    columns: bool = False,
    itself: bool = False,
    bounded: bool = False,
    curved: bool = False,
) -> int:
    """Predicted bytes per device for value and gradients together, in addition to the clouds.

    The factors are those of the compiled programs' buffers at large n. For `bounded` and `curved` see
    `is_bounded` and `is_curved`.
    """
    size = jnp.dtype(dtype).itemsize
    n, m = -(-n // devices), -(-m // devices)
    if method == "dense":
        # The steps from a cosine to log κ are kept for the gradient.
        matrices = (1.4 if bounded else 3.1 if columns else 2.1) + (2.5 if curved else 0)
        return int(matrices * n * m * size) + (n + m) * (d + 3) * size
    tiles = 2 * min(block_size, n) * min(block_size, m) * size
    if method in ("tiled", "ring"):
        return int((5.6 if itself else 3.4) * (n + m) * d * size) + 3 * (n + m) * size + tiles
    # Per point in float64 and per wave of a chunk; one phase has the points' arrays, another the waves'.
    points = 300 * max(n, m) + 80 * min(n, m) if size == 4 else max(330 * n + 70 * m, 160 * m)
    points += 130 * min(n, m) if columns else 0
    waves = (3 if d == 2 else 7) * min(max(n, m), CHUNK) * degree * 8
    return max(points, waves) + tiles + (degree + 1) ** d * 8


def is_curved(kernel: Kernel, dtype: Any) -> bool:
    """Whether log κ is more than a linear function of the cosine; False if a parameter is traced."""
    if not is_concrete(kernel):
        return False
    with jax.ensure_compile_time_eval():
        values = as_dtype(kernel, dtype).log_kernel(jnp.asarray([-1, 0, 1], dtype))
    left, center, right = np.asarray(values)
    return bool(abs(left + right - 2 * center) > 1e-3 * abs(right - left))


def check_memory(method: str, n: int, m: int, needed: int) -> None:
    """Raise MemoryError if `needed` bytes exceed the device's memory."""
    there = total_bytes()
    if needed > there:
        raise MemoryError(
            f"method={method!r} needs about {in_words(needed)} for {n} x {m} pairs and the device has "
            f"{in_words(there)}; use method='tiled', a smaller block_size, or a mesh over more devices"
        )


class Explanation(NamedTuple):
    """Method, cost and accuracy of a sum.

    Attributes:
        method: `dense`, `tiled`, `spectral` or `ring`.
        reason: why this method.
        pairs: pairs per device; `spectral` does not visit them one by one.
        bytes: predicted memory per device for value and gradient, in addition to the clouds.
        degree: degree of the harmonics, or None.
        error_bound: sup|κ - κ_L| divided by the field of the uniform law, or None for an exact sum. The
            bound at run time adds the round-off and divides by the smallest field of the cloud itself.
        fallback: methods that follow if the run-time bound exceeds `rtol`, or None for an exact sum.
    """

    method: str
    reason: str
    pairs: int
    bytes: int
    degree: int | None
    error_bound: float | None
    fallback: str | None

    def __str__(self) -> str:
        lines = [
            f"method        {self.method} ({self.reason})",
            f"pairs         {self.pairs:.4g} per device",
            f"memory        {in_words(self.bytes)} per device for value and gradient, besides the clouds",
        ]
        if self.degree is not None:
            lines.append(f"degree        {self.degree}")
            lines.append(f"error bound   {self.error_bound:.1e} of a uniform cloud's field, before round-off")
            lines.append(f"fallback      {self.fallback}")
        return "\n".join(lines)


def explain(
    n: int,
    m: int,
    d: int,
    kernel: Any,
    dtype: Any = "float32",
    *,
    method: str = "auto",
    rtol: float | None = None,
    block_size: int = BLOCK_SIZE,
    devices: int = 1,
    evaluations: int = EVALUATIONS,
) -> Explanation:
    """Say how `log_partition` would sum n points against m on S^{d-1}, without running it.

    A run of `solve` takes as many evaluations as steps. `log_partition` itself assumes the default, and
    10,000 inside a function that JAX traces, which is compiled in order to be called often.

    Args:
        n: number of points x.
        m: number of points y.
        d: dimension of the ambient space.
        kernel: the kernel, not traced.
        dtype: dtype of the points, float32 or float64.
        method: as in `log_partition`.
        rtol: as in `log_partition`.
        block_size: as in `log_partition`.
        devices: number of devices in the mesh.
        evaluations: how often the sum will be taken.

    Raises:
        ValueError: an argument out of range, or a method that is not available for these arguments.

    Examples:
        >>> import ctflow as ct
        >>> kernel = ct.kernels.Exponential(0.1)
        >>> plan = ct.partition.explain(100_000, 100_000, 512, kernel)
        >>> plan.method, plan.pairs
        ('tiled', 10000000000)
        >>> ct.partition.explain(100_000, 100_000, 3, kernel).method
        'spectral'
    """
    counts = (("n", n, 1), ("m", m, 1), ("d", d, 2), ("devices", devices, 1), ("evaluations", evaluations, 1))
    for name, count, least in counts:
        check_count(name, count, minimum=least)
    check_choice("method", method, METHODS)
    check_count("block_size", block_size)
    kernel = as_kernel(kernel)
    check_kernel(kernel)
    check_choice("dtype", jnp.dtype(dtype).name, tuple(RTOL))
    asked = method
    if method == "auto":
        degrees = worthwhile_degrees(kernel, n, m, d, dtype, rtol, devices > 1, evaluations)
        method = choose_method(n, m, d, dtype, spectral=degrees is not None, mesh=None)
        method = "ring" if devices > 1 and method != "spectral" else method
    else:
        degrees = choose_degrees(kernel, n, m, d, dtype, rtol)
    if method == "spectral" and degrees is None:
        raise ValueError(no_degrees(kernel, d))
    degree = degrees.narrow if method == "spectral" and degrees is not None else None
    reasons = {
        "spectral": "harmonics on the circle and S², O(n)",
        "dense": "the matrix is small",
        "tiled": "exact, in tiles",
        "ring": "exact, the columns pass from device to device",
    }
    sizes: dict[str, Any] = {"block_size": block_size, "degree": degree or 0, "devices": devices}
    needed = needed_bytes(
        method, n, m, d, dtype, bounded=is_bounded(kernel, dtype), curved=is_curved(kernel, dtype), **sizes
    )
    exact = "ring" if devices > 1 else "tiled"
    steps = f"float64 harmonics, then {exact}" if jnp.dtype(dtype) == jnp.float32 else exact
    return Explanation(
        method=method,
        reason="requested" if asked != "auto" else reasons[method],
        pairs=-(-n // devices) * m,
        bytes=needed,
        degree=degree,
        error_bound=degrees.tail if degree is not None and degrees is not None else None,
        fallback=steps if degree is not None else None,
    )


def no_degrees(kernel: Kernel, d: int) -> str:
    """The message for a kernel without a spectral sum: the reason and the remedy."""
    if d not in DEGREES:
        return f"method='spectral' is for the circle and S², d = 2 or 3, got d = {d}; use method='tiled'"
    if not is_concrete(_numbers(kernel)):
        return (
            "method='spectral' cannot choose a degree for a kernel with a traced parameter: wrap it as "
            "ct.partition.Planned(kernel, degrees=(32, 48)), or leave method='auto'"
        )
    return (
        f"{kernel} is too sharp or too rough for harmonics of degree {DEGREES[d][-1]} in this precision; "
        f"use method='tiled' or a larger rtol"
    )

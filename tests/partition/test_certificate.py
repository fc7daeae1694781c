"""A spectral sum that passes its own certificate is right: clouds and kernels that once broke it."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ctflow as ct
from ctflow import kernels
from ctflow._base.pytree import pytree
from ctflow.partition import spectral
from ctflow.partition.bounds import GRADIENT_FACTOR, PROBES, Bound, PullBound, proves
from ctflow.partition.plan import RTOL

N = 240


def on_circle(angles, dtype=np.float32):
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(dtype)


def widened(z):
    """Float64 unit vectors in the directions that points of any precision have."""
    return ct.sphere.normalize(jnp.asarray(z, jnp.float64))


def gradients(x, y, w, kernel, cotangent, method):
    """Of Σ g_i L_i without the own pairs, in y, the weights and the kernel."""

    def total(y, w, kernel):
        field = ct.log_partition(x, y, kernel, weights=w, exclude_self=True, method=method)
        # The weights' own renormalisation is no part of the sum over pairs.
        return cotangent @ (field + jnp.log1p(-w))

    return jax.grad(total, argnums=(0, 1, 2))(y, w, kernel)


def separated(seed, outliers):
    """A cluster on the circle, and some points apart from it that have little company."""
    rng = np.random.default_rng(seed)
    a = 0.3 * rng.standard_normal(N)
    a[:outliers] = 2.5 + 0.05 * rng.standard_normal(outliers)
    b = a + 0.05 * rng.standard_normal(N)
    w = np.full(N, 0.7 / (N - outliers))
    w[:outliers] = 0
    w[0] = 0.3
    return on_circle(a), on_circle(b), (w / w.sum()).astype(np.float32)


@pytest.mark.parametrize("outliers", [1, 9])
def test_what_exclude_self_leaves_out_is_subtracted_before_rounding(outliers):
    """The gradients in y, weights and temperature of points whose own pair is nearly all they have."""
    kernel = kernels.Exponential(float(np.float32(0.1)))
    run = jax.jit(gradients, static_argnames="method")
    x, y, heavy = separated(outliers, outliers)
    for columns in (x, y):
        for w in (np.full(N, 1 / N, np.float32), heavy):
            for cotangent in (np.ones(N, np.float32), np.eye(N, dtype=np.float32)[0]):
                planned = ct.partition.Planned(kernel, degrees=(24, 48))
                arguments = jax.tree.map(jnp.asarray, (x, columns, w))
                narrow = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), planned)
                got = run(*arguments, narrow, jnp.asarray(cotangent), method="spectral")
                x64, y64 = widened(x), widened(columns)
                kernel64 = kernels.Exponential(jnp.asarray(kernel.temperature))
                g64 = jnp.asarray(cotangent, jnp.float64)
                right = run(x64, y64, jnp.asarray(w, jnp.float64), kernel64, g64, method="dense")
                allowed = GRADIENT_FACTOR * RTOL["float32"] * np.abs(cotangent).sum()
                heavy_enough = w > 0
                of_y = np.linalg.norm(np.float64(got[0]) - right[0], axis=1)[heavy_enough] / w[heavy_enough]
                largest = np.linalg.norm(right[0], axis=1)[heavy_enough] / w[heavy_enough]
                assert (of_y <= allowed + 2e-5 * largest).all()
                of_w = np.abs(np.float64(got[1]) - right[1])
                assert (of_w <= allowed + 2e-5 * np.abs(right[1])).all()
                of_tau = abs(float(got[2].kernel.temperature) - float(right[2].temperature)) * 0.1
                assert of_tau <= allowed + 2e-5 * abs(float(right[2].temperature)) * 0.1


@pytest.mark.long
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_jump_of_a_slope_at_the_antipode_is_seen(dtype):
    """Points 1e-3 from the antipode of most of the mass, for a kernel that has a kink there."""
    x = np.tile([[-np.cos(1e-3), np.sin(1e-3)]], (N, 1))
    x[np.linspace(0, N - 1, 15).astype(int)] = [-1, 0]
    y = np.tile([[1.0, 0]], (N, 1))
    y[N // 2 :] = on_circle(np.full(1, np.pi - 0.1), np.float64)
    w = np.full(N, (1 - 0.0048) / (N // 2))
    w[N // 2 :] = 0.0048 / (N // 2)
    x, y, w = (jnp.asarray(a, dtype) for a in (x, y, w))
    kernel = kernels.GeodesicGaussian(0.55)
    planned = ct.partition.Planned(kernel, degrees=(40, 40))
    _, slope = ct.partition.value_and_gradient(x, y, planned, weights=w, method="spectral")
    x64, y64 = widened(x), widened(y)
    w64 = w.astype(jnp.float64) / w.astype(jnp.float64).sum()
    _, right = ct.partition.value_and_gradient(x64, y64, kernel, weights=w64, method="dense")
    allowed = GRADIENT_FACTOR * RTOL[dtype] + 4 * float(jnp.finfo(dtype).eps) * np.abs(right).max()
    assert np.linalg.norm(np.float64(slope) - right, axis=1).max() <= allowed


@pytest.mark.parametrize("where", ["evenly spaced", "where round-off is probed"])
def test_round_off_is_not_underestimated_where_waves_are_exact(where):
    """All points that are looked at lie on an axis, where powers of (1, 0) are exact."""
    index = np.linspace(0, N - 1, 15).astype(int)
    if where != "evenly spaced":
        index = np.random.default_rng(N).integers(N, size=PROBES - 1, dtype=np.int32)
    x = on_circle(np.linspace(0, 0.003, N))
    x[index] = [1, 0]
    y = on_circle(np.full(N, 0.0017))
    kernel = kernels.ChordalGaussian(float(np.float32(0.0447)))
    planned = ct.partition.Planned(kernel, degrees=(256, 256), rtol=5e-7)
    value = ct.log_partition(jnp.asarray(x), jnp.asarray(y), planned, method="spectral")
    x64, y64 = widened(x), widened(y)
    right = ct.log_partition(x64, y64, kernel, method="dense")
    rounding = np.spacing(np.float32(np.abs(right).max()))
    assert np.abs(np.float64(value) - right).max() <= 5e-7 + float(rounding)
    assert ct.partition.certify(jnp.asarray(x), jnp.asarray(y), planned).dtype == "float64"
    # All sums of one point with itself are exact at [1, 0]; the bound allows for round-off all the same.
    same = jnp.asarray(np.tile(np.float32([[1, 0]]), (N, 1)))
    claimed = ct.partition.certify(same, same, planned, rtol=1e-2)
    assert claimed.dtype == "float32"
    assert min(claimed.value, claimed.gradient) >= float(jnp.finfo("float32").eps)


def test_an_error_where_the_field_is_smallest_is_seen(monkeypatch):
    """An isolated point, which no random probe is: its error is the largest in L."""
    n, lonely = 60, 17
    assert lonely not in np.random.default_rng(n).integers(n, size=PROBES - 1, dtype=np.int32)
    x = jnp.asarray(on_circle(np.where(np.arange(n) == lonely, 3.0, 0.01 * np.arange(n)), np.float64))
    evaluate = spectral.evaluate

    def wrong(*args, **options):
        field, slope = evaluate(*args, **options)
        return field.at[lonely].add(1e-5), slope

    monkeypatch.setattr(spectral, "evaluate", wrong)
    options = {"degree": 16, "dtype": "float64", "gradient": False, "exclude_self": False, "axis": None}
    found = jax.jit(partial(spectral.spectral_sum, **options))(
        x, x, jnp.full(n, 1 / n), kernels.Exponential(jnp.asarray(0.3))
    )
    cosine = np.asarray(x) @ np.asarray(x).T
    off = np.abs(found.value - np.log(np.exp(cosine / 0.3).mean(axis=1))).max()
    assert 1e-4 < off <= float(found.bound.value)


def test_a_proof_needs_values_and_gradients_within_their_tolerances():
    """A gradient is allowed ten times the error of a value; NaN proves nothing."""
    for value, gradient, proven in (
        (0.9e-6, 0.9e-5, True),
        (1.1e-6, 0.0, False),
        (0.0, 1.1e-5, False),
        (np.nan, 0.0, False),
        (0.0, np.nan, False),
    ):
        assert bool(proves(Bound(*map(jnp.asarray, (value, gradient))), 1e-6)) == proven
    for large in range(3):
        errors = [jnp.asarray(2e-5 if i == large else 0.9e-5) for i in range(3)]
        assert not bool(proves(PullBound(*errors), 1e-6))
    assert bool(proves(PullBound(*[jnp.asarray(0.9e-5)] * 3), 1e-6))


@pytree
class Bent(kernels.Kernel):
    """exp(2(c - 1) + bend·|c|): as smooth as can be at bend 0, but not its derivative in the bend."""

    bend: Any

    def log_kernel(self, cosine):
        return 2 * (cosine - 1) + self.bend * jnp.abs(cosine)


def test_the_gradient_in_the_kernels_parameter_has_a_certificate_of_its_own():
    x = widened(on_circle(2 * np.random.default_rng(3).standard_normal(N)))

    def slope(method):
        def total(bend):
            kernel = Bent(bend)
            if method == "spectral":
                kernel = ct.partition.Planned(kernel, degrees=(32, 32), rtol=1e-6)
            return ct.log_partition(x, x, kernel, method=method).mean()

        return float(jax.grad(total)(jnp.asarray(0.0)))

    assert ct.partition.certify(x, x, ct.partition.Planned(Bent(0.0), degrees=(32, 32))).method == "spectral"
    assert slope("spectral") == pytest.approx(slope("dense"), abs=1e-9)  # the series alone is off by 1e-4


@pytree
class Laplace(kernels.Kernel):
    """exp(-‖z - w‖/h), NaN beyond a cosine of 1 and infinitely steep there."""

    h: Any

    def log_kernel(self, cosine):
        return -jnp.sqrt(2 * (1 - cosine)) / self.h


@pytest.mark.parametrize("method", ["dense", "tiled"])
def test_cosines_are_clipped_and_coincident_points_have_no_slope(method):
    """Scalar products of float32 points with themselves reach 1 + 2.4e-7."""
    x = ct.sphere.uniform(jax.random.key(0), 300, 3, jnp.float32)
    near = np.linalg.norm(np.asarray(x)[:, None] - np.asarray(x), axis=2) + np.eye(300)
    x = x[near.min(axis=1) > 5e-3]  # nearer ones, but for themselves, are within rounding of a cosine of 1
    n = len(x)
    assert 290 < n < 300
    assert float(jnp.max(jnp.sum(x * x, axis=1))) > 1

    def total(x, y, h):
        value = ct.log_partition(x, y, Laplace(h), method=method)
        return value.mean(), value

    run = jax.jit(jax.grad(total, argnums=(0, 1, 2), has_aux=True))
    *got, value = jax.tree.leaves(run(x, x, jnp.float32(0.5)))
    z = np.asarray(ct.sphere.normalize(x.astype(jnp.float64)))
    chord = np.linalg.norm(z[:, None] - z[None], axis=2)
    mass = np.exp(-chord / 0.5)
    share = mass / mass.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(value, np.log(mass.mean(axis=1)), atol=1e-4)
    force = np.where(chord > 0, share / np.where(chord > 0, chord, 1), 0) / 0.5
    pull = (force[:, :, None] * z[None]).sum(axis=1)
    pull -= np.sum(pull * z, axis=1, keepdims=True) * z
    np.testing.assert_allclose(n * got[0], pull, atol=2e-3)
    assert all(np.isfinite(a).all() for a in got)


def test_degree_coefficients_are_float64_in_any_session():
    kernel = kernels.GeodesicGaussian(0.3)
    with jax.enable_x64(False):
        narrow = kernel.degree_coefficients(3, 30)
    assert narrow.dtype == np.float64
    np.testing.assert_array_equal(narrow, kernel.degree_coefficients(3, 30))
    np.testing.assert_allclose(
        kernels.ChordalGaussian(0.5).degree_coefficients(3, 20),
        kernels.Exponential(0.25).degree_coefficients(3, 20),
        atol=1e-14,
    )


@pytest.mark.long
def test_points_at_a_pole_are_where_they_are():
    """Azimuth is undefined at a pole; a point moved 1e-12 away from it is 2e-12 off in L here."""
    axis = jnp.asarray([[np.sin(0.5), 0, np.cos(0.5)]])
    y = ct.sphere.normalize(axis + 0.1 * ct.sphere.uniform(jax.random.key(1), N, 3, dtype=jnp.float64))
    near = [[a, b, 1] for a in (0, 1e-13, 1e-30, 1e-200) for b in (0, a, -a)]
    x = y.at[: len(near)].set(jnp.asarray(near, jnp.float64))
    kernel = kernels.Exponential(0.2)
    planned = ct.partition.Planned(kernel, degrees=(48, 48))
    claimed = ct.partition.certify(x, y, planned)
    assert claimed.method == "spectral"
    assert claimed.value < 3e-13
    found = ct.partition.value_and_gradient(x, y, planned, method="spectral")
    right = ct.partition.value_and_gradient(x, y, kernel, method="dense")
    for got, exact, bound in zip(found, right, (claimed.value, claimed.gradient), strict=True):
        assert float(jnp.max(jnp.abs(got - exact))) <= bound + 4e-15

"""Means of fields: in harmonics, their value and gradients come from one pass."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ctflow as ct
from ctflow import kernels
from ctflow.partition import Planned, mean_log_partition, mean_log_partitions
from tests.draws import uniform


def weights(n, power=1):
    w = np.linspace(1, 2, n) ** power
    return jnp.asarray(w / w.sum())


def mean_of(which, **options):
    """A number made of the means at x over y, at both, or at x over x."""

    def total(x, y, p, q, kernel):
        if which == "both":
            a, b = mean_log_partitions(x, y, kernel, weights=(p, q), **options)
            return a - 0.3 * b
        if which == "itself":
            return mean_log_partition(x, x, kernel, weights=(p, p), **options)
        return mean_log_partition(x, y, kernel, weights=(p, q), **options)

    return total


def mean_of_fields(which, **options):
    """The same number by definition."""

    def field(x, y, q, kernel):
        return ct.log_partition(x, y, kernel, weights=q, method="dense", **options)

    def total(x, y, p, q, kernel):
        if which == "both":
            return jnp.vdot(p, field(x, y, q, kernel)) - 0.3 * jnp.vdot(q, field(y, x, p, kernel))
        y, q = (x, p) if which == "itself" else (y, q)
        return jnp.vdot(p, field(x, y, q, kernel))

    return total


def derivatives(total):
    """Value, all first derivatives in both modes, and the gradient of a squared gradient."""

    def squared(*arguments):
        d_x, d_y, *_ = jax.grad(total, (0, 1, 2, 3, 4))(*arguments)
        return jnp.sum(d_x**2) + jnp.sum(d_y**2)

    def found(*arguments):
        value, slope = jax.value_and_grad(total, (0, 1, 2, 3, 4))(*arguments)
        moves = jax.tree.map(lambda a: jnp.cos(jnp.arange(a.size, dtype=a.dtype)).reshape(a.shape), arguments)
        along = jax.jvp(total, arguments, moves)[1]
        return value, along, slope, jax.grad(squared, (0, 1, 2, 3, 4))(*arguments)

    return jax.jit(found)


@pytest.mark.parametrize(
    ("which", "m", "exclude_self"),
    [
        ("both", 34, True),
        *(pytest.param(*case, marks=pytest.mark.long) for case in (("one", 21, False), ("itself", 34, True))),
    ],
)
def test_means_are_those_of_the_fields_with_all_their_derivatives(which, m, exclude_self):
    kernel = Planned(kernels.Exponential(0.4), degrees=(40, 40), only=0)  # harmonics alone
    arguments = uniform(0, 34, 3), uniform(1, m, 3), weights(34), weights(m, 2)
    found = derivatives(mean_of(which, method="spectral", exclude_self=exclude_self))(*arguments, kernel)
    plain = derivatives(mean_of_fields(which, exclude_self=exclude_self))
    wanted = plain(*arguments, kernels.Exponential(0.4))
    assert np.isfinite(found[0])
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-8 * max(1, np.abs(b).max()))


@pytest.mark.parametrize("method", ["dense", "tiled"])
def test_exact_means_are_those_of_the_fields(method):
    x, y, p, q = uniform(0, 30, 5), uniform(1, 23, 5), weights(30), weights(23)
    kernel = kernels.GeodesicGaussian(0.5)
    for which in ("one", "both", "itself"):
        found = mean_of(which, method=method, block_size=8)(x, y, p, q, kernel)
        np.testing.assert_allclose(found, mean_of_fields(which)(x, y, p, q, kernel), rtol=1e-12)
    equal = mean_log_partition(x, y, kernel, method=method)
    np.testing.assert_allclose(equal, jnp.mean(ct.log_partition(x, y, kernel)), rtol=1e-12)


def test_a_cloud_with_itself_may_have_other_weights_in_the_mean_than_in_the_sum():
    x, p, q, kernel = uniform(0, 30, 3), weights(30), weights(30, 3), kernels.Exponential(0.3)
    wanted = jnp.vdot(p, ct.log_partition(x, x, kernel, weights=q))
    for method in ("dense", "tiled", "spectral"):
        found = mean_log_partition(x, x, kernel, weights=(p, q), method=method)
        np.testing.assert_allclose(found, wanted, rtol=1e-8)


@pytest.mark.long
def test_unproven_means_are_repeated_until_they_are_proven():
    """Far clouds leave no digits in float32, and at a smaller temperature none in float64."""
    n = 64
    x = ct.sphere.exp_map(jnp.eye(3)[jnp.zeros(n, int)], 0.05 * jax.random.normal(jax.random.key(0), (n, 3)))
    x, y = ct.sphere.normalize(x).astype(jnp.float32), ct.sphere.normalize(-x).astype(jnp.float32)
    w = jnp.full(n, 1 / n, jnp.float32)
    slopes = jax.jit(jax.value_and_grad(mean_of("one", method="spectral"), (0, 1)))
    for tau, repeats in ((2.0, 0), (0.3, 1), (0.05, 2)):
        inner = kernels.Exponential(jnp.float32(tau))

        def planned(only, inner=inner):
            return Planned(inner, degrees=(48, 64), only=only)

        for only in range(3):
            value, slope = slopes(x, y, w, w, planned(only))
            assert np.isfinite(value) == (only >= repeats)
            assert all(bool(jnp.isfinite(a).all()) == (only >= repeats) for a in slope)
        found = slopes(x, y, w, w, planned(None))
        wanted = jax.value_and_grad(mean_of_fields("one"), (0, 1))(x, y, w, w, inner)
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-5 * np.abs(b).max())


def test_the_mean_of_many_values_in_float32_has_their_accuracy():
    n = 60_000
    x, y = (uniform(seed, n, 2).astype(jnp.float32) for seed in (0, 1))
    kernel = kernels.Exponential(jnp.float32(0.05))
    found = mean_log_partition(x, y, kernel, method="spectral")
    values = ct.log_partition(x, y, kernel, method="spectral")
    wanted = np.mean(np.asarray(values, np.float64))
    np.testing.assert_allclose(found, wanted, rtol=3e-7)


def test_two_means_of_clouds_of_one_size_share_a_program():
    x, y, w = uniform(0, 32, 3), uniform(1, 32, 3), weights(32)
    kernel = Planned(kernels.Exponential(0.4), degrees=(16, 16), only=0)

    def lines(which):
        slope = jax.jit(jax.grad(mean_of(which, method="spectral"), (0, 1)))
        return slope.lower(x, y, w, w, kernel).as_text().count("\n")

    assert lines("both") < 1.2 * lines("one")


def test_the_rate_of_a_mean_in_float32_has_the_accuracy_of_its_gradient():
    """Forwards, the products of 60,000 slopes and tangents are added: here they have one sign."""
    n = 60_000
    x = uniform(0, n, 2).astype(jnp.float32)
    kernel = Planned(kernels.Exponential(jnp.float32(0.05)), degrees=(64, 64), only=0)

    def mean(w):
        return mean_log_partition(x, x, kernel, weights=(w, w), method="spectral")

    w = jnp.full(n, 1 / n, jnp.float32)
    slope = jax.jit(jax.grad(mean))(w)
    rate = jax.jit(lambda w: jax.jvp(mean, (w,), (w,))[1])(w)
    np.testing.assert_allclose(rate, np.vdot(np.float64(slope), np.float64(w)), rtol=1e-6)

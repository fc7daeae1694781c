"""Finite batches on the ring: closed forms, the batch gradient, and the drift along neutral states."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ctflow as ct
from ctflow.claims import batch_noise, ring
from ctflow.claims.finite_batches import bias_slope, critical_temperature_of, first_order, slope, slope_of


@pytest.mark.parametrize("positive", [True, False])
@pytest.mark.parametrize(("sigma", "kappa", "size"), [(1.0, 1.5, 1), (0.5, 4.0, 15), (0.3, 11.0, 3)])
def test_the_slope_of_the_loss_is_that_of_drawn_batches(sigma, kappa, size, positive):
    rng = np.random.default_rng(0)
    partner = np.cos(rng.normal(0, sigma, 40_000))
    negatives = np.cos(rng.uniform(0, 2 * np.pi, (40_000, size)))
    own, w = positive * np.exp(kappa * partner), np.exp(kappa * negatives)
    slopes = (own * partner + (w * negatives).sum(axis=1)) / (own + w.sum(axis=1)) - partner
    error = slopes.std() / 200
    assert abs(slopes.mean() - slope(kappa, sigma, size, positive=positive)) < 4 * error


@pytest.mark.parametrize("positive", [True, False])
def test_the_first_order_in_one_over_n_is_the_limit_of_the_quadrature(positive):
    sigma, kappa = 0.7, 2.0
    limit = ring.mean_cosines(1 / kappa, 1) - ring.pair_cosines(sigma, 1)
    once, twice = (n * (slope(kappa, sigma, n, positive=positive) - limit) for n in (1000, 2000))
    assert 2 * twice - once == pytest.approx(bias_slope(kappa, sigma, positive=positive), rel=1e-4)


@pytest.mark.parametrize("positive", [True, False])
def test_the_critical_temperature_to_first_order_errs_by_the_square(positive):
    errors = [
        critical_temperature_of(1.0, n, positive=positive) - first_order(1.0, n, positive=positive)
        for n in (200, 400)
    ]
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.03)


@pytest.mark.parametrize("size", [1, 4, 100])
def test_von_mises_pairs_have_one_critical_temperature_for_all_batches(size):
    pairs = np.exp(2.5 * np.cos(2 * np.pi * np.arange(256) / 256))
    assert abs(slope_of(2.5, pairs / pairs.sum(), size)) < 1e-12
    assert abs(slope_of(2.5, pairs / pairs.sum(), size, positive=False)) > 1e-3


def test_without_the_positive_few_negatives_leave_no_critical_temperature():
    """The largest of N uniform cosines has a mean below e_1, so the loss falls for ever."""
    assert critical_temperature_of(0.5, 7, positive=False) == 0
    star = ring.critical_temperature(0.5)
    shifts = [1 - critical_temperature_of(0.5, 15, positive=positive) / star for positive in (True, False)]
    assert 0 < 10 * shifts[0] < shifts[1]


def test_the_batch_gradient_is_that_of_the_published_loss(key):
    n, tau = 8, 0.4
    clouds = np.asarray(ct.sphere.uniform(key, 2 * n, 3)).reshape(2, n, 3)
    rows, cols = np.array([0, 3, 3, 5, 7]), np.array([1, 2, 4, 4, 6])

    def loss(z):
        return ct.infonce.in_batch(ct.Pair(z[0, rows], z[1, cols]), temperature=tau)

    expected = n * ct.sphere.project_tangent(clouds, jax.grad(loss)(jnp.asarray(clouds)))
    np.testing.assert_allclose(batch_noise.batch_gradient(clouds, rows, cols, tau), expected, atol=1e-12)


def _parallels(n, fraction, ratio):
    heights = ring.ends_at(fraction, (1.0, ratio))
    return np.stack(ring.rings(n, 3, heights, np.random.default_rng(0), noise=0.0))


def test_batches_raise_parallel_rings_as_the_loss_of_n_negatives_says():
    """The mean rise of x is G sin α cos β with G = L_N'(p/τ)/τ, N = B - 1."""
    n, size, tau, draws = 24, 6, 0.5, 20_000
    clouds = _parallels(n, 0.7, -0.5)
    pairs = batch_noise.draw(np.random.default_rng(1), ring.law(n, 1.0), (draws, size))
    rises = -batch_noise.batch_gradient(clouds, *pairs, tau)[:, 0, :, 2].mean(axis=1)
    a, b = clouds[:, 0, 2]
    kappa = np.sqrt((1 - a**2) * (1 - b**2)) / tau
    # dz/dt = cos α dα/dt
    expected = slope(kappa, 1.0, size - 1) / tau * a * np.sqrt((1 - a**2) * (1 - b**2))
    assert abs(rises.mean() - expected) < 4 * rises.std() / np.sqrt(draws)


def test_no_batch_moves_parallel_rings_along_the_neutral_states_to_first_order():
    n, step = 24, 1e-6
    clouds = _parallels(n, 0.6, 0.4)
    pairs = batch_noise.draw(np.random.default_rng(2), ring.law(n, 1.0), (50, 6))
    gradients = batch_noise.batch_gradient(clouds, *pairs, 0.4)
    moved = clouds - step * gradients
    moved /= np.linalg.norm(moved, axis=-1, keepdims=True)
    assert np.abs(batch_noise.angle(moved) - batch_noise.angle(clouds)).max() < 1e-3 * step
    assert np.linalg.norm(gradients, axis=-1).max() > 1


@pytest.mark.long
def test_the_drift_is_the_second_order_of_the_limit_of_the_flow():
    """ψ at the end of the mean loss's flow from z ± εG, against the Hessian and Lyapunov's equation."""
    n, size, sigma, draws, epsilon, h = 12, 32, 1.0, 4, 1e-3, 0.02
    law, tau = ring.law(n, sigma), 0.6 * critical_temperature_of(sigma, size - 1)
    velocity = jax.grad(lambda z: -n * batch_noise._mean_loss(z, law, tau, size - 1))

    @jax.jit
    def limit(z):
        def unit(z):
            return z / jnp.linalg.norm(z, axis=-1, keepdims=True)

        def step(z, _):
            first = ct.sphere.project_tangent(z, velocity(z))
            middle = unit(z + h / 2 * first)
            return unit(z + h * ct.sphere.project_tangent(middle, velocity(middle))), None

        return jax.lax.scan(step, z, length=round(120 / h))[0]

    clouds = np.asarray(limit(jnp.asarray(_parallels(n, 0.6, 0.4))))
    found = batch_noise.drift(np.random.default_rng(3), clouds, law, tau, size, draws=draws)
    pairs = batch_noise.draw(np.random.default_rng(3), law, (draws, size))
    changes = []
    for gradient in batch_noise.batch_gradient(clouds, *pairs, tau):
        ends = [clouds + sign * epsilon * gradient for sign in (1, -1)]
        ends = [z / np.linalg.norm(z, axis=-1, keepdims=True) for z in ends]
        there, back = (float(batch_noise.angle(np.asarray(limit(jnp.asarray(z))))) for z in ends)
        changes.append((there + back - 2 * float(batch_noise.angle(clouds))) / (2 * epsilon**2))
    assert found.total == pytest.approx(np.mean(changes), rel=1e-3)

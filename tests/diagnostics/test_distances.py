import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import cdist

import ctflow as ct
from ctflow.diagnostics import centroid_gap, energy_distance


def two(n=30, m=700, d=4):
    return ct.sphere.uniform(jax.random.key(0), n, d), ct.sphere.uniform(jax.random.key(1), m, d)


def test_both_estimators_are_their_sums():
    x, y = (np.asarray(z) for z in two())
    xy, xx, yy = cdist(x, y).mean(), cdist(x, x).sum(), cdist(y, y).sum()
    v = 2 * xy - xx / 30**2 - yy / 700**2
    u = 2 * xy - xx / (30 * 29) - yy / (700 * 699)
    np.testing.assert_allclose(energy_distance(*two(), estimator="v"), v, rtol=1e-7)
    np.testing.assert_allclose(energy_distance(*two()), u, rtol=1e-7)


def test_unbiased_estimate_is_zero_on_average_where_v_is_not():
    keys = jax.random.split(jax.random.key(0), 300)

    def both(key):
        a, b = jax.random.split(key)
        x, y = ct.sphere.uniform(a, 50, 3), ct.sphere.uniform(b, 50, 3)
        return energy_distance(x, y), energy_distance(x, y, estimator="v")

    u, v = (np.asarray(values) for values in jax.lax.map(both, keys))
    assert abs(u.mean()) < 4 * u.std() / np.sqrt(300)
    assert v.min() >= 0
    assert v.mean() > 10 * u.std() / np.sqrt(300)


def test_known_values():
    north = jnp.array([[0.0, 0.0, 1.0]])
    np.testing.assert_allclose(energy_distance(north, -north, estimator="v"), 4)
    np.testing.assert_allclose(centroid_gap(north, -north), 2)
    x, _ = two()
    np.testing.assert_allclose(energy_distance(x, x, estimator="v"), 0, atol=1e-12)
    np.testing.assert_allclose(centroid_gap(x, x), 0, atol=1e-15)


def test_gradients_are_finite_where_points_coincide():
    x, _ = two()
    for measure in (centroid_gap, lambda a, b: energy_distance(a, b, estimator="v")):
        gradient = jax.grad(lambda z, measure=measure: measure(z, x))(x)
        assert jnp.isfinite(gradient).all()


def test_weights_count_as_repeats():
    x, y = two(6, 5)
    weighted = ct.WeightedCloud(x, jnp.arange(1.0, 7) / 21)
    repeated = jnp.repeat(x, np.arange(1, 7), axis=0)
    for measure in (centroid_gap, lambda a, b: energy_distance(a, b, estimator="v")):
        # Coincident points are √eps apart to rounding.
        np.testing.assert_allclose(measure(weighted, y), measure(repeated, y), rtol=1e-8)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_dtype_follows_the_clouds(dtype):
    x, y = (z.astype(dtype) for z in two(5, 4))
    assert energy_distance(x, y).dtype == centroid_gap(x, y).dtype == dtype

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

import ctflow as ct
from ctflow import potentials


def test_mixture_of_one_is_linear(key):
    z = ct.sphere.uniform(key, 20, 5)
    m = np.eye(5)[2]
    one = potentials.VonMisesFisherMixture(m[None], concentration=3.0)
    np.testing.assert_allclose(one(z), potentials.Linear(m)(z), atol=1e-14)
    np.testing.assert_allclose(one.symmetry_axis, m)


def test_mixture_is_the_formula(key, two_wells):
    z = np.asarray(ct.sphere.uniform(key, 20, 3))
    means = np.asarray(two_wells.means)
    exact = -np.log(0.5 * np.exp(12 * z @ means[0]) + 0.5 * np.exp(12 * z @ means[1])) / 12
    np.testing.assert_allclose(two_wells(jnp.asarray(z)), exact, rtol=1e-13)
    weighted = potentials.VonMisesFisherMixture(means, concentration=12.0, weights=[0.8, 0.2])
    exact = -np.log(0.8 * np.exp(12 * z @ means[0]) + 0.2 * np.exp(12 * z @ means[1])) / 12
    np.testing.assert_allclose(weighted(jnp.asarray(z)), exact, rtol=1e-13)


def test_ring_is_flat_along_its_valley():
    ring = potentials.Ring(np.eye(3)[2], level=0.6, stiffness=5.0)
    phi = jnp.linspace(0, 6, 9)
    valley = jnp.stack([0.8 * jnp.cos(phi), 0.8 * jnp.sin(phi), jnp.full(9, 0.6)], axis=1)
    np.testing.assert_allclose(ring(valley), 0, atol=1e-15)
    np.testing.assert_allclose(ring(jnp.array([0.0, 0.0, 1.0])), 0.5 * 5 * 0.4**2)


def test_any_function_of_a_point_is_a_potential(key):
    z = ct.sphere.uniform(key, 10, 3)
    energy = ct.energies.Potential(lambda p: p[0] * p[1], temperature=0.5)
    np.testing.assert_allclose(energy(z), jnp.mean(z[:, 0] * z[:, 1]) / 0.5)
    assert jnp.isfinite(jax.grad(energy)(z)).all()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_values_follow_the_points_dtype(dtype, key, two_wells):
    z = ct.sphere.uniform(key, 4, 3, dtype)
    ring = potentials.Ring(np.eye(3)[0])
    for potential in (two_wells, potentials.Linear(np.ones(3)), ring):
        assert potential(z).dtype == dtype


def test_narrowing_ring_weighs_its_valley_by_its_width():
    """At low temperature the mean along the narrowing tends to -I_1/I_0 (Laplace's method)."""
    ring = ct.potentials.Ring(np.eye(3)[2], stiffness=1.0, narrowing=jnp.array([0.5, 0.0, 0.0]))
    assert ring.symmetry_axis is None
    limit = -special.iv(1, 0.5) / special.iv(0, 0.5)
    off = [
        abs(ct.gibbs.GibbsMeasure(ring, temperature=tau, d=3).mean(lambda z: z[:, 0]) - limit)
        for tau in (0.02, 0.01)
    ]
    assert off[0] < 0.02
    assert off[1] == pytest.approx(off[0] / 2, rel=0.1)
    with pytest.raises(ValueError, match="narrowing must be a finite vector"):
        ct.potentials.Ring(np.eye(3)[2], narrowing=jnp.array([np.nan, 0, 0])).check()

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


def test_mixture_of_many_means_is_the_formula_too(key):
    """Cosines with few means are summed one by one, with many by a matrix product."""
    z, means = (np.asarray(ct.sphere.uniform(k, 20, 3)) for k in jax.random.split(key))
    mixture = potentials.VonMisesFisherMixture(means, concentration=2.0)
    np.testing.assert_allclose(mixture(jnp.asarray(z)), -np.log(np.exp(2 * z @ means.T).mean(axis=1)) / 2)


def test_ring_is_flat_along_its_valley():
    ring = potentials.Ring(np.eye(3)[2], level=0.6, stiffness=5.0)
    phi = jnp.linspace(0, 6, 9)
    valley = jnp.stack([0.8 * jnp.cos(phi), 0.8 * jnp.sin(phi), jnp.full(9, 0.6)], axis=1)
    np.testing.assert_allclose(ring(valley), 0, atol=1e-15)
    np.testing.assert_allclose(ring(jnp.array([0.0, 0.0, 1.0])), 0.5 * 5 * 0.4**2)


@pytest.mark.parametrize("level", [1.0, -1.5, np.nan])
def test_a_level_off_the_sphere_is_refused_as_a_number_and_as_an_array(level):
    with pytest.raises(ValueError, match=r"level must lie in \(-1, 1\)"):
        potentials.Ring(np.eye(3)[2], level=level)
    ring = potentials.Ring(np.eye(3)[2], level=jnp.asarray(level))
    with pytest.raises(ValueError, match=r"level must lie in \(-1, 1\)"):
        ring.check()


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


NOT_SCALARS = {
    "one entry": (lambda z: z[:1], "shape (1,)"),
    "a vector": (lambda z: z, "shape (3,)"),
    "nothing": (lambda z: None, "NoneType"),
    "two": (lambda z: (z[0], z[1]), "tuple"),
}


@pytest.mark.parametrize("name", NOT_SCALARS)
def test_a_function_must_return_a_scalar(name, key):
    fn, found = NOT_SCALARS[name]
    message = (
        f"potential must return a scalar for one point [d], got {found}; return value[0] of an array with "
        f"one entry, or jnp.sum of several"
    )
    x = ct.sphere.uniform(key, 6, 3)
    energy = ct.energies.Potential(fn, temperature=0.5)
    fields = ct.energies.symmetric_in_fields(fn, fn, temperature=0.5)
    for call in (
        lambda: potentials.as_potential(fn)(x),
        lambda: energy(x),
        lambda: energy.terms(x),
        lambda: jax.eval_shape(energy, x),
        lambda: fields(ct.Pair(x, x)),
        lambda: ct.solve(energy, x, ct.flows.GradientFlow(0.1), num_steps=1),
        lambda: ct.gibbs.GibbsMeasure(fn, temperature=0.5, d=3),
    ):
        with pytest.raises(ValueError, match="potential must return a scalar") as caught:
            call()
        assert str(caught.value) == message


class Columns(potentials.PotentialBase):
    """A potential of one's own with a shape too many."""

    def __call__(self, z):
        return z[..., :1]


def test_a_potential_of_ones_own_must_give_a_number_per_point(key):
    x = ct.sphere.uniform(key, 6, 3)
    with pytest.raises(ValueError, match=r"shape \(6,\) for points \(6, 3\), got shape \(6, 1\)"):
        ct.energies.Potential(Columns(), temperature=0.5)(x)
    for call in (
        lambda: ct.energies.Potential(lambda z: z[0] + z[5] @ z[1], temperature=0.5)(x),
        lambda: ct.energies.Potential(potentials.Linear(np.eye(4)[0]), temperature=0.5)(x),
    ):
        with pytest.raises(ValueError, match="potential cannot be evaluated at points of dimension 3: "):
            call()
    with pytest.raises(NotImplementedError, match=r"PotentialBase must define __call__\(points\)"):
        potentials.PotentialBase()(x)


def test_a_callable_object_is_a_potential_and_a_number_is_none(key):
    x = ct.sphere.uniform(key, 6, 3)
    assert float(ct.energies.Potential(lambda z: 1.0, temperature=0.5)(x)) == 2
    with pytest.raises(ValueError, match="or a function of one point, got 3"):
        ct.energies.Potential(3.0, temperature=0.5)(x)

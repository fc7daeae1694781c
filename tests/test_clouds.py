import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ctflow as ct
from ctflow import clouds, energies
from tests.draws import uniform

FIELD = ct.potentials.Linear(np.eye(3)[0])


def a_cloud(n=5, d=3):
    z = np.random.default_rng(0).standard_normal((n, d))
    return z / np.linalg.norm(z, axis=1, keepdims=True)


@pytest.fixture
def narrow(monkeypatch):
    """A process in JAX's default precision that has not been warned."""
    monkeypatch.setattr(clouds, "_warned", False)
    with jax.enable_x64(False):
        yield


# Doors by which a cloud or its weights enter, as float64 arrays of NumPy.
DOORS = {
    "cloud": lambda z, w: clouds.check_cloud("cloud", z),
    "pair": lambda z, w: clouds.check_clouds("clouds", ct.Pair(z, z)),
    "energy": lambda z, w: energies.Potential(FIELD, temperature=0.5)(z),
    "solve": lambda z, w: ct.solve(
        energies.Potential(FIELD, temperature=0.5), z, ct.flows.GradientFlow(0.1), num_steps=1
    ),
    "energy distance": lambda z, w: ct.diagnostics.energy_distance(z, z),
    "centroid gap": lambda z, w: ct.diagnostics.centroid_gap(z, z),
    "weights": lambda z, w: clouds.check_cloud("cloud", ct.WeightedCloud(jnp.asarray(z), w)),
    "log_partition": lambda z, w: ct.log_partition(jnp.asarray(z), z, ct.kernels.Exponential(0.5)),
    "rows in a list": lambda z, w: clouds.check_cloud("cloud", list(z)),
    "init": lambda z, w: ct.flows.GradientFlow(0.1).init(z),
    "velocity": lambda z, w: ct.flows.velocity(energies.Potential(FIELD, temperature=0.5), z),
    "exp_map": lambda z, w: ct.sphere.exp_map(z, 0 * z),
    "log_map": lambda z, w: ct.sphere.log_map(z, z),
    "geodesic_distance": lambda z, w: ct.sphere.geodesic_distance(z, z),
    "cap_fraction": lambda z, w: ct.gibbs.cap_fraction(z, np.eye(3), radius=0.5),
    "normalize": lambda z, w: ct.sphere.normalize(2 * z),
}


@pytest.mark.wrong_types
@pytest.mark.parametrize("door", DOORS)
@pytest.mark.usefixtures("narrow")
def test_float64_that_becomes_float32_is_told_once(door):
    z, w = a_cloud(), np.full(5, 0.2)
    with pytest.warns(
        clouds.PrecisionWarning, match=r"holds float64 numbers, .* jax_enable_x64 is off"
    ) as told:
        DOORS[door](z, w)
    assert len(told) == 1
    assert told[0].filename == __file__
    for other in DOORS.values():  # warnings are errors here
        other(z, w)


@pytest.mark.usefixtures("narrow")
def test_what_loses_nothing_or_was_no_array_is_not_told():
    z = a_cloud()
    for given in (z.astype(np.float32), jnp.asarray(z), z.tolist(), [list(map(float, row)) for row in z]):
        assert clouds.check_cloud("cloud", given).dtype == jnp.float32
    # Parameters, which follow the clouds' precision, and numbers that ctflow itself draws up in float64.
    wells = ct.potentials.VonMisesFisherMixture(np.eye(3), concentration=2.0, weights=np.full(3, 1 / 3))
    ring = ct.potentials.Ring(np.eye(3)[2])
    for potential in (wells, ring, FIELD):
        energies.Potential(potential, temperature=0.5)(jnp.asarray(z))
    with jax.enable_x64(True):  # an array of JAX's own, made where float64 was on
        wide = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), wells)
    for potential in (wide, jax.device_get(wide)):
        potential.check()
    pi = ct.couplings.misaligned(jax.random.key(0), np.linspace(0, 1, 5), sigma=0.3)
    energies.Alignment(pi, temperature=0.5)(ct.Pair(jnp.asarray(z), jnp.asarray(z)))


def test_float64_stays_float64_without_a_word_where_jax_has_it():
    z = a_cloud()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for door in DOORS.values():
            door(z, np.full(5, 0.2))
    assert clouds.check_cloud("cloud", z).dtype == jnp.float64


REFUSED = {
    "a pair in a pair": (
        lambda z: ct.Pair(ct.Pair(z, z), z),
        "clouds.x must be one cloud [n, d], got a Pair of 2 clouds; pass one of the two",
    ),
    "nothing": (lambda z: (), "clouds must hold at least one cloud [n, d], got an empty tuple"),
    "negative weight": (
        lambda z: ct.WeightedCloud(z, np.array([0.5, 0.5, -0.1, 0.1, 0.0])),
        "clouds.weights must be finite and >= 0, got a smallest value of -0.1 (entry 2 is -0.1); set such "
        "weights to 0 and divide all by their sum",
    ),
    "weight not a number": (
        lambda z: ct.Pair(z, ct.WeightedCloud(z, np.array([0.5, np.nan, 0.1, 0.1, 0.3]))),
        "clouds.y.weights must be finite and >= 0",
    ),
    "weights of less than 1": (
        lambda z: ct.WeightedCloud(z, np.full(5, 0.19)),
        "clouds.weights must sum to 1, got 0.95; divide them by their sum",
    ),
    "longdouble": (lambda z: z.astype(np.float128), "clouds must be an array [n, d] of points on the sphere"),
    "complex": (lambda z: z.astype(complex), "must hold real floating-point numbers, got complex128"),
    "tiny": (lambda z: 1e-200 * z, "must have rows of unit norm"),
    "huge": (lambda z: 1e200 * z, "must have rows of unit norm"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_what_to_do(name):
    make, message = REFUSED[name]
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        clouds.check_clouds("clouds", make(a_cloud()))
    assert message in str(caught.value)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n", "d"), [(1, 2), (7, 3), (40_000, 2), (300, 768)])
def test_one_bad_row_anywhere_is_found(n, d, dtype):
    """The norms are taken block by block; rows within 64 rounding errors pass in any block."""
    z = np.array(uniform([n, d], n, d, jnp.float64)).astype(dtype)
    eps = float(np.finfo(dtype).eps)
    clouds.check_cloud("z", z * dtype(1 + 40 * eps))
    for row in {0, n // 2, n - 1}:
        for factor in (1 + 100 * eps, 1 - 100 * eps, np.nan, np.inf, 0):
            bad = z.copy()
            bad[row] = bad[row] * dtype(factor) if np.isfinite(factor) else factor
            with pytest.raises(ValueError, match=rf"row {row}\b"):
                clouds.check_cloud("z", bad)


def test_objects_that_numpy_reads_are_clouds():
    class Frame:
        def __array__(self, dtype=None, copy=None):
            return a_cloud()

    np.testing.assert_array_equal(clouds.check_cloud("cloud", Frame()), a_cloud())

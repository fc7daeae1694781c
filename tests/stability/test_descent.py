"""Descents to states at rest: where they end, and that they leave the cores to JAX."""

import jax.numpy as jnp
import numpy as np
import pytest
from threadpoolctl import threadpool_info

from ctflow import WeightedCloud, energies
from ctflow.energy import Function
from ctflow.stability.descent import descend
from ctflow.stability.spectrum import modes
from tests.draws import uniform


def test_a_descent_ends_in_the_well_and_one_that_starts_there_stays():
    pole = np.array([0.0, 0.6, 0.8])

    def well(z):
        return 1 - jnp.mean(z @ pole)

    value, end = descend(Function(well), np.asarray(uniform(0, 9, 3)), 1e-8, 500)
    assert value == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(end, np.broadcast_to(pole, (9, 3)), atol=1e-6)
    _, again = descend(Function(well), end, 1e-8, 500)
    np.testing.assert_allclose(again, end, atol=1e-15)


def test_linear_algebra_takes_one_thread_while_jax_runs_and_as_many_as_before_afterwards():
    seen, before = [], _threads()

    def watched(z):
        seen.append(_threads())
        return jnp.mean(z[:, 0])

    descend(Function(watched), np.asarray(uniform(0, 5, 3)), 1e-6, 5)
    first = len(seen)
    at_rest = np.tile(np.array([-1.0, 0.0, 0.0]), (5, 1))
    modes(Function(watched), at_rest)
    assert len(seen) > first
    assert {count for counts in seen[first:] for count in counts} == {1}
    assert _threads() == before


def _threads():
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


def test_weights_stay_as_they_are():
    cloud = WeightedCloud(np.asarray(uniform(0, 4, 3)), np.array([0.1, 0.2, 0.3, 0.4]))
    energy = energies.Function(lambda q: jnp.sum(q.weights * q.points[:, 2]))
    value, end = descend(energy, cloud, 1e-8, 200)
    assert value == pytest.approx(-1, abs=1e-10)
    np.testing.assert_array_equal(end.weights, cloud.weights)

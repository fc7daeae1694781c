"""Predicted onsets against particles: cells of blur, temperature and dimension, from disturbed overlap."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import ctflow as ct
from ctflow.claims import mixtures
from tests.draws import uniform

pytestmark = pytest.mark.long

N, SIGMAS, STEPS = 48, (0.3, 0.5, 1.0), 20_000
# A constant step size leaves energy distances of 1e-4 behind.
FLOW = ct.flows.Descent(optax.adam(optax.cosine_decay_schedule(1e-2, STEPS)))


def loss(law, tau):
    return ct.energies.symmetric(ct.couplings.complete(law), temperature=tau)


def control(tau):
    return ct.energies.SymmetricDivergence(ct.kernels.Exponential(tau))


def ends(rows, d):
    """Energy distances at the end of runs (σ, τ, λ, shared cloud), and the energies above overlap, [runs]."""
    noise = [0.05 * uniform(seed, N, d) for seed in (1, 2)]

    def run(inputs):
        law, tau, strength, z = inputs
        start = ct.Pair(*(ct.sphere.normalize(z + v) for v in noise))
        energy = loss(law, tau) + strength * control(tau)
        end = ct.evolve(energy, FLOW, FLOW.init(start), num_steps=STEPS).clouds
        distance = ct.diagnostics.energy_distance(*end, estimator="v")
        return distance, energy(end) - energy(ct.Pair(z, z))

    stacks = zip(
        *((mixtures.law(N, sigma), tau, strength, z) for sigma, tau, strength, z in rows), strict=True
    )
    found = ct.sweep(run, tuple(jnp.asarray(np.stack(stack)) for stack in stacks))
    return [np.reshape(values, (-1, 2)).T for values in found]


@pytest.mark.parametrize(("d", "beside"), [(3, [(0.3, 0.15)]), (8, [])])
def test_a_gap_is_left_a_tenth_below_the_least_control_and_none_above(d, beside):
    """But in one cell, where a parted state of lower energy lies beside the stable overlap."""
    cells, rows = [(sigma, tau) for sigma in SIGMAS for tau in (0.15, 0.3)], []
    for sigma, tau in cells:
        found = ct.stability.least_control(loss(jnp.asarray(mixtures.law(N, sigma)), tau), control(tau), d)
        assert 0 < found.value < np.inf
        rows += [(sigma, tau, ratio * found.value, found.shared.cloud) for ratio in (0.9, 1.1)]
    (below, above), (_, excess) = ends(rows, d)
    assert np.all(below > 5e-4)
    parted = above > 1e-4
    assert [cell for cell, still in zip(cells, parted, strict=True) if still] == beside
    assert np.all(excess[parted] < -1e-7)
    assert np.all(above < 1e-3)


@pytest.mark.parametrize("d", [3, 8])
def test_a_gap_opens_a_twentieth_below_the_critical_temperature_and_none_above(d):
    rows = []
    for sigma in SIGMAS:
        pairs = ct.couplings.from_matrix(mixtures.law(N, sigma), dtype=np.float64)
        found = ct.stability.critical_temperature(pairs, d, temperatures=(0.2, 1.2), scan=8)
        rows += [(sigma, ratio * found.value, 0.0, found.shared.cloud) for ratio in (0.95, 1.05)]
    (below, above), _ = ends(rows, d)
    assert np.all(below > 5e-3)
    assert np.all(above < 1e-6)

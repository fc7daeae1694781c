"""The toy's formulas: its loss is an energy, and its exact gap is that of the densities."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import ctflow as ct
from experiments import multimodal_toy as toy
from experiments.setups import multimodal_toy as setup

CONFIG = toy.Config(sigmas=(0.0, 0.4))


def test_batch_loss_is_the_energy_of_the_batch(key):
    x, y = (ct.sphere.uniform(k, 32, 2) for k in jax.random.split(key))
    energy = ct.energies.symmetric(ct.couplings.paired(32, dtype=float), temperature=0.07)
    expected = energy(ct.Pair(x, y)) + energy.kernel.log_volume(2) + np.log(32)
    np.testing.assert_allclose(setup.batch_loss(x, y, 0.07), expected, rtol=1e-12)


def test_exact_gap_is_that_of_a_fine_histogram():
    """4 million pairs in 60 bins: bins blur, samples add about 2·59/n; together below 2 % here."""
    population = toy.Population(CONFIG, 512, np.float64)
    encoders = np.array([[[1.0, 0.3], [-0.2, 0.8]], [[0.9, 0.2], [-0.3, 1.1]]])
    key = jax.random.key(1)
    features = toy.draw(CONFIG, key, 0.4, 4_000_000, jnp.float64)
    a, b = (toy.angles_of(toy.encode(jnp.asarray(m), f)) for m, f in zip(encoders, features, strict=True))
    exact = toy.exact_gap(population, 1, encoders)
    assert toy.histogram_gap(CONFIG, a, b) == pytest.approx(exact, rel=0.02)


def test_exact_gap_is_zero_for_one_law_and_blind_to_scale():
    population = toy.Population(CONFIG, 512, np.float64)
    matrix = np.array([[1.0, 0.3], [-0.2, 0.8]])
    assert toy.exact_gap(population, 0, np.stack([matrix, 3 * matrix])) == pytest.approx(0, abs=1e-10)


def test_the_grid_of_the_training_is_fine_enough():
    """J^Sym of trained encoders (condition number 4) on 160 angles and on 512."""
    encoders = jnp.asarray([[[1.9, 0.0], [0.0, 0.5]]] * 2)
    values = []
    for count in (160, 512):
        population = toy.Population(CONFIG, count, np.float64)
        values.append(float(population.energy(0)(population.images(0, encoders))))
    assert abs(values[0] - values[1]) < 1e-3


@pytest.mark.slow
def test_gaps_of_80_seeds_are_a_sample_of_the_published_procedures():
    """Two samples of 80 at each of 8 σ: medians in the other's quartiles, no KS test below 1 % / 8."""
    config = dataclasses.replace(toy.Config(), num_seeds=80)
    runs = [(which, seed) for seed in range(80) for which in range(len(config.sigmas))]
    which, seed = np.array(runs, np.int32).T
    starts = np.stack([toy.initial_encoders(config, s) for s in range(80)])[seed]
    sigmas = np.asarray(config.sigmas, np.float32)[which]
    with jax.numpy_dtype_promotion("standard"):  # optax raises floats to integer powers
        paths = ct.sweep(partial(toy.train_on_minibatches, config), (seed, starts, sigmas))
    gaps = [
        toy.histogram_gap(config, *toy.evaluation_angles(config, path[-1], config.sigmas[w], s))
        for path, (w, s) in zip(paths, runs, strict=True)
    ]
    published = toy.published("gap_runs", "gap_runs_more_seeds")
    for sigma, ours in zip(config.sigmas, np.reshape(gaps, (80, -1)).T, strict=True):
        theirs = published["gap"][np.isclose(published["sigma"], sigma)]
        low, high = np.quantile(theirs, [0.25, 0.75])
        assert len(theirs) == 80
        assert low <= np.median(ours) <= high
        assert stats.ks_2samp(ours, theirs).pvalue > 0.01 / 8

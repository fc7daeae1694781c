import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import ctflow as ct
from ctflow import couplings


def test_paired_has_the_largest_information():
    pi = couplings.paired(50)
    np.testing.assert_allclose(pi.mutual_information(), np.log(50))
    np.testing.assert_allclose(pi.row_marginal(), 1 / 50)


def test_mean_cosine_is_the_sum_it_says_both_ways(key):
    x, y = ct.sphere.uniform(key, 6, 3), ct.sphere.uniform(jax.random.key(1), 4, 3)
    matrix = np.random.default_rng(0).random((6, 4))
    matrix /= matrix.sum()
    full = couplings.from_matrix(matrix)
    rows, cols = np.nonzero(matrix)
    listed = couplings.from_pairs(rows, cols, matrix[rows, cols], shape=(6, 4))
    exact = (matrix * (np.asarray(x) @ np.asarray(y).T)).sum()
    np.testing.assert_allclose(full.mean_cosine(x, y), exact, rtol=1e-13)
    np.testing.assert_allclose(listed.mean_cosine(x, y), exact, rtol=1e-13)
    information = (matrix * np.log(matrix / np.outer(matrix.sum(1), matrix.sum(0)))).sum()
    np.testing.assert_allclose(full.mutual_information(), information, rtol=1e-12)
    np.testing.assert_allclose(listed.mutual_information(), information, rtol=1e-12)


def test_independent_pairs_carry_no_information():
    p, q = np.array([0.2, 0.8]), np.array([0.5, 0.3, 0.2])
    np.testing.assert_allclose(couplings.from_matrix(np.outer(p, q)).mutual_information(), 0, atol=1e-15)


@given(st.integers(0, 10**6), st.integers(2, 40), st.integers(2, 40), st.sampled_from([0.0, 0.1, 0.5, 2.0]))
def test_blurred_pairs_have_uniform_marginals(seed, n, m, sigma):
    rng = np.random.default_rng(seed)
    pi = couplings.from_latents(
        rng.uniform(-3, 3, n), rng.uniform(-3, 3, m) + sigma, bandwidth=max(sigma, 0.03)
    )
    np.testing.assert_allclose(pi.row_marginal(), 1 / n, rtol=1e-8)
    np.testing.assert_allclose(pi.col_marginal(), 1 / m, rtol=1e-8)
    assert float(pi.weights.min()) >= 0


def test_balanced_matrix_is_a_scaling_of_the_kernel():
    rng = np.random.default_rng(1)
    log_kernel = -rng.random((7, 5)) * 10
    log_ratio = np.log(couplings.balance(log_kernel)) - log_kernel
    rank_one = log_ratio - log_ratio[:1] - log_ratio[:, :1] + log_ratio[0, 0]
    np.testing.assert_allclose(rank_one, 0, atol=1e-9)


def test_misaligned_loses_information_as_sigma_grows(key):
    latents = np.random.default_rng(0).vonmises(0, 6, 100)
    information = [
        float(couplings.misaligned(key, latents, sigma=s).mutual_information()) for s in (0, 0.3, 1)
    ]
    assert information == sorted(information, reverse=True)


def test_misaligned_uses_the_latents_that_displaced_gives(key):
    latents = jnp.linspace(0, 3, 20)
    phi = couplings.displaced(key, latents, sigma=0.4)
    a = couplings.misaligned(key, latents, sigma=0.4)
    b = couplings.from_latents(latents, phi, bandwidth=0.4)
    np.testing.assert_array_equal(a.weights, b.weights)


def test_corrupted_shuffles_the_stated_share_and_keeps_the_marginals(key):
    n = 4000
    pi = couplings.corrupted(key, n, probability=0.3)
    kept = float(jnp.mean((pi.rows == pi.cols).astype(float)))
    assert abs(kept - 0.7) < 4 * np.sqrt(0.3 * 0.7 / n) + 5 / n  # a shuffle leaves about one in place
    np.testing.assert_allclose(pi.col_marginal(), 1 / n)
    np.testing.assert_array_equal(couplings.corrupted(key, 9, probability=0.0).cols, np.arange(9))
    assert sorted(couplings.corrupted(key, 9, probability=1.0).cols.tolist()) == list(range(9))

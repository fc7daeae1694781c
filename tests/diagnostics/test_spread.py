"""Alignment, uniformity, MMD and the shape of a cloud, against their sums."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import cdist

import ctflow as ct
from ctflow.diagnostics import alignment, effective_rank, mean_cosine, mmd_squared, uniformity


def two(n=30, m=50, d=5):
    return ct.sphere.uniform(jax.random.key(0), n, d), ct.sphere.uniform(jax.random.key(1), m, d)


def off_diagonal(matrix):
    return matrix[~np.eye(len(matrix), dtype=bool)].mean()


def test_uniformity_is_its_sum_and_zero_for_a_point():
    x, _ = two()
    kernel = np.exp(-2 * cdist(x, x, "sqeuclidean"))
    np.testing.assert_allclose(uniformity(x), np.log(off_diagonal(kernel)), rtol=1e-10)
    np.testing.assert_allclose(uniformity(x, estimator="v"), np.log(kernel.mean()), rtol=1e-10)
    p = np.arange(1.0, 31) / 465
    distinct = np.outer(p, p) * ~np.eye(30, dtype=bool)
    weighted = uniformity(ct.WeightedCloud(x, jnp.asarray(p)))
    np.testing.assert_allclose(weighted, np.log((distinct * kernel).sum() / distinct.sum()), rtol=1e-10)
    np.testing.assert_allclose(uniformity(jnp.tile(x[:1], (4, 1))), 0, atol=1e-12)


def test_mmd_is_its_sum_and_unbiased():
    x, y = two()
    xx, yy, xy = (np.exp(-cdist(a, b, "sqeuclidean") / (2 * 0.7**2)) for a, b in ((x, x), (y, y), (x, y)))
    u = off_diagonal(xx) + off_diagonal(yy) - 2 * xy.mean()
    np.testing.assert_allclose(mmd_squared(x, y, bandwidth=0.7), u, rtol=1e-9)
    v = xx.mean() + yy.mean() - 2 * xy.mean()
    np.testing.assert_allclose(mmd_squared(x, y, bandwidth=0.7, estimator="v"), v, rtol=1e-9)
    draws = ct.sphere.uniform(jax.random.key(2), 400 * 40, 3).reshape(400, 2, 20, 3)
    found = np.asarray(jax.lax.map(lambda z: mmd_squared(z[0], z[1], bandwidth=0.7), draws))
    assert abs(found.mean()) < 4 * found.std() / np.sqrt(400)


def test_alignment_and_mean_cosine_of_known_clouds():
    x, _ = two()
    np.testing.assert_allclose(alignment(x, -x), 4)
    np.testing.assert_allclose(alignment(x, x), 0)
    np.testing.assert_allclose(mean_cosine(x), off_diagonal(np.asarray(x @ x.T)), rtol=1e-10)
    np.testing.assert_allclose(mean_cosine(jnp.stack([x[0], -x[0]])), -1)


def test_effective_rank_counts_directions_of_equal_spread():
    axes = jnp.eye(6)[:3]
    np.testing.assert_allclose(effective_rank(jnp.concatenate([axes, -axes])), 3, rtol=1e-6)


def test_weights_count_as_repeats():
    x, y = two(6, 5)
    weighted = ct.WeightedCloud(x, jnp.arange(1.0, 7) / 21)
    repeated = jnp.repeat(x, np.arange(1, 7), axis=0)
    for measure in (
        lambda c: uniformity(c, estimator="v"),
        lambda c: mmd_squared(c, y, bandwidth=0.5, estimator="v"),
        effective_rank,
    ):
        np.testing.assert_allclose(measure(weighted), measure(repeated), rtol=1e-8)


def test_refused():
    x, y = two()
    with pytest.raises(ValueError, match=r"paired row by row, got \(30, 5\) and \(50, 5\)"):
        alignment(x, y)
    with pytest.raises(ValueError, match="bandwidth must be finite and > 0, got 0"):
        mmd_squared(x, y, bandwidth=0)
    with pytest.raises(ValueError, match="estimator must be"):
        uniformity(x, estimator="w")
    for measure in (uniformity, mean_cosine):
        with pytest.raises(ValueError, match="needs >= 2 points for distinct pairs, got 1"):
            measure(x[:1])

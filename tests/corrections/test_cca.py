"""Regularised canonical correlation analysis against scikit-learn and closed forms."""

import numpy as np
import pytest
from scipy import linalg
from sklearn.cross_decomposition import CCA

from ctflow.corrections import fit


def unit(z):
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def clouds(n, d, seed):
    """Pairs that share two directions of different strength."""
    rng = np.random.default_rng(seed)
    common = rng.standard_normal((n, d)) * np.array([2.0, 1.0] + [0.1] * (d - 2))
    return tuple(unit(common @ rng.standard_normal((d, d)) + rng.standard_normal((n, d))) for _ in range(2))


@pytest.mark.parametrize(("n", "d", "seed"), [(300, 4, 0), (500, 7, 3)])
def test_variates_are_those_of_scikit_learn(n, d, seed):
    x, y = clouds(n, d, seed)
    found = fit("cca", x, y, ridge=1e-12)
    ours = found.x(x), found.y(y)
    theirs = CCA(n_components=2, scale=False, max_iter=5000, tol=1e-12).fit(x, y).transform(x, y)
    for k in range(2):
        for a, b in zip(ours, theirs, strict=True):
            assert abs(np.corrcoef(a[:, k], b[:, k])[0, 1]) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("seed", [0, 1])
def test_each_variate_is_scaled_by_its_correlation(seed):
    x, y = clouds(400, 5, seed)
    found = fit("cca", x, y, ridge=1e-12)
    a, b = found.x(x), found.y(y)
    correlations = np.array([np.corrcoef(a[:, k], b[:, k])[0, 1] for k in range(5)])
    assert (np.diff(correlations) <= 1e-12).all()
    for image in (a, b):
        np.testing.assert_allclose(image.std(axis=0), correlations, rtol=1e-6)
        np.testing.assert_allclose(image.mean(axis=0), 0, atol=1e-12)


@pytest.mark.parametrize(("n", "d", "ridge"), [(40, 12, 0.1), (20, 30, 1.0)])
def test_the_ridge_is_a_share_of_the_mean_variance(n, d, ridge):
    """The scores of pairs against the closed form, with fewer rows than coordinates too."""
    x, y = clouds(n, d, 5)
    found = fit("cca", x, y, ridge=ridge)
    a, b = x - x.mean(axis=0), y - y.mean(axis=0)
    c_xx, c_yy = (z.T @ z / n + ridge * np.trace(z.T @ z / n) / d * np.eye(d) for z in (a, b))
    roots = [np.real(linalg.inv(linalg.sqrtm(c))) for c in (c_xx, c_yy)]
    left, s, right = linalg.svd(roots[0] @ (a.T @ b / n) @ roots[1])
    expected = (a @ roots[0] @ left * s) @ (b @ roots[1] @ right.T * s).T
    np.testing.assert_allclose(found.x(x) @ found.y(y).T, expected, atol=1e-8)


def test_pairs_may_be_listed_in_any_order():
    x, y = clouds(60, 5, 2)
    order = np.random.default_rng(0).permutation(60)
    expected = fit("cca", x, y, ridge=0.1)
    found = fit("cca", x, y[order], pairs=np.column_stack([order, np.arange(60)]), ridge=0.1)
    np.testing.assert_allclose(found.x(x) @ found.y(y).T, expected.x(x) @ expected.y(y).T, atol=1e-10)

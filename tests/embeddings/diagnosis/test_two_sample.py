"""Two-sample statistics on weighted rows against POT, scikit-learn and scipy."""

import numpy as np
import ot
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score
from sklearn.metrics.pairwise import rbf_kernel

from ctflow.embeddings.diagnosis import two_sample
from ctflow.embeddings.diagnosis.resampling import as_they_are, family_wise, halves, resample, table
from ctflow.embeddings.pairing import RowByRow, Unpaired


def unit(z):
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def rows(n=30, m=45, d=5, seed=0, shift=0.4):
    rng = np.random.default_rng(seed)
    x, y = unit(rng.standard_normal((n, d))), unit(rng.standard_normal((m, d)) + shift)
    return table(x, y, Unpaired((n, m), (np.arange(n), np.arange(m))).take(np.arange(n + m)))


def test_sliced_wasserstein_is_pots():
    t = rows()
    x, y = t.points[:30], t.points[30:]
    directions = unit(np.random.default_rng(1).standard_normal((40, 5)))
    expected = ot.sliced_wasserstein_distance(x, y, projections=directions.T, p=1)
    found, error = two_sample.sliced_wasserstein(t, as_they_are(t), directions)
    assert found[0] == pytest.approx(float(expected), abs=1e-12)
    lines = [stats.wasserstein_distance(x @ line, y @ line) for line in directions]
    assert found[0] == pytest.approx(np.mean(lines), abs=1e-12)
    assert error == pytest.approx(np.sqrt(2 / 40) * np.std(lines, ddof=1), abs=1e-12)


@pytest.mark.parametrize(("d", "count"), [(5, 40), (7, 3)])
def test_directions_are_orthogonal_in_sets(d, count):
    lines = two_sample.directions(d, count, np.random.default_rng(0))
    assert lines.shape == (count, d)
    first = lines[:d]
    np.testing.assert_allclose(first @ first.T, np.eye(min(d, count)), atol=1e-12)


def test_energy_distance_is_scipys_on_a_line():
    """scipy's is the root of half of it: √(2·Cramér) against 2E|x-y| - E|x-x'| - E|y-y'|."""
    t = rows()
    line = t.points[:, 0]
    distance = np.abs(line[:, None] - line[None, :])
    found = two_sample.energy_distance(distance, t, as_they_are(t), "v")[0]
    assert found == pytest.approx(stats.energy_distance(line[:30], line[30:]) ** 2, abs=1e-12)


def test_mmd_is_that_of_scikit_learns_kernel():
    t = rows()
    x, y, b = t.points[:30], t.points[30:], 0.8
    k = [rbf_kernel(a, c, gamma=1 / (2 * b**2)) for a, c in ((x, x), (y, y), (x, y))]
    kernel = np.exp(two_sample.distances(t.points @ t.points.T) ** 2 / (-2 * b**2))
    v = two_sample.mmd_squared(kernel, t, as_they_are(t), "v")[0]
    assert v == pytest.approx(k[0].mean() + k[1].mean() - 2 * k[2].mean(), abs=1e-12)
    u = two_sample.mmd_squared(kernel, t, as_they_are(t), "u")[0]
    within = [(a.sum() - len(a)) / (len(a) * (len(a) - 1)) for a in k[:2]]
    assert u == pytest.approx(sum(within) - 2 * k[2].mean(), abs=1e-12)


def test_centred_distances_make_up_for_the_means_of_few_rows():
    """Means taken from n pairs lower squared distances by the variance of the means' difference."""
    n, rng = 6, np.random.default_rng(2)
    x = unit(rng.standard_normal((n, 3)))
    y = unit(x + 0.8 * rng.standard_normal((n, 3)) + 0.5)
    t = table(x, y, RowByRow(n).take(np.arange(n)))
    distance = two_sample.distances(t.points @ t.points.T)
    centred = two_sample.centred_distances(t, distance)
    a, b = x - x.mean(axis=0), y - y.mean(axis=0)
    spread = (a**2).sum() / n + (b**2).sum() / n
    lost = (x - y).var(axis=0, ddof=1).sum() / n
    squares = ((a[:, None] - b[None]) ** 2).sum(axis=2) * spread / (spread - lost)
    np.testing.assert_allclose(centred[:n, n:], np.sqrt(squares), rtol=1e-12)
    np.testing.assert_allclose(centred[n:, :n], np.sqrt(squares).T, rtol=1e-12)
    np.testing.assert_array_equal(centred[:n, :n], distance[:n, :n])


@pytest.mark.parametrize("tied", [False, True])
def test_separability_is_scikit_learns_area_under_the_curve(tied):
    t = rows()
    fit = two_sample.separator(t, halves(t, np.random.default_rng(0)))
    if tied:
        fit = fit._replace(scores=np.round(3 * fit.scores / np.abs(fit.scores).max()))
        assert len(np.unique(fit.scores)) < len(fit.scores) / 2
    found = two_sample.separability(fit, as_they_are(t))[0]
    assert found == pytest.approx(roc_auc_score(t.x[fit.held_out] > 0, fit.scores), abs=1e-12)


def test_weights_stand_for_repeated_rows():
    """A bootstrap column is the statistic of the rows drawn, written out with their repeats."""
    t = rows()
    resamples = resample(t, halves(t, np.random.default_rng(1)), 0, 3, np.random.default_rng(0))
    distance = two_sample.distances(t.points @ t.points.T)
    found = two_sample.energy_distance(distance, t, resamples, "v")
    for column in range(1, 4):
        counts = np.round(resamples.group[:, column]).astype(int)
        x, y = np.repeat(t.points[:30], counts[:30], axis=0), np.repeat(t.points[30:], counts[30:], axis=0)
        assert (len(x), len(y)) == (30, 45)
        apart = [np.linalg.norm(a[:, None] - b[None], axis=2).mean() for a, b in ((x, y), (x, x), (y, y))]
        assert found[column] == pytest.approx(2 * apart[0] - apart[1] - apart[2], abs=1e-7)


def test_relabelling_keeps_sizes_in_both_halves():
    t = rows()
    first = halves(t, np.random.default_rng(1))
    resamples = resample(t, first, 50, 0, np.random.default_rng(0))
    x, y = resamples.x[:, 1:], resamples.y[:, 1:]
    assert ((x > 0) ^ (y > 0)).all()
    for half in (first, ~first):  # each row is a group
        assert ((x[half] > 0).sum(axis=0) == 15).all()
        assert abs((y[half] > 0).sum(axis=0) - 22.5).max() == 0.5
    assert abs((x[:30] > 0).mean() - 30 / 75) < 0.05


def test_relabelled_rows_take_each_others_weights():
    """Three rows of y weigh 1/3 each, thirty of x 1/30: a cloud without a gap has the same weights."""
    t = rows(n=30, m=3)
    resamples = resample(t, halves(t, np.random.default_rng(1)), 20, 0, np.random.default_rng(0))
    for weights, own in ((resamples.x, t.x), (resamples.y, t.y)):
        again = np.tile(np.sort(own)[:, None], 20)
        np.testing.assert_allclose(np.sort(weights[:, 1:], axis=0), again, atol=1e-15)


@pytest.mark.parametrize("estimator", ["u", "v"])
@pytest.mark.parametrize("paired", [True, False])
def test_forms_are_those_of_the_whole_matrices(estimator, paired):
    """The shortcuts (blocks of the matrix, one product for both clouds) against the plain double sum."""
    t = rows(n=24, m=24 if paired else 31)
    if paired:
        t = t._replace(group=np.tile(np.arange(24), 2))
    resamples = resample(t, halves(t, np.random.default_rng(1)), 6, 5, np.random.default_rng(0))
    kernel = np.exp(t.points @ t.points.T)
    found = two_sample.mean_forms(kernel, t, resamples, estimator)
    apart = t.group[:, None] != t.group[None, :] if estimator == "u" else np.ones_like(kernel)
    for column in range(12):
        p, q = resamples.x[:, column], resamples.y[:, column]
        for form, (a, b) in zip(found, ((p, p), (q, q), (p, q)), strict=True):
            weight = np.outer(a, b) * apart
            assert form[column] == pytest.approx((weight * kernel).sum() / weight.sum(), rel=1e-12)


def test_family_wise_values_by_hand():
    """Two statistics, four relabelled columns: each is compared with the largest of both."""
    from ctflow.embeddings.diagnosis.resampling import Draws

    null = np.array([0.0, 1.0, 2.0, 3.0])
    family = {"a": Draws(4.0, null, null), "b": Draws(0.0, null[::-1] + 1, null)}
    p = family_wise(family)
    assert p["a"] == pytest.approx(2 / 5)  # its own column, and the one where b is as far out
    assert p["b"] == 1

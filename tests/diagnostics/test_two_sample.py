"""Two-sample statistics on weighted rows against POT, scikit-learn and scipy."""

import numpy as np
import ot
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score
from sklearn.metrics.pairwise import rbf_kernel

from ctflow.diagnostics import two_sample
from ctflow.diagnostics.pairing import Unpaired
from ctflow.diagnostics.resampling import as_they_are, family_wise, repaired, resample, table


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
    found = two_sample.sliced_wasserstein(t, as_they_are(t), directions)
    assert found[0] == pytest.approx(float(expected), abs=1e-12)
    one = two_sample.sliced_wasserstein(t, as_they_are(t), directions[:1])[0]
    assert one == pytest.approx(stats.wasserstein_distance(x @ directions[0], y @ directions[0]), abs=1e-12)


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
    distance = two_sample.distances(t.points @ t.points.T)
    v = two_sample.mmd_squared(distance, b, t, as_they_are(t), "v")[0]
    assert v == pytest.approx(k[0].mean() + k[1].mean() - 2 * k[2].mean(), abs=1e-12)
    u = two_sample.mmd_squared(distance, b, t, as_they_are(t), "u")[0]
    within = [(a.sum() - len(a)) / (len(a) * (len(a) - 1)) for a in k[:2]]
    assert u == pytest.approx(sum(within) - 2 * k[2].mean(), abs=1e-12)


@pytest.mark.parametrize("tied", [False, True])
def test_separability_is_scikit_learns_area_under_the_curve(tied):
    t = rows()
    fit = two_sample.separator(t, np.random.default_rng(0))
    if tied:
        fit = fit._replace(scores=np.round(fit.scores, 0))
        assert len(np.unique(fit.scores)) < len(fit.scores) / 2
    found = two_sample.separability(fit, as_they_are(t))[0]
    assert found == pytest.approx(roc_auc_score(t.x[fit.held_out] > 0, fit.scores), abs=1e-12)


def test_weights_stand_for_repeated_rows():
    """A bootstrap column is the statistic of the rows drawn, written out with their repeats."""
    t = rows()
    resamples = resample(t, 0, 3, np.random.default_rng(0))
    distance = two_sample.distances(t.points @ t.points.T)
    found = two_sample.energy_distance(distance, t, resamples, "v")
    for column in range(1, 4):
        counts = np.round(resamples.group[:, column]).astype(int)
        x, y = np.repeat(t.points[:30], counts[:30], axis=0), np.repeat(t.points[30:], counts[30:], axis=0)
        assert (len(x), len(y)) == (30, 45)
        apart = [np.linalg.norm(a[:, None] - b[None], axis=2).mean() for a, b in ((x, y), (x, x), (y, y))]
        assert found[column] == pytest.approx(2 * apart[0] - apart[1] - apart[2], abs=1e-7)


def test_relabelling_keeps_sizes_and_repairing_keeps_rows():
    t = rows()
    resamples = resample(t, 50, 0, np.random.default_rng(0))
    x, y = resamples.x[:, 1:], resamples.y[:, 1:]
    assert ((x > 0).sum(axis=0) == 30).all()
    assert ((x > 0) ^ (y > 0)).all()
    assert abs((x[:30] > 0).mean() - 30 / 75) < 0.05
    paired = t._replace(pairs=np.column_stack([np.arange(30), 30 + np.arange(30)]))
    others = repaired(paired, 7, np.random.default_rng(0))
    assert (np.sort(others[..., 1], axis=1) == 30 + np.arange(30)).all()


def test_family_wise_values_by_hand():
    """Two statistics, four relabelled columns: each is compared with the largest of both."""
    from ctflow.diagnostics.resampling import Draws

    null = np.array([0.0, 1.0, 2.0, 3.0])
    family = {"a": Draws(4.0, null, null), "b": Draws(0.0, null[::-1] + 1, null)}
    p = family_wise(family)
    assert p["a"] == pytest.approx(2 / 5)  # its own column, and the one where b is as far out
    assert p["b"] == 1

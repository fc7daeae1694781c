"""What pictures and pages show of the rows, against independent code."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist

import ctflow as ct
from tests.draws import paired_rows, unit

QUICK = {"n_permutations": 99, "n_bootstrap": 0}


def clouds(shift=1.5, n=70, d=6, seed=0):
    x, y = paired_rows(n, d, 0.5, seed)
    return unit(x), unit(y + shift * np.eye(d)[0])


@pytest.fixture(scope="module")
def rows():
    return clouds()


@pytest.fixture(scope="module")
def view(rows):
    return ct.diagnose(*rows, **QUICK).view


def test_partners_cosines_and_ranks(rows, view):
    x, y = rows
    cosine, found = x @ y.T, view.partners
    assert found.positions.tolist() == [[i, i] for i in range(70)]
    np.testing.assert_allclose(found.cosine, np.diag(cosine), atol=1e-12)
    own = np.diag(cosine)
    assert found.rank[:, 0].tolist() == (1 + (cosine > own[:, None] + 1e-12).sum(axis=1)).tolist()
    assert found.rank[:, 1].tolist() == (1 + (cosine > own[None] + 1e-12).sum(axis=0)).tolist()
    assert found.nearest.tolist() == cosine.argmax(axis=1).tolist()
    assert abs(found.shuffled.mean() - cosine.mean()) < 4 * cosine.std() / np.sqrt(70)


def test_search_in_a_corpus_of_both(rows, view):
    x, y = rows
    for side, (a, b) in enumerate(((x, y), (y, x))):
        own = a @ a.T - 2 * np.eye(len(a))
        first = np.diag(a @ b.T)
        alone = first >= (a @ b.T).max(axis=1)
        assert view.partners.across[side] == pytest.approx(alone.mean())
        assert view.partners.mixed[side] == pytest.approx((alone & (first > own.max(axis=1))).mean())
        assert 0 < view.partners.mixed[side] < view.partners.across[side] < 1


def test_equal_rows_count_with_their_chance():
    """Each row has four exact copies in the other modality, all partners: a draw among them is a hit."""
    x = unit(np.random.default_rng(0).standard_normal((40, 6)))
    view = ct.diagnose(x, x.copy(), **QUICK).view
    assert view.partners.mixed == (1.0, 1.0)
    same = np.tile(x[:1], (40, 1)) + 0.0
    same[:2] = x[:2]
    mixed = ct.diagnose(x, unit(same + 1e-9 * x), **QUICK).view.partners.mixed
    assert all(0 <= share <= 1 for share in mixed)


def test_the_gap_axis_is_not_fitted_to_the_rows_it_shows():
    """One law in many dimensions: on the line between their own means rows lie apart, here they do not."""
    rng = np.random.default_rng(0)
    x, y = unit(rng.standard_normal((100, 300))), unit(rng.standard_normal((100, 300)))
    view = ct.diagnose(x, y, pairs="unpaired", **QUICK).view
    axis = y.mean(axis=0) - x.mean(axis=0)
    axis /= np.linalg.norm(axis)
    scatter = (x @ axis).std()
    assert (y.mean(axis=0) - x.mean(axis=0)) @ axis > 2 * scatter
    apart = view.means[1] - view.means[0]
    assert abs(apart) < 4 * scatter * np.sqrt(2 / 100)


def test_the_means_are_as_far_apart_along_the_axis_as_in_space():
    x, y = clouds(shift=3.0, n=400)
    report = ct.diagnose(x, y, **QUICK)
    left, right = report.view.means
    assert right - left == pytest.approx(report["centroid_gap"].value, rel=0.02)
    assert left + right == pytest.approx(0, abs=0.02)


def test_typical_distances_and_spectra(rows, view):
    x, y = rows
    assert view.typical == pytest.approx((pdist(x).mean(), pdist(y).mean()))
    for z, values in zip((x - x.mean(axis=0), y - y.mean(axis=0), x - y), view.spectra, strict=True):
        np.testing.assert_allclose(values, np.linalg.svd(z, compute_uv=False) / np.sqrt(70), rtol=1e-6)


def test_the_plane_is_that_of_largest_variance(rows, view):
    both = np.concatenate(rows)
    centred = both - both.mean(axis=0)
    values = np.linalg.svd(centred, compute_uv=False) ** 2
    assert view.explained == pytest.approx(values[:2] / values.sum())
    placed = np.concatenate(view.plane)
    np.testing.assert_allclose((placed**2).sum(axis=0), values[:2], rtol=1e-8)
    assert view.plane[0][:, 0].mean() < view.plane[1][:, 0].mean()


def test_wide_rows_have_the_same_plane_and_spectra():
    """Fewer rows than dimensions: the small matrix of inner products is used."""
    x, y = clouds(n=30, d=100)
    view = ct.diagnose(x, y, **QUICK).view
    values = np.linalg.svd(x - x.mean(axis=0), compute_uv=False) / np.sqrt(30)
    np.testing.assert_allclose(view.spectra[0], values[: len(view.spectra[0])], rtol=1e-6)
    assert len(view.spectra[0]) == 29
    both = np.concatenate([x, y])
    squares = np.linalg.svd(both - both.mean(axis=0), compute_uv=False) ** 2
    assert view.explained == pytest.approx(squares[:2] / squares.sum())


def test_few_points_are_drawn_of_many_and_partners_stay_together(monkeypatch):
    monkeypatch.setattr("ctflow.embeddings.diagnosis.view.MAX_DRAWN", 50)
    rng = np.random.default_rng(0)
    images = unit(rng.standard_normal((40, 5)))
    captions = unit(np.repeat(images, 5, axis=0) + 0.3 * rng.standard_normal((200, 5)))
    pairs = np.column_stack([np.repeat(np.arange(40), 5), np.arange(200)])
    view = ct.diagnose(images, captions, pairs=pairs, **QUICK).view
    assert [len(chosen) for chosen in view.drawn] == [10, 50]
    assert set(view.drawn[1] // 5) == set(view.drawn[0])
    assert (view.rows[0].tolist(), view.rows[1].tolist()) == (list(range(40)), list(range(200)))
    assert len(view.partners.cosine) == 200

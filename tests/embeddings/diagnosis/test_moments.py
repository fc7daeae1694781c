"""Streamed moments: nearly collapsed clouds, where differences of raw moments leave rounding only."""

from itertools import permutations

import numpy as np
import pytest

import ctflow as ct
from ctflow.embeddings import as_embeddings
from ctflow.embeddings.diagnosis.moments import moments, repaired_distance
from ctflow.embeddings.pairing import RowByRow
from tests.draws import unit


def cone(spread, n, d, seed, dtype):
    """Two clouds of paired rows within about `spread` of one direction."""
    rng = np.random.default_rng(seed)
    latent = rng.standard_normal((n, d)) * np.linspace(1, 0.1, d)
    other = latent + 0.2 * rng.standard_normal((n, d))
    direction = unit(rng.standard_normal((1, d)))
    return [unit(direction + spread * z / np.sqrt(d)).astype(dtype) for z in (latent, other)]


def effective_rank(z):
    values = np.linalg.svd(z - z.mean(axis=0), compute_uv=False)
    share = values / values.sum()
    return np.exp(-(share * np.log(share)).sum())


@pytest.mark.parametrize("spread", [1e-1, 1e-3, 3e-4])
@pytest.mark.parametrize("gap", [0.0, 0.5])
def test_narrow_cones_in_float32(spread, gap):
    """Rank, RMG and cosines against float64 sums of squared differences, at any distance of the cones."""
    x, y = cone(spread, 700, 24, 3, np.float32)
    y = unit(y + gap * np.eye(24)[0]).astype(np.float32)
    report = ct.diagnose(x, y, n_permutations=99, n_bootstrap=20, max_rows=60, max_gallery=60)
    a, b = (unit(z.astype(float)) for z in (x, y))
    apart = ((a - b) ** 2).sum(axis=1).mean() / 2
    within = np.mean([(z - z.mean(axis=0)).var(axis=0).sum() * 700 / 699 for z in (a, b)])
    assert report["relative_modality_gap"].value == pytest.approx(apart / (apart + within), rel=2e-3)
    assert 1 - report["paired_cosine"].value == pytest.approx(apart, rel=2e-3)
    for name, z in (("x", a), ("y", b)):
        assert report[f"effective_rank_{name}"].value == pytest.approx(effective_rank(z), rel=3e-3)
        spreads = (z - z.mean(axis=0)).var(axis=0).sum() * 700 / 699
        assert 1 - report[f"cone_{name}"].value == pytest.approx(spreads, rel=2e-3)
    assert report["centroid_gap"].value == pytest.approx(
        np.linalg.norm(a.mean(axis=0) - b.mean(axis=0)), rel=1e-3, abs=1e-8
    )


def test_distances_in_a_narrow_cone():
    """A shift within the cone: its energy distance is below float32's rounding of the distances' squares."""
    x, y = cone(1e-3, 150, 16, 5, np.float64)
    y = unit(y + 1e-3 * np.eye(16)[2])
    report = ct.diagnose(x, y, pairs="unpaired", n_permutations=99, n_bootstrap=0)
    apart = [np.linalg.norm(a[:, None] - b[None], axis=2) for a, b in ((x, y), (x, x), (y, y))]
    expected = 2 * apart[0].mean() - (apart[1].sum() + apart[2].sum()) / (150 * 149)
    assert report["energy_distance"].value == pytest.approx(expected, rel=1e-6)
    assert report["energy_coefficient"].value == pytest.approx(expected / (2 * apart[0].mean()), rel=1e-6)
    assert report["energy_distance"].gap


def test_directions_a_thousand_times_smaller_count_in_float32():
    rng = np.random.default_rng(0)
    z = unit(rng.standard_normal((1000, 64)) * np.where(np.arange(64) < 2, 1, 3e-3)).astype(np.float32)
    report = ct.diagnose(z, z[::-1], n_permutations=99, n_bootstrap=0, max_rows=50, max_gallery=50)
    assert report["effective_rank_x"].value == pytest.approx(effective_rank(unit(z.astype(float))), rel=1e-3)


def test_retrieval_in_a_narrow_cone():
    """Partners nearer than any other row, though all cosines are within float32's rounding of each other."""
    rng = np.random.default_rng(0)
    latent = rng.standard_normal((150, 32))
    x, y = (unit(np.eye(32)[:1] + 1e-3 * z).astype(np.float32) for z in (latent, 0.9 * latent))
    report = ct.diagnose(x, y, temperature=1e-9, n_permutations=99, n_bootstrap=0)
    a, b = (unit(z.astype(float)) for z in (x, y))
    # Cosines themselves are too close to each other for float64: squared distances are not.
    nearest = ((a[:, None] - b[None]) ** 2).sum(axis=2).argmin(axis=1)
    assert report["recall@1_x_to_y"].value == pytest.approx(np.mean(nearest == np.arange(150)), abs=0.01)
    assert report["recall@1_x_to_y"].value > 0.9
    assert report["in_batch_loss"].value >= 0


def test_distances_of_shuffled_partners_are_those_of_every_permutation():
    """Mean and standard deviation over all 720 re-pairings of 6 rows."""
    rng = np.random.default_rng(0)
    x, y = unit(rng.standard_normal((6, 3))), unit(rng.standard_normal((6, 3)) + 0.5)
    clouds = [as_embeddings(z, name=name) for name, z in (("x", x), ("y", y))]
    found = repaired_distance(moments(*clouds, RowByRow(6), 3, lambda count: None))
    apart = [((x - y[list(order)]) ** 2).sum(axis=1).mean() for order in permutations(range(6))]
    assert found == pytest.approx((np.mean(apart), np.std(apart)), rel=1e-12)

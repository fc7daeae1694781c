"""Rows repeated exactly, as when images are listed once per caption, are one item with several partners."""

import numpy as np
import pytest

import ctflow as ct
from ctflow.embeddings import as_embeddings
from ctflow.embeddings.pairing import pair_up
from tests.draws import unit

QUICK = {"n_permutations": 99, "n_bootstrap": 30, "temperature": 0.05}


def flattened(copies, seed=0, n=60, d=12):
    """Images [n, d], captions [n copies, d], and the image of each caption, in random order."""
    rng = np.random.default_rng(seed)
    images = unit(rng.standard_normal((n, d))).astype(np.float32)
    of = rng.permutation(np.repeat(np.arange(n), copies))
    captions = unit(images[of] + 0.4 * rng.standard_normal((len(of), d)) + 0.2).astype(np.float32)
    return images, captions, of


def assert_same(found, expected):
    for metric in expected.metrics:
        other = found[metric.name]
        got = [getattr(other, name) for name in ("value", "low", "high", "error", "null_mean", "p_value")]
        want = [getattr(metric, name) for name in ("value", "low", "high", "error", "null_mean", "p_value")]
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-7, err_msg=metric.name)
        assert other.rows == metric.rows, metric.name


@pytest.mark.parametrize("copies", [2, 5])
@pytest.mark.parametrize("side", ["x", "y"])
def test_flattened_rows_give_the_results_of_pairs(copies, side):
    images, captions, of = flattened(copies)
    pairs = np.column_stack([of, np.arange(len(of))])
    # Items are numbered by their first row, so that both reports resample the same.
    place = np.unique(of, return_index=True)[1]
    order = np.argsort(place)
    renumbered = np.argsort(order)[of]
    if side == "x":
        found = ct.diagnose(images[of], captions, **QUICK)
        pairs = np.column_stack([renumbered, np.arange(len(of))])
        expected = ct.diagnose(images[order], captions, pairs=pairs, **QUICK)
    else:
        found = ct.diagnose(captions, images[of], **QUICK)
        pairs = np.column_stack([np.arange(len(of)), renumbered])
        expected = ct.diagnose(captions, images[order], pairs=pairs, **QUICK)
    assert_same(found, expected)
    (note,) = found.notes
    assert f"{side} has {60 * copies} rows, of which 60 are distinct" in note
    assert not expected.notes


def test_repeats_on_top_of_pairs_are_found_too():
    """The same image under two numbers, in a list of pairs: one image."""
    images, captions, of = flattened(3)
    twice = np.concatenate([images, images])
    moved = of + 60 * (np.arange(len(of)) % 2)
    found = ct.diagnose(twice, captions, pairs=np.column_stack([moved, np.arange(len(of))]), **QUICK)
    plain = ct.diagnose(images, captions, pairs=np.column_stack([of, np.arange(len(of))]), **QUICK)
    for name in ("centroid_gap", "energy_distance", "recall@1_x_to_y", "paired_cosine", "in_batch_loss"):
        assert found[name].value == pytest.approx(plain[name].value, rel=1e-5), name


def test_pairs_listed_twice_weigh_twice():
    x, y, _ = flattened(1)
    index = np.concatenate([np.arange(60), np.arange(20)])
    report = ct.diagnose(x, y, pairs=np.column_stack([index, index]), **QUICK)
    cosine = np.sum(x.astype(float) * y, axis=1)
    assert report["paired_cosine"].value == pytest.approx(np.mean(cosine[index]), abs=1e-6)


def test_unpaired_repeats_are_one_row_that_weighs_as_much():
    """Counts of 1, 2 and 3: means are those of all rows, and the rows counted are the distinct ones."""
    rng = np.random.default_rng(0)
    x, y = (unit(rng.standard_normal((90, 6))) for _ in range(2))
    count = rng.integers(1, 4, 90)
    many = rng.permutation(np.repeat(np.arange(90), count))
    report = ct.diagnose(x[many], y, pairs="unpaired", **QUICK)
    assert report["centroid_gap"].value == pytest.approx(
        np.linalg.norm(x[many].mean(axis=0) - y.mean(axis=0)), abs=1e-12
    )
    assert report["energy_distance"].rows == (90, 90)
    distance = np.linalg.norm(x[many][:, None] - x[many][None], axis=2)
    apart = distance > 0
    within = distance[apart].mean()
    cross = np.linalg.norm(x[many][:, None] - y[None], axis=2).mean()
    other = np.linalg.norm(y[:, None] - y[None], axis=2).sum() / (90 * 89)
    assert report["energy_distance"].value == pytest.approx(2 * cross - within - other, abs=1e-10)
    assert "90 are distinct" in report.notes[0]


def test_repeats_of_two_groups_stay_apart():
    x, y, _ = flattened(1)
    both = np.concatenate([x, x]), np.concatenate([y, y])
    embeddings = [as_embeddings(z, name=name) for name, z in zip("xy", both, strict=True)]
    assert pair_up(*embeddings).num_groups == 60
    assert pair_up(*embeddings, groups=np.arange(120)).num_groups == 120
    assert pair_up(*embeddings, groups=np.arange(120) % 60).num_groups == 60


def test_a_pair_listed_twice_takes_no_partner_from_retrieval():
    """Three captions per image, the near one first: it stays a partner when the far one is listed twice."""
    rng = np.random.default_rng(0)
    x = unit(rng.standard_normal((50, 16)))
    y = unit(np.repeat(x, 3, axis=0) + np.tile([[0.1], [0.3], [5]], (50, 1)) * rng.standard_normal((150, 16)))
    pairs = np.column_stack([np.arange(150) // 3, np.arange(150)])
    twice = np.concatenate([pairs, pairs[2::3]])
    for listed in (pairs, twice):
        assert ct.diagnose(x, y, pairs=listed, **QUICK)["recall@1_x_to_y"].value == 1

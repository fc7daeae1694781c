"""CSLS against loops written by hand after arXiv 1710.04087."""

import numpy as np
import pytest

import ctflow as ct
from ctflow.corrections.csls import Csls, all_scores


def unit(z):
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def by_hand(x, y, k, x_bank, y_bank):
    scores = np.empty((len(x), len(y)))
    for i, a in enumerate(x):
        near_a = np.mean(sorted((float(a @ b) for b in y_bank), reverse=True)[:k])
        for j, b in enumerate(y):
            near_b = np.mean(sorted((float(a2 @ b) for a2 in x_bank), reverse=True)[:k])
            scores[i, j] = 2 * float(a @ b) - near_a - near_b
    return scores


@pytest.mark.parametrize(("n", "m", "d", "k", "seed"), [(9, 12, 3, 4, 0), (15, 7, 5, 1, 1), (6, 20, 8, 6, 2)])
def test_scores_are_those_of_the_paper(n, m, d, k, seed):
    rng = np.random.default_rng(seed)
    x, y, u, v = (unit(rng.standard_normal((size, d))) for size in (n, m, 11, 13))
    np.testing.assert_allclose(ct.corrections.csls(x, y, neighbours=k), by_hand(x, y, k, x, y), atol=1e-12)
    found = ct.corrections.csls(x, y, neighbours=k, x_bank=u, y_bank=v)
    np.testing.assert_allclose(found, by_hand(x, y, k, u, v), atol=1e-12)
    vector = ct.corrections.csls(x[2], y, neighbours=k, x_bank=u, y_bank=v)
    np.testing.assert_allclose(vector, found[2], atol=1e-12)
    np.testing.assert_allclose(Csls(u, v, k).scores(x, y), found, atol=1e-12)


def test_scores_within_and_across_modalities_are_one_rule():
    rng = np.random.default_rng(3)
    x, y, u, v = (unit(rng.standard_normal((size, 4))) for size in (6, 8, 10, 12))
    found = all_scores(Csls(u, v, 3), x, y)
    for rows, a, bank_a in ((slice(0, 6), x, u), (slice(6, 14), y, v)):
        for columns, b, bank_b in ((slice(0, 6), x, u), (slice(6, 14), y, v)):
            np.testing.assert_allclose(found[rows, columns], by_hand(a, b, 3, bank_a, bank_b), atol=1e-12)


def test_a_hub_loses_its_advantage():
    """One gallery row near every query wins by cosine, and not by CSLS."""
    rng = np.random.default_rng(0)
    common = rng.standard_normal(16)
    x = unit(rng.standard_normal((40, 16)) + common)
    y = unit(x + 0.3 * rng.standard_normal((40, 16)))
    y[0] = unit((common + 0.05 * rng.standard_normal(16))[None])[0]
    hub = np.mean((x @ y.T).argmax(axis=1) == 0)
    assert np.mean(ct.corrections.csls(x, y).argmax(axis=1) == 0) < hub


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"neighbours": 0}, "neighbours must be an integer >= 1"),
        ({"neighbours": 8}, "neighbours must be <= the 7 rows of a bank, got 8"),
        ({"y": np.eye(3)}, "got"),
        ({"x": np.ones((7, 4), int)}, "got int64"),
        ({"y_bank": 2 * np.eye(4)}, "y_bank must have rows of unit norm"),
    ],
)
def test_bad_input_is_refused(change, words):
    rows = unit(np.random.default_rng(0).standard_normal((7, 4)))
    with pytest.raises(ValueError, match=words):
        ct.corrections.csls(**{"x": rows, "y": rows, "neighbours": 3} | change)

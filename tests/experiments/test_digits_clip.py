"""Measures of held-out pairs, written out."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.special import log_softmax

from experiments import digits_clip
from experiments.setups import digits_clip as setup
from tests.draws import unit


def test_held_out_measures_are_those_of_the_pairs():
    """The loss is CLIP's less log m, which it would be if all cosines were equal."""
    m, tau, rng = 60, 0.2, np.random.default_rng(0)
    x = unit(rng.standard_normal((m, 4)))
    y = unit(x + 0.6 * rng.standard_normal((m, 4)) + 0.3)
    found = digits_clip.held_out(x, y, tau, digits_clip.PRESETS["smoke"])
    cosine = x @ y.T
    losses = [-np.diagonal(log_softmax(table / tau, axis=1)).mean() for table in (cosine, cosine.T)]
    assert found["held_out_loss"] == pytest.approx(np.mean(losses) - np.log(m), rel=1e-10)
    ranks = [(table > np.diagonal(table)[:, None]).sum(axis=1) for table in (cosine, cosine.T)]
    for way, rank in zip(("12", "21"), ranks, strict=True):
        assert found[f"recall_5_{way}"] == pytest.approx(np.mean(rank < 5))
    gap = 2 * cdist(x, y).mean() - cdist(x, x).mean() - cdist(y, y).mean()
    assert found["energy_distance"] == pytest.approx(gap, rel=1e-8)
    assert found["paired_cosine"] == pytest.approx(np.diagonal(cosine).mean())
    one = np.tile(x[:1], (m, 1))
    assert digits_clip.held_out(one, one, tau, digits_clip.PRESETS["smoke"])[
        "held_out_loss"
    ] == pytest.approx(0, abs=1e-12)


def test_partners_of_a_class_are_drawn_evenly_among_its_other_images():
    """Whatever the sizes of the classes, every image is as likely on either side."""
    labels = np.repeat([0, 1, 2], [2, 3, 7])
    data = setup.Digits((np.zeros((12, 32)), np.zeros((12, 32))), labels)
    law = setup.pair_law(data, setup.Law("class", 0.3), 12)
    np.testing.assert_allclose(law.sum(axis=0), 1 / 12)
    np.testing.assert_allclose(law.sum(axis=1), 1 / 12)
    np.testing.assert_allclose(np.diagonal(law), 0.7 / 12)
    np.testing.assert_allclose(law[0, 1], 0.3 / 12)
    np.testing.assert_allclose(law[11, 5:11], 0.3 / 12 / 6)
    assert law[0, 2] == 0


def test_partners_are_searched_as_by_numpy():
    """Levels between, on and beyond the entries of rows that stay level for a while."""
    rng = np.random.default_rng(0)
    table = np.cumsum(rng.random((5, 9)) * (rng.random((5, 9)) < 0.5), axis=1)
    rows = rng.integers(0, 5, 60)
    levels = np.concatenate(
        [rng.uniform(-0.1, 1.1 * table.max(), 30), table[rows[30:], rng.integers(0, 9, 30)]]
    )
    found = setup._searched(jnp.asarray(table), jnp.asarray(rows), jnp.asarray(levels))
    expected = [np.searchsorted(table[row], level) for row, level in zip(rows, levels, strict=True)]
    np.testing.assert_array_equal(found, expected)

"""Recall worked by hand, and ties at their expectation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import ctflow as ct
from ctflow.diagnostics import hubness, recall


def circle(*degrees):
    angle = np.deg2rad(np.array(degrees, float))
    return jnp.asarray(np.column_stack([np.cos(angle), np.sin(angle)]))


def test_worked_by_hand():
    """Query 0° has its partner second (10° lies nearer than 20°), 90° has it first, 180° third."""
    queries, gallery = circle(0, 90, 180), circle(20, 80, 10)
    assert recall(queries, gallery, 1) == pytest.approx(1 / 3)
    assert recall(queries, gallery, 2) == pytest.approx(2 / 3)
    assert recall(queries, gallery, 3) == 1


def test_several_partners_count_once_and_queries_without_one_not_at_all():
    queries, gallery = circle(0, 90, 180), circle(5, 10, 95, 170)
    pairs = np.array([[0, 2], [0, 1], [2, 3]])
    assert recall(queries, gallery, 1, pairs=pairs) == pytest.approx(1 / 2)
    assert recall(queries, gallery, 2, pairs=pairs) == 1


@pytest.mark.parametrize("k", [1, 3, 10])
def test_a_collapsed_gallery_scores_by_chance(k):
    x = jnp.tile(circle(30), (10, 1))
    assert recall(x, x, k) == pytest.approx(k / 10)


def test_ties_are_counted_at_the_expectation_over_their_order():
    rng = np.random.default_rng(0)
    gallery = circle(*rng.choice([0, 40, 80], 12))
    queries, pairs = circle(10, 50), np.array([[0, 1], [0, 5], [1, 2], [1, 7], [1, 9]])
    partner = np.zeros((2, 12), bool)
    partner[pairs[:, 0], pairs[:, 1]] = True
    cosine = np.round(np.asarray(queries @ gallery.T), 9)
    draws = []
    for _ in range(4000):
        order = np.lexsort((rng.random(cosine.shape), -cosine), axis=1)
        draws.append(np.take_along_axis(partner, order[:, :3], axis=1).any(axis=1).mean())
    error = np.std(draws) / np.sqrt(len(draws))
    assert recall(queries, gallery, 3, pairs=pairs) == pytest.approx(np.mean(draws), abs=4 * error + 1e-12)


def test_blocks_do_not_matter(monkeypatch):
    x, y = (ct.sphere.uniform(jax.random.key(i), 60, 4) for i in range(2))
    pairs = np.random.default_rng(0).integers(0, 60, (90, 2))
    whole = recall(x, y, 5, pairs=pairs), hubness(x, y, 5)
    monkeypatch.setattr("ctflow.diagnostics.retrieval._BLOCK", 7)
    assert (recall(x, y, 5, pairs=pairs), hubness(x, y, 5)) == pytest.approx(whole)


def test_hubness_is_the_skewness_of_counts():
    x, y = (ct.sphere.uniform(jax.random.key(i), 50, 8) for i in range(2))
    nearest = np.argsort(-np.asarray(x @ y.T), axis=1)[:, :5]
    assert hubness(x, y, 5) == pytest.approx(stats.skew(np.bincount(nearest.ravel(), minlength=50)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, y: recall(x, y, 1), "equally many rows without pairs, got 3 and 4; give pairs"),
        (lambda x, y: recall(x, x, 0), "k must be"),
        (lambda x, y: recall(x, y, 1, pairs=[[0, 4]]), r"1 of 1 do not, row 0 is \[0, 4\]"),
        (lambda x, y: recall(x, y, 1, pairs=[[0.0, 1.0]]), "pairs must be integers"),
        (lambda x, y: recall(x, y, 1, pairs=[0, 1]), "pairs must be integers"),
        (lambda x, y: hubness(x, y, 4), "k must be < the gallery's size 4, got 4"),
    ],
)
def test_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(circle(0, 90, 180), circle(5, 10, 95, 170))


def test_cosines_one_rounding_apart_are_equal():
    x = circle(30)
    up = np.asarray(x).copy()
    up[0, 0] = np.nextafter(up[0, 0], 2)
    gallery = jnp.asarray(np.concatenate([up, np.asarray(x)]))
    assert recall(x, gallery, 1, pairs=np.array([[0, 1]])) == pytest.approx(0.5)

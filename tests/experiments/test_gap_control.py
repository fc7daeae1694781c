"""What the runs of the controls are measured by."""

import jax.numpy as jnp
import numpy as np
import pytest

import ctflow as ct
from experiments import gap_control


@pytest.mark.parametrize("k", [1, 2])
def test_recall_is_the_chance_that_a_drawn_partner_is_near_both_ways(k):
    """From x the partners of row i are drawn by row i of π, from y those of column j by column j."""
    law = np.array([[0.2, 0.1, 0.05], [0.0, 0.15, 0.1], [0.3, 0.0, 0.1]])
    x, y = (np.array([[np.cos(a), np.sin(a)] for a in angles]) for angles in ((0, 1, 3), (0.3, 2.4, 1.1)))
    expected = 0.0
    for i in range(3):
        for j in range(3):
            cosine = x @ y.T
            expected += law[i, j] * (np.sum(cosine[i] > cosine[i, j]) < k) / 2
            expected += law[i, j] * (np.sum(cosine[:, j] > cosine[i, j]) < k) / 2
    found = gap_control.recall(jnp.asarray(law), ct.Pair(jnp.asarray(x), jnp.asarray(y)), k)
    assert float(found) == pytest.approx(expected, rel=1e-12)


def test_schedules_begin_where_they_say_and_end_at_the_temperature_asked_for():
    config = gap_control.PRESETS["paper"]
    starts = {"annealed": 0.6, "heated": 0.07, "fixed": 0.15, "learned": 0.15}
    for schedule, start in starts.items():
        found = gap_control.temperatures(config, schedule, 0.15)
        assert len(found) == gap_control.STAGES
        assert (found[0], found[-1]) == pytest.approx((start, 0.15))
        np.testing.assert_allclose(found[1:] / found[:-1], (0.15 / start) ** (1 / 7))

"""Scores of a purpose, with the influence of each group on them."""

import numpy as np
import pytest

from ctflow.corrections.scores import Value, score


def test_the_influence_on_clustering_turns_where_mixing_is_beyond_one_half():
    """½ - |mixing - ½| falls as mixing rises beyond ½: its derivative there is -1."""
    above, below = (np.array(a) for a in ([0.3, -0.1, -0.2], [0.05, -0.25, 0.2]))
    found = score({"mixing_x": Value(0.7, above), "mixing_y": Value(0.2, below)}, "clustering")
    assert found.mean == pytest.approx((0.3 + 0.2) / 2)
    step = 1e-6
    for group in range(3):
        moved = [0.5 - abs(m + step * a[group] - 0.5) for m, a in ((0.7, above), (0.2, below))]
        assert found.influence[group] == pytest.approx((np.mean(moved) - 0.25) / step, rel=1e-6)

"""What the rows of a study are, and which part of a gap between means is chance."""

import numpy as np
import pytest

from ctflow.embeddings import as_embeddings
from ctflow.embeddings.diagnosis.moments import moments
from ctflow.embeddings.diagnosis.settings import Settings
from ctflow.embeddings.diagnosis.study import study
from ctflow.embeddings.pairing import pair_up
from tests.draws import unit

COUNTS = {"n_permutations": 99, "n_bootstrap": 20, "max_rows": 50, "max_gallery": 50, "seed": 0}
SETTINGS = Settings(temperature=None, logit_bias=None, estimator="u", level=0.01, **COUNTS)


@pytest.mark.parametrize("pairs", [None, "unpaired"])
def test_without_chance_only_products_of_distinct_groups_are_left_of_the_squared_gap(pairs):
    """On the rows as given and on bootstrap samples: Σ_{g≠h} ⟨c_g, c_h⟩ of the groups' contributions c."""
    n, rng = 24, np.random.default_rng(3)
    x = unit(rng.standard_normal((n, 4)))
    y = unit(x + 0.5 * rng.standard_normal((n, 4)) + 0.2)
    first, second = as_embeddings(x, name="x"), as_embeddings(y, name="y")
    plan = pair_up(first, second, pairs)
    s = study(first, second, plan, moments(first, second, plan, 4, lambda count: None), SETTINGS)
    means = s.means()
    found = np.sum((means[0] - means[1]) ** 2, axis=1) - s.chance_apart()
    for column in (0, -1):
        drawn = s.units.group[:, column][:, None]
        each = drawn * (x - y) / n if pairs is None else drawn * np.concatenate([x, -y]) / n
        assert found[column] == pytest.approx(np.sum(each.sum(axis=0) ** 2) - np.sum(each**2), rel=1e-10)

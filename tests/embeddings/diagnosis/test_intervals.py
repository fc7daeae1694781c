"""Intervals hold what they are for: draws of real rows against the value on all of them."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import ctflow as ct
from ctflow.embeddings.diagnosis.resampling import Draws, Rows, resample, table
from ctflow.embeddings.pairing import Unpaired
from tests.draws import unit

DATA = Path(__file__).parents[4] / "shared" / "data"
NUMBERS = [
    "centroid_gap",
    "cosine_of_means",
    "energy_distance",
    "mmd2_half",
    "mmd2",
    "mmd2_twice",
    "sliced_wasserstein",
]
NUMBERS += ["energy_coefficient", "energy_distance_centred", "gap_coordinates", "gap_share", "paired_cosine"]
NUMBERS += ["alignment", "relative_modality_gap", "uniformity_x", "uniformity_y", "cone_x", "cone_y"]


def coverage(x, y, size, draws, **options):
    """Share of draws of `size` rows whose interval holds the value of all rows, by name; and the reports."""
    whole = ct.diagnose(x, y, n_permutations=99, **{**options, "max_rows": len(x), "n_bootstrap": 0})
    reports = []
    for seed in range(draws):
        chosen = np.sort(np.random.default_rng([11, seed]).choice(len(x), size, replace=False))
        reports.append(ct.diagnose(x[chosen], y[chosen], seed=1 + seed, n_permutations=99, **options))
    given = [m.name for m in reports[0].metrics if np.isfinite(m.low)]
    held = {n: np.mean([r[n].low <= whole[n].value <= r[n].high for r in reports]) for n in given}
    return held, reports


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason=f"the embeddings of documentation and code are not in {DATA}")
@pytest.mark.parametrize("estimator", ["u", "v"])
def test_intervals_of_400_rows_hold_the_values_of_2400(estimator):
    """Every interval that is printed, in at least 90 % of 200 draws; none excludes its own value.

    Rows drawn without replacement scatter less than new ones by √(1 - 400/2400) = 0.91.
    """
    x, y = (unit(np.load(DATA / f"python_{name}.npy").astype(float)) for name in ("doc", "code"))
    held, reports = coverage(x, y, 400, 200, temperature=0.05, estimator=estimator)
    assert set(held) == set(NUMBERS)
    assert {name: share for name, share in held.items() if share < 0.9} == {}
    for report in reports:
        assert all(m.low <= m.value <= m.high for m in report.metrics if np.isfinite(m.low))
    # Numbers that change with the number of rows have an error instead: that of their scatter.
    for name in ("recall@1_x_to_y", "recall@5_y_to_x", "in_batch_loss"):
        scatter = np.std([r[name].value for r in reports]) / np.sqrt(1 - 400 / 2400)
        assert np.mean([r[name].error for r in reports]) == pytest.approx(scatter, rel=0.25), name


def test_intervals_of_few_rows_hold_the_values_of_many():
    """The same on made-up rows: 90 % less 3 σ of 40 draws. Means that are mostly chance leave some out."""
    rng = np.random.default_rng(0)
    common = rng.standard_normal((600, 12))
    x, y = (unit(common + 0.7 * rng.standard_normal((600, 12)) + s) for s in (0.0, 0.1))
    held, reports = coverage(x, y, 60, 40, n_bootstrap=100)
    assert set(NUMBERS) - set(held) == {"cosine_of_means", "gap_coordinates", "sliced_wasserstein"}
    assert {n: share for n, share in held.items() if share < 0.9 - 3 * np.sqrt(0.9 * 0.1 / 40)} == {}
    for report in reports:
        assert all(m.low <= m.value <= m.high for m in report.metrics if np.isfinite(m.low))


def test_interval_by_hand():
    """Basic bootstrap; an end that would leave the value out is moved to it; other errors widen both."""
    quantiles = np.linspace(0, 1, 41)  # 2.5 % and 97.5 % are 0.025 and 0.975
    assert Draws(0.6, np.zeros(0), quantiles).interval() == pytest.approx((0.225, 1.175))
    assert Draws(0.6, np.zeros(0), quantiles).interval(0, 1) == pytest.approx((0.225, 1.0))
    assert Draws(-0.1, np.zeros(0), quantiles).interval() == pytest.approx((-1.175, -0.1))
    wide = Draws(0.5, np.zeros(0), quantiles).interval(other_error=1.0)
    half = np.hypot(0.475, 1.96)
    assert wide == pytest.approx((0.5 - half, 0.5 + half))
    assert np.isnan(Draws(0.5, np.zeros(0), np.append(quantiles, np.nan)).interval()).all()


@pytest.mark.parametrize("n", [20, 60])
def test_the_interval_of_a_mean_is_students(n):
    """Of n numbers, half of the interval is t times s/√n, on average over draws within 2 %."""
    ratio = []
    for seed in range(80):
        rng = np.random.default_rng([n, seed])
        z = rng.standard_normal(n)
        ones = np.full(n, 1 / n)
        rows = Rows(z[:, None], ones, ones, np.arange(n), np.zeros((0, 2), int), np.zeros(0))
        drawn = resample(rows, np.zeros(n, bool), 0, 1000, rng)
        low, high = drawn.draws(z @ drawn.x).interval()
        ratio.append((high - low) / (2 * stats.t.ppf(0.975, n - 1) * z.std(ddof=1) / np.sqrt(n)))
    assert np.mean(ratio) == pytest.approx(1, abs=0.02)


def test_an_interval_is_as_wide_as_the_smaller_of_two_clouds_asks_for():
    """Student's t of 4 degrees for 5 rows against 100, with √(5/4) for the bootstrap's own bias."""
    plan = Unpaired((5, 100), (np.arange(5), np.arange(100)))
    z = unit(np.random.default_rng(0).standard_normal((105, 3)))
    rows = table(z[:5], z[5:], plan.take(np.arange(105)))
    drawn = resample(rows, np.zeros(105, bool), 0, 10, np.random.default_rng(0))
    assert drawn.tail == pytest.approx(stats.norm.sf(np.sqrt(5 / 4) * stats.t.ppf(0.975, 4)))


def test_a_recall_of_one_in_every_draw_has_no_error():
    """Weighted means of ones differ from 1 by rounding; that is not a scatter."""
    x = unit(np.random.default_rng(4).standard_normal((97, 12)))
    y = unit(x + 0.01)
    report = ct.diagnose(x, y, n_permutations=99, n_bootstrap=50)
    assert report["recall@1_x_to_y"].value == pytest.approx(1)
    assert report["recall@1_x_to_y"].error == 0

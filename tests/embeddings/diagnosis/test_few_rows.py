"""Few rows, one-sided samples and degenerate clouds: no gap where there is none, no NaN in words."""

import json

import numpy as np
import pytest

import ctflow as ct
from ctflow.pages.bundle import can_be_made
from tests.draws import unit

QUICK = {"n_permutations": 199, "n_bootstrap": 0}


def normal(rng, n, d=16):
    return unit(rng.standard_normal((n, d)))


def prompts(k):
    """k rows of one law against 300 of the same, unpaired."""
    return lambda rng: (normal(rng, k), normal(rng, 300), "unpaired")


def classes(k):
    """300 rows, each paired with one of k of the same law."""
    index = np.arange(300)
    return lambda rng: (normal(rng, 300), normal(rng, k), np.column_stack([index, index % k]))


def captions(copies):
    """100 rows repeated once per partner; all partners are of the same law."""
    return lambda rng: (np.repeat(normal(rng, 100), copies, axis=0), normal(rng, 100 * copies), None)


def alarms(make, draws, **options):
    """In how many of the draws, all of one law, a gap is called."""
    calls = 0
    for seed in range(draws):
        x, y, pairs = make(np.random.default_rng([5, seed]))
        report = ct.diagnose(x, y, pairs=pairs, seed=seed, temperature=0.05, **QUICK, **options)
        assert all(np.isfinite(m.p_value) for m in report.metrics if m.section == "gap")
        calls += report.words[0].startswith("There is a gap")
    return calls


@pytest.mark.parametrize("make", [prompts(4), classes(3), captions(2)])
def test_one_law_is_no_gap_on_few_or_repeated_rows(make):
    """At level 0.1, 20 draws: at most a tenth of them and 3 σ."""
    assert alarms(make, 20, level=0.1) <= 2 + 3 * np.sqrt(20 * 0.1 * 0.9)


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [
        *(prompts(k) for k in (3, 4, 5, 8, 12)),
        *(classes(k) for k in (3, 5, 9)),
        *(captions(copies) for copies in range(1, 7)),
    ],
)
def test_false_alarms_on_few_or_repeated_rows(make):
    """At the default level, 0.01, 200 draws: at most 1 % of them and 3 σ."""
    assert alarms(make, 200) <= 2 + 3 * np.sqrt(200 * 0.01 * 0.99)


@pytest.mark.parametrize("pairs", ["unpaired", np.column_stack([np.arange(4995) % 5, np.arange(4995)])])
def test_few_rows_against_more_than_there_are_units(pairs):
    """5 rows against thousands, which are merged into units: the null is that of 5 single rows."""
    rng = np.random.default_rng(2)
    x, y = normal(rng, 5), normal(rng, 4995)
    report = ct.diagnose(x, y, pairs=pairs, max_rows=200, max_gallery=50, **QUICK)
    assert not any(m.gap for m in report.metrics)
    # The mean of 5 random rows has length 1/√5, and that of thousands next to none.
    assert report["centroid_gap"].null_mean == pytest.approx(1 / np.sqrt(5), rel=0.1)
    found = ct.diagnose(unit(x + 3), y, pairs=pairs, max_rows=200, max_gallery=50, **QUICK)
    assert found["centroid_gap"].gap


def test_partners_in_different_blocks_are_partners(monkeypatch):
    """Rows that are groups of their own are read in blocks, in which their partners need not be."""
    rng = np.random.default_rng(0)
    y, of = normal(rng, 3), rng.integers(0, 3, 70)
    x = unit(y[of] + 0.3 * normal(rng, 70))
    monkeypatch.setattr("ctflow.embeddings.diagnosis.moments._BLOCK", 32)
    report = ct.diagnose(x, y, pairs=np.column_stack([np.arange(70), of]), max_gallery=20, **QUICK)
    assert report["paired_cosine"].value == pytest.approx(np.mean(np.sum(x * y[of], axis=1)), abs=1e-12)
    assert report["recall@1_x_to_y"].rows == (20, 3)
    assert report["recall@1_x_to_y"].value > 0.9


CLOUDS = {
    "2 and 2": lambda r: (normal(r, 2), normal(r, 2), "unpaired"),
    "2 and 40": lambda r: (normal(r, 2), normal(r, 40), "unpaired"),
    "10 pairs": lambda r: (normal(r, 10), normal(r, 10), None),
    "two points": lambda r: (normal(r, 40), np.repeat(normal(r, 2), 20, axis=0), None),
    "one cloud": lambda r: (normal(np.random.default_rng(1), 30), normal(np.random.default_rng(1), 30), None),
    "means of 0": lambda r: (
        (np.repeat(np.eye(4), 2, axis=0) * np.tile([[1], [-1]], (4, 1)),) * 2 + ("unpaired",)
    ),
    "a narrow cone": lambda r: (
        *(unit(np.eye(16)[:1] + 1e-6 * r.standard_normal((40, 16))).astype(np.float32) for _ in "xy"),
        "unpaired",
    ),
}


@pytest.mark.parametrize("name", CLOUDS)
@pytest.mark.parametrize("temperature", [None, 1e-4])
def test_degenerate_clouds_are_put_in_words(name, temperature, tmp_path):
    """No NaN in words, tables, JSON or pictures, no warning, and no gap."""
    x, y, pairs = CLOUDS[name](np.random.default_rng(0))
    options = {"n_permutations": 199, "n_bootstrap": 20, "temperature": temperature}
    report = ct.diagnose(x, y, pairs=pairs, **options)
    for text in (str(report), report.to_markdown()):
        assert not {"nan", "inf", "-inf"} & set(text.lower().replace("(", " ").replace(",", " ").split())
    for metric in json.loads(report.to_json())["metrics"]:
        assert metric["value"] is not None or metric["reason"]
    report.save(tmp_path / "report.png")
    if can_be_made():
        report.save(tmp_path / "report.html")  # a number that is not finite would be refused
    assert report.words[0].startswith("No gap found")


def test_a_value_that_cannot_be_measured_is_no_evidence():
    """Both means are 0 and have no direction: their cosine takes no part in the test, and says why."""
    x, y, pairs = CLOUDS["means of 0"](np.random.default_rng(0))
    report = ct.diagnose(x, y, pairs=pairs, **QUICK)
    cosine = report["cosine_of_means"]
    assert (cosine.gap, cosine.reason) == (None, "a mean is 0 and has no direction")
    assert np.isnan([cosine.value, cosine.p_value]).all()
    assert "none of 7 distances" in report.words[0]
    assert any("Not measurable and left out of the test: cosine of means, because" in w for w in report.words)


def test_too_few_ways_to_exchange_labels_are_said():
    rng = np.random.default_rng(0)
    report = ct.diagnose(normal(rng, 2), unit(normal(rng, 3) + 9), pairs="unpaired", **QUICK)
    # One of 2 or 3 rows in one half, one of 2 in the other.
    assert any("in only 6 ways, so no gap can be called at level 0.01" in note for note in report.notes)
    assert not any(m.gap for m in report.metrics)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda r: (normal(r, 2), normal(r, 2), None), "at least 10 distinct pairs to be compared, got 2"),
        (lambda r: (normal(r, 9), normal(r, 9), None), "at least 10 distinct pairs to be compared, got 9"),
        (
            lambda r: (normal(r, 30), np.tile(normal(r, 1), (30, 1)), None),
            "y must have at least 2 distinct rows, got 1: 30 copies of one row",
        ),
        (
            lambda r: (np.tile(normal(r, 1), (7, 1)), normal(r, 30), "unpaired"),
            "x must have at least 2 distinct rows, got 1: 7 copies of one row",
        ),
        (
            lambda r: (normal(r, 30), normal(r, 3), np.column_stack([np.arange(30), np.zeros(30, int)])),
            "y must have at least 2 distinct rows, got 1; there is nothing",
        ),
        (
            lambda r: (normal(r, 30), normal(r, 2)[[0, 1, 1]], np.array([[i, 1 + i % 2] for i in range(30)])),
            "y must have at least 2 distinct rows, got 1; there is nothing",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(make, words):
    x, y, pairs = make(np.random.default_rng(0))
    with pytest.raises(ValueError, match=words):
        ct.diagnose(x, y, pairs=pairs, **QUICK)


def test_copies_go_with_their_rows():
    """Unpaired rows that are repeated more often in one place than in another: both samples of one law."""

    def draw(rng):
        rare = rng.random(100) < 0.05
        z = unit(np.where(rare[:, None], np.eye(3)[1], np.eye(3)[0]) + 0.3 * rng.standard_normal((100, 3)))
        return np.repeat(z, np.where(rare, 20, 1), axis=0)

    calls = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        report = ct.diagnose(draw(rng), draw(rng), pairs="unpaired", level=0.1, seed=seed, **QUICK)
        calls += any(m.gap for m in report.metrics)
    assert calls <= 2 + 3 * np.sqrt(20 * 0.1 * 0.9)


def test_rare_clusters_among_many_rows_are_no_gap():
    """Means of 5000 rows with 25 far ones, of which a sample of 60 holds none or one."""

    def draw(rng):
        far = rng.random(5000) < 0.005
        return unit(np.where(far[:, None], -1, 1) * np.eye(3)[0] + 0.02 * rng.standard_normal((5000, 3)))

    calls = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        report = ct.diagnose(
            draw(rng), draw(rng), pairs="unpaired", max_rows=60, level=0.1, seed=seed, **QUICK
        )
        calls += any(m.gap for m in report.metrics)
    assert calls <= 1.2 + 3 * np.sqrt(12 * 0.1 * 0.9)


def test_fields_that_see_their_own_rows_are_not_tested_on_unequal_groups():
    """Estimator v, five captions per image, a low temperature: the divergence is shown and calls no gap."""
    rng = np.random.default_rng(0)
    of = np.repeat(np.arange(60), 5)
    options = {"pairs": np.column_stack([of, np.arange(300)]), "temperature": 0.001, "estimator": "v"}
    x, y = normal(rng, 60, 8), normal(rng, 300, 8)
    report = ct.diagnose(x, y, **options, **QUICK)
    assert report["smoothed_divergence"].gap is None
    assert not any(m.gap for m in report.metrics)
    one = ct.diagnose(x, y[:60], temperature=0.001, estimator="v", **QUICK)
    assert one["smoothed_divergence"].gap is False


def test_one_large_group_among_small_ones_gets_no_intervals():
    rng = np.random.default_rng(0)
    groups = np.concatenate([np.zeros(200, int), 1 + np.arange(29)])
    x, y = normal(rng, 229), normal(rng, 229)
    report = ct.diagnose(x, y, groups=groups, n_permutations=99)
    assert not any(np.isfinite(m.low) or np.isfinite(m.error) for m in report.metrics)


@pytest.mark.parametrize("max_rows", [2, 4])
def test_a_sample_of_very_few_rows_is_quiet(max_rows):
    rng = np.random.default_rng(0)
    x, y = normal(rng, 100), normal(rng, 100)
    report = ct.diagnose(x, unit(y + 3), max_rows=max_rows, n_permutations=199, temperature=0.1)
    assert report["centroid_gap"].gap
    assert not any("ways" in note for note in report.notes)

"""What corrections gain and cost on held-out rows: the table, the split, and the words."""

import numpy as np
import pytest

import ctflow as ct
from ctflow.comparison import compare as module
from ctflow.comparison.advice import Change
from ctflow.comparison.compare import as_text, compare, pareto, score
from ctflow.comparison.measuring import Measure, Outcome
from ctflow.corrections import METHODS, SCORINGS, Correction, strengths
from ctflow.corrections.scores import Value, held_of, measured
from ctflow.embeddings import as_embeddings
from ctflow.embeddings.diagnosis.splitting import split
from ctflow.embeddings.pairing import RowByRow, pair_up
from tests.draws import stretched_pairs as clouds
from tests.draws import unit


def by_method(found):
    names = found.table["method"]
    return {name: dict(zip(names, column, strict=True)) for name, column in found.table.items()}


def test_held_out_rows_say_what_a_correction_gains():
    """A shift between otherwise equal modalities: centring closes it on held-out rows, and mixes them."""
    x, y = clouds(n=400, d=16, shift=0.8)
    found = compare(x, y, purpose="mixed", n_permutations=30)
    t = by_method(found)
    assert set(t["method"]) == {*METHODS, *SCORINGS}
    assert t["energy_distance"]["centring"] < 0.05 * t["energy_distance"]["none"]
    assert t["mixing"]["none"] < 0.1 < 0.35 < t["mixing"]["centring"]
    assert t["mixed_recall@1_x"]["centring"] > t["mixed_recall@1_x"]["none"] + 0.1
    assert t["mixing"]["csls"] > 0.3
    for column in ("energy_distance", "centroid_gap", "alignment", "uniformity"):
        assert t[column]["csls"] == t[column]["none"]
    assert found.recommended is not None
    (advice,) = [word for word in found.words if word.startswith("Recommended: ")]
    for column in ("recall@1_x_to_y", "recall@1_y_to_x", "mixed_recall@1_x", "mixed_recall@1_y"):
        assert f"{t[column][found.recommended]:.3f}" in advice
    assert "centring" in as_text(found)


def test_the_columns_are_those_of_separate_functions():
    x, y = clouds(n=200)
    found = compare(x, y, methods=("none",), held_out=0.5, n_permutations=20, seed=3)
    order = np.random.default_rng(3).permutation(200)[:100]
    a, b = x[np.sort(order)], y[np.sort(order)]
    report = ct.diagnose(a, b, n_bootstrap=0, n_permutations=99)
    row = {name: column[0] for name, column in found.table.items()}
    for name in ("centroid_gap", "energy_distance", "alignment", "recall@1_x_to_y", "recall@5_y_to_x"):
        assert row[name] == pytest.approx(report[name].value, rel=1e-10), name
    ranks = a @ np.concatenate([b, a]).T
    ranks[np.arange(100), 100 + np.arange(100)] = -2
    assert row["mixed_recall@1_x"] == np.mean(ranks.argmax(axis=1) == np.arange(100))
    near = np.argsort(-ranks, axis=1)[:, :10]
    assert row["mixing_x"] == pytest.approx(np.mean(near < 100), rel=1e-12)


def test_a_gap_that_costs_nothing_is_left_alone():
    """Nothing to correct: no method helps retrieval, and the words say so."""
    x, y = clouds(n=400, d=32, shift=0.0, noise=0.2)
    found = compare(x, y, methods=("centring", "translation"), n_permutations=20)
    assert any("No correction helps" in word for word in found.words)
    assert found.recommended is None


@pytest.mark.parametrize(("seed", "n", "d"), [(0, 120, 24), (1, 90, 9), (2, 200, 48)])
@pytest.mark.parametrize("purpose", module.PURPOSES)
def test_a_collapsed_tower_never_scores(seed, n, d, purpose):
    """One modality is a point within rounding: methods that need its spread are listed as failed."""
    rng = np.random.default_rng(seed)
    x = unit(rng.standard_normal((n, d))).astype(np.float32)
    y = unit(rng.standard_normal(d) + 3e-8 * rng.standard_normal((n, d))).astype(np.float32)
    for pair in ((x, y), (y, x)):
        found = compare(*pair, purpose=purpose, n_permutations=10)
        t = by_method(found)
        assert found.recommended is None
        for method in ("centring", "standardisation", "whitening", "coral", "procrustes", "cca"):
            assert "all one point within rounding" in t["failed"][method]
            assert t["pareto"][method] == 0
            assert np.isnan(t["mixing"][method])
            assert method not in found.fitted
            assert any(word.startswith(f"{method} failed: ") for word in found.words)
        for method in ("none", "translation", "transport", "csls"):
            assert t["failed"][method] == ""
            numbers = [t[name][method] for name in t if name not in ("method", "failed", "strength")]
            assert np.isfinite(numbers).all()
        assert "failed" in as_text(found)
        assert not any("nan" in word for word in found.words)


def test_exactly_collapsed_towers_are_refused():
    x, y = clouds(n=100)
    for pair in ((x, np.tile(y[:1], (100, 1))), (np.tile(x[:1], (100, 1)), np.tile(y[:1], (100, 1)))):
        with pytest.raises(ValueError, match="collapsed to a point"):
            compare(*pair)


def test_a_method_that_gives_no_finite_held_out_row_is_listed(monkeypatch):
    """Finite as fitted, and not on one row held out."""
    x, y = clouds(n=100)
    held = np.sort(np.random.default_rng(0).permutation(100)[:50])
    fit_sample = module.fit_sample

    def spoiled(method, sample, strength, *, seed):
        found = fit_sample(method, sample, strength, seed=seed)
        if method == "translation":
            found.y.offset[:] = found.y.centre - y[held[3]]  # the map sends this row to 0
        return found

    monkeypatch.setattr(module, "fit_sample", spoiled)
    t = by_method(compare(x, y, methods=("translation", "centring"), n_permutations=5))
    assert "without a direction; the first is row 3" in t["failed"]["translation"]
    assert t["failed"]["centring"] == ""


def test_nan_never_scores():
    columns = {name: np.array([0.2, np.nan, 0.3]) for name in ("recall@1_x_to_y", "recall@1_y_to_x")}
    columns["energy_distance"] = np.array([1.0, np.nan, 2.0])
    np.testing.assert_array_equal(score(columns, "retrieval"), [0.2, -np.inf, 0.3])
    np.testing.assert_array_equal(pareto(columns, "retrieval"), [True, False, True])


@pytest.mark.parametrize(("errors", "helps"), [(2.5, False), (3.5, True), (-3.5, False)])
def test_a_gain_counts_beyond_three_standard_errors(errors, helps):
    influence = np.tile([1.0, -1.0], 50)  # of a mean over 100 groups: its error is 0.1
    gain = Value(0.1 * errors, influence)
    assert gain.error == pytest.approx(0.1)
    assert Change(Outcome("centring", None, {}, {}, ""), gain, {}).helps == helps


def test_a_row_is_pareto_optimal_unless_another_is_better_in_both():
    """Of equal scores a larger gap is no fault, and of equal gaps a lower score is none."""
    scores, gaps = np.array([0.4, 0.4, 0.3, 0.5, 0.2]), np.array([1.0, 2.0, 1.0, 3.0, 1.5])
    columns = {name: scores for name in ("recall@1_x_to_y", "recall@1_y_to_x")} | {"energy_distance": gaps}
    np.testing.assert_array_equal(pareto(columns, "retrieval"), [True, True, True, True, False])


def test_alignment_is_that_of_pairs_with_their_weights():
    x, y = clouds(n=60)
    times = np.random.default_rng(0).integers(1, 6, 60)
    first, second = as_embeddings(x, name="x"), as_embeddings(y, name="y")
    plan = pair_up(first, second, np.repeat(np.column_stack([np.arange(60)] * 2), times, axis=0))
    measure = Measure(held_of(first, second, plan.take(np.arange(60))), 3, 0)
    row, _ = measure(Correction("none"))
    assert row["alignment"] == pytest.approx(np.average(((x - y) ** 2).sum(axis=1), weights=times))
    means = [np.average(z, axis=0, weights=times) for z in (x, y)]
    assert row["centroid_gap"] == pytest.approx(np.linalg.norm(means[0] - means[1]))


def test_mixing_is_best_at_one_half():
    columns = {name: np.array([0.1, 0.5, 0.9]) for name in ("mixing_x", "mixing_y")}
    np.testing.assert_allclose(score(columns, "clustering"), [0.1, 0.5, 0.1])


@pytest.mark.parametrize("seed", [0, 1])
def test_a_gain_on_one_side_with_a_loss_on_the_other_is_not_recommended(seed):
    """Transport of y onto x: neighbours of x improve, those of y do not; the words name both."""
    x, y = clouds(n=500, d=24, shift=0.5, noise=0.9, seed=seed)
    found = compare(x, y, methods=("transport",), purpose="mixed", epsilon=0.02, n_permutations=10)
    t = by_method(found)
    losing = t["recall@1_y_to_x"]["transport"] < t["recall@1_y_to_x"]["none"] - 0.05
    assert losing
    assert found.recommended is None or any("What gets worse: recall" in word for word in found.words)


def test_what_loses_nothing_is_preferred():
    """Of two helpful methods the one with a smaller gain and no loss is recommended; the other is named."""
    x, y = clouds(n=500, d=16, shift=0.8, noise=0.7, seed=4)
    found = compare(x, y, methods=("centring", "transport"), purpose="clustering", n_permutations=10)
    t = by_method(found)
    assert found.recommended == "centring"
    assert t["recall@1_y_to_x"]["transport"] < t["recall@1_y_to_x"]["none"]


@pytest.mark.parametrize("purpose", module.PURPOSES)
@pytest.mark.parametrize("seed", [0, 7])
def test_rows_in_another_order_get_a_warning_and_no_advice(purpose, seed):
    x, y = clouds(n=240, d=12, shift=0.6, seed=seed)
    shuffled = y[np.random.default_rng(seed).permutation(240)]
    found = compare(x, shuffled, purpose=purpose, methods=("centring", "csls"), n_permutations=10)
    assert found.recommended is None
    assert any("are the files in the same order?" in word for word in found.words)
    assert any(
        "By chance recall@1 from x to y and from y to x would be 0.0083 and 0.0083" in w for w in found.words
    )
    assert not any(word.startswith("Recommended") for word in found.words)
    assert compare(x, y, purpose="clustering", methods=("centring",), n_permutations=10).recommended


def test_strengths_are_chosen_and_given_ones_are_kept():
    x, y = clouds(n=300, d=12)
    chosen = by_method(compare(x, y, n_permutations=5))["strength"]
    for method, (_, values) in strengths.CHOICES.items():
        assert chosen[method] in values
    assert np.isnan(chosen["centring"])
    given = by_method(compare(x, y, ridge=0.37, epsilon=0.13, n_permutations=5))["strength"]
    assert given["whitening"] == given["cca"] == given["coral"] == 0.37
    assert given["transport"] == 0.13
    words = compare(x, y, ridge=0.37, methods=("whitening",), n_permutations=5).words
    assert "Strengths: whitening with ridge 0.37." in words


def test_a_strength_is_never_chosen_on_held_out_rows():
    """Other held-out rows leave what is chosen, and the maps, as they are."""
    x, y = clouds(n=240, d=10)
    held = np.sort(np.random.default_rng(0).permutation(240)[:120])
    other_x, other_y = clouds(n=240, d=10, seed=9)
    x2, y2 = x.copy(), y.copy()
    x2[held], y2[held] = other_x[held], other_y[held]
    one, other = (compare(a, b, n_permutations=5) for a, b in ((x, y), (x2, y2)))
    np.testing.assert_array_equal(one.table["strength"], other.table["strength"])
    np.testing.assert_array_equal(one.fitted["cca"].x.matrix, other.fitted["cca"].x.matrix)


@pytest.mark.parametrize(("rows", "d"), [(40, 30), (400, 30)])
def test_the_ridge_follows_the_number_of_rows(rows, d):
    """Few rows need a ridge; with many, more than a hundredth of it is not needed for whitening here."""
    rng = np.random.default_rng(0)
    common = rng.standard_normal((2 * rows, d)) * np.geomspace(3, 0.3, d)
    x, y = (unit(common + 0.2 * rng.standard_normal((2 * rows, d))) for _ in range(2))
    t = by_method(compare(x, y, methods=("whitening",), n_permutations=5))
    small = by_method(compare(x, y, methods=("whitening",), ridge=1e-6, n_permutations=5))
    names = ("recall@1_x_to_y", "recall@1_y_to_x")
    assert sum(t[name]["whitening"] for name in names) >= sum(small[name]["whitening"] for name in names)
    if rows < 2 * d:
        assert t["strength"]["whitening"] >= 0.1


@pytest.mark.parametrize("seed", [0, 3])
def test_pairs_weigh_and_stay_on_one_side(seed):
    """Five captions an image: the same table for listed pairs and for repeated rows."""
    x, y = clouds(n=400, d=12, seed=seed)
    listed = np.column_stack([np.repeat(np.arange(80), 5), np.random.default_rng(seed).permutation(400)])
    options = {"methods": ("whitening", "cca", "csls"), "ridge": 0.1, "n_permutations": 5}
    one = compare(x[:80], y, pairs=listed, **options)
    other = compare(x[listed[:, 0]], y, pairs=np.column_stack([np.arange(400), listed[:, 1]]), **options)
    for name, column in one.table.items():
        if column.dtype.kind == "f":
            np.testing.assert_allclose(column, other.table[name], atol=1e-9, err_msg=name)
    plan = pair_up(as_embeddings(x[:80], name="x"), as_embeddings(y, name="y"), listed)
    parts = split(plan, 0.5, 100, None, np.random.default_rng(seed))
    assert not set(parts.fitted) & set(parts.held_out)
    a, b = plan.take(parts.fitted), plan.take(parts.held_out)
    assert not set(a.x) & set(b.x)
    assert not set(a.y) & set(b.y)
    assert len(b.y) <= 100 < len(a.y)
    for fold in strengths.folds(
        as_embeddings(x[:80], name="x"),
        as_embeddings(y, name="y"),
        plan,
        parts.fitted,
        np.random.default_rng(0),
    ):
        assert not set(map(bytes, fold.sample.y.rows)) & set(map(bytes, fold.held.y))


def test_several_captions_are_counted_as_by_hand():
    """Recall over images and over captions; sibling captions are left out of a caption's mixed corpus."""
    x, y = clouds(n=90, d=8, seed=2)
    listed = np.column_stack([np.repeat(np.arange(30), 3), np.arange(90)])
    first, second = as_embeddings(x[:30], name="x"), as_embeddings(y, name="y")
    plan = pair_up(first, second, listed)
    held = held_of(first, second, plan.take(np.arange(30)))
    rows = np.concatenate([x[:30], y])
    found = measured(rows @ rows.T, held)
    cosine = x[:30] @ y.T
    assert found["recall@1_x_to_y"].mean == np.mean(cosine.argmax(axis=1) // 3 == np.arange(30))
    assert found["recall@1_y_to_x"].mean == np.mean(cosine.argmax(axis=0) == np.arange(90) // 3)
    within = y @ y.T
    within[np.arange(90)[:, None] // 3 == np.arange(90)[None, :] // 3] = -2
    own = cosine[np.arange(90) // 3, np.arange(90)]
    best = np.maximum(cosine.max(axis=0), within.max(axis=1))
    assert found["mixed_recall@1_y"].mean == np.mean(own >= best)
    assert len(found["mixed_recall@1_y"].influence) == 30


@pytest.mark.parametrize("pairs", ["ring", "hub"])
def test_pairs_that_join_everything_are_refused(pairs):
    x, y = clouds(n=120)
    i = np.arange(120)
    listed = {
        "ring": np.concatenate([np.column_stack([i, i]), np.column_stack([i, (i + 1) % 120])]),
        "hub": np.column_stack([np.zeros(120, int), i]) + np.array([0, 0]),
    }[pairs]
    if pairs == "hub":
        listed = np.concatenate([listed, np.column_stack([i, np.zeros(120, int)])])
    with pytest.raises(ValueError, match="both fitted on and measured: 1 groups"):
        compare(x, y, pairs=listed)


def test_ties_are_counted_at_their_expectation():
    """Both modalities one orthogonal frame, each row eight times: a partner is one of eight equal rows."""
    rng = np.random.default_rng(0)
    x = np.repeat(np.eye(4), 8, axis=0) + 0.0
    first = as_embeddings(unit(x + 1e-30 * rng.standard_normal(x.shape)), name="x")
    held = held_of(first, first, RowByRow(32).take(np.arange(32)))
    rows = np.concatenate([x, x])
    found = measured(rows @ rows.T, held)
    assert found["recall@1_x_to_y"].mean == pytest.approx(1 / 8)
    assert found["recall@5_y_to_x"].mean == pytest.approx(5 / 8)
    assert found["mixed_recall@1_x"].mean == pytest.approx(1 / 15)
    assert found["mixing_y"].mean == pytest.approx(8 / 15)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"purpose": "fun"}, "purpose must be one of retrieval, mixed, clustering"),
        ({"methods": ("magic",)}, "methods must be one of none"),
        ({"held_out": 1.0}, r"held_out must lie in \(0, 1\)"),
        ({"held_out": 0.01}, "too few to split"),
        ({"epsilon": 0.001}, "epsilon must be >= 0.005"),
        ({"ridge": -1.0}, "ridge must be finite and > 0"),
        ({"n_permutations": 0}, "n_permutations must be an integer >= 1"),
        ({"max_groups": 30}, "30 independent groups of pairs are too few"),
        ({"seed": -1}, "seed must be an integer >= 0"),
    ],
)
def test_comparisons_refuse_bad_settings(wrong, words):
    with pytest.raises(ValueError, match=words):
        compare(*clouds(), **wrong)


def test_comparisons_check_rows_as_diagnose_does():
    x, y = clouds(n=100)
    for bad, words in (
        ((100 * y).astype(np.int64), "got int64"),
        (2 * y, "y must have rows of unit norm"),
        (np.where(np.arange(100)[:, None] == 5, np.nan, y), "y must be finite"),
        (unit(y[:, :4]), "rows of one width, got 6 and 4"),
        (y[:90], "must be paired row by row, got 100 and 90 rows"),
    ):
        with pytest.raises(ValueError, match=words):
            compare(x, bad)
    assert compare(x, 2 * y, normalize=True, methods=("centring",), n_permutations=5).table["pareto"].any()

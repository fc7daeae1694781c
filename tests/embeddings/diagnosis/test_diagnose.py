"""A diagnosis: its numbers against other implementations, its nulls against chance, its words and errors."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import cdist

import ctflow as ct
from ctflow import diagnostics as dg
from ctflow.embeddings.pairing import pairing
from tests.draws import paired_rows, unit

TESTED = {
    "centroid_gap",
    "cosine_of_means",
    "energy_distance",
    "mmd2_half",
    "mmd2",
    "mmd2_twice",
    "sliced_wasserstein",
    "linear_separability",
    "smoothed_divergence",
}
QUICK = {"n_permutations": 99, "n_bootstrap": 20}


def clouds(seed=0, n=80, d=6, shift=0.5, noise=0.5):
    """Paired rows whose second modality is shifted along the first coordinate."""
    x, y = paired_rows(n, d, noise, seed)
    return unit(x), unit(y + shift * np.eye(d)[0])


@pytest.mark.parametrize("estimator", ["u", "v"])
def test_the_numbers_are_those_of_the_separate_functions(estimator):
    x, y = clouds()
    report = ct.diagnose(x, y, pairs="unpaired", estimator=estimator, **QUICK)
    jx, jy = jnp.asarray(x), jnp.asarray(y)
    width = float(report["mmd2"].reference.split()[-1])
    distance = np.median(np.linalg.norm(x[:, None] - y[None], axis=2))
    assert width == pytest.approx(distance, rel=5e-3)
    expected = {
        "centroid_gap": dg.centroid_gap(jx, jy),
        "energy_distance": dg.energy_distance(jx, jy, estimator=estimator),
        "mmd2": dg.mmd_squared(jx, jy, bandwidth=distance, estimator=estimator),
        "mmd2_half": dg.mmd_squared(jx, jy, bandwidth=distance / 2, estimator=estimator),
        "mmd2_twice": dg.mmd_squared(jx, jy, bandwidth=2 * distance, estimator=estimator),
        "uniformity_x": dg.uniformity(jx, estimator=estimator),
        "uniformity_y": dg.uniformity(jy, estimator=estimator),
        "cone_x": dg.mean_cosine(jx),
        "effective_rank_y": dg.effective_rank(jy),
    }
    for name, value in expected.items():
        assert report[name].value == pytest.approx(float(value), rel=1e-9, abs=1e-9), name


def test_paired_numbers_and_retrieval():
    x, y = clouds()
    report = ct.diagnose(x, y, **QUICK)
    jx, jy = jnp.asarray(x), jnp.asarray(y)
    gap, apart = float(dg.centroid_gap(jx, jy)), float(dg.alignment(jx, jy))
    within = 1 - (float(dg.mean_cosine(jx)) + float(dg.mean_cosine(jy))) / 2
    expected = {
        "alignment": apart,
        "paired_cosine": 1 - apart / 2,
        "gap_share": gap**2 / apart,
        "relative_modality_gap": (apart / 2) / (apart / 2 + within),
        "recall@1_x_to_y": dg.recall(jx, jy, 1),
        "recall@5_y_to_x": dg.recall(jy, jx, 5),
        "hubness_x_to_y": dg.hubness(jx, jy),
    }
    for name, value in expected.items():
        assert report[name].value == pytest.approx(value, rel=1e-9), name
    assert report["recall@10_x_to_y"].null_mean == pytest.approx(10 / 80)
    # Each of 80 queries hits with chance 1/8.
    assert report["recall@10_x_to_y"].null_sd == pytest.approx(np.sqrt(1 / 8 * 7 / 8 / 80))
    # The gap a/(a + b) of shuffled partners, by differences in a = alignment / 2.
    a, sd = report["alignment"].null_mean / 2, report["alignment"].null_sd / 2
    gaps = [(a + side * sd) / (a + side * sd + within) for side in (-1, 0, 1)]
    relative = report["relative_modality_gap"]
    assert relative.null_mean == pytest.approx(gaps[1])
    assert relative.null_sd == pytest.approx((gaps[2] - gaps[0]) / 2, rel=1e-3)


def test_the_terms_are_those_of_the_energy():
    """Estimator v is J^Sym of the clouds themselves; its free energies leave the kernel's volume out."""
    x, y = clouds(n=40)
    tau = 0.2
    energy = ct.energies.symmetric(ct.couplings.paired(40, dtype=float), temperature=tau)
    pair = ct.Pair(jnp.asarray(x), jnp.asarray(y))
    split, volume = energy.free_energies(pair), float(energy.kernel.log_volume(6, dtype=float))
    report = ct.diagnose(x, y, temperature=tau, estimator="v", **QUICK)
    assert report["energy"].value == pytest.approx(float(energy(pair)) + volume, abs=1e-10)
    for way in ("12", "21"):
        assert report[f"free_energy_{way}"].value == pytest.approx(
            float(split[f"free_energy_{way}"]) + volume, abs=1e-10
        )
        assert report[f"divergence_{way}"].value == pytest.approx(
            float(split[f"divergence_{way}"]), abs=1e-10
        )
    assert report["above_bound"].value == pytest.approx(float(energy(pair)) + volume + np.log(40), abs=1e-10)


@pytest.mark.parametrize("estimator", ["u", "v"])
def test_the_energy_is_free_energies_less_divergences(estimator):
    x, y = clouds()
    r = ct.diagnose(x, y, temperature=0.05, estimator=estimator, logit_bias=-2.0, **QUICK)
    free = (r["free_energy_12"].value + r["free_energy_21"].value) / 2
    assert r["energy"].value == pytest.approx(free - r["smoothed_divergence"].value, abs=1e-12)
    logits = x @ y.T / 0.05 - 2
    signs = 2 * np.eye(len(x)) - 1
    assert r["sigmoid_loss"].value == pytest.approx(np.log1p(np.exp(-signs * logits)).sum() / len(x))


def test_u_statistics_are_unbiased_for_pairs_too():
    """One law, partners close together: the energy distance averages to 0 over draws, within 4 errors."""
    reports = [
        ct.diagnose(*clouds(seed, n=20, shift=0, noise=0.3), n_bootstrap=0, n_permutations=99)
        for seed in range(60)
    ]
    values = [r["energy_distance"].value for r in reports]
    assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(len(values))
    few = [clouds(seed, n=20, shift=0, noise=0.3) for seed in range(10)]
    reads_low = [float(dg.energy_distance(*map(jnp.asarray, pair))) for pair in few]
    assert np.mean(reads_low) < -10 * np.std(values) / np.sqrt(10)


@pytest.mark.parametrize("pairs", [None, "unpaired"])
def test_a_shift_alone_leaves_nothing_once_the_means_are_gone(pairs):
    """Not on a sphere, where a shift changes the shape too: on rows in a plane, moved apart."""
    from ctflow.embeddings.diagnosis import two_sample
    from ctflow.embeddings.diagnosis.resampling import as_they_are, table
    from ctflow.embeddings.pairing import pairing

    left = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        common = rng.standard_normal((25, 40)) * (pairs is None)
        x, y = (common + rng.standard_normal((25, 40)) for _ in range(2))
        plan = pairing(25, 25, pairs)
        rows = table(x, y + 3, plan.take(np.arange(plan.num_groups)))
        # Within a cloud the distances are those of unit rows; a table of others is given its own.
        centred = two_sample.centred_distances(rows, cdist(rows.points, rows.points))
        left.append(two_sample.energy_distance(centred, rows, as_they_are(rows), "u")[0])
    plain = two_sample.energy_distance(cdist(rows.points, rows.points), rows, as_they_are(rows), "u")[0]
    assert plain > 5
    assert abs(np.mean(left)) < 4 * np.std(left) / np.sqrt(len(left)) + 0.01


def one_law(seed, n, d, kind):
    """Two samples of one law that is neither even nor centred; `paired` shares most of it row by row."""
    rng = np.random.default_rng(seed)
    scale, mean = 1 / np.sqrt(1 + np.arange(d)), 0.5 * np.eye(d)[0]
    a, b = rng.standard_normal((2, n, d))
    if kind == "paired":
        common = rng.standard_normal((n, d))
        a, b = common + 0.5 * a, common + 0.5 * b
    return unit(a * scale + mean), unit(b * scale + mean)


def false_alarms(draws, n, d, kind, level):
    pairs = None if kind == "paired" else "unpaired"
    calls = 0
    for seed in range(draws):
        x, y = one_law(seed, n, d, kind)
        report = ct.diagnose(
            x, y, pairs=pairs, temperature=0.05, level=level, n_permutations=99, n_bootstrap=0, seed=seed
        )
        assert {m.name for m in report.metrics if m.gap is not None} == TESTED
        calls += any(m.gap for m in report.metrics)
    return calls


@pytest.mark.parametrize("kind", ["paired", "independent"])
def test_one_law_is_seldom_called_a_gap(kind):
    """At level 0.1 one number at least is called in a tenth of the draws: within 3 σ, and not never."""
    draws = 60
    calls = false_alarms(draws, 30, 8, kind, 0.1)
    assert abs(calls - 0.1 * draws) < 3 * np.sqrt(draws * 0.1 * 0.9)
    assert calls > 0


@pytest.mark.slow
@pytest.mark.parametrize("n", [100, 2000])
@pytest.mark.parametrize("kind", ["paired", "independent"])
def test_false_alarms_in_512_dimensions(n, kind):
    """At the default level, 0.01, none of the numbers is called a gap in more than 5 % of 200 draws."""
    assert false_alarms(200, n, 512, kind, 0.01) <= 10


def test_a_planted_shift_is_found_by_every_distance():
    x, y = one_law(0, 100, 512, "independent")
    moved = unit(y + 0.5 * np.eye(512)[3])
    report = ct.diagnose(x, moved, pairs="unpaired", temperature=0.05, n_bootstrap=20)
    assert {m.name for m in report.metrics if m.gap} == TESTED
    assert report.words[0].startswith("There is a gap: 9 of 9")


def test_a_planted_change_of_covariance_leaves_the_means_alone():
    """Equal means, other axes: the centroid gap stays at its null, energy distance and MMD do not."""
    rng = np.random.default_rng(3)
    scale = 1 / np.sqrt(1 + np.arange(512))
    x, y = (unit(rng.standard_normal((100, 512)) * s) for s in (scale, scale[::-1]))
    report = ct.diagnose(x, y, pairs="unpaired", n_bootstrap=20)
    centroid = report["centroid_gap"]
    assert not centroid.gap
    assert abs(centroid.value - centroid.null_mean) < 3 * centroid.null_sd
    assert report["energy_distance"].gap
    assert report["mmd2"].gap
    assert report["energy_distance_centred"].value == pytest.approx(report["energy_distance"].value, rel=0.2)


def test_intervals_hold_the_value_of_the_law():
    """95 % intervals of the energy distance and of recall hold their means over many draws: 95 % ± 3 σ."""
    draws, names = 60, ("energy_distance", "paired_cosine", "cone_x")
    reports = [
        ct.diagnose(*clouds(seed, n=60), n_permutations=99, n_bootstrap=100, seed=seed)
        for seed in range(draws)
    ]
    for name in names:
        truth = np.mean([r[name].value for r in reports])
        held = np.mean([r[name].low <= truth <= r[name].high for r in reports])
        assert held > 0.95 - 3 * np.sqrt(0.95 * 0.05 / draws) - 0.03, name


def test_blocks_and_units_do_not_matter(monkeypatch):
    """Read in blocks of 32 groups and merged into units of 7, all first and second moments are the same."""
    x, y = clouds(n=300)
    whole = ct.diagnose(x, y, **QUICK)
    monkeypatch.setattr("ctflow.embeddings.diagnosis.moments._BLOCK", 32)
    monkeypatch.setattr("ctflow.embeddings.diagnosis.moments.MAX_UNITS", 50)
    streamed = ct.diagnose(x, y, **QUICK)
    for name in ("centroid_gap", "cosine_of_means", "paired_cosine", "gap_share", "effective_rank_x"):
        assert streamed[name].value == pytest.approx(whole[name].value, rel=1e-12), name
        # The null of merged units is another random draw: 5 standard errors of a mean of 99.
        bound = 5 * whole[name].null_sd * (0.02 if name == "paired_cosine" else np.sqrt(2 / 99))
        assert abs(streamed[name].null_mean - whole[name].null_mean) < bound + 1e-9 or "rank" in name, name
    assert streamed["cone_x"].value == pytest.approx(whole["cone_x"].value, abs=2e-3)


def test_few_rows_of_many_are_sampled_and_said_so():
    x, y = clouds(n=500)
    report = ct.diagnose(x, y, max_rows=100, max_gallery=200, **QUICK)
    assert report["energy_distance"].rows == (100, 100)
    assert report["recall@1_x_to_y"].rows == (200, 200)
    assert report["centroid_gap"].rows == (500, 500)


def test_captions_of_one_image_are_one_group():
    rng = np.random.default_rng(0)
    images = unit(rng.standard_normal((40, 5)))
    captions = unit(np.repeat(images, 5, axis=0) + 0.3 * rng.standard_normal((200, 5)))
    pairs = np.column_stack([np.repeat(np.arange(40), 5), np.arange(200)])
    plan = pairing(40, 200, pairs)
    assert plan.num_groups == 40
    block = plan.take(np.array([3, 7]))
    assert block.x.tolist() == [3, 7]
    assert block.y.tolist() == [*range(15, 20), *range(35, 40)]
    assert block.x_weight.tolist() == [5, 5]
    report = ct.diagnose(images, captions, pairs=pairs, **QUICK)
    assert report["recall@1_x_to_y"].rows == (40, 200)
    assert report["recall@1_y_to_x"].rows == (200, 40)
    # One of 5 among the first of 200; one of 40.
    assert report["recall@1_x_to_y"].null_mean == pytest.approx(5 / 200)
    assert report["recall@1_y_to_x"].null_mean == pytest.approx(1 / 40)
    assert report["paired_cosine"].value == pytest.approx(
        np.mean(np.sum(images[pairs[:, 0]] * captions, axis=1))
    )
    # A shuffled order of pairs changes nothing.
    order = rng.permutation(200)
    again = ct.diagnose(images, captions, pairs=pairs[order], **QUICK)
    assert again["energy_distance"].value == pytest.approx(report["energy_distance"].value, rel=1e-12)


def test_rows_without_a_partner_are_left_out_and_said_so():
    x, y = clouds(n=60)
    pairs = np.column_stack([np.arange(40)] * 2)
    report = ct.diagnose(x, y, pairs=pairs, **QUICK)
    alone = ct.diagnose(x[:40], y[:40], **QUICK)
    for name in ("centroid_gap", "energy_distance", "recall@1_x_to_y", "uniformity_x"):
        assert report[name].value == pytest.approx(alone[name].value, rel=1e-12), name
    assert any("20 rows of x and 20 of y have no partner" in note for note in report.notes)


def test_a_coupling_of_all_pairs_is_taken_with_its_weights(key):
    """Blurred latents: every pair has weight; the paired cosine is the coupling's, partners the likeliest."""
    latents = jax.random.uniform(key, (40,)) * 6
    pi = ct.couplings.misaligned(key, latents, sigma=0.3)
    x, y = clouds(n=40, d=3)
    report = ct.diagnose(x, y, pairs=pi, **QUICK)
    assert report["paired_cosine"].value == pytest.approx(
        float(pi.mean_cosine(jnp.asarray(x), jnp.asarray(y))), abs=1e-7
    )
    assert any("1 group (an effective number of 1, given their weights)" in note for note in report.notes)
    assert report["recall@1_x_to_y"].rows == (40, 40)
    assert report["recall@10_x_to_y"].value < 1


def test_misaligned_files_are_found_with_the_shift():
    x, y = clouds(n=400, d=32, shift=0)
    right = ct.diagnose(x, y, **QUICK)
    assert not right.notes
    (note,) = ct.diagnose(x, np.roll(y, 3, axis=0), **QUICK).notes
    assert "no nearer than shuffled ones" in note
    assert "Row i of x looks like the partner of row i + 3 of y" in note
    rng = np.random.default_rng(0)
    (note,) = ct.diagnose(x, y[rng.permutation(400)], **QUICK).notes
    assert "looks like" not in note


def test_the_report_speaks_json_markdown_and_pictures(tmp_path):
    x, y = clouds()
    report = ct.diagnose(x, y, temperature=0.1, **QUICK)
    content = json.loads(report.to_json(), parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert {m["name"] for m in content["metrics"]} == {m.name for m in report.metrics}
    assert content["settings"]["temperature"] == 0.1
    assert report.to_markdown().count("\n## ") == 7
    for name in ("r.json", "r.md", "r.png"):
        report.save(tmp_path / name)
        assert (tmp_path / name).stat().st_size > 1000
    with pytest.raises(ValueError, match=r"path must end in \.json, \.md, \.html or \.png, got .*r\.txt"):
        report.save(tmp_path / "r.txt")
    with pytest.raises(KeyError, match="no metric 'gap'"):
        report["gap"]


def test_the_same_seed_gives_the_same_report():
    x, y = clouds()
    assert ct.diagnose(x, y, seed=1, **QUICK).to_json() == ct.diagnose(x, y, seed=1, **QUICK).to_json()
    assert ct.diagnose(x, y, seed=2, **QUICK).to_json() != ct.diagnose(x, y, seed=1, **QUICK).to_json()


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"temperature": 0.0}, "temperature must be finite and > 0"),
        ({"temperature": -1.0}, "temperature must be finite and > 0"),
        ({"estimator": "w"}, "estimator must be one of u, v"),
        ({"n_permutations": 9}, "n_permutations must be an integer >= 99"),
        ({"level": 0.001}, r"level must lie in \[1/\(n_permutations \+ 1\), 1\)"),
        ({"logit_bias": 1.0}, "needs a temperature"),
        ({"pairs": np.array([[0, 80]])}, "1 of 1 do not, row 0 is \\[0, 80\\]"),
        ({"pairs": np.array([[0.5, 1]])}, "pairs must be integers"),
        ({"pairs": "shuffled"}, "pairs must be one of unpaired"),
        ({"groups": np.zeros(80, int)}, "groups must form at least 10 groups of paired rows, got 1"),
        ({"groups": np.zeros(8, int)}, "groups must label 80 rows"),
        ({"max_rows": 1}, "max_rows must be an integer >= 2"),
        ({"n_bootstrap": 1}, "n_bootstrap must be 0 or >= 20, got 1"),
        ({"seed": 1.5}, "seed must be an integer >= 0, got 1.5"),
        ({"temperature": 1e-12}, "temperature must be >= 1e-09"),
        ({"temperature": 0.1, "logit_bias": "a"}, "logit_bias must be finite"),
    ],
)
def test_settings_are_refused(wrong, words):
    x, y = clouds()
    with pytest.raises(ValueError, match=words):
        ct.diagnose(x, y, **wrong)


def test_rows_are_refused():
    x, y = clouds()
    for other, words in (
        (y[:50], "equally many rows, got 80 and 50"),
        (unit(y[:, :4]), "rows of one width, got 6 and 4"),
        (2 * y, "unit norm"),
        (np.where(np.arange(80)[:, None] == 7, np.nan, y), "finite"),
    ):
        with pytest.raises(ValueError, match=words):
            ct.diagnose(x, other)


def test_groups_are_drawn_together():
    """Twenty near copies of each of 25 pairs: as 25 groups the interval is that of 25 pairs, not of 500."""
    x, y = clouds(n=25)
    rng = np.random.default_rng(0)
    many_x, many_y = (
        unit(np.repeat(z, 20, axis=0) + 1e-6 * rng.standard_normal((500, z.shape[1]))) for z in (x, y)
    )
    wide = ct.diagnose(many_x, many_y, groups=np.repeat(np.arange(25), 20), n_permutations=99)
    narrow = ct.diagnose(many_x, many_y, n_permutations=99)
    few = ct.diagnose(x, y, n_permutations=99)

    def width(report):
        return report["paired_cosine"].high - report["paired_cosine"].low

    assert width(wide) == pytest.approx(width(few), rel=0.25)
    assert width(narrow) < width(wide) / 3

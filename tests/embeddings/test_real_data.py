"""Every number that `ct.diagnose` reports of real embeddings, against independent float64 code."""

import re
from pathlib import Path

import numpy as np
import pytest

import ctflow as ct
from tests.draws import unit
from tests.embeddings import independently as own

DATA = Path(__file__).parents[3] / "shared" / "data"
SEED, BIAS, RELABELLED = 0, -10.0, 99
SETS = {"clip": 0.01, "clip_random": 0.05, "clasp": 0.05, "clasp_random": 0.05, "python": 0.01}
"""Temperature at which each is measured."""


def rows_of(name, count=None):
    if not DATA.is_dir():
        pytest.skip("the folder of real embeddings, shared/data beside the repository, is absent")
    files = [f"python_{kind}" for kind in ("doc", "code")] if name == "python" else [name]
    arrays = [np.load(DATA / f"{file}.npy") for file in files]
    x, y = arrays if len(arrays) == 2 else arrays[0]
    return unit(x[:count].astype(float)), unit(y[:count].astype(float))


def diagnosed(x, y, temperature, estimator):
    return ct.diagnose(
        x,
        y,
        temperature=temperature,
        logit_bias=BIAS,
        estimator=estimator,
        n_permutations=RELABELLED,
        n_bootstrap=0,
        max_rows=2400,
        seed=SEED,
    )


def expected_of(x, y, temperature, estimator):
    """Value, null mean and null deviation (NaN where there is none) by name; and errors and p-values."""
    items = own.Items(x, y)
    p, q = (
        np.column_stack([w, null])
        for w, null in zip((items.p, items.q), items.exchanged(SEED, RELABELLED), strict=True)
    )
    drawn = own.distances(items, p, q, estimator, SEED)
    energy = own.terms(items, p, q, temperature, estimator)
    drawn |= {name: energy[name] for name in ("divergence_12", "divergence_21")}
    drawn["smoothed_divergence"] = (energy["divergence_12"] + energy["divergence_21"]) / 2
    found = {name: (v[0], v[1:].mean(), v[1:].std()) for name, v in drawn.items()}
    apart, (mean, sd) = own.alignment(items), own.repaired(items)
    cones = [own.cone(items, w) for w in (items.p, items.q)]
    b = 1 - np.mean(cones)
    null = mean / 2 / (mean / 2 + b)
    found |= {
        "energy_distance_centred": (own.centred_energy(items, estimator), np.nan, np.nan),
        "alignment": (apart, mean, sd),
        "paired_cosine": (1 - apart / 2, 1 - mean / 2, sd / 2),
        # The deviation of a/(a + b) to first order in that of a.
        "relative_modality_gap": (apart / 2 / (apart / 2 + b), null, b / (mean / 2 + b) ** 2 * sd / 2),
        **{f"effective_rank_{c}": (own.effective_rank(items, w), None, None) for c, w in _sides(items)},
        **own.retrieval(items, "x_to_y"),
        **own.retrieval(items, "y_to_x"),
    }
    relabelled_cones = [
        own.mean_over_pairs(items, items.cosine, w, w, "u")[1:] for w in (p, q)
    ]  # of distinct groups, whatever the estimator
    for k, c in enumerate("xy"):
        found[f"cone_{c}"] = cones[k], relabelled_cones[k].mean(), relabelled_cones[k].std()
    losses, error = own.losses(items, temperature, BIAS)
    free = {name: v[0] for name, v in energy.items() if not name.startswith("divergence")}
    for name, value in {**losses, **free}.items():
        # Shuffled partners change the alignment term only.
        found[name] = value, value + (mean - apart) / 2 / temperature, sd / 2 / temperature
    half = items.first_half(SEED)
    kept = [np.where(half, w, 0)[:, None] / w[half].sum() for w in (items.p, items.q)]
    halves = own.terms(items, *kept, temperature, estimator, half)
    tested = {name: drawn[name] for name in TESTED}
    if not (estimator == "u" or len(items.points) == 2 * items.groups):
        tested.pop("smoothed_divergence")
    tested["cosine_of_means"] = -tested["cosine_of_means"]
    return found, error, own.p_values(tested), {name: v[0] for name, v in halves.items()}


TESTED = (
    "centroid_gap",
    "cosine_of_means",
    "energy_distance",
    "mmd2_half",
    "mmd2",
    "mmd2_twice",
    "sliced_wasserstein",
    "linear_separability",
    "smoothed_divergence",
)


def _sides(items):
    return ("x", items.p), ("y", items.q)


def deviations(report, expected, tolerance=2e-10):
    """The largest deviation of each number, its null's mean or deviation, as a share of max(|number|, 1)."""
    found, error, chances, halves = expected
    assert {m.name for m in report.metrics} == set(found)
    apart = {}
    for metric in report.metrics:
        pairs = list(zip((metric.value, metric.null_mean, metric.null_sd), found[metric.name], strict=True))
        if metric.name in ("in_batch_loss", "above_bound"):
            pairs.append((metric.error, error))
        if metric.gap is not None:
            pairs.append((metric.p_value, chances.pop(metric.name)))
        if metric.name in halves:
            (text,) = re.findall(r": (\S+) on half of the groups", metric.reference)
            assert float(text) == pytest.approx(halves[metric.name], rel=1e-3, abs=1e-8)
        for k, (ours, theirs) in enumerate(pairs):
            if theirs is None:  # nulls of effective ranks are of other, merged rows
                continue
            assert np.isnan(ours) == np.isnan(theirs), (metric.name, k)
            off = 0 if np.isnan(ours) else abs(ours - theirs) / max(abs(theirs), 1)
            # The library sets variances within rounding to 0; documentation has a direction of 1e-16.
            bound = max(tolerance, 2e-8) if metric.name.startswith("effective_rank") else tolerance
            assert off <= bound, (metric.name, k, ours, theirs)
            apart[metric.name] = max(apart.get(metric.name, 0), off)
    assert not chances
    return apart


@pytest.mark.parametrize(
    ("name", "estimator"),
    [("clip", "u"), ("clip_random", "v"), ("clasp", "v"), ("clasp_random", "u"), ("python", "u")],
)
def test_every_number_is_that_of_independent_code(name, estimator):
    """On the first 150 rows."""
    x, y = rows_of(name, 150)
    deviations(diagnosed(x, y, SETS[name], estimator), expected_of(x, y, SETS[name], estimator))


PUBLISHED = {
    "clip": {
        "centroid_gap": 0.851,
        "energy_distance": 0.649,
        "energy_distance_centred": 0.0045,
        "paired_cosine": 0.310,
        "recall@1_x_to_y": 0.552,
        "recall@1_y_to_x": 0.506,
        "in_batch_loss": 1.8009,
    },
    "clip_random": {"centroid_gap": 1.136, "energy_distance": 1.240, "recall@1_x_to_y": 0.002},
    "python": {
        "centroid_gap": 0.3116,
        "energy_distance": 0.0741,
        "paired_cosine": 0.6543,
        "recall@1_x_to_y": 0.8908,
        "in_batch_loss": 1.5583,
    },
}
"""Numbers that come with the data; recall from code to documentation differs, as copies are one item."""


@pytest.mark.long
@pytest.mark.parametrize("estimator", ["u", "v"])
@pytest.mark.parametrize("name", SETS)
def test_every_number_of_all_rows(name, estimator):
    x, y = rows_of(name)
    report = diagnosed(x, y, SETS[name], estimator)
    apart = deviations(report, expected_of(x, y, SETS[name], estimator))
    assert len(apart) == len(report.metrics)
    if estimator == "u":
        for number, value in PUBLISHED.get(name, {}).items():
            digits = len(str(value).partition(".")[2])
            assert report[number].value == pytest.approx(value, abs=0.6 * 10**-digits), number


@pytest.mark.parametrize("name", ["clip", "python"])
def test_rows_as_they_are_stored_give_the_same_numbers_to_their_rounding(name):
    """Rows off by the rounding of half precision, brought to unit norm by the library and not beforehand."""
    x, y = rows_of(name, 150)
    files = [f"python_{kind}" for kind in ("doc", "code")] if name == "python" else [name]
    stored = [np.load(DATA / f"{file}.npy") for file in files]
    a, b = stored if len(stored) == 2 else stored[0]
    plain = diagnosed(a[:150], b[:150], SETS[name], "u")
    assert sum("the rounding of float16, and were brought to unit norm" in note for note in plain.notes) == 2
    deviations(plain, expected_of(x, y, SETS[name], "u"), tolerance=2e-5)

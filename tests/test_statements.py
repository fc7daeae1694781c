"""Numbers on the pages are those of the committed tables: each sentence is written again from its cells."""

import csv
import json
import re
from functools import cache

import pytest

from experiments import reproduce, summary
from tests.pages_of_docs import PAGES, ROOT

WORDS = " ".join(" ".join(page.read_text() for page in PAGES).split())


@cache
def table(path):
    with (ROOT / path).open(newline="") as file:
        return list(csv.DictReader(file))


def cells(path, column, **where):
    """Values of a column in the rows that match, as numbers."""
    found = []
    for row in table(path):
        if all(row[key] == value or _same(row[key], value) for key, value in where.items()):
            found.append(float(row[column]))
    assert found, (path, column, where)
    return found


def _same(text, value):
    try:
        return float(text) == float(value)
    except (TypeError, ValueError):
        return False


def cell(path, column, **where):
    """The one value there."""
    (value,) = cells(path, column, **where)
    return value


CONTROL = "figures/gap_control/summary.csv"
TEMPERATURES = "figures/stability/temperatures.csv"
DIGITS = "figures/digits_clip/summary.csv"
THEORY = "figures/theory"


def control(column, d, kind, strength):
    where = {"d": d, "control": kind, "sigma": 0.5, "strength": strength, "start": "same place"}
    return cell(CONTROL, f"{column}_median", **where)


def digits(column, law, amount, start="overlapping", penalty=0, tau=0.07):
    where = {"law": law, "amount": amount, "start": start, "penalty": penalty, "temperature": tau}
    return cell(DIGITS, column, **where)


def onset(sigma):
    return cell(f"{THEORY}/overlap_onsets.csv", "predicted", sigma=sigma) / cell(
        f"{THEORY}/overlap_onsets.csv", "star", sigma=sigma
    )


def search(over, dtype):
    path = "benchmarks/results/search_certificate/search_certificate.csv"
    return max(cells(path, "largest", over=over, dtype=dtype))


def opposed():
    """Held-out energy distances of encoders that set out opposed, under corrupted class pairs at τ = 0.03."""
    amounts = (0.25, 0.5, 0.75, 1)
    return [digits("energy_distance", "class", amount, start="opposed", tau=0.03) for amount in amounts]


def siglip_over_infonce():
    """Critical temperatures of SigLIP with its best bias over InfoNCE's, on two clusters on S²."""
    path = "figures/stability/temperatures.csv"
    siglip, infonce = (cells(path, "predicted", loss=loss, d=3) for loss in ("SigLIP", "InfoNCE"))
    return [a / b for a, b in zip(siglip, infonce, strict=True)]


STATEMENTS = {
    "the cosine critic is still {:.0f} % off": lambda: [
        100
        * sum(
            found := cells(
                "figures/large_batch_consistency/limit_runs.csv",
                "error",
                setting="cosine encoder",
                positive=1,
                N=4096,
            )
        )
        / len(found)
    ],
    "takes the energy distance from {:.2f} to {:.3f} for {:.3f} nats and {:.0f} % of the best": lambda: [
        control("energy_distance", 3, "divergence", 0),
        control("energy_distance", 3, "divergence", 0.1),
        control("above_bound", 3, "divergence", 0.1) - control("above_bound", 3, "divergence", 0),
        100
        * (control("recall@1", 3, "divergence", 0) - control("recall@1", 3, "divergence", 0.1))
        / control("best_recall@1", 3, "divergence", 0),
    ],
    "penalty of 0.1 is cheaper: from {:.3f} to {:.3f} for {:.4f} nats": lambda: [
        control("energy_distance", 8, "energy distance", 0),
        control("energy_distance", 8, "energy distance", 0.1),
        control("above_bound", 8, "energy distance", 0.1) - control("above_bound", 8, "energy distance", 0),
    ],
    "a wide one (energy distance {:.3f}, {:.3f}, {:.2f}; null {:.3f})": lambda: [
        digits("energy_distance", "class", 0),
        digits("energy_distance", "class", 1),
        digits("energy_distance", "graded", 3),
        digits("energy_distance_null", "graded", 3),
    ],
    "under class-level corruption too ({:.2f} to {:.2f})": lambda: [min(opposed()), max(opposed())],
    "the wide gap falls to {:.4f}, still above its null of {:.4f}": lambda: [
        digits("energy_distance", "graded", 3, start="opposed", penalty=0.1),
        digits("energy_distance_null", "graded", 3, start="opposed", penalty=0.1),
    ],
    "({:.2f} of energy distance is left in d = 8": lambda: [
        cell(
            "figures/gap_formation/summary.csv",
            "energy_distance_median",
            d=8,
            start="opposite cones",
            sigma=0,
        )
    ],
    "is {:.3f} τ* at σ = 0.8 and {:.3f} τ* at σ = 1, in closed form, and {:.2f} τ* and {:.2f} τ*": lambda: [
        *map(onset, (0.8, 1, 0.3, 0.5))
    ],
    "part at a lower temperature than two and need {:.2f} of the control": lambda: [
        cell(f"{THEORY}/modalities_least.csv", "strength", graph="clique", modalities=3)
        / cell(f"{THEORY}/modalities_least.csv", "strength", graph="clique", modalities=2)
    ],
    "parts at {:.2f} to {:.2f} times InfoNCE's τ*": lambda: [
        min(siglip_over_infonce()),
        max(siglip_over_infonce()),
    ],
    "below τ*: at {:.3f} τ* for σ = 0.5": lambda: [
        cells(f"{THEORY}/phases_learned.csv", "ratio", sigma=0.5, start=2)[-1]
    ],
    "τ* = {:.3f}, {:.3f}, {:.3f} for σ = 0.3, 0.5, 1 (96 particles on S²)": lambda: [
        cells(f"{THEORY}/phases_mixture.csv", "star", sigma=sigma, d=3)[0] for sigma in (0.3, 0.5, 1)
    ],
    "infinitely many latents have {:.3f}, {:.3f}, {:.3f}": lambda: [
        cells(f"{THEORY}/phases_sizes.csv", "limit", sigma=sigma)[0] for sigma in (0.3, 0.5, 1)
    ],
    "it predicts critical temperatures of {:.3f}, {:.3f} and {:.3f}": lambda: [
        cell(TEMPERATURES, "predicted", loss="InfoNCE", d=3, sigma=sigma) for sigma in (0.3, 0.5, 0.8)
    ],
    "the largest error was {:.2f} of what is allowed in float32 and {:.2f} in float64": lambda: [
        search("allowed", "float32"),
        search("allowed", "float64"),
    ],
    "and {:.2f} of the bound that was claimed": lambda: [
        max(search("bound", dtype) for dtype in ("float32", "float64"))
    ],
}


@pytest.mark.parametrize("sentence", STATEMENTS)
def test_the_sentence_is_what_its_table_says(sentence):
    written = sentence.format(*STATEMENTS[sentence]())
    assert written in WORDS, f"README.md or a page in docs should say: {written}"


def test_all_results_are_of_one_commit():
    records = [
        json.loads((ROOT / "figures" / name / "run.json").read_text()) for name in reproduce.EXPERIMENTS
    ]
    assert len({record["git"] for record in records}) == 1
    assert {record["preset"] for record in records} == {"paper"}


def test_the_summary_page_is_what_the_tables_say():
    """Written again from the committed results: every number in it is one of theirs."""
    page = summary.page(ROOT / "figures", "paper")
    assert page == (ROOT / "figures" / "README.md").read_text()


PARTITION = "benchmarks/results/bench_partition/bench_partition.csv"


def time_in_words(seconds):
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1e3 * seconds:.3g} ms"


MEASURED = (
    *((10_000, 3, tau) for tau in (1, 0.1, 0.05, 0.01)),
    *((16_384, d, 0.1) for d in (3, 512)),
    *((n, 3, 0.05) for n in (100_000, 1_000_000, 10_000_000)),
)


@pytest.mark.parametrize(("n", "d", "tau"), MEASURED)
def test_the_benchmark_table_is_what_was_measured(n, d, tau):
    where = {
        "table": "growth" if n >= 1_000_000 else "methods",
        "d": d,
        "n": n,
        "tau": tau,
        "dtype": "float32",
    }
    columns = []
    for method in ("dense", "tiled", "spectral"):
        try:
            words = time_in_words(cell(PARTITION, "seconds", method=method, **where))
            if method != "dense" and n <= 16_384:
                times = cell(PARTITION, "times_faster_than_dense", method=method, **where)
                words += f" ({times:.3g}×)"
        except AssertionError:
            words = "-"
        columns.append(words)
    assert f"| {n:,}, {d}, {tau:g} | {' | '.join(columns)} |" in WORDS


def test_runs_in_eight_dimensions_end_at_the_bound_with_a_gap_as_said():
    said = float(re.search(r"end within ([0-9.]+) % of it, with a gap", WORDS)[1]) / 100
    rows = [row for row in table("figures/gap_formation/summary.csv") if row["d"] == "8"]
    for row in rows:
        if float(row["sigma"]) <= 0.5:
            energy, bound = float(row["energy_median"]), float(row["bound_median"])
            assert bound <= energy <= bound + said * abs(bound)
            assert float(row["sigma"]) == 0 or float(row["energy_distance_median"]) > 0.05


def test_gaps_on_two_clusters_open_where_predicted_as_said():
    rows = [row for row in table(f"{THEORY}/claims.csv") if "where the gap opens" in row["quantity"]]
    rows = [row for row in rows if row["quantity"].startswith("S²")]
    assert len(rows) == 3
    for row in rows:
        assert float(row["simulated"]) == pytest.approx(float(row["predicted"]), rel=0.01)


def test_gaps_of_24_latents_open_where_predicted_as_said():
    said = float(re.search(r"from a disturbed overlap part within ([0-9.]+) % of them", WORDS)[1]) / 100
    for sigma in (0.3, 0.5, 0.8):
        where = {"loss": "InfoNCE", "d": 3, "sigma": sigma}
        predicted, simulated = (cell(TEMPERATURES, name, **where) for name in ("predicted", "simulated"))
        assert simulated == pytest.approx(predicted, rel=said)


def test_free_particles_part_where_the_toy_says():
    said = re.search(r"particles set free close it up to σ = ([0-9.]+) and part from ([0-9.]+) on", WORDS)
    closes, parts = float(said[1]), float(said[2])
    for row in table("figures/multimodal_toy/summary.csv"):
        for start in ("start", "trained"):
            free, trained = (
                float(row[f"{name}_divergence"]) for name in (f"particles_from_{start}", "population")
            )
            if float(row["sigma"]) <= closes:
                assert free < trained + 1e-6  # of float32
            if float(row["sigma"]) >= parts:
                assert free > trained


def test_a_checkpoint_costs_as_said():
    said = float(re.search(r"a checkpoint at every save takes ([0-9.]+) % of the run", WORDS)[1]) / 100
    ratios = sorted(cells("benchmarks/results/bench_checkpoint/bench_checkpoint.csv", "ratio", n=100_000))
    assert ratios[len(ratios) // 2] - 1 == pytest.approx(said, abs=0.005)


def test_the_cheapest_control_costs_no_recall_as_said():
    said = float(re.search(r"recall changes by less than ([0-9.]+) % in every seed", WORDS)[1]) / 100
    where = {"d": 8, "control": "energy distance", "sigma": 0.5, "start": "same place"}
    runs = "figures/gap_control/runs.csv"
    free, held = (cells(runs, "recall@1", strength=strength, **where) for strength in (0, 0.1))
    assert len(free) == len(held) >= 4
    for before, after in zip(free, held, strict=True):
        assert abs(after / before - 1) < said


def test_controls_do_not_raise_recall_as_said():
    said = float(re.search(r"no control raises the median recall by more than ([0-9.]+) %", WORDS)[1]) / 100
    for row in table(CONTROL):
        if row["sigma"] == "0.5":
            where = {key: row[key] for key in ("d", "sigma", "start", "control")}
            free = cell(CONTROL, "recall@1_median", **where, strength=0)
            assert float(row["recall@1_median"]) <= free * (1 + said)


def test_no_record_names_a_path_of_the_machine_it_was_made_on():
    records = [*(ROOT / "figures").rglob("*.json"), *(ROOT / "benchmarks").rglob("*.json")]
    assert len(records) > len(reproduce.EXPERIMENTS)
    for path in records:
        assert '"/' not in path.read_text(), path

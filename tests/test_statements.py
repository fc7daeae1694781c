"""Numbers in README.md are those of the committed tables: each sentence is written again from its cells."""

import csv
import json
import re
from functools import cache
from pathlib import Path

import pytest

from experiments import reproduce

ROOT = Path(__file__).resolve().parent.parent
README = " ".join((ROOT / "README.md").read_text().split())


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
    "penalty of 0.1 is cheaper: from {:.3f} to {:.3f} for {:.4f} nats and {:.2f} % of recall": lambda: [
        control("energy_distance", 8, "energy distance", 0),
        control("energy_distance", 8, "energy distance", 0.1),
        control("above_bound", 8, "energy distance", 0.1) - control("above_bound", 8, "energy distance", 0),
        100
        * (1 - control("recall@1", 8, "energy distance", 0.1) / control("recall@1", 8, "energy distance", 0)),
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
    "below τ*: at {:.3f} τ* for σ = 0.5": lambda: [
        cells(f"{THEORY}/phases_learned.csv", "ratio", sigma=0.5, start=2)[-1]
    ],
    "τ* = {:.2f}, {:.2f}, {:.2f} for σ = 0.3, 0.5, 1 (96 particles on S²)": lambda: [
        cells(f"{THEORY}/phases_mixture.csv", "star", sigma=sigma, d=3)[0] for sigma in (0.3, 0.5, 1)
    ],
    "infinitely many latents have {:.2f}, {:.2f}, {:.2f}": lambda: [
        cells(f"{THEORY}/phases_sizes.csv", "limit", sigma=sigma)[0] for sigma in (0.3, 0.5, 1)
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
    assert written in README, f"README.md should say: {written}"


def test_all_results_are_of_one_commit():
    records = [json.loads(path.read_text()) for path in (ROOT / "figures").glob("*/run.json")]
    assert len(records) == len(reproduce.EXPERIMENTS)
    assert len({record["git"] for record in records}) == 1
    assert {record["preset"] for record in records} == {"paper"}


def test_the_summary_page_is_what_the_tables_say():
    """Written again from the committed results: every number in it is one of theirs."""
    page = reproduce.page(ROOT / "figures", "paper")
    assert page == (ROOT / "figures" / "README.md").read_text()


def test_controls_do_not_raise_recall_as_said():
    said = float(re.search(r"no control raises recall by more than ([0-9.]+) %", README)[1]) / 100
    for row in table(CONTROL):
        if row["sigma"] == "0.5":
            where = {key: row[key] for key in ("d", "sigma", "start", "control")}
            free = cell(CONTROL, "recall@1_median", **where, strength=0)
            assert float(row["recall@1_median"]) <= free * (1 + said)

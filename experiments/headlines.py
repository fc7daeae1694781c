"""The headline numbers of the numerical section, and whether a new run of it gives them again.

Each is a cell of an experiment's table with a spread over seeds beside it. Long runs amplify rounding: on
another machine a seed ends elsewhere; what is reproduced is the law of the ends. The tolerance is four
standard errors of the difference of two independent runs of as many seeds. A number without a spread is no
headline.
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ctflow import io
from ctflow.experiment import Result, load

SIGMAS = 4.0
COMMITTED = Path(__file__).resolve().parent / "headlines.csv"


class Cell(NamedTuple):
    """Where a headline is found: experiment, table, the row's values, the column, and how it is spread."""

    experiment: str
    table: str
    row: dict[str, Any]
    column: str
    spread: str

    def name(self) -> str:
        """Its place in words, without commas."""
        return f"{self.column} at " + " · ".join(f"{key} = {value}" for key, value in self.row.items())


class Headline(NamedTuple):
    """A number and its standard error."""

    experiment: str
    name: str
    value: float
    error: float


class Comparison(NamedTuple):
    """A committed number beside the new one; they agree within the tolerance."""

    experiment: str
    name: str
    committed: float
    new: float
    tolerance: float

    @property
    def agrees(self) -> bool:
        """The verdict."""
        return bool(abs(self.new - self.committed) <= self.tolerance)


_GAP = {"experiment": "gap_formation", "table": "summary", "column": "energy_distance", "spread": "deciles"}
_TRAINED = {"law": "graded", "amount": 3, "temperature": 0.07}
CELLS = (
    *(Cell("unimodal_gibbs", "side_by_side", {"tau": tau}, "langevin", "error") for tau in (0.1, 0.2, 1, 10)),
    *(
        Cell(
            "large_batch_consistency",
            "published",
            {"critic": critic, "N": 1024},
            "relative_error",
            "deviation",
        )
        for critic in ("cosine", "rbf")
    ),
    *(
        Cell(
            "large_batch_consistency",
            "slopes",
            {"setting": setting, "positive": 0, "quantity": "scatter"},
            "slope",
            "error",
        )
        for setting in ("cosine encoder", "rbf encoder", "clouds")
    ),
    *(
        Cell("multimodal_toy", "summary", {"sigma": sigma}, "minibatches_gap", "quartiles")
        for sigma in (0.1, 0.3, 0.5)
    ),
    *(
        Cell(**_GAP, row={"d": d, "start": start, "sigma": 0.5})
        for d in (3, 8)
        for start in ("same place", "opposite cones")
    ),
    *(
        Cell(
            "gap_control",
            "summary",
            {"control": control, "d": d, "sigma": 0.5, "strength": strength, "start": "same place"},
            column,
            "deciles",
        )
        for d, control, strength in (
            (3, "divergence", 0),
            (3, "divergence", 0.1),
            (8, "divergence", 0),
            (8, "energy distance", 0.1),
        )
        for column in ("energy_distance", "above_bound")
    ),
    Cell(
        "digits_clip",
        "summary",
        _TRAINED | {"start": "overlapping", "penalty": 0},
        "energy_distance",
        "range",
    ),
    Cell(
        "digits_clip", "summary", _TRAINED | {"start": "opposed", "penalty": 0.1}, "energy_distance", "range"
    ),
    Cell("digits_clip", "summary", _TRAINED | {"start": "overlapping", "penalty": 0}, "recall_1", "range"),
)


def found(folder: Path) -> Iterator[Headline]:
    """The headlines of the results in a folder, those of experiments that are there."""
    results: dict[str, Result] = {}
    for cell in CELLS:
        if not (folder / cell.experiment / "run.json").is_file():
            continue
        if cell.experiment not in results:
            results[cell.experiment] = load(folder / cell.experiment)
        yield _headline(cell, results[cell.experiment].tables[cell.table])


def _headline(cell: Cell, table: dict[str, np.ndarray]) -> Headline:
    (at,) = np.flatnonzero(np.logical_and.reduce([table[key] == value for key, value in cell.row.items()]))

    def value(ending: str) -> float:
        return float(table[f"{cell.column}{ending}"][at])

    seeds = float(table["seeds"][at]) if "seeds" in table else 1.0
    if cell.spread == "error":
        beside = "standard_error" if cell.column == "slope" else f"{cell.column}_standard_error"
        return Headline(cell.experiment, cell.name(), value(""), float(table[beside][at]))
    if cell.spread == "deviation":
        return Headline(cell.experiment, cell.name(), value(""), value("_std") / seeds**0.5)
    if cell.spread == "range":  # of five seeds: 2.33 standard deviations
        error = (value("_largest") - value("_least")) / 2.33 / seeds**0.5
        return Headline(cell.experiment, cell.name(), value(""), error)
    low, high, deviations = {"deciles": ("_low", "_high", 2.56), "quartiles": ("_q25", "_q75", 1.35)}[
        cell.spread
    ]
    middle = "_median" if cell.spread == "deciles" else ""
    error = 1.25 * (value(high) - value(low)) / deviations / seeds**0.5  # of a median
    return Headline(cell.experiment, cell.name(), value(middle), error)


def compare(folder: Path, committed: Path = COMMITTED) -> list[Comparison]:
    """Every committed headline beside that of the results in a folder; NaN where there is none."""
    new = {(h.experiment, h.name): h for h in found(folder)}
    compared = []
    with committed.open(newline="") as file:
        for row in csv.DictReader(file):
            there = new.get((row["experiment"], row["name"]))
            errors = float(row["error"]), np.nan if there is None else there.error
            compared.append(
                Comparison(
                    row["experiment"],
                    row["name"],
                    float(row["value"]),
                    np.nan if there is None else there.value,
                    SIGMAS * float(np.hypot(*errors)),
                )
            )
    return compared


def page(compared: list[Comparison]) -> str:
    """The comparison as a table in Markdown, with a verdict."""
    lines = [
        "| experiment | headline | committed | new | tolerance | |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for c in compared:
        verdict = "agrees" if c.agrees else "missing" if np.isnan(c.new) else "**differs**"
        numbers = " | ".join(f"{number:.4g}" for number in (c.committed, c.new, c.tolerance))
        lines.append(f"| {c.experiment} | {c.name} | {numbers} | {verdict} |")
    agree = sum(c.agrees for c in compared)
    lines += ["", f"{agree} of {len(compared)} headlines agree with the committed ones."]
    return "\n".join(lines) + "\n"


def accept(folder: Path, committed: Path = COMMITTED) -> None:
    """Write the headlines of a folder's results as the committed ones."""
    lines = ["experiment,name,value,error"]
    lines += [f"{h.experiment},{h.name},{h.value:.10g},{h.error:.4g}" for h in found(folder)]
    with io.atomic(committed) as file:
        file.write(("\n".join(lines) + "\n").encode())

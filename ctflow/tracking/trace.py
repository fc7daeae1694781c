"""The result of `track`: one row of numbers per checkpoint, as text, table, JSON, CSV or picture."""

import dataclasses
import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from ctflow.embeddings.diagnosis.report import Report
from ctflow.storage.tables import aligned, plain_tree, save_as

METRICS = (
    "centroid_gap",
    "energy_distance",
    "energy_coefficient",
    "linear_separability",
    "paired_cosine",
    "in_batch_loss",
    "recall@1_x_to_y",
    "recall@1_y_to_x",
    "uniformity_x",
    "uniformity_y",
    "cone_x",
    "cone_y",
    "effective_rank_x",
    "effective_rank_y",
)
"""The numbers of a diagnosis that are followed."""
_SHOWN = ("centroid_gap", "energy_coefficient", "linear_separability", "in_batch_loss", "recall@1_x_to_y")


def table(reports: Sequence[Report]) -> dict[str, np.ndarray]:
    """Columns [k]: each number of `METRICS`, with `_null` and `_null_sd` beside it where it has a null.

    `gap` says whether a gap was called at each checkpoint. Numbers that no checkpoint has are left out.
    """
    found: dict[str, np.ndarray] = {
        "gap": np.array([any(metric.gap for metric in report.metrics) for report in reports])
    }
    for name in METRICS:
        there = [{metric.name: metric for metric in report.metrics}.get(name) for report in reports]
        for suffix, field in (("", "value"), ("_null", "null_mean"), ("_null_sd", "null_sd")):
            column = np.array([np.nan if metric is None else getattr(metric, field) for metric in there])
            if np.isfinite(column).any():
                found[name + suffix] = column
    return found


@dataclasses.dataclass(frozen=True)
class Trace:
    """Numbers of a series of checkpoints. Print it, or use `to_dict`, `to_json`, `plot` and `save`.

    Attributes:
        step: training step of each checkpoint, [k].
        names: name of each checkpoint.
        table: columns [k]: numbers with their nulls; the names are those of `ct.diagnose`.
        reports: the diagnosis of each checkpoint.
        settings: rows, names of the modalities and settings.
    """

    step: np.ndarray
    names: tuple[str, ...]
    table: dict[str, np.ndarray]
    reports: tuple[Report, ...]
    settings: dict[str, Any]

    def __str__(self) -> str:
        """One line per checkpoint, after a sentence about the first and the last."""
        shown = [key for key in _SHOWN if key in self.table]
        head = ("step", *shown, "gap?")
        rows = [
            (
                str(step),
                *(f"{self.table[key][k]:.4g}" for key in shown),
                "yes" if self.table["gap"][k] else "no",
            )
            for k, step in enumerate(self.step)
        ]
        return "\n".join([*self.words, "", *aligned(head, rows)])

    def __repr__(self) -> str:
        """How many checkpoints there are, and the first and last centroid gap."""
        gap = self.table["centroid_gap"]
        return f"Trace of {len(self.step)} checkpoints: centroid gap {gap[0]:.3g} to {gap[-1]:.3g}"

    @property
    def words(self) -> tuple[str, ...]:
        """What happened to the gap between the first and the last checkpoint."""
        return _words(self)

    def columns(self) -> dict[str, np.ndarray]:
        """The columns of the CSV file: checkpoint, step, and those of `table`."""
        names = np.array([name.translate(_PLAIN) for name in self.names])
        return {"checkpoint": names, "step": self.step, **self.table}

    def to_dict(self) -> dict[str, Any]:
        """Settings, sentences and columns as plain Python; numbers that are missing are None."""
        about = {"settings": self.settings, "words": self.words, "names": self.names, "step": self.step}
        return plain_tree(about | self.table)

    def to_json(self) -> str:
        """The same as JSON."""
        return json.dumps(self.to_dict(), indent=1) + "\n"

    def plot(self) -> Any:
        """A `ctflow.plotting.Picture` of six panels against the step, with bands of chance."""
        from ctflow.tracking.picture import picture

        return picture(self)

    def to_html(self) -> str:
        """One page that loads nothing; needs Plotly (`pip install 'ctflow[html]'`)."""
        from ctflow.tracking.page import page

        return page(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write .csv, .json, .html or .png, by the path's ending; a failure leaves no partial file."""
        writers = {".csv": self.columns, ".json": self.to_json, ".html": self.to_html, ".png": self.plot}
        save_as(path, writers)


# Names of files may hold marks that a table cannot.
_PLAIN = str.maketrans({",": ";", '"': "'", "\n": " "})


def _words(trace: Trace) -> tuple[str, ...]:
    table, step = trace.table, trace.step
    gap, chance = table["centroid_gap"], table.get("centroid_gap_null", np.full(len(step), np.nan))
    called = table["gap"]
    if not called.any():
        return (f"No gap was called at any of {len(step)} checkpoints.",)
    first = int(np.argmax(called))
    text = (
        f"A gap is called at {called.sum()} of {len(step)} checkpoints, first at step {step[first]}. "
        f"The centroid gap goes from {gap[0]:.3g} at step {step[0]} to {gap[-1]:.3g} at step {step[-1]} "
        f"(by chance {chance[-1]:.2g})"
    )
    if len(step) > 2:
        k = int(np.argmax(gap))
        text += f"; it is widest at step {step[k]}, {gap[k]:.3g}"
    said = [text + "."]
    if "in_batch_loss" in table:
        loss = table["in_batch_loss"]
        said.append(
            f"The in-batch loss at temperature {trace.settings['temperature']:g} goes from {loss[0]:.3g} to "
            f"{loss[-1]:.3g} nats."
        )
    return tuple(said)

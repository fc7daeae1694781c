"""Sections of pages: loss against gap, free rows, and the whole of an explanation."""

from typing import TYPE_CHECKING, Any

import numpy as np

from ctflow._base.colors import BLUE, GREEN, PURPLE, RED
from ctflow.causes.batch import batch_of
from ctflow.causes.free import ADAM_RATE, DONE
from ctflow.causes.shift import LossAgainstGap, loss_against_gap
from ctflow.embeddings import Embeddings
from ctflow.embeddings.diagnosis.report import Report
from ctflow.embeddings.pairing import UNPAIRED, pair_up
from ctflow.pages import figures as fg
from ctflow.pages.parts import Code, Figure, Folded, Page, Section, Table
from ctflow.pages.skeleton import render
from ctflow.storage.provenance import versions

if TYPE_CHECKING:
    from ctflow.causes.explanation import Explanation

_ROWS = 500
_COLORS = (RED, GREEN, PURPLE)
_LINE = "What the loss says about the gap"


def page(e: "Explanation") -> str:
    """An explanation as one HTML page that loads nothing.

    Raises:
        ValueError: Plotly is not installed.
    """
    a, b = e.settings["names"]
    n = e.line_rows[0]
    sections = [line_section(e.line, n, e.settings["temperature"], ()), *_free_sections(e), _settings(e)]
    return render(
        Page(
            title=f"Why {a} and {b} lie apart",
            lead=e.words,
            notes=e.notes,
            sections=tuple(sections),
            foot="Made by ctflow. This page holds all it needs and loads nothing.",
        )
    )


def loss_section(report: Report, x: Embeddings, y: Embeddings, pairs: Any = None) -> tuple[Section, ...]:
    """For the page of a diagnosis: loss against gap on at most 500 groups of pairs.

    There is no section without a temperature or partners, or where chance explains the distance of the means.

    Args:
        report: the diagnosis of these rows.
        x: rows of the first modality.
        y: rows of the second modality.
        pairs: as for `ct.diagnose`.
    """
    temperature = report.settings["temperature"]
    if (
        temperature is None
        or (isinstance(pairs, str) and pairs == UNPAIRED)
        or not report["centroid_gap"].gap
    ):
        return ()
    rng = np.random.default_rng([report.settings["seed"], 0])
    batch = batch_of(x, y, pair_up(x, y, pairs), _ROWS, temperature, rng)
    line = loss_against_gap(batch)
    change = "costs" if line.price > 0 else "gains"
    text = (
        f"Closing the gap by moving whole modalities {change} {abs(line.price):.3g} nats of loss here and "
        f"takes recall@1 from {line.recall[0]:.1%} to {line.recall[1]:.1%}. Whether rows that may "
        f"rearrange would keep the gap is what `{report.settings.get('why', 'ctflow why')}` computes.",
    )
    return (line_section(line, batch.shape[0], temperature, text),)


def line_section(line: LossAgainstGap, rows: int, temperature: float, text: tuple[str, ...]) -> Section:
    """The loss as the gap is closed rigidly, as a section with one figure."""
    data = [
        fg.curve("in-batch loss", line.gap, line.loss, BLUE),
        _mark("now", line, line.here, "circle"),
        _mark("lowest", line, line.least, "triangle-down-open"),
        _mark("gap closed", line, line.closed, "x"),
    ]
    figure = Figure(
        "loss-against-gap",
        data,
        fg.layout("centroid gap (negative: the means have passed each other)", "in-batch loss (nats)"),
        described=f"The loss is {line.loss[line.here]:.4f} nats now and {line.loss[line.closed]:.4f} with "
        f"the gap closed; the lowest is {line.loss[line.least]:.4f}, at a gap of {line.gap[line.least]:.3f}.",
        caption=f"{rows} pairs as one batch at temperature {temperature:g}. Both modalities are moved along "
        "the line between their means, and all rows are brought back to the sphere.",
    )
    return Section(_LINE, text, (figure,))


def _mark(name: str, line: LossAgainstGap, at: int, symbol: str) -> dict[str, Any]:
    curve = fg.curve(name, [line.gap[at]], [line.loss[at]], BLUE)
    return curve | {"mode": "markers", "marker": {"size": 11, "symbol": symbol, "color": BLUE}}


def _free_sections(e: "Explanation") -> list[Section]:
    free = e.free[-1]
    rows = [f.rows[0] for f in e.free]
    paths = [
        fg.curve(name, path.gap, path.loss, color, number, mode="lines+markers")
        for number, ((name, path), color) in enumerate(zip(free.paths().items(), _COLORS, strict=True))
    ]
    left = [
        fg.curve("gradient flow", rows, [f.kept for f in e.free], RED, 0, mode="lines+markers"),
        fg.curve("Adam, at the end", rows, [_left(f.adam) for f in e.free], GREEN, 1, mode="lines+markers"),
        fg.curve(
            "control, at the end",
            rows,
            [_left(f.controlled) for f in e.free],
            PURPLE,
            2,
            mode="lines+markers",
        ),
    ]
    log = {"type": "log", "tickvals": rows, "ticktext": [str(n) for n in rows]}
    figures = (
        Figure(
            "free-rows",
            paths,
            fg.layout("centroid gap", "in-batch loss (nats)"),
            described="The loss and the gap of free rows along three descents from the rows as they are.",
            caption=f"{rows[-1]} pairs. The gradient flow ends when {DONE:.0%} of the loss that can be lost "
            f"is lost. Adam takes steps of at most about {ADAM_RATE:g} radians: how far it closes a neutral "
            "gap depends on that.",
        ),
        Figure(
            "kept",
            left,
            fg.layout(
                "number of pairs", "share of the gap that is left", xaxis=log, yaxis={"range": [0, 1.05]}
            ),
            described="The share of the gap that is left, by number of pairs.",
            caption="Few rows in many dimensions fit any pairs: look whether the share changes with their "
            "number.",
        ),
    )
    text = (
        "Free rows set out from the embeddings and descend the loss of the same pairs, without an encoder. "
        "A vertical path loses loss and keeps the gap: the gap is neutral to the loss.",
    )
    tables = tuple(Folded(title, (Table(head, cells),)) for title, head, cells in e.tables())
    theory = e.theory if isinstance(e.theory, str) else str(e.theory)
    return [
        Section("What free rows would do", text, figures, side_by_side=True),
        Section("All numbers", (), tables),
        Section("The pairs in theory", tuple(theory.splitlines())),
    ]


def _left(path: Any) -> float:
    return path.gap[-1] / path.gap[0] if path.gap[0] else np.nan


def _settings(e: "Explanation") -> Section:
    shown = [(key, str(value)) for key, value in e.settings.items() if key != "command"]
    shown += [(name, version) for name, version in versions().items()]
    command = e.settings.get("command")
    return Section(
        "Settings", (), (*((Code(command),) if command else ()), Table(("setting", "value"), shown))
    )

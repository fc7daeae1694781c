"""Sections of pages: loss against gap, free rows, and the whole of an explanation."""

from typing import TYPE_CHECKING, Any

import numpy as np

from ctflow._base.colors import GREEN, PURPLE, RED
from ctflow.causes.free import ADAM_RATE, DONE
from ctflow.causes.words import theory_lines
from ctflow.embeddings.diagnosis.loss_section import line_section
from ctflow.pages import figures as fg
from ctflow.pages.parts import Code, Figure, Folded, Page, Section, Table
from ctflow.pages.skeleton import render
from ctflow.storage.provenance import versions

if TYPE_CHECKING:
    from ctflow.causes.explanation import Explanation

_COLORS = (RED, GREEN, PURPLE)


def page(e: "Explanation") -> str:
    """An explanation as one HTML page that loads nothing.

    Raises:
        ValueError: Plotly is not installed.
    """
    a, b = e.settings["names"]
    # The first sentence of an explanation is about the line, the others about free rows and pairs.
    about_line = e.words[:1]
    sections = [line_section(e.line, e.settings["temperature"], about_line), *_free_sections(e), _settings(e)]
    return render(
        Page(
            title=f"Why {a} and {b} lie apart",
            lead=e.summary,
            notes=e.notes,
            sections=tuple(sections),
            foot="Made by ctflow. This page holds all it needs and loads nothing.",
        )
    )


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
            "Adam with penalty, at the end",
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
        "All paths start at the rows as they are. Where a path falls, the loss is lost and the gap stays; "
        "where it runs level, the gap closes at the same loss.",
        *e.words[1:],
    )
    tables = tuple(Folded(title, (Table(head, cells),)) for title, head, cells in e.tables())
    return [
        Section("What free rows would do", text, figures, side_by_side=True),
        Section("All numbers", (), tables),
        Section("The pairs in theory", tuple(theory_lines(e))),
    ]


def _left(path: Any) -> float:
    return path.gap[-1] / path.gap[0] if path.gap[0] else np.nan


def _settings(e: "Explanation") -> Section:
    shown = [(key, str(value)) for key, value in e.settings.items() if key != "command"]
    shown += [(name, version) for name, version in versions().items()]
    command = e.settings.get("command")
    again = (Code(command),) if command else ()
    folded = Folded("Settings and versions", (Table(("setting", "value"), shown),))
    return Section("How to repeat this", (), (*again, folded))

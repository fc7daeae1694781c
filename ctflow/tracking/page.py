"""A trace as one HTML page: figures against the training step, and the table."""

from typing import TYPE_CHECKING, Any

import numpy as np

from ctflow._base.colors import BLUE, GREY
from ctflow.pages import figures as fg
from ctflow.pages.parts import Code, Figure, Folded, Page, Section, Table
from ctflow.pages.skeleton import render

if TYPE_CHECKING:
    from ctflow.tracking.trace import Trace

_STEP = "training step"


def page(trace: "Trace") -> str:
    """A series of checkpoints as one HTML page that loads nothing.

    Raises:
        ValueError: Plotly is not installed.
    """
    a, b = trace.settings["names"]
    both = (f"{a} → {b}", f"{b} → {a}"), (a, b)
    gap = (
        _one(trace, "centroid-gap", "centroid_gap", "centroid gap"),
        _one(trace, "size", "energy_coefficient", "energy coefficient"),
        _one(trace, "auc", "linear_separability", "held-out AUC of a linear discriminant"),
    )
    use = (
        _two(trace, "recall", ("recall@1_x_to_y", "recall@1_y_to_x"), both[0], "recall@1"),
        _one(trace, "loss", "in_batch_loss", "in-batch loss (nats)", band=False),
        _one(trace, "partners", "paired_cosine", "mean cosine of partners"),
    )
    spread = (
        _two(trace, "cones", ("cone_x", "cone_y"), both[1], "mean cosine within a modality"),
        _two(trace, "uniformity", ("uniformity_x", "uniformity_y"), both[1], "uniformity (0: one point)"),
        _two(trace, "rank", ("effective_rank_x", "effective_rank_y"), both[1], "effective rank"),
    )
    sections = [
        Section("The gap", (), _there(gap), side_by_side=True),
        Section("Partners, loss and retrieval", (), _there(use), side_by_side=True),
        Section("How each modality spreads", (), _there(spread), side_by_side=True),
        _table(trace),
    ]
    return render(
        Page(
            title=f"The gap between {a} and {b} during training",
            lead=trace.words,
            sections=tuple(section for section in sections if section.parts),
            foot="Made by ctflow. This page holds all it needs and loads nothing.",
        )
    )


def _there(figures: tuple[Figure | None, ...]) -> tuple[Figure, ...]:
    return tuple(figure for figure in figures if figure is not None)


def _one(trace: "Trace", name: str, column: str, title: str, *, band: bool = True) -> Figure | None:
    """One number against the step with its band of chance; None if it was not measured."""
    if column not in trace.table:
        return None
    data, caption = [], ""
    if band and f"{column}_null" in trace.table:
        centre, sd = trace.table[f"{column}_null"], 2 * trace.table[f"{column}_null_sd"]
        edge: dict[str, Any] = {"line": {"width": 0, "color": GREY}, "showlegend": False, "hoverinfo": "skip"}
        upper = edge | {"fill": "tonexty"}
        data += [
            fg.curve("low", trace.step, centre - sd, GREY, 0, **edge),
            fg.curve("high", trace.step, centre + sd, GREY, 0, **upper),
            fg.curve("by chance", trace.step, centre, GREY, 2),
        ]
        caption = "Band: by chance, mean ± 2 standard deviations."
    values = trace.table[column]
    data.append(fg.curve(title, trace.step, values, BLUE, mode="lines+markers", showlegend=False))
    described = f"{title}: {values[0]:.3g} at the first checkpoint, {values[-1]:.3g} at the last."
    return Figure(name, data, fg.layout(_STEP, title), described, caption)


def _two(
    trace: "Trace", name: str, columns: tuple[str, str], labels: tuple[str, str], title: str
) -> Figure | None:
    """One number of both modalities or directions against the step."""
    if columns[0] not in trace.table:
        return None
    colors = fg.FIRST, fg.SECOND
    data = [
        fg.curve(label, trace.step, trace.table[column], color, number, mode="lines+markers")
        for number, (column, label, color) in enumerate(zip(columns, labels, colors, strict=True))
    ]
    return Figure(name, data, fg.layout(_STEP, title), f"{title} of {labels[0]} and of {labels[1]}.")


def _table(trace: "Trace") -> Section:
    columns = {key: values for key, values in trace.table.items() if "_null" not in key}
    rows = [
        (name, str(step), *(_cell(values[k]) for values in columns.values()))
        for k, (name, step) in enumerate(zip(trace.names, trace.step, strict=True))
    ]
    table = Table(("checkpoint", "step", *(key.replace("_", " ") for key in columns)), rows)
    shown = [(key, str(value)) for key, value in trace.settings.items() if key != "command"]
    command = trace.settings.get("command")
    again = (Code(command),) if command else ()
    return Section(
        "All numbers, and how to repeat this",
        (),
        (table, *again, Folded("Settings", (Table(("setting", "value"), shown),))),
    )


def _cell(value: Any) -> str:
    if isinstance(value, np.bool_):
        return "yes" if value else "no"
    return f"{value:.4g}" if np.isfinite(value) else ""

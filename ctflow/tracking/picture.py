"""A trace as a picture: six panels against the training step."""

from typing import TYPE_CHECKING, Any

import numpy as np

from ctflow import plotting as pl

if TYPE_CHECKING:
    from ctflow.tracking.trace import Trace

_FIRST, _SECOND = (pl.BLUE, "o"), (pl.ORANGE, "s")


@pl.styled
def picture(trace: "Trace") -> pl.Picture:
    """Gap, its size, separability; retrieval, loss and spread. Grey bands: without a gap, mean ± 2 sd."""
    figure, axes = pl.panels(2, 3, size=(10.2, 5.4))
    x, y = trace.settings["names"]
    cells = axes.ravel()
    _one(cells[0], trace, "centroid_gap", "centroid gap")
    _one(cells[1], trace, "energy_coefficient", "energy coefficient")
    _one(cells[2], trace, "linear_separability", "held-out AUC")
    cells[2].set_ylim(0.45, 1.02)
    if "recall@1_x_to_y" in trace.table:
        _two(
            cells[3],
            trace,
            ("recall@1_x_to_y", "recall@1_y_to_x"),
            (f"{x} to {y}", f"{y} to {x}"),
            "recall@1",
        )
    if "in_batch_loss" in trace.table:
        _one(cells[4], trace, "in_batch_loss", "in-batch loss (nats)", band=False)
    elif "paired_cosine" in trace.table:
        _one(cells[4], trace, "paired_cosine", "mean cosine of partners")
    _two(cells[5], trace, ("cone_x", "cone_y"), (x, y), "mean cosine within a modality")
    for ax in cells:
        if not ax.has_data():
            ax.set_visible(False)
        ax.set_xlabel("training step")
    return pl.Picture(figure)


def _one(ax: Any, trace: "Trace", name: str, label: str, *, band: bool = True) -> None:
    """Plot one number against the step, over its band of chance; filled marks where a gap is called."""
    if name not in trace.table:
        return
    value, table = trace.table[name], trace.table
    if band and f"{name}_null" in table:
        centre, sd = table[f"{name}_null"], 2 * table[f"{name}_null_sd"]
        ax.fill_between(trace.step, centre - sd, centre + sd, color=pl.GREY, alpha=0.3, linewidth=0)
        ax.plot(trace.step, centre, color=pl.GREY, linewidth=0.8, label="by chance (± 2 sd)")
        ax.legend(loc="best")
    ax.plot(trace.step, value, color=pl.BLUE, marker="o")
    ax.set_title(label)
    least = min(0.0, float(np.nanmin(value)))
    ax.set_ylim(bottom=least if least < 0 else 0.0)


def _two(ax: Any, trace: "Trace", names: tuple[str, str], labels: tuple[str, str], title: str) -> None:
    """Plot one number of both modalities or directions."""
    for name, label, (color, marker) in zip(names, labels, (_FIRST, _SECOND), strict=True):
        if name in trace.table:
            ax.plot(trace.step, trace.table[name], color=color, marker=marker, label=label)
    ax.set_title(title)
    ax.legend(loc="best")

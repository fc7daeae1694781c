"""A report as a picture."""

from typing import Any

import numpy as np

from ctflow import plotting as pl
from ctflow.diagnostics.report import Metric, Report


@pl.styled
def picture(report: Report) -> pl.Picture:
    """Left: distances, in deviations beyond their nulls. Right, for pairs: recall both ways."""
    tested = [m for m in report.metrics if m.gap is not None]
    recalls = [m for m in report.metrics if m.name.startswith("recall@")]
    columns = 2 if recalls else 1
    figure, axes = pl.panels(1, columns, size=(3.7 * columns, 0.25 * len(tested) + 1.0))
    _distances(axes[0, 0], tested[::-1])
    if recalls:
        _recall(axes[0, 1], recalls)
    return pl.Picture(figure)


def _distances(ax: Any, tested: list[Metric]) -> None:
    for row, m in enumerate(tested):
        score = (m.value - m.null_mean) / m.null_sd if m.null_sd > 0 else 0.0
        # Means that point apart are a gap; of all others, larger values.
        score = -score if m.name == "cosine_of_means" else score
        color, marker = (pl.RED, "o") if m.gap else (pl.GREY, "s")
        ax.plot([0, score], [row, row], color=color)
        ax.plot(score, row, color=color, marker=marker)
    ax.axvline(0, color="black", linewidth=0.8)
    ax.set_xscale("symlog", linthresh=4)
    ax.set_xticks([-4, 0, 4, 10, 100, 1000], ["-4", "0", "4", "10", "100", "1000"])
    ax.minorticks_off()
    ax.set_yticks(range(len(tested)), [m.name.replace("_", " ") for m in tested])
    ax.set_xlabel("standard deviations beyond the null")
    ax.set_title("red dots: called a gap" if any(m.gap for m in tested) else "no gap found")


def _recall(ax: Any, recalls: list[Metric]) -> None:
    ways = (("x_to_y", pl.BLUE, "o", -0.08), ("y_to_x", pl.ORANGE, "s", 0.08))
    for way, color, marker, aside in ways:
        chosen = [m for m in recalls if m.name.endswith(way)]
        place = np.arange(len(chosen)) + aside
        value = np.array([m.value for m in chosen])
        ends = np.array([[m.low, m.high] for m in chosen]).T
        ax.errorbar(
            place,
            value,
            np.nan_to_num(np.abs(ends - value)),
            color=color,
            marker=marker,
            linestyle="none",
            label=way.replace("_", " "),
        )
        ax.plot(
            place, [m.null_mean for m in chosen], color=color, marker="_", linestyle="none", markersize=12
        )
    ks = [m.name.split("@")[1].split("_")[0] for m in recalls if m.name.endswith("x_to_y")]
    ax.set_xticks(range(len(ks)), ks)
    ax.set_xlim(-0.5, len(ks) - 0.5)
    ax.set_ylim(-0.03, 1.03)
    ax.set_xlabel("k")
    ax.set_ylabel("recall@k")
    ax.set_title(f"retrieval among {recalls[0].rows[1]} (dashes: by chance)")
    ax.legend()

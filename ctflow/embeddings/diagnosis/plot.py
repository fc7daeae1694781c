"""A report as a picture."""

from typing import TYPE_CHECKING, Any

import numpy as np

from ctflow import plotting as pl
from ctflow.embeddings.diagnosis.metric import SIZES, Metric

if TYPE_CHECKING:
    from ctflow.embeddings.diagnosis.report import Report

_FLOOR = 1e-4
_BANDS = ("#F2F2F2", "#DDE7EE", "#BFD3E0")
# The value of each distance for two equal clouds, and its most extreme value.
_RANGES = {
    "centroid_gap": (0.0, 2.0),
    "cosine_of_means": (1.0, -1.0),
    "energy_distance": (0.0, 4.0),
    "mmd2": (0.0, 2.0),
    "sliced_wasserstein": (0.0, 2.0),
    "linear_separability": (0.5, 1.0),
}
_LABELS = {
    "centroid_gap": "centroid gap (of 2)",
    "cosine_of_means": "cosine of means (1 to -1)",
    "energy_distance": "energy distance (of 4)",
    "mmd2": "MMD² (of 2)",
    "sliced_wasserstein": "sliced Wasserstein (of 2)",
    "linear_separability": "held-out AUC (0.5 to 1)",
}


@pl.styled
def picture(report: "Report") -> pl.Picture:
    """Left: the size of the gap. Middle: each distance as a share of its range. Right (for pairs): recall."""
    recalls = [m for m in report.metrics if m.name.startswith("recall@")]
    columns = 3 if recalls else 2
    figure, axes = pl.panels(1, columns, size=(3.4 * columns, 3.3))
    _size(axes[0, 0], report)
    _shares(axes[0, 1], report)
    if recalls:
        _recall(axes[0, 2], recalls)
    return pl.Picture(figure)


def _size(ax: Any, report: "Report") -> None:
    """Plot the energy coefficient with its interval and null, over one band per word for its size."""
    share = report["energy_coefficient"]
    ends = [*SIZES.values(), 1.0]
    ends[0] = _FLOOR
    for (word, _), low, high, color in zip(SIZES.items(), ends[:-1], ends[1:], _BANDS, strict=True):
        ax.axhspan(low, high, color=color, linewidth=0)
        ax.text(0.97, np.sqrt(low * high), word, ha="right", va="center", transform=ax.get_yaxis_transform())
    value, low, high = np.clip(np.nan_to_num([share.value, share.low, share.high]), _FLOOR, 1)
    color = pl.RED if any(m.gap for m in report.metrics) else pl.GREY
    if np.isfinite(share.low):
        ax.plot([0, 0], [low, high], color=color, linewidth=3, alpha=0.5)
    ax.plot(0, value, color=color, marker="o", markersize=7)
    if np.isfinite(share.null_mean):
        chance = np.clip(share.null_mean + 2 * share.null_sd, _FLOOR, 1)
        ax.plot(
            [-0.25, 0.25], [chance, chance], color="black", linewidth=1, label="without a gap, mean + 2 sd"
        )
    ax.set_yscale("log")
    ax.set_ylim(_FLOOR, 1)
    ax.set_xlim(-1, 1)
    ax.set_xticks([])
    ax.set_ylabel("energy coefficient E/(2E‖x - y‖)")
    ax.set_xlabel("dot: these rows (95 % interval)\nline: without a gap (+ 2 sd)")
    called = "detected" if any(m.gap for m in report.metrics) else "not detected"
    ax.set_title(f"gap {called}; its size")


def _shares(ax: Any, report: "Report") -> None:
    """Plot distances as shares of their range, with their means without a gap."""
    shown = [m for m in report.metrics if m.name in _RANGES and np.isfinite(m.value)][::-1]
    for row, m in enumerate(shown):
        least, most = _RANGES[m.name]
        value, null = ((np.array([m.value, m.null_mean]) - least) / (most - least)).tolist()
        low, high = ((np.array([m.low, m.high]) - least) / (most - least)).tolist()
        color, marker = (pl.RED, "o") if m.gap else (pl.GREY, "s")
        ax.plot([0, value], [row, row], color=color, linewidth=1)
        if np.isfinite(low):
            ax.plot([low, high], [row, row], color=color, linewidth=4, alpha=0.4)
        ax.plot(value, row, color=color, marker=marker)
        ax.plot(null, row, color="black", marker="|", markersize=11, linestyle="none")
    ax.set_yticks(range(len(shown)), [_LABELS[m.name] for m in shown])
    ax.set_xlim(-0.03, 1.03)
    ax.set_ylim(-0.6, len(shown) - 0.4)
    ax.set_xlabel("share of its range\nblack bars: without a gap")
    ax.set_title("red dots: beyond the null" if any(m.gap for m in shown) else "none beyond its null")


def _recall(ax: Any, recalls: list[Metric]) -> None:
    ways = (("x_to_y", pl.BLUE, "o", -0.08), ("y_to_x", pl.ORANGE, "s", 0.08))
    for way, color, marker, aside in ways:
        chosen = [m for m in recalls if m.name.endswith(way)]
        place = np.arange(len(chosen)) + aside
        value = np.array([m.value for m in chosen])
        ax.errorbar(
            place,
            value,
            np.nan_to_num([m.error for m in chosen]),
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
    ax.set_xlabel("k\ndashes: by chance")
    ax.set_ylabel("recall@k")
    ax.set_title(f"retrieval among {recalls[0].rows[1]}")
    ax.legend()

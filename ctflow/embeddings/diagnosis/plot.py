"""A report as a picture: both clouds along the gap, its size, distances with their nulls, and recall."""

from typing import TYPE_CHECKING, Any

import numpy as np

from ctflow import plotting as pl
from ctflow._base.checks import check_choice
from ctflow._base.colors import SIZE_BANDS
from ctflow.embeddings.diagnosis.metric import SIZES, Metric, size_word
from ctflow.embeddings.names import short

if TYPE_CHECKING:
    from ctflow.embeddings.diagnosis.report import Report

FLOOR = 1e-4
"""The smallest energy coefficient on the axis of sizes."""
RANGES = {
    "centroid_gap": (0.0, 2.0),
    "cosine_of_means": (1.0, -1.0),
    "energy_distance": (0.0, 4.0),
    "mmd2": (0.0, 2.0),
    "sliced_wasserstein": (0.0, 2.0),
    "linear_separability": (0.5, 1.0),
}
"""The value of each distance for two equal clouds, and its most extreme value."""
LABELS = {
    "centroid_gap": "centroid gap (of 2)",
    "cosine_of_means": "cosine of means (1 to -1)",
    "energy_distance": "energy distance (of 4)",
    "mmd2": "MMD² (of 2)",
    "sliced_wasserstein": "sliced Wasserstein (of 2)",
    "linear_separability": "held-out AUC (0.5 to 1)",
}
_LONGEST = 18


@pl.styled
def picture(report: "Report") -> pl.Picture:
    """Both clouds along the gap axis, the gap's size, distances with their nulls and, for pairs, recall."""
    names = [name for name in PANELS if name != "recall" or _recalls(report)]
    rows, columns = (2, 2) if len(names) == 4 else (1, 3)
    figure, axes = pl.panels(rows, columns, size=(3.7 * columns, 2.8 * rows))
    for name, ax in zip(names, axes.ravel(), strict=True):
        PANELS[name](ax, report)
    return pl.Picture(figure)


@pl.styled
def draw_panel(report: "Report", ax: Any, panel: str) -> Any:
    """Draw one panel into matplotlib axes, and return them.

    Raises:
        ValueError: there is no such panel, or the report has no recall.
    """
    check_choice("panel", panel, tuple(PANELS))
    if panel == "recall" and not _recalls(report):
        raise ValueError("panel must not be 'recall' for unpaired rows, which have none; choose another")
    PANELS[panel](ax, report)
    return ax


def histogram(along: np.ndarray, weight: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Share of the weight in each bin."""
    return np.histogram(along, edges, weights=weight)[0]


def edges_of(along: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Common edges of bins for both clouds."""
    both = np.concatenate(along)
    low, high = float(both.min()), float(both.max())
    room = max(high - low, 1e-6) * 0.02
    return np.linspace(low - room, high + room, 49)


def _clouds(ax: Any, report: "Report") -> None:
    """Histograms of both clouds along the gap axis; the gap as an arrow above the typical distance."""
    view = report.view
    if view is None:
        ax.set_axis_off()
        return
    edges = edges_of(view.along)
    middle, highest = (edges[:-1] + edges[1:]) / 2, 0.0
    styles = ((pl.BLUE, "-"), (pl.RED, "--"))
    for name, along, weight, (color, line) in zip(report.names, view.along, view.weight, styles, strict=True):
        share = histogram(along, weight, edges)
        highest = max(highest, float(share.max()))
        ax.fill_between(middle, share, step="mid", color=color, alpha=0.3, linewidth=0)
        ax.step(
            middle,
            share,
            where="mid",
            color=color,
            linestyle=line,
            linewidth=1.2,
            label=short(name, _LONGEST),
        )
    gap, typical = report["centroid_gap"].value, view.typical_distance
    centre = sum(view.means) / 2
    without = report["centroid_gap"].null_mean
    chance = f" ({without:.2g} without a gap)" if np.isfinite(without) else ""
    _bar(ax, centre, gap, 1.13 * highest, f"means {gap:.2g} apart{chance}", "black")
    if np.isfinite(typical):
        _bar(ax, centre, typical, 1.38 * highest, f"two rows of one modality: {typical:.2g}", pl.GREY)
    reach = max(typical if np.isfinite(typical) else 0.0, gap) / 2
    ax.set_xlim(min(edges[0], centre - 1.05 * reach), max(edges[-1], centre + 1.05 * reach))
    ax.set_ylim(0, 1.65 * highest)
    ax.set_yticks([])
    ax.set_ylabel("share of rows")
    ax.set_xlabel("position along the gap axis")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
    ax.set_title("both clouds, seen along the gap")


def _bar(ax: Any, centre: float, length: float, height: float, text: str, color: str) -> None:
    ends = (centre - length / 2, height), (centre + length / 2, height)
    ax.annotate(
        "", ends[1], ends[0], arrowprops={"arrowstyle": "<->", "color": color, "shrinkA": 0, "shrinkB": 0}
    )
    ax.text(centre, height * 1.02, text, ha="center", va="bottom", color=color, fontsize=8)


def _size(ax: Any, report: "Report") -> None:
    """Plot the energy coefficient with its interval and null, over one band per word for its size."""
    share = report["energy_coefficient"]
    ends = [FLOOR, *list(SIZES.values())[1:], 1.0]
    for word, low, high, color in zip(SIZES, ends[:-1], ends[1:], SIZE_BANDS, strict=True):
        ax.axvspan(low, high, color=color, linewidth=0)
        ax.text(np.sqrt(low * high), 0.93, word, ha="center", va="top", transform=ax.get_xaxis_transform())
    value, low, high = np.clip(np.nan_to_num([share.value, share.low, share.high]), FLOOR, 1)
    color = pl.RED if report.detected else pl.GREY
    if np.isfinite(share.low):
        ax.plot([low, high], [0, 0], color=color, linewidth=5, alpha=0.5, solid_capstyle="butt")
    ax.plot(value, 0, color=color, marker="o", markersize=8)
    side = "left" if value < 3 * FLOOR else "right" if value > 0.3 else "center"
    ax.text(value, 0.14, f"{share.value:.2g}", ha=side, va="bottom", color=color, fontsize=10)
    if np.isfinite(share.null_mean):
        chance = np.clip(share.null_mean + 2 * share.null_sd, FLOOR, 1)
        ax.plot([chance, chance], [-0.35, 0.35], color="black", linewidth=1.2)
    ax.set_xscale("log")
    ax.set_xlim(FLOOR, 1)
    ax.set_ylim(-1, 1)
    ax.set_yticks([])
    ax.set_xlabel("energy coefficient (bar: 95 % interval)\nblack line: without a gap, mean + 2 sd")
    ax.set_title(f"gap detected; it is {size_word(share.value)}" if report.detected else "no gap detected")


def _distances(ax: Any, report: "Report") -> None:
    """Plot distances as shares of their range, with their means without a gap."""
    shown = [m for m in report.metrics if m.name in RANGES and np.isfinite(m.value)][::-1]
    for row, m in enumerate(shown):
        least, most = RANGES[m.name]
        value, null = ((np.array([m.value, m.null_mean]) - least) / (most - least)).tolist()
        low, high = ((np.array([m.low, m.high]) - least) / (most - least)).tolist()
        color, marker = (pl.RED, "o") if m.gap else (pl.GREY, "s")
        ax.plot([0, value], [row, row], color=color, linewidth=1)
        if np.isfinite(low):
            ax.plot([low, high], [row, row], color=color, linewidth=4, alpha=0.4)
        ax.plot(value, row, color=color, marker=marker)
        ax.plot(null, row, color="black", marker="|", markersize=11, linestyle="none")
    ax.set_yticks(range(len(shown)), [LABELS[m.name] for m in shown])
    ax.set_xlim(-0.03, 1.03)
    ax.set_ylim(-0.6, len(shown) - 0.4)
    ax.set_xlabel("share of its range (black bars: without a gap)")
    ax.set_title("red: larger than without a gap" if report.detected else "none larger than without a gap")


def _recalls(report: "Report") -> list[Metric]:
    return [m for m in report.metrics if m.name.startswith("recall@")]


def _recall(ax: Any, report: "Report") -> None:
    """Plot recall@k across modalities, and recall@1 in a corpus of both."""
    recalls, (a, b) = _recalls(report), (short(name, _LONGEST) for name in report.names)
    ways = (("x_to_y", pl.BLUE, "o", -0.1, f"{a} → {b}"), ("y_to_x", pl.RED, "s", 0.1, f"{b} → {a}"))
    ks = [m.name.split("@")[1].split("_")[0] for m in recalls if m.name.endswith("x_to_y")]
    for side, (way, color, marker, aside, label) in enumerate(ways):
        chosen = [m for m in recalls if m.name.endswith(way)]
        place = np.arange(len(chosen)) + aside
        error = np.nan_to_num([m.error for m in chosen])
        style: dict[str, Any] = {"color": color, "marker": marker, "linestyle": "none"}
        ax.errorbar(place, [m.value for m in chosen], error, label=label, markersize=5, **style)
        style["marker"] = "_"
        ax.plot(place, [m.null_mean for m in chosen], markersize=12, **style)
        if report.view is not None and report.view.partners is not None:
            mixed = report.view.partners.mixed[side]
            ax.plot(len(ks) + 0.3 + aside, mixed, color=color, marker=marker, markersize=7, mfc="white")
    ax.axvline(len(ks) - 0.35, color="#C5CDD6", linewidth=1)
    ticks = [*range(len(ks)), len(ks) + 0.3]
    ax.set_xticks(ticks, [*(f"@{k}" for k in ks), "@1 in a\ncorpus of both"])
    ax.set_xlim(-0.5, len(ks) + 0.9)
    ax.set_ylim(-0.04, 1.04)
    ax.set_ylabel("recall")
    ax.set_xlabel("dashes: by chance")
    ax.set_title(f"is the partner found among {recalls[0].rows[1]}?")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.32), ncols=2)


PANELS = {"clouds": _clouds, "size": _size, "distances": _distances, "recall": _recall}

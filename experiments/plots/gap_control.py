"""Figures of the gap's control, drawn from its saved result alone."""

import numpy as np

from ctflow import plotting as pl
from ctflow.experiment import Result

CONTROLS = {
    "divergence": (pl.RED, "o"),
    "energy distance": (pl.BLUE, "s"),
    "MMD²": (pl.GREEN, "^"),
    "uniformity": (pl.ORANGE, "v"),
}
SCHEDULES = {
    "fixed": ("black", "o"),
    "annealed": (pl.BLUE, "s"),
    "heated": (pl.RED, "^"),
    "learned": (pl.GREEN, "D"),
}
STARTS = {"same place": "-", "opposite cones": "--"}
FLOOR = 1e-6


@pl.styled
def plot(result: Result) -> dict:
    """Every figure of this experiment, by file name."""
    return {
        "cost_of_control.png": plot_cost(result),
        "gap_against_strength.png": plot_strength(result),
        "retrieval_against_gap.png": plot_retrieval(result),
        "schedules.png": plot_schedules(result),
    }


def _lines(summary: dict, d: int, control: str, start: str) -> dict:
    """Rows of one control at the largest σ, by strength."""
    pick = (summary["d"] == d) & (summary["control"] == control) & (summary["start"] == start)
    pick &= summary["sigma"] == summary["sigma"].max()
    order = np.argsort(summary["strength"][pick])
    return {name: column[pick][order] for name, column in summary.items()}


def _gap(rows: dict) -> np.ndarray:
    return np.maximum(rows["energy_distance_median"], FLOOR)


def _per_dimension(result: Result, width: float, height: float):
    dims = np.unique(result.tables["summary"]["d"])
    figure, axes = pl.panels(1, len(dims), size=(width * len(dims), height), sharey=True)
    for ax, d in zip(axes[0], dims, strict=True):
        ax.set_title(f"d = {d}, σ = {result.tables['summary']['sigma'].max():g}")
    return figure, list(zip(axes[0], dims, strict=True))


def _legend(figure, ax, title: str | None = None) -> None:
    columns = 4 if figure.get_figwidth() > 5 else 2
    figure.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=columns, title=title)


def _course(ax, rows: dict, y: str, color: str, marker: str, label: str, over: str | None = None) -> None:
    """One control's course as λ grows, with the 10 to 90 % range of its seeds; markers grow with λ."""
    scale = 1 if over is None else rows[f"{over}_median"]
    gap, middle = _gap(rows), rows[f"{y}_median"] / scale
    spread = {"fmt": "none", "ecolor": color, "elinewidth": 0.8, "alpha": 0.6}
    across = np.abs(np.maximum([rows["energy_distance_low"], rows["energy_distance_high"]], FLOOR) - gap)
    ax.errorbar(
        gap, middle, np.abs([rows[f"{y}_low"] / scale, rows[f"{y}_high"] / scale] - middle), across, **spread
    )
    ax.plot(gap, middle, color=color, linewidth=0.9, alpha=0.7)
    ax.scatter(gap, middle, s=6 + 6 * np.arange(len(gap)), color=color, marker=marker, label=label, zorder=3)


def _strengths(result: Result) -> str:
    values = ", ".join(f"{value:g}" for value in np.unique(result.tables["summary"]["strength"]))
    return f"markers grow with λ = {values}; bars: 10 to 90 % of seeds"


def plot_cost(result: Result) -> pl.Picture:
    """Energy above the bound against what is left of the gap, as λ grows."""
    figure, panels = _per_dimension(result, 3.5, 3.3)
    for ax, d in panels:
        for control, (color, marker) in CONTROLS.items():
            rows = _lines(result.tables["summary"], d, control, "same place")
            _course(ax, rows, "above_bound", color, marker, control)
        ax.set(xscale="log", yscale="log", xlabel="energy distance at the end")
    panels[0][0].set_ylabel("J$^{Sym}$ + log V + I(π) (nats)")
    _legend(figure, panels[0][0], _strengths(result))
    return pl.Picture(figure)


def plot_strength(result: Result) -> pl.Picture:
    """Energy distance against λ from both starts; λ = 1 of the divergence cancels the coupling."""
    figure, panels = _per_dimension(result, 3.5, 3.1)
    for ax, d in panels:
        for control, (color, marker) in CONTROLS.items():
            for start, line in STARTS.items():
                rows = _lines(result.tables["summary"], d, control, start)
                label = control if line == "-" else None
                style = {"color": color, "marker": marker, "linestyle": line, "label": label}
                ax.plot(rows["strength"], _gap(rows), **style, linewidth=1)
                low, high = (np.maximum(rows[f"energy_distance_{end}"], FLOOR) for end in ("low", "high"))
                ax.vlines(rows["strength"], low, high, color=color, linewidth=0.8, alpha=0.6)
        ax.axvline(1, color=pl.GREY, linewidth=0.8, linestyle=":")
        ax.set_xscale("symlog", linthresh=0.01)
        ax.set_xlim(-0.002, 3)
        ax.set_yscale("log")
        ax.set_xlabel("strength λ (dotted: 1)")
    panels[0][0].set_ylabel("energy distance at the end")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside upper center",
        ncols=4,
        title="solid: same place; dashed: opposite cones; bars: 10 to 90 % of seeds",
    )
    return pl.Picture(figure)


def plot_retrieval(result: Result) -> pl.Picture:
    """Recall@1 over the best any rule can do, against the gap."""
    figure, panels = _per_dimension(result, 3.5, 3.1)
    for ax, d in panels:
        for control, (color, marker) in CONTROLS.items():
            rows = _lines(result.tables["summary"], d, control, "same place")
            _course(ax, rows, "recall@1", color, marker, control, over="best_recall@1")
        ax.axhline(1, color=pl.GREY, linewidth=0.8, linestyle=":")
        ax.set(xscale="log", xlabel="energy distance at the end")
    panels[0][0].set_ylabel("recall@1 over the best possible")
    _legend(figure, panels[0][0], _strengths(result))
    return pl.Picture(figure)


def plot_schedules(result: Result) -> pl.Picture:
    """Gap and recall against the last temperature, by schedule; no penalty."""
    t = result.tables["schedules_summary"]
    dims = np.unique(t["d"])
    figure, axes = pl.panels(2, len(dims), size=(3.5 * len(dims), 4.6), sharey=True)
    for column, d in enumerate(dims):
        for schedule, (color, marker) in SCHEDULES.items():
            for start, line in STARTS.items():
                pick = (t["d"] == d) & (t["schedule"] == schedule) & (t["start"] == start)
                order = np.argsort(t["temperature_median"][pick])
                tau = t["temperature_median"][pick][order]
                gap = np.maximum(t["energy_distance_median"][pick][order], FLOOR)
                share = (t["recall@1_median"] / t["best_recall@1_median"])[pick][order]
                style = {"color": color, "marker": marker, "linestyle": line}
                axes[0, column].plot(tau, gap, label=schedule if line == "-" else None, **style)
                axes[1, column].plot(tau, share, **style)
        for ax in axes[:, column]:
            ax.set_xscale("log")
            ax.set_xticks(np.unique(t["asked"]), [f"{tau:g}" for tau in np.unique(t["asked"])])
            ax.minorticks_off()
        axes[0, column].set_yscale("log")
        axes[0, column].set_title(f"d = {d}")
        axes[1, column].set_xlabel("temperature at the end")
    axes[0, 0].set_ylabel("energy distance at the end")
    axes[1, 0].set_ylabel("recall@1 over the best possible")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside upper center",
        ncols=4,
        title="solid: same place; dashed: opposite cones",
    )
    return pl.Picture(figure)

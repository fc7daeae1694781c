"""Figures of the real models, drawn from the saved tables alone."""

from typing import Any

import numpy as np

from ctflow import plotting as pl
from ctflow.comparison.trade import MARKS
from ctflow.embeddings.diagnosis.metric import SIZES
from ctflow.experiment import Result

COLORS = (pl.BLUE, pl.RED, pl.GREEN, pl.PURPLE, pl.ORANGE, pl.SKY, "black", pl.GREY)
_WIDTHS = 1.96
_SCORES = {
    "retrieval": "recall@1, other modality",
    "mixed": "recall@1, corpus of both",
    "clustering": "1/2 - |mixing - 1/2|",
}


@pl.styled
def plot(result: Result) -> dict:
    """Every figure of this experiment, by file name."""
    tables = result.tables
    figures = {
        "gaps.png": plot_gaps(tables),
        "temperatures.png": plot_temperatures(tables),
    }
    if "corrections" in tables:
        figures["corrections.png"] = plot_corrections(tables)
    if "causes" in tables:
        figures["why.png"] = plot_why(tables)
    return figures


def _order(tables: dict) -> dict[str, str]:
    """Titles of the sources by name, as they were measured."""
    return dict(zip(tables["sources"]["source"], tables["sources"]["title"], strict=True))


def _of(table: dict, **wanted: Any) -> dict[str, np.ndarray]:
    """The rows of a table with these values."""
    pick = np.logical_and.reduce([table[name] == value for name, value in wanted.items()])
    return {name: column[pick] for name, column in table.items()}


def plot_gaps(tables: dict) -> pl.Picture:
    """Size of the gap, and how near partners are, with intervals, nulls and the control of shuffled pairs."""
    titles = _order(tables)
    figure, axes = pl.panels(2, 2, size=(7.4, 1.6 + 0.62 * len(titles)))
    _size(axes[0, 0], tables, titles)
    _each(axes[0, 1], tables, titles, "centroid_gap", "distance of the means")
    _published(axes[0, 1], tables, titles)
    _each(axes[1, 0], tables, titles, "paired_cosine", "mean cosine of partners")
    _each(axes[1, 1], tables, titles, "recall@1_x_to_y", "recall@1, x to y")
    axes[1, 1].set_xscale("log")
    for row in axes:
        row[0].set_yticks(range(len(titles)), list(titles.values()))
        row[1].set_yticks(range(len(titles)), [""] * len(titles))
    for ax in axes.flat:
        ax.set_ylim(len(titles) - 0.5, -0.5)
        ax.grid(axis="x", color="0.9")
        ax.set_axisbelow(True)
    handles: dict[str, Any] = {}
    for ax in axes.flat:
        handles |= dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=3)
    return pl.Picture(figure)


def _size(ax: Any, tables: dict, titles: dict) -> None:
    """The energy coefficient with its interval, over the limits of the words for a size."""
    ax.set_xscale("log")
    bounds = [*SIZES.values(), 1.0]
    for k, word in enumerate(SIZES):
        low, high = max(bounds[k], 1e-3), bounds[k + 1]
        ax.axvspan(low, high, color=pl.GREY, alpha=0.06 + 0.07 * k, linewidth=0)
        ax.text(np.sqrt(low * high), -0.42, word, ha="center", va="top", fontsize=7)
    _each(ax, tables, titles, "energy_coefficient", "energy coefficient")
    ax.set_xlim(1e-3, 1.3)


def _each(ax: Any, tables: dict, titles: dict, number: str, label: str) -> None:
    """One number of every source: value with interval, the null's 95 %, and shuffled partners."""
    for k, name in enumerate(titles):
        row = _of(tables["numbers"], source=name, number=number)
        value, low, high = (float(row[field][0]) for field in ("value", "low", "high"))
        error = [[value - low], [high - value]] if np.isfinite(low) else None
        if error is None and np.isfinite(row["error"][0]):
            error = _WIDTHS * float(row["error"][0])
        mean, sd = float(row["null_mean"][0]), float(row["null_sd"][0])
        paired = number not in ("energy_coefficient", "centroid_gap")
        if np.isfinite(mean):
            ax.plot(
                [max(mean - _WIDTHS * sd, 1e-4), max(mean + _WIDTHS * sd, 1.001e-3)],
                [k, k],
                color=pl.GREY,
                linewidth=6,
                alpha=0.5,
                solid_capstyle="butt",
                label=None if paired else "null: 95 % without a gap",
            )
        ax.errorbar(
            [value], [k], xerr=error, fmt="o", color=pl.BLUE, capsize=2, label="measured, 95 % interval"
        )
        control = _of(tables["shuffled"], source=name, number=number)
        if len(control["number"]):
            ax.errorbar(
                control["shuffled_mean"],
                [k + 0.22],
                xerr=_WIDTHS * control["shuffled_sd"],
                fmt="x",
                color=pl.RED,
                markersize=5,
                label="partners shuffled",
            )
    ax.set_title(label)


def _published(ax: Any, tables: dict, titles: dict) -> None:
    """Published centroid gaps of CLIP models on COCO, in the row of CLIP."""
    if "clip" not in titles:
        return
    table = _of(tables["published"], number="centroid_gap")
    k = list(titles).index("clip")
    for first, marker, label in (
        ("arXiv 2601", "|", "CLIP models on COCO, arXiv 2601.19597"),
        ("arXiv 2203", "D", "CLIP, arXiv 2203.02053"),
    ):
        pick = np.char.startswith(table["source"].astype(str), first)
        style = {"color": "black", "marker": marker, "linestyle": "none", "fillstyle": "none"}
        ax.plot(table["value"][pick], np.full(pick.sum(), k - 0.25), label=label, **style)


def plot_temperatures(tables: dict) -> pl.Picture:
    """Against the temperature: the loss as a share of that of equal cosines, and the divergence."""
    figure, (axes,) = pl.panels(1, 2, size=(7.4, 3.0))
    for k, (name, title) in enumerate(_order(tables).items()):
        t = _of(tables["temperatures"], source=name)
        style = {
            "color": COLORS[k % len(COLORS)],
            "marker": "osv^DPX*"[k % 8],
            "markersize": 4,
            "label": title,
        }
        style["linestyle"] = "--" if name.endswith("_random") else "-"
        axes[0].plot(t["temperature"], t["in_batch_loss"] / np.log(t["pairs"]), **style)
        axes[1].plot(t["temperature"], t["smoothed_divergence"], **style)
    axes[0].axhline(1, color=pl.GREY, linestyle=":", linewidth=1)
    axes[0].set(title="InfoNCE / log of the batch (1: all cosines equal)")
    axes[1].set(title="divergence D̃, nats: what the gap takes off the loss", yscale="log")
    for ax in axes:
        ax.set_xscale("log")
        ax.set_xlabel("temperature τ")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return pl.Picture(figure)


def plot_corrections(tables: dict) -> pl.Picture:
    """Score for each purpose against the energy distance left, on held-out pairs, over random splits."""
    table = tables["corrections"]
    titles = {name: title for name, title in _order(tables).items() if name in table["source"]}
    purposes = [p for p in _SCORES if p in table["purpose"]]
    figure, axes = pl.panels(
        len(titles), len(purposes), size=(0.6 + 2.4 * len(purposes), 0.7 + 2.1 * len(titles))
    )
    for row, (name, title) in zip(axes, titles.items(), strict=True):
        for ax, purpose in zip(row, purposes, strict=True):
            _trade(ax, _of(table, source=name, purpose=purpose))
            ax.set_title(f"{title}: {purpose}")
            ax.set_ylabel(_SCORES[purpose], fontsize=7)
    for ax in axes[-1]:
        ax.set_xlabel("energy distance left")
    (disc,) = axes[0, 0].plot([], [], "o", color=pl.YELLOW, markersize=10)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(
        [*handles, disc], [*labels, "recommended in most splits"], loc="outside lower center", ncols=4
    )
    return pl.Picture(figure)


def _trade(ax: Any, t: dict) -> None:
    """One mark per correction, on a disc if most splits recommended it; bars: deviation over splits."""
    for i in np.flatnonzero(np.isfinite(t["score"])):
        color, marker = MARKS[t["method"][i]]
        left = max(t["energy_distance"][i], 1e-5)
        if 2 * t["recommended"][i] > t["splits"][i]:
            ax.plot([left], [t["score"][i]], "o", color=pl.YELLOW, markersize=14, zorder=0)
        ax.errorbar(
            [left],
            [t["score"][i]],
            yerr=[t["score_sd"][i]],
            color=color,
            marker=marker,
            linestyle="none",
            elinewidth=0.8,
            markersize=6,
            markerfacecolor="white",
            label=str(t["method"][i]),
        )
    ax.set_xscale("log")
    ax.set_ylim(0, 1.1 * max(1e-3, np.nanmax(t["score"] + t["score_sd"])))


def plot_why(tables: dict) -> pl.Picture:
    """The loss as the gap is closed rigidly, at several temperatures and of all; the gap of free rows."""
    titles = _order(tables)
    figure, (axes,) = pl.panels(1, 3, size=(7.6, 3.4))
    first = next(iter(titles))
    line = _of(tables["loss_against_gap"], source=first)
    levels = np.unique(line["temperature"])
    for color, marker, tau in zip(pl.shades(len(levels)), "osv^DPX*"[: len(levels)], levels, strict=False):
        _along(axes[0], _of(line, temperature=tau), color=color, marker=marker, label=f"τ = {tau:g}")
    axes[0].legend(fontsize=7, loc="upper center", ncols=2, columnspacing=1)
    for k, name in enumerate(titles):
        tau = _of(tables["causes"], source=name)["temperature"][0]
        style = {"color": COLORS[k % len(COLORS)], "marker": "osv^DPX*"[k % 8], "label": titles[name]}
        _along(axes[1], _of(tables["loss_against_gap"], source=name, temperature=tau), **style)
        t = tables["free_rows"]
        free = _of(t, source=name, rows=t["rows"][t["source"] == name].max())
        for path, dash in (("gradient flow", "-"), ("Adam", ":")):
            one = _of(free, path=path)
            share = np.maximum(one["above_bound"], 1e-4) / one["above_bound"][0]
            axes[2].plot(
                1 - share, one["gap"], color=style["color"], linestyle=dash, marker=".", markersize=3
            )
    axes[0].set(title=f"{titles[first]}, moved rigidly", ylabel="loss - its minimum on the line, nats")
    axes[1].set(title="moved rigidly: each at its τ")
    axes[2].set(title="free rows (dotted: Adam)", xlabel="share of the loss lost", ylabel="centroid gap")
    for ax in axes[:2]:
        ax.set_xlabel("centroid gap")
        ax.set_yscale("symlog", linthresh=0.01)
        ax.set_ylim(bottom=0)
    axes[0].set_ylim(top=30 * max(line.get_ydata().max() for line in axes[0].lines))
    figure.legend(*axes[1].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return pl.Picture(figure)


def _along(ax: Any, line: dict, **style: Any) -> None:
    """The loss above its minimum on the line; filled where the rows are."""
    order = np.argsort(line["gap"])
    gap, loss = line["gap"][order], line["loss"][order] - line["loss"].min()
    now = np.char.startswith(line["mark"][order].astype(str), "now")
    marker = style.pop("marker")
    ax.plot(gap, loss, linewidth=1, **style, marker=marker, markersize=3, markerfacecolor="white")
    ax.plot(gap[now], loss[now], marker=marker, color=style["color"], markersize=7, linestyle="none")

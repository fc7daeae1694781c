"""Figures of the digits experiment, drawn from its saved result alone."""

from typing import Any

import numpy as np

from ctflow import plotting as pl
from ctflow.experiment import Result

STARTS = ("overlapping", "opposed")
COLORS = dict(zip(STARTS, (pl.BLUE, pl.RED), strict=True))
MARKERS = dict(zip(STARTS, "ov", strict=True))
LAWS = {"class": (pl.PURPLE, "s"), "graded": (pl.GREEN, "D")}
MODELS = {"rn50": ("RN50, published", "-"), "vit_b_16": ("ViT-B/16, published", "--")}
EXTREMES = (0.0, 0.5, 1.0)
FLOOR = 2e-5


@pl.styled
def plot(result: Result) -> dict:
    """Every figure of this experiment, by file name."""
    return {
        "gap_against_corruption.png": plot_gap(result),
        "recall_against_corruption.png": plot_recall(result),
        "graded_pairs.png": plot_graded(result),
        "control.png": plot_control(result),
    }


def _pick(table: dict, **setting: Any) -> np.ndarray:
    """Rows of one setting, without a penalty unless one is named."""
    wanted = ({"penalty": 0.0} if "penalty" in table else {}) | setting
    return np.logical_and.reduce([table[name] == value for name, value in wanted.items()])


def _samples(table: dict, name: str, by: str = "amount", **setting: Any) -> tuple[np.ndarray, np.ndarray]:
    """Values of `by`, and a column of all seeds there, [values, seeds]."""
    pick = _pick(table, **setting)
    levels = np.unique(table[by][pick])
    return levels, np.stack([table[name][pick & (table[by] == level)] for level in levels])


def _temperatures(result: Result) -> np.ndarray:
    return np.unique(result.tables["runs"]["temperature"])[::-1]


def _null(ax: Any, x: np.ndarray, runs: dict, name: str, by: str = "amount", **setting: Any) -> None:
    """What the two clouds would show without a gap: up to the null's 95 % quantile, medians over seeds."""
    _, null = _samples(runs, f"{name}_null_95", by, **setting)
    _, mean = _samples(runs, f"{name}_null", by, **setting)
    ax.fill_between(x, FLOOR, np.median(null, axis=1), color=pl.GREY, alpha=0.25, linewidth=0)
    ax.plot(x, np.median(mean, axis=1), color=pl.GREY, linestyle=":", label="null: mean, up to 95 %")


def plot_gap(result: Result) -> pl.Picture:
    """Energy distance and centroid gap against p with their nulls; the published centroid gap beside them."""
    runs, published = result.tables["runs"], result.tables["published"]
    taus = _temperatures(result)
    figure, axes = pl.panels(2, len(taus) + 1, size=(2.5 * (len(taus) + 1), 4.8))
    for row, (name, title) in enumerate(
        (("energy_distance", "energy distance, held-out"), ("centroid_gap", "centroid gap, held-out"))
    ):
        for column, tau in enumerate(taus):
            ax = axes[row, column]
            p, _ = _samples(runs, name, law="class", start=STARTS[0], temperature=tau)
            for start in STARTS:
                _, values = _samples(runs, name, law="class", start=start, temperature=tau)
                style = {"color": COLORS[start], "marker": MARKERS[start], "label": f"start {start}"}
                pl.band(ax, p, values, shown=EXTREMES, **style)
            _null(ax, p, runs, name, law="class", start=STARTS[0], temperature=tau)
            ax.set_yscale("log")
            ax.set_ylim((6e-4, 1) if row == 0 else (8e-3, 2))
            ax.set_title(f"τ = {tau:g}")
            if column == 0:
                ax.set_ylabel(title)
    axes[0, -1].set_axis_off()
    ax = axes[1, -1]
    for model, (label, dash) in MODELS.items():
        p = published["corruption_probability"]
        ax.plot(p, published[f"{model}_centroid_gap"], color="black", linestyle=dash, label=label)
    ax.set(yscale="log", ylim=(8e-3, 2), title="published, MS-COCO", ylabel="centroid gap")
    for ax in axes[1]:
        ax.set_xlabel("p: partner of the same class")
    (ours, our_labels), (theirs, their_labels) = (a.get_legend_handles_labels() for a in (axes[0, 0], ax))
    axes[0, -1].legend(ours + theirs, our_labels + their_labels, loc="center")
    return pl.Picture(figure)


def plot_recall(result: Result) -> pl.Picture:
    """Recall against p on digits and as published, and what share of the recall at p = 0 is left."""
    runs, published = result.tables["runs"], result.tables["published"]
    figure, axes = pl.panels(1, 3, size=(7.5, 3.0))
    tau = _temperatures(result)[0]
    for color, marker, k in zip((pl.BLUE, pl.SKY, pl.GREEN), "o^s", (1, 5, 10), strict=True):
        p, values = _samples(runs, f"recall_{k}", law="class", start=STARTS[0], temperature=tau)
        pl.band(axes[0, 0], p, values, color=color, marker=marker, label=f"recall@{k}", shown=EXTREMES)
        axes[0, 0].axhline(k / result.facts["test_pairs"], color=color, linestyle=":", linewidth=1)
    axes[0, 0].set_title(f"digits, τ = {tau:g} (dotted: chance)")
    for start in STARTS:
        p, values = _samples(runs, "recall_1", law="class", start=start, temperature=tau)
        style = {"color": COLORS[start], "marker": MARKERS[start], "label": f"digits, start {start}"}
        pl.band(axes[0, 2], p, values / np.median(values[0]), shown=EXTREMES, **style)
    for model, (label, dash) in MODELS.items():
        p, values = published["corruption_probability"], published[f"{model}_average_recall_at_1"]
        axes[0, 1].plot(p, values, color="black", linestyle=dash, label=label)
        axes[0, 2].plot(p, values / values[0], color="black", linestyle=dash, label=label)
    axes[0, 1].set_title("published, MS-COCO: recall@1")
    axes[0, 2].set_title("recall@1, relative to p = 0")
    for ax in axes[0]:
        ax.set_xlabel("p: partner of the same class")
        ax.set_ylim(bottom=0)
    axes[0, 0].set_ylabel("recall, mean of both ways")
    axes[0, 0].legend(loc="upper right", fontsize=7)
    axes[0, 0].set_ylim(0, 0.9)
    handles, labels = axes[0, 2].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return pl.Picture(figure)


def plot_graded(result: Result) -> pl.Picture:
    """Laws in blocks and graded ones against their information, with encoders and without; and in time."""
    runs, particles = result.tables["runs"], result.tables["particles"]
    taus = _temperatures(result)
    figure, axes = pl.panels(len(taus), 3, size=(7.6, 2.6 * len(taus) + 0.6))
    for row, tau in enumerate(taus):
        for law, (color, marker) in LAWS.items():
            for start, filled, dash in zip(STARTS, (color, "white"), ("-", "--"), strict=True):
                setting = {"law": law, "start": start, "temperature": tau}
                label = f"{law}, start {start}"
                style = {"color": color, "marker": marker, "markerfacecolor": filled, "linestyle": dash}
                information, values = _samples(runs, "energy_distance", "information", **setting)
                low, middle, high = np.quantile(values, EXTREMES, axis=1)
                axes[row, 0].fill_between(information, low, high, color=color, alpha=0.15, linewidth=0)
                axes[row, 0].plot(information, middle, label=label, **style)
                information, values = _samples(particles, "energy_distance", "information", **setting)
                axes[row, 1].plot(information, np.maximum(values[:, 0], FLOOR), **style)
                amount = _nearest(result, law)
                values = result.arrays["path"][_pick(runs, amount=amount, **setting)]
                axes[row, 2].plot(result.arrays["path_steps"], np.median(values, axis=0), **style)
        information, _ = _samples(runs, "energy_distance", "information", start=STARTS[0], temperature=tau)
        _null(
            axes[row, 0],
            information,
            runs,
            "energy_distance",
            "information",
            start=STARTS[0],
            temperature=tau,
        )
        axes[row, 0].set_title(f"encoders, τ = {tau:g}")
        axes[row, 1].set_title(f"free particles, τ = {tau:g}")
        amounts = [_nearest(result, law) for law in LAWS]
        axes[row, 2].set_title(f"p = {amounts[0]:g}, h = {amounts[1]:g}; τ = {tau:g}")
        axes[row, 0].set_ylabel("energy distance")
        for ax in axes[row]:
            ax.set_yscale("log")
            ax.set_ylim(FLOOR * 0.7 if ax is axes[row, 1] else 1e-3, 5)
    for ax in axes[-1, :2]:
        ax.set_xlabel("I(π) of the pairs (nats)")
    axes[-1, 2].set_xlabel("training step")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3)
    return pl.Picture(figure)


def _nearest(result: Result, law: str) -> float:
    """The p or h of those two laws, one a kind, whose information is closest to one another's."""
    summary = result.tables["summary"]
    kinds = {kind: np.flatnonzero(_pick(summary, law=kind)) for kind in LAWS}
    apart = np.abs(
        summary["information"][kinds["class"]][:, None] - summary["information"][kinds["graded"]][None, :]
    )
    chosen = dict(zip(LAWS, np.unravel_index(np.argmin(apart), apart.shape), strict=True))
    return float(summary["amount"][kinds[law][chosen[law]]])


def plot_control(result: Result) -> pl.Picture:
    """Recall against the energy distance over its null as the divergence's weight λ grows."""
    runs, summary = result.tables["runs"], result.tables["summary"]
    penalised = summary["penalty"] > 0
    tau, start = (summary[name][penalised][0] for name in ("temperature", "start"))
    figure, axes = pl.panels(1, 2, size=(7.0, 3.4), sharey=True)
    for ax, law in zip(axes[0], LAWS, strict=True):
        amount = summary["amount"][penalised & (summary["law"] == law)][0]
        at = {"law": law, "amount": amount, "temperature": tau, "start": start}
        weights = [0.0, *np.unique(summary["penalty"][penalised])]
        ax.axvspan(0.3, 1, color=pl.GREY, alpha=0.25, linewidth=0, label="no gap to be told")
        middles = []
        for color, weight in zip(pl.shades(len(weights)), weights, strict=True):
            pick = _pick(runs, penalty=weight, **at)
            x = runs["energy_distance"][pick] / runs["energy_distance_null_95"][pick]
            y = runs["recall_1"][pick]
            ax.scatter(x, y, s=10, color=color, alpha=0.5, linewidths=0)
            middles.append((np.median(x), np.median(y)))
            ax.plot(*middles[-1], "o", color=color, markersize=7, label=f"λ = {weight:g}")
        ax.plot(*zip(*middles, strict=True), color=pl.GREY, linewidth=1, zorder=0)
        ax.set_xscale("log")
        ax.set_xlim(0.3, 200)
        ax.set_xlabel("energy distance / 95 % quantile of its null")
        ax.set_title(f"{law}, {'p' if law == 'class' else 'h'} = {amount:g}; τ = {tau:g}, start {start}")
    axes[0, 0].set_ylabel("recall@1, held-out, mean of both ways")
    axes[0, 0].set_ylim(bottom=0)
    axes[0, 0].legend(loc="lower right")
    return pl.Picture(figure)

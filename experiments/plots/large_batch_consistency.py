"""Figures of the large-batch consistency experiment, drawn from its saved tables alone."""

import numpy as np

from ctflow import plotting as pl
from ctflow.experiment import Result

CRITICS = {"cosine": ("cosine critic, sphere", pl.BLUE, "o"), "rbf": ("RBF critic, tanh", pl.RED, "s")}
# What is drawn of the gradient's error: label, colour and marker.
PARTS = {
    "error": ("whole error", "black", "D"),
    "scatter": ("scatter of the draws", pl.BLUE, "o"),
    "bias": ("bias", pl.RED, "s"),
}


@pl.styled
def plot(result: Result) -> dict:
    """Every figure of this experiment, by file name."""
    return {"as_published.png": plot_published(result), "against_the_limit.png": plot_limit(result)}


def plot_published(result: Result) -> pl.Picture:
    """The published protocol: how much the gradient still changes between N and the reference size."""
    table = result.tables["published"]
    figure, axes = pl.panels(1, 2, size=(6.8, 3.2))
    for ax, name, title in zip(
        axes[0], ("cosine", "relative_error"), ("cosine of the gradients", "relative error"), strict=True
    ):
        for critic, (label, color, marker) in CRITICS.items():
            t = {key: column[table["critic"] == critic] for key, column in table.items()}
            mean, std = t[name], t[f"{name}_std"]
            ax.fill_between(t["N"], mean - std, mean + std, color=color, alpha=0.2, linewidth=0)
            ax.plot(t["N"], mean, color=color, marker=marker, label=label)
            ax.plot(
                t["N"],
                t[f"{name}_published"],
                "x",
                color="black",
                label="published" if critic == "rbf" else None,
            )
        ax.set_xscale("log", base=2)
        ax.set_xlabel("negatives N")
        ax.set_ylabel(f"{title}, to N = {result.facts['reference_size']}")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return pl.Picture(figure)


def plot_limit(result: Result) -> pl.Picture:
    """Errors against the true limit, split; above the gradient, below the value."""
    runs = result.tables["limit_runs"]
    settings = list(dict.fromkeys(runs["setting"]))
    figure, axes = pl.panels(2, len(settings), size=(7.6, 5.6))
    for column, setting in enumerate(settings):
        top, bottom = axes[:, column]
        for positive in (1, 0):
            of = (runs["setting"] == setting) & (runs["positive"] == positive)
            t = {name: values[of] for name, values in runs.items()}
            for name, (label, color, marker) in PARTS.items():
                if name != "error" or positive:
                    _seeds(top, t, name, color, marker, label, filled=bool(positive))
            _seeds(bottom, t, "value_bias", pl.RED, "s", "bias", filled=bool(positive))
        with_positive = (runs["setting"] == setting) & (runs["positive"] == 1)
        sizes = np.unique(runs["N"][with_positive])
        noise = [
            2 * runs["value_scatter"][with_positive & (runs["N"] == size)].mean() for size in sizes
        ] / np.sqrt(result.facts["limit_draws"])
        bottom.fill_between(
            sizes, 1e-9, noise, color=pl.GREY, alpha=0.15, linewidth=0, label="2 standard errors, below"
        )
        for ax, name, power, off in ((top, "scatter", -0.5, 2.2), (bottom, "value_bias", -1.0, 4.0)):
            seen = np.abs(runs[name][with_positive & (runs["N"] == sizes[-1])]).mean()
            line = off * seen * (sizes / sizes[-1]) ** power
            label = "slope −1/2" if power == -0.5 else "slope −1"
            ax.plot(sizes, line, color=pl.GREY, linestyle="--", linewidth=1, label=label)
            ax.set_xscale("log")
            ax.set_yscale("log")
            means = [line.get_ydata().min() for line in ax.lines]
            ax.set_ylim(min(means) / 3, None)
        top.set_title(setting)
        bottom.set_xlabel("negatives N")
    axes[0, 0].set_ylabel("error of the gradient over |∇J|\n(bands: all seeds)")
    axes[1, 0].set_ylabel("|$L_N$ − J − log(N V)| (nats)")
    handles = dict(zip(*reversed(axes[0, 0].get_legend_handles_labels()), strict=True))
    handles |= dict(zip(*reversed(axes[1, 0].get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles, loc="outside upper center", ncols=4, fontsize=7)
    return pl.Picture(figure)


def _seeds(ax, t: dict, name: str, color: str, marker: str, label: str, *, filled: bool) -> None:
    """Means over seeds against N, the seeds' whole range as a band; hollow where the positive is left out."""
    sizes = np.unique(t["N"])
    values = np.array([np.abs(t[name][t["N"] == size]) for size in sizes])
    seen = values.max(axis=1) > 0  # a bias that the draws hide is 0
    sizes, values = sizes[seen], values[seen]
    lowest = np.maximum(values.min(axis=1), 1e-12)
    ax.fill_between(sizes, lowest, values.max(axis=1), color=color, alpha=0.25, linewidth=0)
    ax.plot(
        sizes,
        values.mean(axis=1),
        linestyle="-" if filled else ":",
        linewidth=1,
        color=color,
        marker=marker,
        markerfacecolor=color if filled else "white",
        label=label if filled else f"{label}, positive left out",
    )

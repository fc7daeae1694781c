"""Figures of the large-batch consistency experiment, drawn from its saved tables alone."""

import numpy as np

from ctflow import plotting as pl
from ctflow.experiment import Result

CRITICS = {"cosine": ("cosine critic, sphere", pl.BLUE, "o"), "rbf": ("RBF critic, tanh", pl.RED, "s")}
PARTS = {
    "error": ("whole error", "black", "-"),
    "scatter": ("scatter of the draws", pl.BLUE, "-"),
    "bias": ("bias", pl.RED, "-"),
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
    figure, axes = pl.panels(2, len(settings), size=(7.0, 5.0))
    for column, setting in enumerate(settings):
        for positive, line in ((1, "-"), (0, ":")):
            of = (runs["setting"] == setting) & (runs["positive"] == positive)
            sizes = np.unique(runs["N"][of])
            note = "" if positive else ", positive left out"

            def mean(name, of=of, sizes=sizes):
                means = [np.abs(runs[name][of & (runs["N"] == size)]).mean() for size in sizes]
                return np.where(np.array(means) > 0, means, np.nan)  # a bias not told from its noise is 0

            for name, (label, color, _) in PARTS.items():
                if name != "error" or positive:
                    axes[0, column].plot(sizes, mean(name), color=color, linestyle=line, label=label + note)
            axes[1, column].plot(sizes, mean("value_bias"), color=pl.RED, linestyle=line, label="bias" + note)
        scatter = axes[0, column].lines[-2].get_ydata()[-1]
        axes[0, column].plot(
            sizes,
            0.6 * scatter * (sizes / sizes[-1]) ** -0.5,
            color=pl.GREY,
            linestyle="--",
            label="$N^{-1/2}$",
        )
        last = axes[1, column].lines[0].get_ydata()[-1]
        axes[1, column].plot(
            sizes, 2 * last * (sizes / sizes[-1]) ** -1.0, color=pl.GREY, linestyle="--", label="$N^{-1}$"
        )
        axes[0, column].set_title(setting)
        axes[1, column].set_xlabel("negatives N")
        for ax in axes[:, column]:
            ax.set_xscale("log")
            ax.set_yscale("log")
    axes[0, 0].set_ylabel("error of the gradient, relative to ∇J")
    axes[1, 0].set_ylabel("|L_N − J − log(N V)| (nats)")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    handles.append(axes[1, 0].lines[-1])
    figure.legend(handles, [*labels, "$N^{-1}$, below"], loc="outside upper center", ncols=3)
    return pl.Picture(figure)

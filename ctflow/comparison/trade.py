"""Plot of a comparison of corrections: the score for each purpose against the remaining gap."""

import numpy as np

from ctflow import plotting as pl
from ctflow.comparison.compare import PURPOSES, Comparison, pareto, score

_TITLES = {
    "retrieval": "recall@1, other modality",
    "mixed": "recall@1, both modalities",
    "clustering": "1/2 - |mixing - 1/2|",
}
MARKS = {
    "none": ("black", "X"),
    "centring": (pl.BLUE, "o"),
    "translation": (pl.SKY, "s"),
    "standardisation": (pl.GREEN, "^"),
    "whitening": (pl.ORANGE, "v"),
    "coral": (pl.RED, "D"),
    "procrustes": (pl.PURPLE, "P"),
    "cca": (pl.GREEN, "h"),
    "transport": (pl.GREY, "*"),
    "csls": ("black", "+"),
}


@pl.styled
def trade(comparison: Comparison) -> pl.Picture:
    """One mark per correction, filled if it is Pareto-optimal; failed corrections are left out."""
    t = comparison.table
    figure, axes = pl.panels(1, len(PURPOSES), size=(2.5 * len(PURPOSES), 2.9))
    gap = np.maximum(t["energy_distance"], 1e-5)
    for ax, (purpose, title) in zip(axes[0], _TITLES.items(), strict=True):
        value, best = score(t, purpose), pareto(t, purpose)
        for i in np.flatnonzero(np.isfinite(value)):
            color, marker = MARKS[t["method"][i]]
            ax.plot(
                gap[i],
                value[i],
                color=color,
                marker=marker,
                linestyle="none",
                markersize=6,
                markerfacecolor=color if best[i] else "white",
                label=str(t["method"][i]),
            )
        ax.set_xscale("log")
        ax.set_xlabel("energy distance left")
        ax.set_title(title)
        ax.set_ylim(0, 1.08 * max([1e-3, *value[np.isfinite(value)]]))
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return pl.Picture(figure)

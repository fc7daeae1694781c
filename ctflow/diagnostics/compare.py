"""What corrections gain and cost, on rows they were not fitted on."""

from typing import Any, NamedTuple

import numpy as np

from ctflow import corrections
from ctflow.checks import check_choice, check_count
from ctflow.diagnostics import retrieval, two_sample
from ctflow.diagnostics.pairing import RowByRow
from ctflow.diagnostics.resampling import as_they_are, resample, table

PURPOSES = ("retrieval", "mixed", "clustering")
"""What embeddings are for: finding the partner in the other modality, or in a corpus of both, or grouping."""

_NEIGHBOURS = 10
# What each purpose asks for, averaged.
TOLD = {
    "retrieval": ("recall@1_x_to_y", "recall@1_y_to_x"),
    "mixed": ("mixed_recall@1_x", "mixed_recall@1_y"),
    "clustering": ("mixing",),
}


class Comparison(NamedTuple):
    """A table with a row a correction, and what it says about the purpose."""

    table: dict[str, np.ndarray]
    words: tuple[str, ...]
    fitted: dict[str, corrections.Correction]


def compare(
    x: Any,
    y: Any,
    *,
    methods: tuple[str, ...] = corrections.METHODS,
    purpose: str = "retrieval",
    held_out: float = 0.5,
    max_rows: int = 2000,
    n_permutations: int = 100,
    epsilon: float = 0.05,
    ridge: float = 1e-3,
    seed: int = 0,
) -> Comparison:
    """Fit every correction on a random part of the pairs, and measure it on the others.

    Columns: `centroid_gap`; `energy_distance` (u) and its null's mean and sd; `recall@1` and `recall@5` both
    ways; `mixed_recall@1`, where the partner must come first among all rows of both modalities; `mixing`, the
    share of the other modality among the 10 nearest rows of both (½ if they mix); `alignment`, `uniformity`
    (mean of both); `pareto`, whether no other row has both a smaller energy distance and more of what the
    purpose asks for.

    Args:
        x: unit rows [n, d]; row i is the partner of row i of y.
        y: unit rows [n, d].
        methods: of `ctflow.corrections.METHODS`; "none" is always among them.
        purpose: one of `PURPOSES`.
        held_out: share of the pairs kept for measuring, in (0, 1).
        max_rows: held-out pairs that are measured at most.
        n_permutations: for the energy distance's null.
        epsilon: of `transport`.
        ridge: of the methods with a covariance.
        seed: of the split.

    Raises:
        ValueError: unpaired rows, an unknown method or purpose, too few rows to split.
    """
    check_choice("purpose", purpose, PURPOSES)
    for method in methods:
        check_choice("methods", method, corrections.METHODS)
    check_count("max_rows", max_rows, minimum=2)
    x, y = np.asarray(x), np.asarray(y)
    if x.shape != y.shape or x.ndim != 2:
        raise ValueError(f"x and y must be paired row by row, got {x.shape} and {y.shape}")
    if not 0 < held_out < 1:
        raise ValueError(f"held_out must lie in (0, 1), got {held_out}")
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(x))
    kept = round(held_out * len(x))
    test, fit_on = np.sort(order[:kept][:max_rows]), np.sort(order[kept:])
    if min(len(test), len(fit_on)) < 2 * _NEIGHBOURS:
        raise ValueError(f"{len(x)} pairs are too few to split: each part needs {2 * _NEIGHBOURS}")
    found, hits, fitted = [], {}, {}
    for method in dict.fromkeys(("none", *methods)):
        fitted[method] = corrections.fit(
            method, x[fit_on], y[fit_on], epsilon=epsilon, ridge=ridge, seed=seed
        )
        a, b = fitted[method].transform(x[test], y[test])
        row, hits[method] = _measure(a, b, n_permutations, seed)
        found.append({"method": method, **row})
    columns = {name: np.array([row[name] for row in found]) for name in found[0]}
    columns["pareto"] = pareto(columns, purpose).astype(int)
    return Comparison(columns, _words(found, hits, purpose, len(test)), fitted)


def score(columns: dict[str, np.ndarray], purpose: str) -> np.ndarray:
    """What a purpose asks for, a row a correction; larger is better."""
    return np.mean([columns[name] for name in TOLD[purpose]], axis=0)


def pareto(columns: dict[str, np.ndarray], purpose: str) -> np.ndarray:
    """Whether no other row has both a smaller energy distance and a better score."""
    gap, value = columns["energy_distance"], score(columns, purpose)
    return np.array([not np.any((gap < g) & (value > v)) for g, v in zip(gap, value, strict=True)])


def _measure(x: np.ndarray, y: np.ndarray, n_permutations: int, seed: int) -> tuple[dict, dict]:
    """A row of the table, and each query's chance of a hit, by column."""
    x, y = x.astype(float), y.astype(float)
    n = len(x)
    rows = table(x, y, RowByRow(n).take(np.arange(n)))
    distance = two_sample.distances(rows.points @ rows.points.T)
    resamples = resample(rows, n_permutations, 0, np.random.default_rng(seed))
    energy = resamples.draws(two_sample.energy_distance(distance, rows, resamples, "u"))
    index = np.arange(n)
    pairs = np.column_stack([index, index])
    both = np.concatenate([y, x]), np.concatenate([x, y])
    hits = {}
    for way, (queries, gallery) in {"x_to_y": (x, y), "y_to_x": (y, x)}.items():
        chance = retrieval.hits(queries, gallery, (1, 5), pairs)[1]
        hits |= {f"recall@1_{way}": chance[:, 0], f"recall@5_{way}": chance[:, 1]}
    for name, queries, corpus in (("x", x, both[0]), ("y", y, both[1])):
        own = n + index
        hits[f"mixed_recall@1_{name}"] = retrieval.hits(queries, corpus, (1,), pairs, without=own)[1][:, 0]
    hits["mixing"] = np.mean([_other(x, both[0]), _other(y, both[1])], axis=0)
    spread = two_sample.mean_forms(np.exp(-2 * distance**2), rows, as_they_are(rows), "u")
    return {
        "centroid_gap": float(np.linalg.norm(x.mean(axis=0) - y.mean(axis=0))),
        "energy_distance": energy.value,
        "energy_distance_null": float(energy.null.mean()),
        "energy_distance_null_sd": float(energy.null.std()),
        **{name: float(chance.mean()) for name, chance in hits.items()},
        "alignment": float(np.mean(np.sum((x - y) ** 2, axis=1))),
        "uniformity": float(np.mean(np.log(spread[:2]))),
    }, hits


def _other(queries: np.ndarray, corpus: np.ndarray) -> np.ndarray:
    """Share of the other modality (the corpus's first half) among each query's nearest rows but itself."""
    near = retrieval.nearest(queries, corpus, _NEIGHBOURS + 1)
    n = len(queries)
    others = near != n + np.arange(n)[:, None]
    return ((near < n) & others).sum(axis=1) / others.sum(axis=1)


def as_text(comparison: Comparison) -> str:
    """The table for a terminal, then the words; * marks Pareto-optimal rows."""
    t = comparison.table
    shown = {
        "method": [f"{m}{'*' if best else ''}" for m, best in zip(t["method"], t["pareto"], strict=True)],
        "centroid": t["centroid_gap"],
        "energy dist.": t["energy_distance"],
        "null ± sd": [
            f"{mean:.1e} ± {sd:.1e}"
            for mean, sd in zip(t["energy_distance_null"], t["energy_distance_null_sd"], strict=True)
        ],
        "R@1 x>y": t["recall@1_x_to_y"],
        "R@1 y>x": t["recall@1_y_to_x"],
        "R@5 x>y": t["recall@5_x_to_y"],
        "R@5 y>x": t["recall@5_y_to_x"],
        "mixed R@1 x": t["mixed_recall@1_x"],
        "mixed R@1 y": t["mixed_recall@1_y"],
        "mixing": t["mixing"],
        "alignment": t["alignment"],
        "uniformity": t["uniformity"],
    }
    columns = [
        [name, *(v if isinstance(v, str) else f"{v:.4g}" for v in values)] for name, values in shown.items()
    ]
    widths = [max(map(len, column)) for column in columns]
    rows = zip(*columns, strict=True)
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(
        [*lines, "* no other has both a smaller energy distance and a better score", "", *comparison.words]
    )


def _words(found: list[dict], hits: dict, purpose: str, n: int) -> tuple[str, ...]:
    """Whether any correction helps what the embeddings are for, beyond the noise of the held-out rows."""
    names = TOLD[purpose]
    what = {
        "retrieval": "recall@1 in the other modality",
        "mixed": "recall@1 in a corpus of both modalities",
        "clustering": "share of the other modality among the 10 nearest rows",
    }[purpose]
    each = {row["method"]: np.mean([hits[row["method"]][name] for name in names], axis=0) for row in found}
    base = each["none"]
    gains = {method: value - base for method, value in each.items() if method != "none"}
    said = [f"{what} of {n} held-out pairs, uncorrected: {base.mean():.3f}."]
    # The best of several is chosen by its gain: each must clear a bound shared among them.
    better = {m: g for m, g in gains.items() if g.mean() > 3 * g.std() / np.sqrt(n) and g.mean() > 0}
    if better:
        best = max(better, key=lambda m: better[m].mean())
        gain = better[best]
        said.append(f"Best: {best}, {gain.mean():+.3f} ± {gain.std() / np.sqrt(n):.3f} (standard error).")
    elif gains:
        best = max(gains, key=lambda m: gains[m].mean())
        gain = gains[best]
        said.append(
            f"No correction helps: the best, {best}, gains {gain.mean():+.3f} ± "
            f"{gain.std() / np.sqrt(n):.3f}. For this purpose leave the embeddings as they are."
        )
    closed = min(found, key=lambda row: row["energy_distance"])
    cost = each[closed["method"]] - base
    said.append(
        f"The smallest energy distance is that of {closed['method']}, {closed['energy_distance']:.3g} for "
        f"{found[0]['energy_distance']:.3g} (null {closed['energy_distance_null']:.2g} ± "
        f"{closed['energy_distance_null_sd']:.2g}), at {cost.mean():+.3f} of that number."
    )
    return tuple(said)

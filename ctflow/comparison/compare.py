"""Gains and costs of corrections, measured on rows that were not used for fitting."""

from typing import Any, NamedTuple

import numpy as np

from ctflow._base.checks import check_choice, check_count
from ctflow.comparison.advice import advise
from ctflow.comparison.measuring import Measure, Outcome, pairs_beyond_chance
from ctflow.corrections.correction import METHODS, Correction
from ctflow.corrections.csls import Csls
from ctflow.corrections.fitting import SCORINGS, check_strengths, fit_sample, given, quick_fit
from ctflow.corrections.rows import both
from ctflow.corrections.sample import Sample, sample_of
from ctflow.corrections.scores import PURPOSES, SIDES, held_of
from ctflow.corrections.strengths import CHOICES, Fold, choose, folds
from ctflow.embeddings.diagnosis.order import order_note
from ctflow.embeddings.diagnosis.splitting import split
from ctflow.embeddings.names import LETTERS, names_in_messages, names_of, short
from ctflow.embeddings.pairing import pair_up
from ctflow.embeddings.rows import row_notes

__all__ = ["PURPOSES", "Comparison", "as_text", "compare", "pareto", "score"]


class Comparison(NamedTuple):
    """A table with one row per correction, and advice for the purpose.

    Attributes:
        table: columns by name, as `compare` lists them.
        words: the advice, as sentences.
        fitted: the fitted corrections by method; methods that failed are missing.
        recommended: the recommended method; None if no method is recommended.
        held_out: number of pairs that were measured.
        names: names of the modalities, for texts; the columns of the table do not depend on them.
    """

    table: dict[str, np.ndarray]
    words: tuple[str, ...]
    fitted: dict[str, Correction | Csls]
    recommended: str | None = None
    held_out: int = 0
    names: tuple[str, str] = LETTERS


def compare(
    x: Any,
    y: Any,
    *,
    pairs: Any = None,
    methods: tuple[str, ...] = (*METHODS, *SCORINGS),
    purpose: str = "retrieval",
    held_out: float = 0.5,
    max_rows: int = 2000,
    max_groups: int | None = None,
    n_permutations: int = 100,
    epsilon: float | None = None,
    ridge: float | None = None,
    normalize: bool = False,
    seed: int = 0,
    names: tuple[str, str] | None = None,
) -> Comparison:
    """Fit every correction on a random part of the pairs, and measure it on the other part.

    Partners, and exact copies of a row, are always in the same part. A strength that is not given is chosen
    for the purpose by three-fold cross-validation within the fitting part.

    Columns: `strength` (ridge, epsilon, or number of neighbours; NaN for methods without one);
    `centroid_gap`; `energy_distance` (estimator u), and its `_null` mean and `_null_sd` without a gap;
    `recall@1` and `recall@5` in both directions; `mixed_recall@1`, where a partner must be first among all
    rows of both modalities; `mixing`, the share of the other modality among the 10 nearest rows of both (½ if
    they mix), for queries of x, of y, and their mean; `alignment`; `uniformity` (mean of both); `pareto`, 1
    if no other row has both a smaller energy distance and a better score for the purpose; `failed`, why a
    method failed; its numbers are then NaN. `csls` moves no row, so its distances are those of `none`.

    Args:
        x: unit rows [n, d]: an array, a path, or a `ctflow.embeddings.Embeddings`.
        y: unit rows [m, d].
        pairs: index pairs [p, 2], or a coupling; row i with row i by default. In means and covariances the
            weight of a row is that of its pairs; in recall all queries have equal weight.
        methods: names from `ctflow.corrections.METHODS` and `SCORINGS`; "none" is always added.
        purpose: one of `PURPOSES`.
        held_out: share of the groups of pairs kept for measuring, in (0, 1).
        max_rows: largest number of held-out rows per modality that are measured.
        max_groups: largest number of groups of pairs that are used; None for all.
        n_permutations: number of random relabellings for the energy distance without a gap.
        epsilon: strength of `transport`; chosen by cross-validation by default.
        ridge: strength of `standardisation`, `whitening`, `coral` and `cca`; chosen likewise by default.
        normalize: accept rows of any norm > 0.
        seed: seed of the random split, folds and relabellings.
        names: names of the modalities in the advice, as for `diagnose`.

    Raises:
        ValueError: `diagnose` would refuse the rows, they are unpaired, a method or the purpose is unknown,
            or there are too few independent groups of pairs to split.
    """
    _check_settings(methods, purpose, held_out, max_rows, max_groups, n_permutations, seed)
    check_strengths(ridge, epsilon)
    first, second = both(x, y, normalize=normalize, names=names_in_messages(names))
    names = names_of(first, second, names)
    if pairs is None and len(first) != len(second):
        raise ValueError(
            f"{first.name} and {second.name} must be paired row by row, got {len(first)} and {len(second)} "
            "rows; give pairs (--pairs FILE)"
        )
    if isinstance(pairs, str):
        raise ValueError(
            f"pairs must be index pairs [p, 2] or a coupling, got {pairs!r}; compare needs partners"
        )
    plan = pair_up(first, second, pairs, names=names)
    rng = np.random.default_rng(seed)
    parts = split(plan, held_out, max_rows, max_groups, rng)
    sample = sample_of(first, second, plan.take(parts.fitted))
    measure = Measure(held_of(first, second, plan.take(parts.held_out)), n_permutations, seed)
    strength_of = {method: given(method, ridge, epsilon) for method in methods}
    tried = [method for method in methods if method in CHOICES and strength_of[method] is None]
    validated = folds(first, second, plan, parts.fitted, rng) if tried else []
    outcomes, fitted = [], {}
    for method in dict.fromkeys(("none", *methods)):
        outcome, found = _one(method, sample, validated, strength_of.get(method), purpose, measure, seed)
        outcomes.append(outcome)
        fitted |= {} if found is None else {method: found}
    warning = order_note(first, second, *pairs_beyond_chance(outcomes[0], measure, seed), names=names)
    told = (*plan.notes, *row_notes(first, second, names))
    words, recommended = advise(outcomes, purpose, measure, warning, told, bool(tried), names)
    held_out_pairs = len(measure.held.block.pairs)
    return Comparison(_table(outcomes, purpose), words, fitted, recommended, held_out_pairs, names)


def _check_settings(methods, purpose, held_out, max_rows, max_groups, n_permutations, seed) -> None:
    check_choice("purpose", purpose, PURPOSES)
    if not isinstance(methods, tuple | list):
        raise ValueError(f"methods must be a tuple of names, got {methods!r}")
    for method in methods:
        check_choice("methods", method, (*METHODS, *SCORINGS))
    check_count("max_rows", max_rows, minimum=2)
    if max_groups is not None:
        check_count("max_groups", max_groups, minimum=2)
    check_count("n_permutations", n_permutations)
    check_count("seed", seed, minimum=0)
    if not isinstance(held_out, float | int) or not 0 < held_out < 1:
        raise ValueError(f"held_out must lie in (0, 1), got {held_out!r}")


def _one(
    method: str,
    sample: Sample,
    validated: list[Fold],
    strength: float | None,
    purpose: str,
    measure: Measure,
    seed: int,
) -> tuple[Outcome, Correction | Csls | None]:
    """Choose the strength of a method if needed, fit and measure it; or record why it failed."""
    try:
        if method in CHOICES and strength is None:
            strength = choose(
                method, validated, purpose, lambda m, s, value: quick_fit(m, s, value, seed=seed)
            )
        found = fit_sample(method, sample, strength, seed=seed)
        row, values = measure(found)
    except ValueError as error:
        return Outcome(method, strength, {}, {}, str(error)), None
    return Outcome(method, strength, row, values, ""), found


def _table(outcomes: list[Outcome], purpose: str) -> dict[str, np.ndarray]:
    """The table of results, one row per method; the numbers of failed methods are NaN."""
    names = outcomes[0].row
    columns: dict[str, Any] = {
        "method": np.array([o.method for o in outcomes]),
        "strength": np.array([np.nan if o.strength is None else o.strength for o in outcomes]),
        **{name: np.array([o.row.get(name, np.nan) for o in outcomes]) for name in names},
    }
    columns["pareto"] = pareto(columns, purpose).astype(int)
    # Table cells must not contain commas or quotes.
    columns["failed"] = np.array([o.failed.replace(",", ";").replace('"', "'") for o in outcomes])
    return columns


def score(columns: dict[str, np.ndarray], purpose: str) -> np.ndarray:
    """The score of each correction for a purpose; larger is better, and -inf marks a failed correction.

    For clustering it is the mean of ½ - |mixing - ½| over the two modalities.
    """
    sides = np.array([columns[name] for name in SIDES[purpose]])
    if purpose == "clustering":
        sides = 0.5 - np.abs(sides - 0.5)
    value = sides.mean(axis=0)
    return np.where(np.isnan(value), -np.inf, value)


def pareto(columns: dict[str, np.ndarray], purpose: str) -> np.ndarray:
    """Whether no other row has a smaller energy distance and a better score; False for failed corrections."""
    gap, value = columns["energy_distance"], score(columns, purpose)
    return np.array(
        [np.isfinite(v) and not np.any((gap < g) & (value > v)) for g, v in zip(gap, value, strict=True)]
    )


_SHOWN = {
    "centroid": "centroid_gap",
    "energy dist.": "energy_distance",
    "R@1 {a}>{b}": "recall@1_x_to_y",
    "R@1 {b}>{a}": "recall@1_y_to_x",
    "R@5 {a}>{b}": "recall@5_x_to_y",
    "R@5 {b}>{a}": "recall@5_y_to_x",
    "mixed R@1 {a}": "mixed_recall@1_x",
    "mixed R@1 {b}": "mixed_recall@1_y",
    "mixing {a}": "mixing_x",
    "mixing {b}": "mixing_y",
    "alignment": "alignment",
    "uniformity": "uniformity",
}
_LONGEST = 8


def as_text(comparison: Comparison) -> str:
    """The table and the advice as text; * marks Pareto-optimal rows."""
    t, (a, b) = comparison.table, (short(name, _LONGEST) for name in comparison.names)
    labels = {label.format(a=a, b=b): name for label, name in _SHOWN.items()}
    shown = {
        "method": [f"{m}{'*' if best else ''}" for m, best in zip(t["method"], t["pareto"], strict=True)],
        "strength": [_number(value, "") for value in t["strength"]],
        **{label: [_number(value, "failed") for value in t[name]] for label, name in labels.items()},
        "null ± sd": [
            "failed" if np.isnan(mean) else f"{mean:.1e} ± {sd:.1e}"
            for mean, sd in zip(t["energy_distance_null"], t["energy_distance_null_sd"], strict=True)
        ],
    }
    order = ["method", "strength", "centroid", "energy dist.", "null ± sd", *list(labels)[2:]]
    columns = [[name, *shown[name]] for name in order]
    widths = [max(map(len, column)) for column in columns]
    rows = zip(*columns, strict=True)
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(
        [*lines, "* no other has both a smaller energy distance and a better score", "", *comparison.words]
    )


def _number(value: float, missing: str) -> str:
    return missing if np.isnan(value) else f"{value:.4g}"

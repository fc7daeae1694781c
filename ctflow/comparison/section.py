"""A section for a report's page: what each correction gains and costs on rows that were held out."""

from typing import Any

import numpy as np

from ctflow._base.colors import GREEN, PURPLE
from ctflow.comparison.compare import Comparison, compare
from ctflow.corrections.correction import METHODS
from ctflow.corrections.fitting import SCORINGS
from ctflow.embeddings import Embeddings
from ctflow.embeddings.diagnosis.report import Report
from ctflow.embeddings.names import short
from ctflow.embeddings.pairing import UNPAIRED
from ctflow.pages import figures as fg
from ctflow.pages.parts import Figure, Folded, Section, Table

_TITLE = "What corrections gain and cost"
_GROUPS, _SHUFFLES = 1000, 20
_UP_TO = {"cca": 0, "whitening": 768, "coral": 768, "procrustes": 2048}
"""Corrections that decompose matrices [d, d], and the largest d for which a page waits for them."""
_WHAT = {
    "none": "nothing",
    "centring": "subtracts the mean of each modality",
    "translation": "shifts {b} so that its mean becomes that of {a}",
    "standardisation": "gives each coordinate of each modality mean 0 and variance 1",
    "whitening": "gives every direction of each modality mean 0 and variance 1",
    "coral": "gives {b} the mean and covariance of {a}",
    "procrustes": "turns {b} so that partners match best, and gives it the mean of {a}",
    "cca": "maps both modalities to the directions in which partners agree",
    "transport": "maps {b} to {a} by entropic optimal transport",
    "csls": "moves no row; lowers the scores of rows that are close to many others",
}
"""What each correction does, with the names of the modalities as a and b."""


def corrections_section(
    report: Report, x: Embeddings, y: Embeddings, pairs: Any = None
) -> tuple[Section, ...]:
    """Compare corrections on a sample of groups; no section for unpaired rows.

    What decomposes large matrices takes as long as the rest of the report: `ctflow correct` measures that.

    Args:
        report: the diagnosis of these rows.
        x: rows of the first modality.
        y: rows of the second modality.
        pairs: as for `compare`.
    """
    if report.view is None or report.view.partners is None or (isinstance(pairs, str) and pairs == UNPAIRED):
        return ()
    methods = tuple(m for m in (*METHODS, *SCORINGS) if x.shape[1] <= _UP_TO.get(m, np.inf))
    options = {"max_groups": _GROUPS, "n_permutations": _SHUFFLES, "names": report.names}
    try:
        found = compare(
            x, y, pairs=pairs, methods=methods, purpose="mixed", seed=report.settings["seed"], **options
        )
    except ValueError as error:
        return (Section(_TITLE, (f"Corrections were not compared: {error}.",)),)
    return (section(found, report.settings.get("correct", "ctflow correct")),)


def section(found: Comparison, command: str) -> Section:
    """A comparison as a section: the advice, a figure and a table."""
    # The first sentence repeats the page's numbers, and the last ones are about distances and strengths.
    advice = [line for line in found.words[1:] if not line.startswith(("Strengths", "Note: "))]
    missing = [m for m in METHODS if m not in found.table["method"]]
    left = f" and {', '.join(missing)}" if missing else ""
    text = (
        "Each correction was fitted on one half of a sample of the pairs, with strengths chosen for "
        "search in a "
        "corpus of both modalities, and measured on the other half: "
        f"{found.held_out} pairs, fewer than above, so recall is higher.",
        *advice,
        *_how(found, command),
        f"For more rows, other purposes{left}, run `{command}`.",
    )
    return Section(_TITLE, text, (_figure(found), _table(found), _explained(found)), _finding(found))


def _how(found: Comparison, command: str) -> tuple[str, ...]:
    """How to use the recommended correction."""
    method = found.recommended
    if not method:
        return ()
    if method in SCORINGS:
        return (f"To use it, rank by the scores of `ctflow.corrections.{method}(x, y)` in place of cosines.",)
    apply = f"{command} --purpose mixed --method {method} --out corrected"
    return (f"To use it, run `{apply}`: it writes the corrected rows, and the map for new ones.",)


def _finding(found: Comparison) -> str:
    """The recommendation as a part of a sentence."""
    t, name = found.table, found.recommended
    if name is None:
        return "none of the corrections measured below helps it beyond noise without a cost"
    before, after = (
        float(
            np.mean([t[column][t["method"] == method] for column in ("mixed_recall@1_x", "mixed_recall@1_y")])
        )
        for method in ("none", name)
    )
    return (
        f"of the corrections measured below, {name} is recommended, which brings recall@1 in such an index "
        f"from {before:.1%} to {after:.1%} among {found.held_out} held-out pairs (fewer, hence easier)"
    )


def _explained(found: Comparison) -> Folded:
    a, b = found.names
    rows = [(str(name), _WHAT[name].format(a=a, b=b)) for name in found.table["method"]]
    return Folded("What each correction does", (Table(("correction", "what it does"), rows),))


def _figure(found: Comparison) -> Figure:
    t = found.table
    done = np.flatnonzero(np.isfinite(t["energy_distance"]))
    order = done[np.argsort(-t["energy_distance"][done], kind="stable")][::-1]
    labels = [str(m) for m in t["method"][order]]
    cross, mixed = (
        (t[first][order] + t[second][order]) / 2
        for first, second in (
            ("recall@1_x_to_y", "recall@1_y_to_x"),
            ("mixed_recall@1_x", "mixed_recall@1_y"),
        )
    )
    data = [
        fg.marks("in the other modality", cross, labels, GREEN, "circle"),
        fg.marks("in a corpus of both", mixed, labels, PURPLE, "diamond"),
    ]
    lines = [
        {
            "type": "line",
            "x0": value,
            "x1": value,
            "y0": 0,
            "y1": 1,
            "yref": "paper",
            "layer": "below",
            "line": {"color": color, "width": 1, "dash": "dot"},
        }
        for value, color in zip(
            (float(v[labels.index("none")]) for v in (cross, mixed)), (GREEN, PURPLE), strict=True
        )
    ]
    frame = fg.layout("recall@1, both directions", xaxis={"range": [-0.03, 1.03]}, shapes=lines)
    caption = (
        "Dotted lines: without a correction. To the right of its line is a gain, to the left a "
        "cost. From top "
        "to bottom the corrections leave less of the energy distance."
    )
    return Figure("corrections", data, frame, "Recall@1 after each correction.", caption, height=380)


def _table(found: Comparison) -> Table:
    t, (a, b) = found.table, (short(name) for name in found.names)
    columns = {
        "energy distance left": "energy_distance",
        f"recall@1 {a} → {b}": "recall@1_x_to_y",
        f"recall@1 {b} → {a}": "recall@1_y_to_x",
        f"recall@1 of {a}, corpus of both": "mixed_recall@1_x",
        f"recall@1 of {b}, corpus of both": "mixed_recall@1_y",
    }
    rows, none = [], int(np.flatnonzero(t["method"] == "none")[0])
    for i, method in enumerate(t["method"]):
        row = [str(method)]
        for name in columns.values():
            value, change = float(t[name][i]), float(t[name][i] - t[name][none])
            if not np.isfinite(value):
                row.append("failed")
            elif i == none or name == "energy_distance":
                row.append(f"{value:.3g}" if name == "energy_distance" else f"{value:.3f}")
            else:
                row.append(f"{value:.3f} ({change:+.3f})")
        rows.append(tuple(row))
    marked = tuple(i for i, method in enumerate(t["method"]) if method == found.recommended)
    return Table(("correction", *columns), rows, "In brackets: the change from no correction.", marked)

"""A report as tables: text for a terminal, Markdown, HTML for a notebook, and a pandas frame."""

import dataclasses
import html
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ctflow.embeddings.diagnosis.metric import Metric
from ctflow.embeddings.names import label_of
from ctflow.storage.tables import aligned

if TYPE_CHECKING:
    from ctflow.embeddings.diagnosis.report import Report

SECTIONS = {
    "gap": "Is there a gap?",
    "size": "How large is it, and what is it made of?",
    "pairing": "How close are the partners?",
    "spread": "How each modality spreads",
    "retrieval": "Retrieval",
    "energy": "The loss and the paper's terms",
}
HEAD = (
    "number",
    "value",
    "95 % interval, or ± error",
    "null (mean ± sd)",
    "gap?",
    "rows",
    "est.",
    "range or reference",
)
LEGEND = (
    "null: the number without a gap (labels of the two modalities exchanged) or, for numbers about pairings, "
    "with partners shuffled. gap?: tested in the first table, at one family-wise level. est.: u is unbiased "
    "for the laws that the rows were drawn from; v is for these rows themselves; plug-in is the logarithm of "
    "a mean over the rows. An interval is for the laws. A number that changes with the number of rows has no "
    "interval, at most a standard error (±) over other samples with as many rows: compare it only at equal "
    "numbers of rows."
)
# The numbers that answer the three questions; unpaired rows have no retrieval, so their cones are shown.
_MAIN = (
    "energy_coefficient",
    "centroid_gap",
    "energy_distance",
    "linear_separability",
    "paired_cosine",
    "recall@1_x_to_y",
    "recall@1_y_to_x",
    "in_batch_loss",
)
_UNPAIRED = (
    "energy_coefficient",
    "centroid_gap",
    "energy_distance",
    "linear_separability",
    "cone_x",
    "cone_y",
)


def main_metrics(report: "Report") -> list[Metric]:
    """About eight numbers that answer the three questions."""
    known = {m.name: m for m in report.metrics}
    wanted = _MAIN if "paired_cosine" in known else _UNPAIRED
    return [known[name] for name in wanted if name in known]


def cells(metric: Metric, names: tuple[str, str]) -> tuple[str, ...]:
    """One row of a table, in the order of `HEAD`."""
    interval = f"[{number(metric.low)}, {number(metric.high)}]" if np.isfinite(metric.low) else ""
    if np.isfinite(metric.error):
        interval = f"± {metric.error:.2g}"
    null = ""
    if np.isfinite(metric.null_mean):
        null = f"{metric.null_mean:.3g} ± {metric.null_sd:.2g}"
    called = "" if metric.gap is None else f"{'yes' if metric.gap else 'no'} (p = {metric.p_value:.3f})"
    n, m = metric.rows
    return (
        label_of(metric.name, names),
        number(metric.value) if np.isfinite(metric.value) else "not measurable",
        interval,
        null,
        called,
        f"{n}" if n == m else f"{n}, {m}",
        metric.estimator,
        f"not measurable: {metric.reason}" if metric.reason else metric.reference,
    )


def number(value: float) -> str:
    """A number in at most ten characters."""
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.3e}"


def as_text(report: "Report") -> str:
    """The verdict, the notes, and one table of the main numbers."""
    lines = [*report.verdict, *(f"note: {note}" for note in report.notes), ""]
    rows = [cells(m, report.names)[:4] for m in main_metrics(report)]
    lines += [f"  {line}" for line in aligned(HEAD[:4], rows, left=True)]
    return "\n".join([*lines, "", more(report)])


def more(report: "Report") -> str:
    """Where all numbers are."""
    return (
        f"null: without a gap, or with partners shuffled. All {len(report.metrics)} numbers: "
        "report.to_markdown() or report.to_frame(); on the command line, --out FOLDER."
    )


def as_markdown(report: "Report") -> str:
    """The verdict, the findings and notes, then one table per section."""
    lines = ["# Modality gap", "", "\n\n".join(map(escape_markdown, report.verdict)), "", "## Findings", ""]
    lines += [f"- {escape_markdown(line)}" for line in (*report.words, *report.notes)]
    for section, title in SECTIONS.items():
        chosen = [m for m in report.metrics if m.section == section]
        if chosen:
            lines += ["", f"## {title}", "", *markdown_table(HEAD, [cells(m, report.names) for m in chosen])]
    return "\n".join([*lines, "", LEGEND, ""])


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table; marks in the cells are escaped."""
    escaped = [tuple(map(escape_markdown, row)) for row in rows]
    return [f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *escaped)]


def escape_markdown(text: str) -> str:
    """The text with HTML and table marks escaped, and the marks of links and images; backticks are kept."""
    text = text.replace("&", "&amp;").replace("<", "&lt;")
    # In "[0.1, 0.2]" no link can start, because no "(" follows.
    return re.sub(r"\](?=[(\[:])", r"\\]", text).replace("|", "\\|")


def as_html(report: "Report") -> str:
    """The verdict, notes and main numbers as an HTML fragment, with all numbers folded; light and dark."""
    said = "".join(f"<p style='margin:.3em 0'>{html.escape(line)}</p>" for line in report.verdict)
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in report.notes)
    main = html_table(HEAD[:4], [cells(m, report.names)[:4] for m in main_metrics(report)])
    folded = "".join(
        f"<p style='margin:.8em 0 .2em'><b>{html.escape(title)}</b></p>"
        + html_table(HEAD, [cells(m, report.names) for m in report.metrics if m.section == section])
        for section, title in SECTIONS.items()
        if any(m.section == section for m in report.metrics)
    )
    return (
        "<div style='max-width:60em;overflow-x:auto'>"
        f"{said}{f'<ul>{notes}</ul>' if notes else ''}{main}"
        f"<details><summary>All {len(report.metrics)} numbers</summary>{folded}"
        f"<p style='opacity:.75'>{html.escape(LEGEND)}</p></details></div>"
    )


def html_table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """An HTML table without colours of its own, so that it is legible on light and dark pages."""
    line = "border-bottom:1px solid rgba(128,128,128,.4);padding:.2em .8em .2em 0;text-align:left"

    def cell(tag: str, text: str) -> str:
        return f"<{tag} style='{line}'>{html.escape(text)}</{tag}>"

    body = "".join(f"<tr>{''.join(cell('td', text) for text in row)}</tr>" for row in rows)
    top = "".join(cell("th", text) for text in head)
    return (
        "<table style='border-collapse:collapse;background:none'>"
        f"<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
    )


def as_frame(report: "Report") -> Any:
    """One row per number, indexed by its key.

    Raises:
        ValueError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError:
        raise ValueError(
            "to_frame needs pandas, which is not installed; run pip install pandas, or use to_dict()"
        ) from None
    rows = []
    for metric in report.metrics:
        row = dataclasses.asdict(metric)
        n, m = row.pop("rows")
        rows.append({**row, "label": label_of(metric.name, report.names), "rows_x": n, "rows_y": m})
    order = ["label", "value", "low", "high", "error", "null_mean", "null_sd", "p_value", "gap"]
    frame = pd.DataFrame(rows).set_index("name")
    return frame[order + [name for name in frame.columns if name not in order]]

"""The page of a report: verdict, size and significance apart, clouds, partners, rows far apart, settings."""

import platform
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ctflow.embeddings.diagnosis import charts, tables
from ctflow.embeddings.diagnosis.verdict import what_to_do
from ctflow.embeddings.diagnosis.view import Partners, View
from ctflow.pages.parts import Code, Folded, Page, Part, Section, Table
from ctflow.pages.skeleton import render
from ctflow.storage.provenance import versions

if TYPE_CHECKING:
    from ctflow.embeddings.diagnosis.report import Report

_FARTHEST = 15
_OWN = ("x", "y", "names", "rows", "d", "command", "correct")


def page(report: "Report", extra: Sequence[Section] = ()) -> str:
    """The report as one HTML page.

    Args:
        report: the diagnosis.
        extra: sections on corrections or causes, shown after those on clouds and partners.

    Raises:
        ValueError: Plotly is not installed.
    """
    a, b = report.names
    sections = [_gap(report), *_looks(report), *extra, *_details(report), _numbers(report), _settings(report)]
    return render(
        Page(
            title=f"Modality gap between {a} and {b}",
            lead=(*report.verdict[:2], what_to_do(report, next((s.finding for s in extra if s.finding), ""))),
            notes=report.notes,
            sections=tuple(sections),
            foot="Made by ctflow. This page holds all it needs and loads nothing.",
        )
    )


def _gap(report: "Report") -> Section:
    text = (
        "Size (first figure): the energy coefficient says how large the gap is; it does not grow "
        "with the number "
        "of rows. Significance (second figure): each distance is compared with its values without a "
        "gap; with "
        "enough rows, even a tiny gap is significant.",
    )
    parts = charts.size(report), charts.distances(report)
    return Section("How large is the gap, and is it more than chance?", text, parts, side_by_side=True)


def _looks(report: "Report") -> list[Section]:
    view = report.view
    if view is None:
        return []
    found = [
        Section(
            "What the two clouds look like",
            (_sampled(report, view),),
            (charts.clouds(report, view), charts.plane(report, view)),
            side_by_side=True,
        )
    ]
    if view.partners is not None:
        parts = charts.cosines(view.partners), charts.recall(report, view.partners)
        found.append(Section("Do partners find each other?", (), parts, side_by_side=True))
    return found


def _sampled(report: "Report", view: View) -> str:
    taken, total = (tuple(map(len, view.rows)), tuple(report.settings["rows"]))
    which = (
        "all rows"
        if taken == total
        else f"a random sample, {taken[0]} and {taken[1]} of {total[0]} and {total[1]} rows"
    )
    return f"These figures show {which}."


def _details(report: "Report") -> list[Section]:
    view = report.view
    if view is None:
        return []
    found = [Section("How many directions each modality uses", (), (charts.spectra(report, view),))]
    if view.partners is not None:
        found.append(_farthest(report, view, view.partners))
    return found


def _farthest(report: "Report", view: View, partners: Partners) -> Section:
    """The pairs with the lowest cosines."""
    a, b = report.names
    order = np.argsort(partners.cosine, kind="stable")[:_FARTHEST]
    rows = []
    for k in order.tolist():
        i, j = partners.positions[k]
        there, back = partners.rank[k].tolist()
        rows.append(
            (
                f"{view.rows[0][i]}",
                f"{view.rows[1][j]}",
                f"{partners.cosine[k]:.3f}",
                f"{there}",
                f"{back}",
                f"{view.rows[1][partners.nearest[k]]}",
            )
        )
    head = (
        f"row of {a}",
        f"row of {b}",
        "cosine",
        f"rank, {a} → {b}",
        f"rank, {b} → {a}",
        f"nearest row of {b}",
    )
    text = (
        "Wrong pairs, duplicates and empty items often show up here: look at these rows first. Row numbers "
        "start at 0. Rank 1 means that the partner is the nearest row of the other modality, among "
        f"{len(view.rows[1])} sampled rows of {b} and {len(view.rows[0])} of {a}.",
    )
    return Section("The rows farthest from their partners", text, (Table(head, rows),))


def _numbers(report: "Report") -> Section:
    parts: list[Part] = []
    for section, title in tables.SECTIONS.items():
        rows = [tables.cells(m, report.names) for m in report.metrics if m.section == section]
        meant = [
            (row[0], m.name, m.means)
            for row, m in zip(rows, (m for m in report.metrics if m.section == section), strict=True)
        ]
        if rows:
            parts += [Table(tables.HEAD, rows, caption=title), Table(("number", "key", "what it is"), meant)]
    main = [tables.cells(m, report.names)[:4] for m in tables.main_metrics(report)]
    folded = Folded(f"All {len(report.metrics)} numbers, and what each is", tuple(parts))
    return Section("The numbers", (tables.LEGEND,), (Table(tables.HEAD[:4], main), folded))


def _settings(report: "Report") -> Section:
    s, (a, b) = report.settings, report.names
    (n, m), d = s["rows"], s["d"]
    files = [(a, str(s["x"]), f"{n}", f"{d}"), (b, str(s["y"]), f"{m}", f"{d}")]
    chosen = [(key, "none" if value is None else str(value)) for key, value in s.items() if key not in _OWN]
    made = [("python", platform.python_version()), *versions().items()]
    given = [f"{key}={value!r}" for key, value in s.items() if key not in _OWN and value is not None]
    command = s.get("command") or f"ct.diagnose({a}, {b}, {', '.join(given)})"
    return Section(
        "Input, settings and how to repeat this",
        (),
        (
            Table(("modality", "file or array", "rows", "dimensions"), files),
            Code(command),
            Folded(
                "Settings and versions",
                (Table(("setting", "value"), chosen), Table(("package", "version"), made)),
            ),
        ),
    )

"""HTML of a page: one file that loads nothing, all text escaped, the same bytes for the same input."""

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files

from ctflow.pages.bundle import plotly_js
from ctflow.pages.parts import Code, Figure, Folded, Page, Part, Section, Table

__all__ = ["document", "embedded", "in_html", "render"]

_NUMBER = re.compile(r"^([-+−±\[]?\s?[0-9.].{0,24}|(yes|no) \(p = .*)$")


def render(page: Page) -> str:
    """The page as HTML.

    Only the page's own scripts run, since the policy lists their hashes, and it allows no request: neither
    markup in a name nor a link in a text can load or run anything.

    Raises:
        ValueError: Plotly is not installed, or a number in a figure is NaN or infinite.
    """
    own = files("ctflow.pages")
    style = (own / "page.css").read_text(encoding="utf-8")
    scripts = [plotly_js(), (own / "page.js").read_text(encoding="utf-8")] if page.figures else []
    content = {f.name: {"data": f.data, "layout": {**f.layout, "height": f.height}} for f in page.figures}
    lead = "".join(f"<p>{in_html(line)}</p>" for line in page.lead)
    notes = "".join(f"<li>{in_html(note)}</li>" for note in page.notes)
    body = [
        f"<h1>{html.escape(page.title)}</h1>",
        f'<div class="lead">{lead}</div>',
        f'<ul class="notes">{notes}</ul>' if notes else "",
        *(_section(section) for section in page.sections),
        f"<footer><p>{in_html(page.foot)}</p></footer>",
    ]
    return document(page.title, style, body, {"figures": content}, scripts)


def document(
    title: str, style: str, body: Sequence[str], data: Mapping[str, object], scripts: Sequence[str]
) -> str:
    """An HTML file that loads nothing: only the given scripts run, since the policy lists their hashes.

    Args:
        title: plain text.
        style: the style sheet.
        body: lines of HTML for the element `main`; text in them is escaped already.
        data: content for the scripts by the id of the element that holds it as JSON.
        scripts: sources of the scripts, which run in this order.

    Raises:
        ValueError: a number in `data` is NaN or infinite.
    """
    hashes = " ".join(f"'sha256-{_digest(script)}'" for script in scripts) or "'none'"
    policy = (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )
    *first, last = body
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{html.escape(policy)}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{html.escape(title)}</title>",
            f"<style>{style}</style></head><body><main>",
            *first,
            f"{last}</main>",
            *(
                f'<script type="application/json" id="{name}">{embedded(content)}</script>'
                for name, content in data.items()
            ),
            *(f"<script>{script}</script>" for script in scripts),
            "</body></html>",
            "",
        ]
    )


def embedded(content: object) -> str:
    """JSON that can stand inside a script element: no character of it can end the element."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    for mark in "<>&":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return text


def in_html(text: str) -> str:
    """Plain text as HTML; what stands between backticks becomes code."""
    return re.sub("`([^`]*)`", r"<code>\1</code>", html.escape(text))


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _section(section: Section) -> str:
    text = "".join(f"<p>{in_html(line)}</p>" for line in section.text)
    parts = "".join(map(_part, section.parts))
    if section.side_by_side:
        parts = f'<div class="pair">{parts}</div>'
    return f"<section><h2>{html.escape(section.title)}</h2>{text}{parts}</section>"


def _part(part: Part) -> str:
    if isinstance(part, Figure):
        return _figure(part)
    if isinstance(part, Table):
        return _table(part)
    if isinstance(part, Code):
        return f"<pre><code>{html.escape(part.text)}</code></pre>"
    assert isinstance(part, Folded)
    inside = "".join(map(_part, part.parts))
    return f"<details><summary>{html.escape(part.summary)}</summary>{inside}</details>"


def _figure(figure: Figure) -> str:
    buttons = "".join(
        f'<button type="button" data-figure="{figure.name}" '
        f'data-traces="{" ".join(map(str, toggle.traces))}" aria-pressed="false">'
        f"{html.escape(toggle.label)}</button>"
        for toggle in figure.toggles
    )
    caption = f"<figcaption>{in_html(figure.caption)}</figcaption>" if figure.caption else ""
    return (
        f'<figure><div class="buttons">{buttons}</div><div id="{figure.name}" class="plot" role="img" '
        f'aria-label="{html.escape(figure.described)}" style="height:{figure.height}px"></div>'
        f"{caption}</figure>"
    )


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{in_html(cell)}</th>' for cell in table.head)
    rows = []
    for number, row in enumerate(table.rows):
        cells = "".join(f"<td{_kind(cell)}>{in_html(cell)}</td>" for cell in row)
        rows.append(f"<tr{' class=marked' if number in table.marked else ''}>{cells}</tr>")
    caption = f"<caption>{in_html(table.caption)}</caption>" if table.caption else ""
    return (
        f'<div class="wide"><table>{caption}<thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _kind(cell: str) -> str:
    return " class=number" if _NUMBER.match(cell) else ""

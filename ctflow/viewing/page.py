"""The HTML of a view: panels, controls and charts, which the scripts beside it fill."""

import html
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from ctflow.pages.skeleton import document, in_html

_SCRIPTS = ("decode", "colors", "camera", "draw_gl", "draw_2d", "charts", "controls", "main")
"""Each adds its functions to one object, which the next ones use."""
_SPEEDS = (2, 5, 10, 20, 30, 60)
_SPEED = 10
_KEYS = (
    ("space", "play or pause"),
    ("← →", "one step back or on"),
    ("home, end", "first or last step"),
    ("shift + arrows", "turn"),
    ("+ −", "zoom"),
    ("0", "original view"),
)


def page(title: str, lead: Sequence[str], notes: Sequence[str], content: dict[str, Any]) -> str:
    """The page as HTML.

    Args:
        title: plain text.
        lead: sentences of plain text.
        notes: sentences on what is left out; `code` stands between backticks.
        content: of `ctflow.viewing.scene.scene`.
    """
    own = files("ctflow.viewing") / "page"
    style = (own / "view.css").read_text(encoding="utf-8")
    scripts = [(own / f"{name}.js").read_text(encoding="utf-8") for name in _SCRIPTS]
    body = [
        f"<h1>{html.escape(title)}</h1>",
        f'<p class="lead">{html.escape(" ".join(lead))}</p>',
        '<p id="problem" role="alert" hidden></p>',
        '<div class="stage">',
        f'<div class="panels panels-{len(content["runs"])}">{"".join(map(_panel, content["runs"], _numbers(content)))}</div>',
        '<div id="charts" class="charts"></div>',
        "</div>",
        _controls(content),
        f'<ul class="notes">{"".join(f"<li>{in_html(note)}</li>" for note in notes)}</ul>' if notes else "",
        _help(),
        "<footer>Made by ctflow. This page holds all it needs and loads nothing.</footer>",
    ]
    return document(title, style, body, {"scene": content}, scripts)


def _numbers(content: dict[str, Any]) -> range:
    return range(len(content["runs"]))


def _panel(run: dict[str, Any], number: int) -> str:
    label = html.escape(run["label"])
    caption = f"<figcaption><strong>{label}</strong> <span></span></figcaption>" if label else "<figcaption><span></span></figcaption>"
    described = html.escape(f"{run['label'] or 'The clouds'}: {', '.join(run['names'])}. Drag to turn, use the wheel to zoom.")
    return (
        f'<figure class="panel">{caption}<canvas id="panel-{number}" tabindex="0" role="img" '
        f'aria-label="{described}"></canvas></figure>'
    )


def _controls(content: dict[str, Any]) -> str:
    modes = "".join(
        f'<option value="{number}">{html.escape(mode["name"])}</option>' for number, mode in enumerate(content["modes"])
    )
    color = f'<label>Colour by <select id="mode"><option value="-1">cloud</option>{modes}</select></label>' if modes else ""
    speeds = "".join(f'<option{" selected" if s == _SPEED else ""} value="{s}">{s} steps per second</option>' for s in _SPEEDS)
    moving = max(len(run["clock"]) for run in content["runs"]) > 1
    player = (
        '<div class="player"><button type="button" id="play" aria-pressed="false">Play</button>'
        '<input type="range" id="frame" min="0" value="0" step="1" aria-label="Saved step">'
        '<output id="now" for="frame"></output></div>'
    )
    return (
        f'<section class="controls" aria-label="Controls"><div id="legend" class="legend"></div>'
        f"{player if moving else ''}"
        f'<div class="choices">{f"<label>Speed <select id=speed>{speeds}</select></label>" if moving else ""}{color}'
        '<button type="button" id="reset">Original view</button></div></section>'
    )


def _help() -> str:
    rows = "".join(f"<tr><td>{keys}</td><td>{what}</td></tr>" for keys, what in _KEYS)
    return (
        "<details><summary>Keys and mouse</summary><p>Drag to turn, use the wheel or two fingers to zoom, and click in "
        f'a chart to go to that step.</p><table><caption class="hidden">Keys</caption>{rows}</table></details>'
    )

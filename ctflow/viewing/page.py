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
    runs = content["runs"]
    panels = "".join(_panel(run, number) for number, run in enumerate(runs))
    said = "".join(f"<li>{in_html(note)}</li>" for note in notes)
    body = [
        f"<h1>{html.escape(title)}</h1>",
        f'<p class="lead">{html.escape(" ".join(lead))}</p>',
        '<p id="problem" role="alert" hidden></p>',
        f'<div class="stage"><div class="panels panels-{len(runs)}">{panels}</div>',
        '<div id="charts" class="charts"></div></div>',
        _controls(content),
        f'<ul class="notes">{said}</ul>' if notes else "",
        _help(),
        "<footer>Made by ctflow. This page holds all it needs and loads nothing.</footer>",
    ]
    return document(title, style, body, {"scene": content}, scripts)


def _panel(run: dict[str, Any], number: int) -> str:
    label = f"<strong>{html.escape(run['label'])}</strong> " if run["label"] else ""
    who = f"{run['label'] or 'The clouds'}: {', '.join(run['names'])}"
    described = f"{who}. Drag to turn, ctrl and the wheel to zoom."
    return (
        f'<figure class="panel"><figcaption>{label}<span></span></figcaption><div class="picture">'
        f'<canvas id="panel-{number}" tabindex="0" role="img" aria-label="{html.escape(described)}"></canvas>'
        "</div></figure>"
    )


def _controls(content: dict[str, Any]) -> str:
    """Legend, player and choices; without a player if there is one step only."""
    modes = [(-1, "cloud"), *((number, mode["name"]) for number, mode in enumerate(content["modes"]))]
    choices = [_choice("Colour by", "mode", modes, -1)] if len(modes) > 1 else []
    player = ""
    if max(len(run["clock"]) for run in content["runs"]) > 1:
        player = (
            '<div class="player"><button type="button" id="play" aria-pressed="false">Play</button>'
            '<input type="range" id="frame" min="0" value="0" step="1" aria-label="Saved step">'
            '<output id="now" for="frame"></output></div>'
        )
        speeds = [(speed, f"{speed} steps per second") for speed in _SPEEDS]
        choices.insert(0, _choice("Speed", "speed", speeds, _SPEED))
    return (
        '<section class="controls" aria-label="Controls"><div id="legend" class="legend"></div>'
        f'{player}<div class="choices">{"".join(choices)}'
        '<button type="button" id="reset">Original view</button></div></section>'
    )


def _choice(label: str, name: str, options: Sequence[tuple[int, str]], chosen: int) -> str:
    inside = "".join(
        f'<option value="{value}"{" selected" if value == chosen else ""}>{html.escape(text)}</option>'
        for value, text in options
    )
    return f'<label>{label} <select id="{name}">{inside}</select></label>'


def _help() -> str:
    rows = "".join(f"<tr><td>{keys}</td><td>{what}</td></tr>" for keys, what in _KEYS)
    return (
        "<details><summary>Keys and mouse</summary><p>Drag to turn, zoom by two fingers or ctrl and "
        'the wheel, and click in a chart to go to that step.</p><table><caption class="hidden">Keys</caption>'
        f"{rows}</table></details>"
    )

"""What a page is made of: sections of text, figures, tables and folded parts; text is plain, never markup."""

import re
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Toggle:
    """A button that shows or hides some curves of a figure."""

    label: str
    traces: tuple[int, ...]
    """Numbers of the curves in the figure's data; they start hidden (`"visible": False`)."""


@dataclass(frozen=True)
class Figure:
    """A figure as plotly.js takes it. Texts in `data` and `layout` go through `ctflow.pages.figures.safe`."""

    name: str
    """Identifier on the page: lower-case letters, digits and hyphens."""
    data: list[dict[str, Any]]
    layout: dict[str, Any]
    described: str
    """What the figure shows, for readers who cannot see it."""
    caption: str = ""
    height: int = 320
    toggles: tuple[Toggle, ...] = ()

    def __post_init__(self):
        if not re.fullmatch("[a-z][a-z0-9-]*", self.name):
            raise ValueError(f"name must have lower-case letters, digits and hyphens, got {self.name!r}")


@dataclass(frozen=True)
class Table:
    """A table of text; a cell that starts with a digit or a sign stays on one line."""

    head: tuple[str, ...]
    rows: list[tuple[str, ...]]
    caption: str = ""
    marked: tuple[int, ...] = ()
    """Rows to set in bold."""


@dataclass(frozen=True)
class Code:
    """A line to copy, such as a command."""

    text: str


@dataclass(frozen=True)
class Folded:
    """Parts that are shown once the reader opens them."""

    summary: str
    parts: "tuple[Part, ...]"


Part = Figure | Table | Code | Folded


@dataclass(frozen=True)
class Section:
    """A headline, sentences in plain text (`code` between backticks), and what follows them."""

    title: str
    text: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()
    finding: str = ""
    """What a reader should take away, to be said in the lead: a part of a sentence without a full stop."""
    side_by_side: bool = False
    """Whether the parts stand beside each other where the screen is wide enough."""


@dataclass(frozen=True)
class Page:
    """A whole page."""

    title: str
    lead: tuple[str, ...]
    """The sentences that a reader needs who reads nothing else."""
    notes: tuple[str, ...] = ()
    sections: tuple[Section, ...] = ()
    foot: str = ""
    figures: tuple[Figure, ...] = field(init=False, default=())

    def __post_init__(self):
        found = tuple(figure for s in self.sections for figure in _figures(s.parts))
        names = [figure.name for figure in found]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"figures of one page must have different names, got {', '.join(twice)} twice")
        object.__setattr__(self, "figures", found)


def _figures(parts: tuple[Part, ...]) -> list[Figure]:
    found = []
    for part in parts:
        found += (
            [part] if isinstance(part, Figure) else _figures(part.parts) if isinstance(part, Folded) else []
        )
    return found

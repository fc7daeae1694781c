"""Which columns of a table are rows of embeddings: one column of lists, or many columns of numbers."""

import re
from collections.abc import Iterable
from typing import NamedTuple

_NUMBERED = re.compile(r"(.*?)[_\-. \[(]*([0-9]+)[\])]?", re.DOTALL)
UNNAMED = "columns"
"""What a table of columns whose names are numbers, or have nothing in common, is called."""


class Group(NamedTuple):
    """Columns that together hold one row per record."""

    name: str
    columns: tuple[str, ...]


def numbered(names: Iterable[str]) -> list[Group]:
    """Columns whose names differ in a final number, such as `emb_0` to `emb_511`, in the order of numbers."""
    stems: dict[str, dict[int, str]] = {}
    for name in names:
        if match := _NUMBERED.fullmatch(name):
            stems.setdefault(match[1], {}).setdefault(int(match[2][:18]), name)
    return [
        Group(stem or UNNAMED, tuple(members[number] for number in sorted(members)))
        for stem, members in stems.items()
        if len(members) > 1
    ]


def groups(kinds: dict[str, str], numbers: tuple[str, ...]) -> list[Group]:
    """Groups of columns that may be rows: numbered columns of one kind, or else all columns of one kind.

    Args:
        kinds: the kind of each column.
        numbers: the kinds that are numbers, the preferred ones first; a group of the first kind that has any
            is chosen.
    """
    for kind in numbers:
        mine = [name for name, its in kinds.items() if its == kind]
        if found := numbered(mine):
            return found
    for kind in numbers:
        mine = [name for name, its in kinds.items() if its == kind]
        if len(mine) > 1:
            return [Group(UNNAMED, tuple(mine))]
    return []

"""What readers of text share: rows are decoded once, block by block, into an array of bounded size."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np

from ctflow.embeddings.readers import parts
from ctflow.embeddings.readers.parts import check_whole, choose
from ctflow.embeddings.readers.tables import groups, numbered

LINE = 1 << 24
"""Largest number of characters in a line or a record; the numbers of a row need far fewer."""


class Decoded:
    """Rows [n, d] of text, decoded into blocks of float64 numbers. They may be integers of an int8 or uint8.

    Text does not say in which precision its numbers were computed, so float64 keeps every digit.
    """

    def __init__(self, path: Path, column: str, rows: Iterable[np.ndarray]):
        """Decode the rows.

        Args:
            path: the file.
            column: name of the column, used in messages.
            rows: the rows [d]; each is copied.

        Raises:
            ValueError: the rows differ in length, or would take too much memory.
        """
        self.name, self.dtype = str(path), np.dtype(np.float64)
        self._blocks: list[np.ndarray] = []
        stored, count, height = path.stat().st_size, 0, 1
        width = None
        for row in rows:
            if width is None:
                width = len(row)
                height = max(1, parts.BLOCK_BYTES // max(1, 8 * width))
            if len(row) != width:
                raise ValueError(
                    f"{self.name} must hold rows of one length in {column!r}: row {count} has length "
                    f"{len(row)}, but the first row has {width}; drop such rows"
                )
            if count % height == 0:
                total = (count + height) * width * 8
                remedy = "save it with np.save, which is read piece by piece"
                check_whole(self.name, "its text", total, stored, remedy)
                self._blocks.append(np.empty((height, width)))
            self._blocks[-1][count % height] = row
            count += 1
        self.shape = (count, width or 0)
        self._height = height
        if count:
            self.dtype = np.dtype(self._precision(count))

    def _precision(self, count: int) -> str:
        """`int8` or `uint8` if all numbers are integers of that range, as in quantised embeddings."""
        filled = [block[: count - i * self._height] for i, block in enumerate(self._blocks)]
        if any((block != np.rint(block)).any() for block in filled):
            return "float64"
        low, high = min(block.min() for block in filled), max(block.max() for block in filled)
        if -128 <= low < -1 and high <= 127:
            return "int8"
        return "uint8" if low >= 0 and 127 < high <= 255 else "float64"

    def read(self, rows: np.ndarray, out: np.ndarray) -> None:
        """Write the rows into out [k, d]."""
        cuts = np.searchsorted(rows, self._height * np.arange(len(self._blocks) + 1))
        for number, block in enumerate(self._blocks):
            mine = slice(cuts[number], cuts[number + 1])
            out[mine] = block[rows[mine] - number * self._height]

    def close(self) -> None:
        """Do nothing: no file is open, and decoded rows are kept, because text is slow to decode again."""


class Chosen(NamedTuple):
    """The columns that hold the rows."""

    name: str
    columns: tuple[str, ...]
    lists: bool
    """Whether there is one column, with a list per record."""


def choose_columns(
    path: Path, kinds: dict[str, str], lengths: dict[str, int | str], column: str | None
) -> Chosen:
    """Choose the column of lists, or the columns of numbers, that hold the rows.

    Args:
        path: the file.
        kinds: what each column holds: `list`, `number`, `integer`, or anything else.
        lengths: the length of the lists in each column of lists, for messages.
        column: the column that is asked for; for many columns `emb_0`, `emb_1`, …, their stem `emb`.

    Raises:
        ValueError: the choice is not unique, or the columns hold no numbers.
    """
    wide = {} if column in kinds else _groups(kinds)
    if "list" in kinds.values() and column not in wide:
        wide = {}
    inside = {name for members in wide.values() for name in members}
    found: dict[str, tuple[tuple[Any, ...], str]] = {
        name: (("?", lengths[name]), "float64") if kind == "list" else (("?",), kind)
        for name, kind in kinds.items()
        if name not in inside
    }
    found |= {name: (("?", len(members)), "float64") for name, members in wide.items()}
    key = choose(str(path), found, column)
    if len(found[key][0]) < 2:
        raise ValueError(
            f"{path} must hold lists of numbers in column {key!r}, got {found[key][1]}; name another column "
            "with column=... (--column)"
        )
    return Chosen(key, wide.get(key, (key,)), key not in wide)


def _groups(kinds: dict[str, str]) -> dict[str, tuple[str, ...]]:
    """Columns of numbers that together may be rows. A first column of integers before others is an index."""
    named = {name: kind for name, kind in kinds.items() if name and not name.startswith("Unnamed: ")}
    names = list(named)
    if len(names) > 2 and named[names[0]] == "integer" and set(map(named.get, names[1:])) == {"number"}:
        del named[names[0]]
    # A column of a numbered group may hold only integers, such as zeros.
    merged = {name: "number" if kind == "integer" else kind for name, kind in named.items()}
    found = groups(merged, ("number",))
    if len(found) == 1 and not numbered(found[0].columns):
        found = groups(named, ("number", "integer"))
    fractions = [group for group in found if any(named[name] == "number" for name in group.columns)]
    return {group.name: group.columns for group in fractions or found}


def lines(file: TextIO) -> Iterator[str]:
    """The lines of a text file.

    Raises:
        ValueError: a line is too long.
    """
    while line := file.readline(LINE):
        if len(line) == LINE:
            raise ValueError(f"a line has more than {LINE} characters")
        yield line


def numbers(cells: Any, row: int) -> np.ndarray:
    """Cells of text or numbers as a row [d].

    Raises:
        ValueError: a cell is no number.
    """
    try:
        return np.fromiter(map(float, cells), float, len(cells))
    except (TypeError, ValueError):
        bad = next(cell for cell in cells if not is_number(cell))
        raise ValueError(f"row {row} holds {_shown(bad)}, which is no number; drop such rows") from None


def is_number(cell: Any) -> bool:
    """Whether a cell is a number; text such as "1.5" is one, and true and null are none."""
    if isinstance(cell, bool):
        return False
    try:
        float(cell)
    except (TypeError, ValueError):
        return False
    return True


def _shown(cell: Any) -> str:
    text = "null" if cell is None or cell == "" else repr(cell)
    return text if len(text) <= 40 else f"{text[:37]}..."

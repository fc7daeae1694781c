"""One JSON object that holds all rows, in one list of lists per member, as a dict of arrays is dumped."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from ctflow.embeddings.readers import parts
from ctflow.embeddings.readers.json_text import Text
from ctflow.embeddings.readers.text import is_number, numbers
from ctflow.storage.reading import readable

_KIND = "file of one JSON object"


class Object:
    """The members of the object. They are decoded anew whenever they are read."""

    def __init__(self, path: Path, found: dict[str, tuple[tuple[int, ...], str]]):
        self._path, self._found = path, found

    @classmethod
    def of(cls, path: Path) -> "Object | None":
        """The object in a file; None if the file does not begin with an object that holds lists of rows.

        Raises:
            ValueError: the object is damaged, or there is something after it.
        """
        try:
            if not any(_is_table(elements) for _, elements in _members(path)):
                return None
        except ValueError:  # the reader of lines says what is wrong
            return None
        with readable(str(path), _KIND):
            found = {}
            for key, elements in _members(path):
                if key in found:
                    raise ValueError(f"it holds {key!r} twice")
                found[key] = _shape(elements)
            return cls(path, found)

    def choose(self, column: str | None) -> str:
        """The name of the member with the rows.

        Raises:
            ValueError: there is no such member, or the choice is not unique.
        """
        key = parts.choose(str(self._path), self._found, column)
        if len(self._found[key][0]) != 2:
            raise ValueError(
                f"{self._path} must hold lists of numbers in {key!r}, got {self._found[key][1]}; name "
                "another member with column=... (--column)"
            )
        return key

    def rows(self, key: str) -> Iterator[np.ndarray]:
        """Yield the rows [d] of one member."""
        with readable(str(self._path), _KIND):
            for row, value in enumerate(self._values(key)):
                if not isinstance(value, list):
                    raise ValueError(f"row {row} of {key!r} is no list; drop such rows")
                yield numbers(value, row)

    def ids(self, name: str) -> list[Any]:
        """The elements of one member, which are ids.

        Raises:
            ValueError: there is no such member.
        """
        key = parts.choose(str(self._path), self._found, name)
        with readable(str(self._path), _KIND):
            return list(self._values(key))

    def _values(self, key: str) -> Iterator[Any]:
        """Yield the elements of one member; a member that is no list has none."""
        return chain.from_iterable(elements for name, elements in _members(self._path) if name == key)


def _members(path: Path) -> Iterator[tuple[str, Iterator[Any]]]:
    """Yield the name of each member with an iterator of its elements, which is used up before the next.

    Raises:
        ValueError: the file is no single object.
    """
    with open(path, encoding="utf-8-sig") as file:
        text = Text(file)
        if not text.skip("{"):
            raise ValueError("it does not begin with an object")
        while not text.skip("}"):
            key = text.element()
            if not isinstance(key, str) or not text.skip(":"):
                raise ValueError("a member has no name")
            elements = _elements(text)
            yield key, elements
            for _ in elements:
                pass
            if not text.skip(",") and text.following() != "}":
                raise ValueError(f"{key!r} is not followed by a comma or the end")
        if text.following():
            raise ValueError("there is something after the object")


def _elements(text: Text) -> Iterator[Any]:
    """Yield the elements of a list, one at a time; another value is decoded and has no elements."""
    if not text.skip("["):
        text.element()
        return
    while not text.skip("]"):
        yield text.element()
        if not text.skip(",") and text.following() != "]":
            raise ValueError("an element of a list is not followed by a comma or its end")


def _is_table(elements: Iterator[Any]) -> bool:
    """Whether the list begins with two rows of numbers; one row may be that of one record."""
    return _is_row(next(elements, None)) and _is_row(next(elements, None))


def _is_row(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(map(is_number, value))


def _shape(elements: Iterator[Any]) -> tuple[tuple[int, ...], str]:
    """Shape and kind of a member."""
    first: Any = next(elements, None)
    count = sum(1 for _ in elements) + (first is not None)
    if isinstance(first, list) and _is_row(first):
        return (count, len(first)), "float64"
    return (count,), "no rows"

"""Reader of JSON: one object or list per line (.jsonl, .ndjson), or one array of them (.json).

A .json may also be one object that holds all rows, such as {"image": [[…], …], "text": [[…], …]}.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from ctflow.embeddings.readers.json_objects import Object
from ctflow.embeddings.readers.json_text import CHUNK, SPACE, Text
from ctflow.embeddings.readers.text import Decoded, choose_columns, is_number, lines, numbers
from ctflow.storage.reading import readable

_KIND = "file of JSON objects or lists, one per line or in one array"


def json_lines(path: Path, column: str | None) -> Decoded:
    """Decode the rows of a JSON file: a list per record, or an object with a list or with many numbers.

    Raises:
        ValueError: no members, or several, of the objects may be the rows; or a record is damaged.
    """
    if (whole := whole_object(path)) is not None:
        key = whole.choose(column)
        return Decoded(path, key, whole.rows(key))
    first = next(records(path), None)
    if first is None:
        raise ValueError(f"{path} must have n >= 2 rows, got none")
    if isinstance(first, list):
        if column is not None:
            raise ValueError(f"{path} holds lists without a name, got column {column!r}; leave column out")
        name, members = "lists", ()
    else:
        if first and all(isinstance(value, dict) or _is_table(value) for value in first.values()):
            raise ValueError(
                f"{path} must hold one object or list per row, got one object with all rows inside; write it "
                "with to_json(path, orient='records', lines=True)"
            )
        kinds = {key: _kind(value) for key, value in first.items()}
        lengths = {key: len(value) for key, value in first.items() if isinstance(value, list)}
        name, members, _ = choose_columns(path, kinds, lengths, column)
    return Decoded(path, name, _rows(path, members))


def whole_object(path: Path) -> Object | None:
    """The one object of a .json that holds all rows in lists of lists; None if this is another file.

    Raises:
        ValueError: the file is damaged.
    """
    with readable(str(path), _KIND):
        return Object.of(path) if path.suffix.lower() == ".json" else None


def records(path: Path) -> Iterator[dict[str, Any] | list[Any]]:
    """The objects or lists of the file, one by one.

    Raises:
        ValueError: the file is damaged, or holds anything else.
    """
    with readable(str(path), _KIND), open(path, encoding="utf-8-sig") as file:
        found = _array(file) if path.suffix.lower() == ".json" and _is_array(file) else _by_line(file)
        for number, record in enumerate(found):
            if not isinstance(record, dict | list):
                raise ValueError(f"record {number} is {str(record)[:40]!r}")
            yield record


def _is_array(file: TextIO) -> bool:
    """Whether the file is one array of objects or lists; the position is reset."""
    start = file.read(CHUNK).lstrip(SPACE)
    file.seek(0)
    return start[:1] == "[" and start[1:].lstrip(SPACE)[:1] in ("{", "[", "]")


def _by_line(file: TextIO) -> Iterator[Any]:
    for number, line in enumerate(lines(file), start=1):
        if line.strip():
            try:
                yield json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"line {number}: {error.msg} at character {error.colno}") from None


def _array(file: TextIO) -> Iterator[Any]:
    """The elements of one array, decoded one at a time."""
    text = Text(file)
    text.skip("[")
    while not text.skip("]"):
        yield text.element()
        if not text.skip(",") and text.following() != "]":
            raise ValueError("an element of the array is not followed by a comma or its end")
    if text.following():
        raise ValueError("there is something after the array")


def _kind(value: Any) -> str:
    if isinstance(value, list) and value and (all(map(is_number, value)) or _is_single(value)):
        return "list"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "integer" if isinstance(value, int) else "number"
    return {str: "text", dict: "object", list: "list of other things"}.get(type(value), "null or Boolean")


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 1 and all(isinstance(row, list) for row in value)


def _is_single(value: Any) -> bool:
    """Whether this is a list of one list, as frameworks return for one input."""
    return isinstance(value, list) and len(value) == 1 and isinstance(value[0], list)


def _rows(path: Path, members: tuple[str, ...]) -> Iterator[np.ndarray]:
    for row, record in enumerate(records(path)):
        value: Any = record
        if members:
            if not isinstance(record, dict) or any(name not in record for name in members):
                raise ValueError(f"{path} must hold {members[0]!r}: record {row} has none; drop such records")
            value = [record[name] for name in members]
            value = value[0] if len(members) == 1 else value
        value = value[0] if _is_single(value) else value
        if not isinstance(value, list):
            raise ValueError(f"{path} must hold lists: row {row} is none; drop such rows")
        try:
            yield numbers(value, row)
        except ValueError as error:
            raise ValueError(f"{path} must hold numbers: {error}") from None

"""Reader of a column of ids in an Arrow file: plain values, or a dictionary, as pandas writes categories."""

from pathlib import Path
from typing import Any

import numpy as np

from ctflow.embeddings.readers.arrow import ArrowFile
from ctflow.embeddings.readers.arrow_messages import Dictionary, dictionaries, dictionary_ids
from ctflow.embeddings.readers.id_arrays import REMEDY
from ctflow.embeddings.readers.parts import check_held, extra


def values(path: Path, name: str) -> list[Any]:
    """The values of one column of an Arrow file.

    Raises:
        ValueError: there is no such column, or it is damaged or too large.
    """
    file = ArrowFile(path)
    if name not in file.schema.names:
        raise ValueError(f"{path} has no column {name!r}; it holds {', '.join(file.schema.names[:8])}")
    encoded = str(file.schema.field(name).type).startswith("dictionary")
    categories = _Categories(path, file, name) if encoded else None
    found, total = [], 0
    for number in range(len(file.counts)):
        column = file.batch(number, (name,)).column(name)
        check_held(str(path), "the ids", total := total + _viewed(column), REMEDY)
        plain = column.to_pylist()
        found += plain if categories is None else categories.of(number, plain)
    return found


def _viewed(column: Any) -> int:
    """Bytes of text in a column of views, many of which may share one long text; 0 for other columns."""
    if str(column.type) not in ("string_view", "binary_view"):
        return 0
    lengths = np.frombuffer(column.buffers()[1], "<i4")[::4]
    return int(lengths[column.offset : column.offset + len(column)].sum(dtype=np.int64))


class _Categories:
    """The dictionary of one column. A stream may replace it, or add to it, before any record batch."""

    def __init__(self, path: Path, file: ArrowFile, name: str):
        self._arrow = extra("pyarrow", "parquet", str(path))
        self._name, self._file, self._schema = str(path), file, self._arrow.schema([file.schema.field(name)])
        with file.readable(), open(path, "rb") as raw:
            size = path.stat().st_size
            mine = dictionary_ids(raw, size)[file.schema.get_field_index(name)]
            self._all = [each for each in dictionaries(raw, size) if each.id == mine]
        for each in self._all:
            file.check("a dictionary", each.values)
        self._known: list[Dictionary] = []
        self._values: list[Any] = []

    def of(self, number: int, indices: list[int | None]) -> list[Any]:
        """The values in record batch `number` by their indices; None stays None."""
        needed = self._before(number)
        if needed != self._known:
            self._check(sum(each.values.unpacked for each in needed))
            with self._file.readable():
                entries = self._decoded(needed)
            self._check(_viewed(entries))
            self._values, self._known = entries.to_pylist(), needed
        count = len(self._values)
        bad = next((i for i in indices if i is not None and not 0 <= i < count), None)
        if bad is not None:
            raise ValueError(f"{self._name} must have indices in [0, {count}) of its dictionary, got {bad}")
        return [None if i is None else self._values[i] for i in indices]

    def _before(self, number: int) -> list[Dictionary]:
        """The last whole dictionary that is valid for a record batch, and what is added to it."""
        start = self._file.start(number)
        found = self._all if self._file.is_file else [d for d in self._all if d.values.start < start]
        whole = [i for i, each in enumerate(found) if not each.is_delta]
        return found[whole[-1] if whole else 0 :]

    def _check(self, size: int) -> None:
        check_held(self._name, "a dictionary", size, REMEDY)

    def _decoded(self, found: list[Dictionary]) -> Any:
        """The entries, decoded in a stream of this column alone, whose only record batch is empty."""
        stream = self._schema.serialize().to_pybytes()
        for each in found:
            message = self._file.message(each.values).tobytes()
            # A schema of one column has the dictionary 0.
            end = each.place + 8 if each.place else 0
            stream += message[: each.place] + bytes(end - each.place) + message[end:]
        kind, array = self._schema.field(0).type, self._arrow.array
        empty = self._arrow.DictionaryArray.from_arrays(
            array([], kind.index_type), array([], kind.value_type), ordered=kind.ordered
        )
        stream += self._arrow.record_batch([empty], schema=self._schema).serialize().to_pybytes()
        batch = self._arrow.ipc.open_stream(stream).read_next_batch()
        dictionary = batch.column(0).dictionary
        dictionary.validate(full=True)
        return dictionary

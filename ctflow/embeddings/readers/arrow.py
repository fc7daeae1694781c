"""Reader of Arrow IPC files and streams: .arrow, .feather, and the files of `datasets.save_to_disk`."""

from pathlib import Path
from typing import Any

import numpy as np

from ctflow.embeddings.readers.arrow_messages import MAGIC, batches
from ctflow.embeddings.readers.lists import choose_columns, refusal, rows_of
from ctflow.embeddings.readers.parts import check_piece, extra, spans
from ctflow.storage.reading import readable

_REMEDY = "write it in smaller record batches"
_OLD = b"FEA1"


class Arrow:
    """Rows in an Arrow IPC file or stream, decoded one record batch at a time; the last one is kept.

    The sizes of a batch are checked before it is decoded, and the offsets in it before they are used.
    """

    def __init__(self, path: Path, column: str | None):
        self.name, self._path = str(path), path
        self._arrow = extra("pyarrow", "parquet", self.name)
        size = path.stat().st_size
        with self._readable(), open(path, "rb") as file:
            if file.read(4) == _OLD:
                raise ValueError("it is of Feather version 1; write it with version 2")
            file.seek(0)
            self._batches = list(batches(file, size))
        for number, batch in enumerate(self._batches):
            most = max(batch.size, batch.unpacked)
            check_piece(self.name, f"record batch {number}", most, size, _REMEDY)
        counts = [batch.rows for batch in self._batches]
        self._starts = np.cumsum([0, *counts])
        with self._readable():
            schema = self._schema()
            self._head = self._arrow.schema([_plain(self._arrow, field) for field in schema]).serialize()
        n = sum(counts)
        self._chosen = choose_columns(self.name, {f.name: f.type for f in schema}, n, column)
        self._fields = [schema.get_field_index(name) for name in self._chosen.columns]
        self.dtype, self._at, self._block = self._chosen.dtype, 0, np.empty((0, 0))
        filled = np.flatnonzero(counts)
        self.shape = (n, self._decoded(int(filled[0]), None).shape[1] if len(filled) else 0)
        self.close()

    def _readable(self) -> Any:
        return readable(self.name, "Arrow file", self._arrow.ArrowException, KeyError, NotImplementedError)

    def _schema(self) -> Any:
        with open(self._path, "rb") as file:
            is_file = file.read(len(MAGIC)) == MAGIC
        with self._arrow.OSFile(str(self._path)) as file:
            return (self._arrow.ipc.open_file if is_file else self._arrow.ipc.open_stream)(file).schema

    def _batch(self, number: int) -> Any:
        """One record batch, as the only one of a stream."""
        wanted = self._batches[number]
        with open(self._path, "rb") as file:
            file.seek(wanted.start)
            found = file.read(wanted.size)
        options = self._arrow.ipc.IpcReadOptions(use_threads=False, included_fields=self._fields)
        stream = self._arrow.py_buffer(self._head.to_pybytes() + found)
        batch = self._arrow.ipc.open_stream(stream, options=options).read_next_batch()
        # The offsets in a file may point anywhere.
        batch.validate(full=True)
        if len(batch) != wanted.rows:
            raise ValueError("a record batch has another length than it states")
        return batch

    def _decoded(self, number: int, d: int | None) -> np.ndarray:
        """The rows of one batch."""
        with self._readable():
            batch = self._batch(number)
        return rows_of(self._chosen, batch, d, self._refusal)

    def _refusal(self, row: int, fault: str) -> ValueError:
        return refusal(self.name, self._chosen.name, self._at + row, fault)

    def read(self, rows: np.ndarray, out: np.ndarray) -> None:
        """Write the rows into out [k, d]."""
        done = 0
        for first, stop in spans(rows):
            while first < stop:
                if not self._at <= first < self._at + len(self._block):
                    number = int(np.searchsorted(self._starts, first, side="right")) - 1
                    self._block, self._at = self._block[:0], int(self._starts[number])
                    self._block = self._decoded(number, self.shape[1])
                piece = self._block[first - self._at : stop - self._at]
                out[done : done + len(piece)] = piece
                first, done = first + len(piece), done + len(piece)

    def close(self) -> None:
        """Drop the decoded batch; no file is open between two reads."""
        self._at, self._block = 0, np.empty((0, self.shape[1]), self.dtype)


def _plain(arrow: Any, field: Any) -> Any:
    """A field without dictionaries: their indices are stored like any integers, and are never looked up."""
    kind = field.type
    return field.with_type(kind.index_type) if arrow.types.is_dictionary(kind) else field

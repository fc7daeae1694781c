"""Reader of Arrow IPC files and streams: .arrow, .feather, and the files of `datasets.save_to_disk`."""

from pathlib import Path
from typing import Any

import numpy as np

from ctflow.embeddings.readers.arrow_messages import MAGIC, Batch, batches
from ctflow.embeddings.readers.lists import choose_columns, refusal, rows_of
from ctflow.embeddings.readers.parts import check_piece, extra, spans
from ctflow.storage.reading import readable

_REMEDY = "write it in smaller record batches"
_OLD = b"FEA1"


class ArrowFile:
    """The record batches of an Arrow IPC file or stream; their sizes are checked when it is opened."""

    def __init__(self, path: Path):
        self.name, self._path = str(path), path
        self._arrow = extra("pyarrow", "parquet", self.name)
        size = path.stat().st_size
        with self.readable(), open(path, "rb") as file:
            start = file.read(len(MAGIC))
            if start.startswith(_OLD):
                raise ValueError("it is of Feather version 1; write it with version 2")
            self.is_file = start == MAGIC
            self._batches = list(batches(file, size))
        for number, batch in enumerate(self._batches):
            self.check(f"record batch {number}", batch)
        self.counts = [batch.rows for batch in self._batches]
        with self.readable():
            self.schema = self._schema()
            plain = [_plain(self._arrow, field) for field in self.schema]
            self._head = self._arrow.schema(plain).serialize().to_pybytes()

    def readable(self) -> Any:
        """Turn errors of Arrow into refusals."""
        return readable(self.name, "Arrow file", self._arrow.ArrowException, KeyError, NotImplementedError)

    def _schema(self) -> Any:
        with self._arrow.OSFile(self.name) as file:
            return (self._arrow.ipc.open_file if self.is_file else self._arrow.ipc.open_stream)(file).schema

    def check(self, what: str, batch: Batch) -> None:
        """Raise ValueError if a batch unpacks to too much."""
        most = max(batch.size, batch.unpacked)
        check_piece(self.name, what, most, self._path.stat().st_size, _REMEDY)

    def start(self, number: int) -> int:
        """Position of a record batch in the file."""
        return self._batches[number].start

    def message(self, batch: Batch, head: bytes = b"") -> np.ndarray:
        """These bytes, followed by the message of a batch."""
        stream: Any = np.empty(len(head) + batch.size, np.uint8)
        stream[: len(head)] = np.frombuffer(head, np.uint8)
        with open(self._path, "rb") as file:
            file.seek(batch.start)
            if file.readinto(memoryview(stream)[len(head) :]) < batch.size:
                raise ValueError("it ends early and was cut after it was opened")
        return stream

    def batch(self, number: int, columns: tuple[str, ...]) -> Any:
        """Some columns of one record batch, which is decoded as the only one of a stream."""
        wanted = self._batches[number]
        fields = [self.schema.get_field_index(name) for name in columns]
        with self.readable():
            stream = self.message(wanted, self._head)
            options = self._arrow.ipc.IpcReadOptions(use_threads=False, included_fields=fields)
            source = self._arrow.py_buffer(stream)
            batch = self._arrow.ipc.open_stream(source, options=options).read_next_batch()
            # The offsets in a file may point anywhere.
            batch.validate(full=True)
            if len(batch) != wanted.rows:
                raise ValueError("a record batch has another length than it states")
        return batch


class Arrow:
    """Rows in an Arrow IPC file or stream, decoded one record batch at a time; the last one is kept."""

    def __init__(self, path: Path, column: str | None):
        self.name, self._file = str(path), ArrowFile(path)
        counts, types = self._file.counts, {field.name: field.type for field in self._file.schema}
        self._starts = np.cumsum([0, *counts])
        self._chosen = choose_columns(self.name, types, sum(counts), column)
        self.dtype, self._at, self._block = self._chosen.dtype, 0, np.empty((0, 0))
        filled = np.flatnonzero(counts)
        width = self._decoded(int(filled[0]), None).shape[1] if len(filled) else 0
        self.shape = (sum(counts), width)
        self.close()

    def _decoded(self, number: int, d: int | None) -> np.ndarray:
        """The rows of one batch."""
        return rows_of(self._chosen, self._file.batch(number, self._chosen.columns), d, self._refusal)

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

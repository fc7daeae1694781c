"""The record batches of an Arrow IPC stream or file, and the sizes to which they unpack when decoded.

A message is a FlatBuffers table, followed by a body. pyarrow decodes a compressed body without a limit, so
the sizes that the body states for its buffers are read here. Dictionaries are needed only for ids.
"""

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

MAGIC = b"ARROW1"
_ENDING = 4 + len(MAGIC)  # the length of a file's footer, and the magic word
_PREFIX = 8  # a mark, and the length of a header
_MARK = b"\xff\xff\xff\xff"
_MOST_BYTES = 1 << 24
_SCHEMA, _DICTIONARY, _BATCH = 1, 2, 3
# Field numbers in the tables Message, RecordBatch, DictionaryBatch, Footer, Schema and Field.
_KIND, _HEADER, _BODY = 1, 2, 3
_LENGTH, _BUFFERS, _COMPRESSION = 0, 2, 3
_ID, _DATA, _IS_DELTA = 0, 1, 2
_FOOTERS_SCHEMA, _BLOCKS = 1, {_DICTIONARY: 2, _BATCH: 3}
_FIELDS, _ENCODING = 1, 4


class Batch(NamedTuple):
    """A record batch that is not decoded yet."""

    start: int
    """Position of its message in the file."""
    size: int
    """Bytes of the message with its body."""
    rows: int
    unpacked: int
    """Bytes of the body after decompression."""


class Dictionary(NamedTuple):
    """A message with the values of a dictionary, or with more values for it."""

    values: Batch
    id: int
    place: int
    """Position of the id in the message; 0 if the message leaves it out because it is 0."""
    is_delta: bool


def batches(file: Any, size: int) -> Iterator[Batch]:
    """Yield the record batches of an IPC stream or file of `size` bytes, in order.

    Raises:
        ValueError: a message is damaged or cut short, or the end mark is missing.
    """
    for header, start, whole in _messages(file, size, _BATCH):
        yield _batch(file, header.table(_HEADER), header.long(_BODY), start, whole)


def dictionaries(file: Any, size: int) -> Iterator[Dictionary]:
    """Yield the dictionaries, as `batches` does."""
    for header, start, whole in _messages(file, size, _DICTIONARY):
        found = header.table(_HEADER)
        batch = _batch(file, found.table(_DATA), header.long(_BODY), start, whole)
        place = found.place(_ID)
        yield Dictionary(batch, found.long(_ID), place and place + _PREFIX, found.byte(_IS_DELTA) > 0)


def dictionary_ids(file: Any, size: int) -> list[int | None]:
    """For each column, the id of its dictionary, or None if it has none.

    Raises:
        ValueError: the schema is damaged.
    """
    file.seek(0)
    if file.read(len(MAGIC)) == MAGIC:
        schema = _footer(file, size).table(_FOOTERS_SCHEMA)
    else:
        header, _ = _header(file, 0, size)
        if header is None or header.byte(_KIND) != _SCHEMA:
            raise ValueError("it does not begin with a schema")
        schema = header.table(_HEADER)
    fields = schema.tables(_FIELDS)
    return [field.table(_ENCODING).long(_ID) if field.has(_ENCODING) else None for field in fields]


def _messages(file: Any, size: int, kind: int) -> Iterator[tuple["_Table", int, int]]:
    """Yield the header, position and size of the messages of a kind, in order."""
    file.seek(0)
    if file.read(len(MAGIC)) == MAGIC:
        for start, *_ in _footer(file, size).structures(_BLOCKS[kind], "<qiiq"):
            header, whole = _header(file, start, size)
            if header is None or header.byte(_KIND) != kind:
                raise ValueError("its footer does not point to record batches")
            yield header, start, whole
        return
    at = 0
    while True:
        header, whole = _header(file, at, size)
        if header is None:
            return
        if header.byte(_KIND) == kind:
            yield header, at, whole
        at += whole


def _footer(file: Any, size: int) -> "_Table":
    """The footer of a file."""
    file.seek(max(size - _ENDING, 0))
    ending = file.read(_ENDING)
    length = int.from_bytes(ending[:4], "little")
    if ending[4:] != MAGIC or not 0 < length <= min(size - _ENDING, _MOST_BYTES):
        raise ValueError("it is cut short or has no footer")
    file.seek(size - _ENDING - length)
    return _Table.root(file.read(length))


def _header(file: Any, at: int, size: int) -> tuple["_Table | None", int]:
    """The header of a message and the size of the message with its body; None for the end mark."""
    if not 0 <= at < size:
        raise ValueError("it is cut short")
    file.seek(at)
    prefix = file.read(_PREFIX)
    if len(prefix) < _PREFIX or prefix[:4] != _MARK:
        raise ValueError("its messages are cut short or damaged")
    length = int.from_bytes(prefix[4:], "little")
    if length == 0:
        return None, _PREFIX
    if length > _MOST_BYTES:
        raise ValueError(f"a message has a header of {length} bytes, at most {_MOST_BYTES} are allowed")
    header = _Table.root(file.read(length))
    body = header.long(_BODY)
    whole = _PREFIX + length + body
    if body < 0 or at + whole > size:
        raise ValueError("a message is cut short")
    return header, whole


def _batch(file: Any, batch: "_Table", body: int, at: int, whole: int) -> Batch:
    rows = batch.long(_LENGTH)
    if rows < 0:
        raise ValueError("a record batch has a negative length")
    unpacked = body
    if batch.has(_COMPRESSION):
        sizes = batch.structures(_BUFFERS, "<qq")
        unpacked = sum(_unpacked(file, at + whole - body, body, *buffer) for buffer in sizes)
    return Batch(at, whole, rows, unpacked)


def _unpacked(file: Any, start: int, body: int, offset: int, length: int) -> int:
    """The size that a compressed buffer states for itself; -1 in the file says that it is not compressed."""
    if not 0 <= offset <= offset + length <= body:
        raise ValueError("a buffer lies outside of its message")
    if length == 0:
        return 0
    file.seek(start + offset)
    (stated,) = struct.unpack("<q", file.read(8))
    if stated < -1:
        raise ValueError("a buffer states a negative size")
    return length if stated == -1 else stated


class _Table:
    """A table in FlatBuffers: its fields are found through a list of offsets."""

    def __init__(self, raw: bytes, at: int):
        self._raw, self._at = raw, at
        self._fields = at - self._number("<i", at)
        self._size = self._number("<H", self._fields)

    @classmethod
    def root(cls, raw: bytes) -> "_Table":
        """The table that the bytes begin with."""
        return cls(raw, struct.unpack_from("<I", raw)[0])

    def _number(self, code: str, at: int) -> int:
        if at < 0:
            raise ValueError("a message is damaged")
        return struct.unpack_from(code, self._raw, at)[0]

    def place(self, field: int) -> int:
        """Position of a field; 0 if the table does not have it."""
        slot = 4 + 2 * field
        offset = self._number("<H", self._fields + slot) if slot < self._size else 0
        return self._at + offset if offset else 0

    def has(self, field: int) -> bool:
        """Whether the table has the field."""
        return self.place(field) > 0

    def byte(self, field: int) -> int:
        """A field of one byte, 0 by default."""
        place = self.place(field)
        return self._number("<B", place) if place else 0

    def long(self, field: int) -> int:
        """A field of eight bytes, 0 by default."""
        place = self.place(field)
        return self._number("<q", place) if place else 0

    def table(self, field: int) -> "_Table":
        """A table inside this one."""
        place = self.place(field)
        if not place:
            raise ValueError("a message has no header")
        return _Table(self._raw, place + self._number("<I", place))

    def structures(self, field: int, code: str) -> Iterator[tuple[int, ...]]:
        """The elements of a vector of structures with this layout."""
        place = self.place(field)
        if not place:
            return
        start = place + self._number("<I", place)
        for i in range(self._number("<I", start)):
            yield struct.unpack_from(code, self._raw, start + 4 + struct.calcsize(code) * i)

    def tables(self, field: int) -> Iterator["_Table"]:
        """The elements of a vector of tables."""
        place = self.place(field)
        if not place:
            return
        start = place + self._number("<I", place)
        for at in range(start + 4, start + 4 + 4 * self._number("<I", start), 4):
            yield _Table(self._raw, at + self._number("<I", at))

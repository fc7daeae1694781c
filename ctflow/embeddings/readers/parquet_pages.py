"""The sizes of a Parquet column's pages, read from the page headers because pyarrow does not report them.

A page header is a Thrift structure in the compact protocol. The sizes in a file's footer may be wrong, and a
few bytes may encode any number of equal values, so only the page headers are used.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

_FIRST_BYTES = 1 << 12
_MOST_BYTES = 1 << 20
# Field numbers in the structure PageHeader, and in the headers of the three kinds of pages with values.
_UNPACKED, _PACKED, _DATA, _DICTIONARY, _DATA_V2, _COUNT = 2, 3, 5, 7, 8, 1
_TRUE, _FALSE, _BYTE, _DOUBLE, _TEXT, _LIST, _SET, _MAP, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 11, 12


class Page(NamedTuple):
    """Sizes in a page header."""

    unpacked: int
    """Bytes of the page when unpacked."""
    values: int
    """Number of values in the page, including nulls and empty lists; 0 for a dictionary."""
    entries: int
    """Number of values in a dictionary page; 0 for other pages."""


def pages(file: Any, start: int, size: int, values: int) -> Iterator[Page]:
    """Yield the pages of one column of a row group, in order, until they hold `values` values.

    Args:
        file: the Parquet file, open for reading bytes.
        start: position of the first page in the file.
        size: bytes of all pages.
        values: number of values in all pages.

    Raises:
        ValueError: a page header is damaged, or a page is cut short.
    """
    stop = start + size
    while start < stop and values > 0:
        header, length = _header(file, start, stop)
        data = header.get(_DATA) or header.get(_DATA_V2) or {}
        page = Page(
            _number(header, _UNPACKED), _number(data, _COUNT), _number(header.get(_DICTIONARY, {}), _COUNT)
        )
        start += length + _number(header, _PACKED)
        if start > stop:
            raise ValueError("a page is cut short")
        yield page
        values -= page.values


def _number(structure: Any, field: int) -> int:
    """A field that must be a number >= 0; 0 if the field is missing."""
    found = structure.get(field, 0) if isinstance(structure, dict) else -1
    if not isinstance(found, int) or found < 0:
        raise ValueError("a page header is damaged")
    return found


def _header(file: Any, start: int, stop: int) -> tuple[dict[int, Any], int]:
    """A page header as a dict by field number, and its length in bytes."""
    for most in (_FIRST_BYTES, _MOST_BYTES):
        file.seek(start)
        reader = _Compact(file.read(min(most, stop - start)))
        try:
            return reader.structure(), reader.at
        except IndexError:  # the header is longer than what was read
            continue
    raise ValueError("a page header is damaged")


class _Compact:
    """A reader of Thrift's compact protocol; it raises IndexError at the end of the bytes."""

    def __init__(self, content: bytes):
        self._content, self.at = content, 0

    def structure(self) -> dict[int, Any]:
        """The fields of a structure, by field number."""
        fields, field = {}, 0
        while mark := self._byte():
            field = field + (mark >> 4) if mark >> 4 else self._signed()
            fields[field] = self._value(mark & 15, inside=False)
        return fields

    def _value(self, kind: int, *, inside: bool) -> Any:
        """Read a value of that kind; a Boolean takes a byte only inside a list or map."""
        if kind in (_TRUE, _FALSE):
            return self._byte() == _TRUE if inside else kind == _TRUE
        if kind == _BYTE:
            return self._byte()
        if kind in (_LIST, _SET):
            return self._list()
        if kind == _MAP:
            return self._map()
        if kind == _STRUCT:
            return self.structure()
        if kind in (_DOUBLE, _TEXT):
            return self._skip(8 if kind == _DOUBLE else self._unsigned())
        return self._signed()

    def _list(self) -> None:
        mark = self._byte()
        for _ in range(mark >> 4 if mark >> 4 < 15 else self._unsigned()):
            self._value(mark & 15, inside=True)

    def _map(self) -> None:
        if count := self._unsigned():
            kinds = self._byte()
            for _ in range(count):
                self._value(kinds >> 4, inside=True)
                self._value(kinds & 15, inside=True)

    def _skip(self, count: int) -> None:
        self.at += count
        if self.at > len(self._content):
            raise IndexError

    def _byte(self) -> int:
        self.at += 1
        return self._content[self.at - 1]

    def _unsigned(self) -> int:
        number = shift = 0
        while True:
            byte = self._byte()
            number |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return number

    def _signed(self) -> int:
        number = self._unsigned()
        return number >> 1 ^ -(number & 1)

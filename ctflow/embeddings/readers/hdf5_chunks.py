"""Reader of a chunked HDF5 dataset, which unpacks each chunk once for all wanted rows in it.

HDF5 unpacks a chunk that exceeds its cache again for every piece that is read, without a limit on the
unpacked size. So the usual filters (deflate, shuffle, fletcher32) are undone here, up to the chunk's size.
"""

import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from ctflow.embeddings.readers import parts
from ctflow.embeddings.readers.parts import gather, spans, worth_keeping

_DEFLATE, _SHUFFLE, _FLETCHER32 = 1, 2, 3
_KNOWN = {_DEFLATE, _SHUFFLE, _FLETCHER32}
_Filter = tuple[int, tuple[int, ...]]
_FEED_BYTES = 1 << 16
_PIECE_BYTES = 1 << 20
# Bytes that a filter may add to numbers that it cannot compress, or for a checksum.
_SLACK_BYTES = 1 << 10


class Chunked:
    """A chunked dataset [n, d], read one band at a time. A band is all chunks of some rows.

    The last band is kept decoded if it is `worth_keeping`, so that calls for consecutive rows do not unpack
    its chunks again.
    """

    def __init__(self, dataset: Any, plain: bool, file_bytes: int):
        """Prepare to read a dataset.

        Args:
            dataset: an h5py dataset.
            plain: whether its numbers are stored in the layout of its NumPy dtype.
            file_bytes: size of the file in bytes.
        """
        self._dataset, self._file_bytes = dataset, file_bytes
        self._filters = _filters(dataset)
        self._ours = plain and {code for code, _ in self._filters} <= _KNOWN
        _check_filters([code for code, _ in self._filters])
        self._first, self._kept = 0, np.empty((0, dataset.shape[1]), dataset.dtype)

    def read(self, rows: np.ndarray, out: np.ndarray) -> None:
        """Write the rows into out [k, d]."""
        known = np.searchsorted(rows, [self._first, self._first + len(self._kept)])
        inside = slice(*known.tolist())
        gather(self._kept, rows[inside] - self._first, out[inside])
        for rest in (slice(0, inside.start), slice(inside.stop, len(rows))):
            if rest.stop > rest.start:
                self._read_bands(rows[rest], out[rest])

    def _read_bands(self, rows: np.ndarray, out: np.ndarray) -> None:
        """Write rows that are not in the kept band into out."""
        (n, d), height = self._dataset.shape, self._dataset.chunks[0]
        step = max(1, parts.BLOCK_BYTES // (height * d * self._dataset.dtype.itemsize))
        for first, stop in spans(np.unique(rows // height)):
            for band in range(first, stop, step):
                top, bottom = band * height, min(min(band + step, stop) * height, n)
                mine = slice(*np.searchsorted(rows, [top, bottom]).tolist())
                self._read_band(top, bottom, rows[mine], out[mine])

    def _read_band(self, top: int, bottom: int, rows: np.ndarray, out: np.ndarray) -> None:
        """Write rows of the band [top, bottom), which consists of whole chunks, into out."""
        d, dtype = self._dataset.shape[1], self._dataset.dtype
        if not worth_keeping((bottom - top) * d * dtype.itemsize, self._file_bytes):
            for row, column, chunk in self._chunks(top, bottom):
                mine = slice(*np.searchsorted(rows, [row, row + len(chunk)]).tolist())
                gather(chunk, rows[mine] - row, out[mine, column : column + chunk.shape[1]])
            return
        # The old band is dropped before the next is unpacked, so that memory holds only one.
        self._kept = band = np.empty((0, d), dtype)
        for row, column, chunk in self._chunks(top, bottom):
            if chunk.shape == (bottom - top, d) == self._dataset.chunks:
                band = chunk
                break
            if not len(band):
                band = np.empty((bottom - top, d), dtype)
            band[row - top : row - top + len(chunk), column : column + chunk.shape[1]] = chunk
        self._first, self._kept = top, band
        gather(band, rows - top, out)

    def _chunks(self, top: int, bottom: int) -> Iterator[tuple[int, int, np.ndarray]]:
        """Yield the first row, first column and numbers of every chunk of the band."""
        d, (height, width) = self._dataset.shape[1], self._dataset.chunks
        for row in range(top, bottom, height):
            for column in range(0, d, width):
                yield row, column, self._chunk(row, column)[: bottom - row, : d - column]

    def _chunk(self, row: int, column: int) -> np.ndarray:
        """All numbers of one chunk; at the edge of the dataset, some of them are beyond it."""
        shape, dtype = self._dataset.chunks, self._dataset.dtype
        stored = self._stored(row, column)
        if stored is None:
            return np.full(shape, self._dataset.fillvalue, dtype)
        numbers = unfiltered(*stored, shape[0] * shape[1] * self._dataset.id.get_type().get_size())
        if self._ours:
            return np.frombuffer(numbers, dtype).reshape(shape)
        # The size was checked above. HDF5 does the rest, because it knows other filters and number types.
        return self._dataset[row : row + shape[0], column : column + shape[1]]

    def _stored(self, row: int, column: int) -> tuple[bytes, list[_Filter]] | None:
        """The stored bytes of a chunk and the filters applied to it; None if it was never written."""
        dataset = self._dataset.id
        try:
            mask, raw = dataset.read_direct_chunk((row, column))
        except RuntimeError:
            if dataset.get_chunk_info_by_coord((row, column)).size:
                raise
            return None
        return raw, [chosen for i, chosen in enumerate(self._filters) if not mask >> i & 1]


def _filters(dataset: Any) -> list[_Filter]:
    """Code and parameters of each filter, in the order in which the filters were applied."""
    plist = dataset.id.get_create_plist()
    return [(code, values) for code, _, values, _ in map(plist.get_filter, range(plist.get_nfilters()))]


def _check_filters(codes: list[int]) -> None:
    """Raise ValueError for sequences of filters in which a few bytes could unpack to any size."""
    unknown = [i for i, code in enumerate(codes) if code not in _KNOWN]
    if len(set(codes)) < len(codes) or (unknown and _DEFLATE in codes[: unknown[-1]]):
        raise ValueError("its chunks are compressed several times")


def unfiltered(raw: Any, filters: list[_Filter], size: int) -> Any:
    """The bytes of a chunk after undoing its filters from the last to the first, up to an unknown one.

    Raises:
        ValueError: the chunk does not unpack to `size` bytes, or its checksum is wrong.
    """
    for code, values in reversed(filters):
        if code not in _KNOWN:
            return raw
        if code == _DEFLATE:
            raw = _inflated(raw, size + size // 512 + _SLACK_BYTES)
        elif code == _SHUFFLE:
            raw = _unshuffled(raw, values[0] if values else 1)
        else:
            raw = _signed(raw)
    if len(raw) != size:
        raise ValueError(f"a chunk unpacks to {len(raw)} bytes, not to {size}")
    return raw


def _inflated(raw: Any, most: int) -> memoryview:
    """Bytes unpacked by zlib, at most `most` of them."""
    out: Any = np.empty(most, np.uint8)
    done, stream = 0, zlib.decompressobj()
    for piece in _pieces(memoryview(raw), stream):
        if done + len(piece) > most:
            raise ValueError(f"a chunk unpacks to more than {most} bytes")
        out[done : done + len(piece)] = np.frombuffer(piece, np.uint8)
        done += len(piece)
    if not stream.eof:
        raise ValueError("a chunk is cut short")
    return memoryview(out)[:done]


def _pieces(raw: memoryview, stream: Any) -> Iterator[bytes]:
    """Yield what zlib unpacks, in small pieces."""
    for start in range(0, len(raw), _FEED_BYTES):
        rest: Any = raw[start : start + _FEED_BYTES]
        while rest and not stream.eof:
            yield stream.decompress(rest, _PIECE_BYTES)
            rest = stream.unconsumed_tail
    yield stream.flush()


def _unshuffled(raw: Any, width: int) -> Any:
    """Undo HDF5's shuffle, which sorts bytes by their place in a number; a partial number stays last."""
    raw = np.frombuffer(raw, np.uint8)
    count = len(raw) // width if width > 1 else 0
    if not count:
        return memoryview(raw)
    front: Any = raw[: count * width].reshape(width, count).T.reshape(-1)
    if len(front) < len(raw):
        front = np.concatenate([front, raw[len(front) :]])
    return memoryview(front)


def _signed(raw: Any) -> Any:
    """Check the checksum at the end of the bytes, and return the bytes without it.

    Raises:
        ValueError: the checksum is wrong or missing.
    """
    raw = memoryview(raw)
    if len(raw) < 4:
        raise ValueError("a chunk is cut short")
    found, stored = fletcher32(raw[:-4]), int.from_bytes(raw[-4:], "little")
    halves = {tuple(half % 65535 for half in divmod(word, 1 << 16)) for word in (stored, _swapped(stored))}
    if found not in halves:
        raise ValueError("a chunk's checksum is wrong")
    return raw[:-4]


def _swapped(word: int) -> int:
    """The word with the two bytes of each half exchanged, as in checksums of HDF5 before 1.6.3."""
    return (word & 0xFF00FF) << 8 | word >> 8 & 0xFF00FF


def fletcher32(raw: Any) -> tuple[int, int]:
    """HDF5's Fletcher-32 checksum of big-endian words: sum of the running sums, and sum, modulo 65535."""
    words = np.frombuffer(raw[: len(raw) // 2 * 2], ">u2")
    if len(raw) % 2:
        words = np.append(words, np.uint16(raw[-1] << 8))
    total = running = 0
    for start in range(0, len(words), _FEED_BYTES):
        piece = words[start : start + _FEED_BYTES].astype(np.uint64)
        weights = np.arange(len(piece), 0, -1, dtype=np.uint64)
        running = (running + len(piece) * total + int(piece @ weights)) % 65535
        total = (total + int(piece.sum())) % 65535
    return running, total

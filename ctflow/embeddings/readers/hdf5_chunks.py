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


class Chunks:
    """The chunks of a dataset of any shape, each unpacked within its size."""

    def __init__(self, dataset: Any, size: int):
        """Prepare to unpack chunks.

        Args:
            dataset: an h5py dataset with chunks.
            size: bytes of one number, or of one other element, in the file.

        Raises:
            ValueError: its chunks are compressed several times.
        """
        self._dataset, self._bytes = dataset, size * int(np.prod(dataset.chunks, dtype=object))
        self._filters = _filters(dataset)
        _check_filters([code for code, _ in self._filters])
        self.decoded = {code for code, _ in self._filters} <= _KNOWN
        """Whether all filters are undone here. If not, `unpacked` only checks the size."""

    def unpacked(self, place: tuple[int, ...]) -> Any:
        """The bytes of the chunk that begins at this element; None if it was never written."""
        stored = self._stored(place)
        return None if stored is None else unfiltered(*stored, self._bytes)

    def _stored(self, place: tuple[int, ...]) -> tuple[bytes, list[_Filter]] | None:
        """The stored bytes of a chunk and the filters applied to it; None if it was never written."""
        dataset = self._dataset.id
        try:
            mask, raw = dataset.read_direct_chunk(place)
        except RuntimeError:
            if dataset.get_chunk_info_by_coord(place).size:
                raise
            return None
        return raw, [chosen for i, chosen in enumerate(self._filters) if not mask >> i & 1]


class Chunked:
    """A chunked dataset [n, d], or one half of [2, n, d], read one band at a time.

    A band is all chunks of some rows. The last band is kept decoded if it is `worth_keeping`, so that calls
    for consecutive rows do not unpack its chunks again. A chunk that holds rows of both halves is unpacked
    once for each half.
    """

    def __init__(self, dataset: Any, plain: bool, file_bytes: int, half: int | None = None):
        """Prepare to read a dataset.

        Args:
            dataset: an h5py dataset.
            plain: whether its numbers are stored in the layout of its NumPy dtype.
            file_bytes: size of the file in bytes.
            half: which half of a dataset [2, n, d] to read.
        """
        self._dataset, self._file_bytes, self._half = dataset, file_bytes, half
        self._shape, self._chunk_shape, self._dtype = dataset.shape[-2:], dataset.chunks[-2:], dataset.dtype
        self._packed = Chunks(dataset, dataset.id.get_type().get_size())
        self._ours = plain and self._packed.decoded
        self._first, self._kept = 0, np.empty((0, self._shape[1]), self._dtype)

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
        (n, d), height = self._shape, self._chunk_shape[0]
        step = max(1, parts.BLOCK_BYTES // (height * d * self._dtype.itemsize))
        for first, stop in spans(np.unique(rows // height)):
            for band in range(first, stop, step):
                top, bottom = band * height, min(min(band + step, stop) * height, n)
                mine = slice(*np.searchsorted(rows, [top, bottom]).tolist())
                self._read_band(top, bottom, rows[mine], out[mine])

    def _read_band(self, top: int, bottom: int, rows: np.ndarray, out: np.ndarray) -> None:
        """Write rows of the band [top, bottom), which consists of whole chunks, into out."""
        d, dtype = self._shape[1], self._dtype
        if not worth_keeping((bottom - top) * d * dtype.itemsize, self._file_bytes):
            for row, column, chunk in self._chunks(top, bottom):
                mine = slice(*np.searchsorted(rows, [row, row + len(chunk)]).tolist())
                gather(chunk, rows[mine] - row, out[mine, column : column + chunk.shape[1]])
            return
        # The old band is dropped before the next is unpacked, so that memory holds only one.
        self._kept = band = np.empty((0, d), dtype)
        for row, column, chunk in self._chunks(top, bottom):
            # A chunk that is the band is kept as it is, unless it holds rows of the other half as well.
            if chunk.shape == (bottom - top, d) == self._chunk_shape and self._dataset.chunks[:-2] in (
                (),
                (1,),
            ):
                band = chunk
                break
            if not len(band):
                band = np.empty((bottom - top, d), dtype)
            band[row - top : row - top + len(chunk), column : column + chunk.shape[1]] = chunk
        self._first, self._kept = top, band
        gather(band, rows - top, out)

    def _chunks(self, top: int, bottom: int) -> Iterator[tuple[int, int, np.ndarray]]:
        """Yield the first row, first column and numbers of every chunk of the band."""
        d, (height, width) = self._shape[1], self._chunk_shape
        for row in range(top, bottom, height):
            for column in range(0, d, width):
                yield row, column, self._chunk(row, column)[: bottom - row, : d - column]

    def _chunk(self, row: int, column: int) -> np.ndarray:
        """All numbers of one half of a chunk; at the edge of the dataset, some of them are beyond it."""
        shape = self._chunk_shape
        # A half is in the chunk that begins at half 0 or 1, at this place along the first axis of the chunk.
        inside = () if self._half is None else (self._half % self._dataset.chunks[0],)
        first = () if self._half is None else (self._half - self._half % self._dataset.chunks[0],)
        numbers = self._packed.unpacked((*first, row, column))
        if numbers is None:
            return np.full(shape, self._dataset.fillvalue, self._dtype)
        if self._ours:
            return np.frombuffer(numbers, self._dtype).reshape(self._dataset.chunks)[inside]
        # The size was checked above. HDF5 does the rest, because it knows other filters and number types.
        half = () if self._half is None else (self._half,)
        return self._dataset[(*half, slice(row, row + shape[0]), slice(column, column + shape[1]))]


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

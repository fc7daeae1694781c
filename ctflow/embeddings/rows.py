"""Unit rows [n, d] of files or arrays of any size, read and checked on request."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ctflow.embeddings import readers as files
from ctflow.embeddings.readers import Part
from ctflow.embeddings.rounding import BASE, in_words, origins

_BLOCK_BYTES = 1 << 23
_SHOWN = 3
_MIDDLE = 128
"""What is subtracted from uint8 numbers: quantised embeddings are int8 numbers, or these plus 128."""


class Embeddings:
    """Unit rows [n, d] of a file, a folder of shards, or an array, read on request.

    Create one with `open_embeddings`, `open_pair` or `as_embeddings`. It is not safe to share among threads.

    Attributes:
        name: name used in messages: the path as given, or the name of the array.
        label: short name of the modality, used in reports: the file's name without its ending, or `name`.
        shape: (n, d), n >= 2 and d >= 2.
        stored: dtype of the stored numbers: float16, bfloat16, float32, float64, int8 or uint8.
        dtype: dtype of the rows that are returned: float64 if stored as float64, else float32.
        norms: smallest and largest stored norm among the rows read so far; None before the first read.
        roundings: coarser roundings that explain norms off 1 among the rows read so far, such as `float16`,
            `5 decimals` or `6 digits`, with the largest distance from 1 that each explains.
    """

    def __init__(
        self, name: str, parts: Sequence[Part], *, normalize: bool = False, label: str | None = None
    ):
        first = parts[0]
        for part in parts:
            files.check_table(part.name, part.shape, part.dtype.name)
            if (part.shape[1], part.dtype.name) != (first.shape[1], first.dtype.name):
                raise ValueError(
                    f"{part.name} must have the width and dtype of {first.name}, {first.shape[1]} "
                    f"{first.dtype.name}, got {part.shape[1]} {part.dtype.name}; convert one"
                )
        self._ends = np.cumsum([part.shape[0] for part in parts])
        self.name, self.label = name, name if label is None else label
        self.shape = (int(self._ends[-1]), int(first.shape[1]))
        if self.shape[0] < 2:
            raise ValueError(f"{name} must have n >= 2 rows, got shape {self.shape}")
        # Big-endian numbers are read too, and returned in the byte order of this machine.
        self.stored = first.dtype.newbyteorder("=")
        self.dtype = np.dtype(np.float64 if self.stored == np.float64 else np.float32)
        self.norms: tuple[float, float] | None = None
        self.roundings: dict[str, float] = {}
        self._parts, self._normalize, self._live = parts, normalize, first

    def __len__(self) -> int:
        return self.shape[0]

    def normalized(self) -> "Embeddings":
        """The same embeddings, but rows of any norm > 0 are accepted and brought to unit norm."""
        return Embeddings(self.name, self._parts, normalize=True, label=self.label)

    def shards(self) -> list[tuple[str, int]]:
        """Name and number of rows of each file, in order."""
        return [(part.name, part.shape[0]) for part in self._parts]

    def rows(self, index: slice | np.ndarray) -> np.ndarray:
        """Read rows [k, d] of unit norm, in `dtype`.

        Args:
            index: a slice, or integers [k] in [0, n), in any order and with repeats allowed. Strictly
                increasing integers need no memory beyond the result.

        Raises:
            ValueError: the index is out of range; a row is zero or not finite; or, without `normalize`, the
                norm of a row differs from 1 by more than the rounding that its numbers show
                (`ctflow.embeddings.rounding`).
        """
        return self._in_any_order(index, self._unit_rows)

    def fingerprints(self, index: slice | np.ndarray) -> np.ndarray:
        """Hash each row as stored, before any normalisation: numbers [k], uint64.

        Rows with equal numbers in the same dtype have equal fingerprints, in every file format and byte
        order; −0.0 counts as 0.0. Two different rows have the same fingerprint with probability 2⁻⁶⁴. Rows
        are not checked here, so `rows` may still refuse a row that has a fingerprint.

        Args:
            index: as for `rows`. Memory beyond the result is bounded by one block of rows.

        Raises:
            ValueError: the index is out of range.
        """
        return self._in_any_order(index, self._hashes)

    def note(self, name: str | None = None) -> str | None:
        """A sentence on how the rows read so far were changed: quantised, or norms off 1; None if neither.

        Args:
            name: what to call the rows; `label` by default.
        """
        if self.norms is None:
            return None
        name, (low, high) = name or self.label, self.norms
        if self.stored.kind in "iu":
            middle = "" if self.stored == np.int8 else f" minus {_MIDDLE}"
            return (
                f"rows of {name} are {self.stored} and were taken as quantised embeddings: the integers"
                f"{middle}, brought to unit norm. If each dimension was quantised with a range of its own, "
                "or if they are packed bits, these are not the model's rows, because the file does not say so"
            )
        off = max(1 - low, high - 1)
        if off <= BASE["float32" if self.dtype == np.float32 else "float64"]:
            return None
        norms = f"{in_words(low, off)} to {in_words(high, off)}{self._why(off)}"
        return f"rows of {name} had norms {norms} and were brought to unit norm"

    def _why(self, off: float) -> str:
        """The rounding that explains norms this far from 1, in words; empty if none does."""
        known = {self.stored.name: BASE[self.stored.name], **self.roundings}
        name, most = max(known.items(), key=lambda item: item[1])
        return f", the rounding of {name}," if off <= most else ""

    def _in_any_order(self, index: Any, of_increasing: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Values [k, ...] for any index, computed by a function that needs strictly increasing numbers."""
        wanted = self._wanted(index)
        if (np.diff(wanted) <= 0).any():
            wanted, place = np.unique(wanted, return_inverse=True)
            return of_increasing(wanted)[place]
        return of_increasing(wanted)

    def _wanted(self, index: Any) -> np.ndarray:
        """Check the index and return it as row numbers [k]."""
        n = self.shape[0]
        if isinstance(index, slice):
            try:
                return np.arange(*index.indices(n))
            except TypeError:
                raise ValueError(f"index of {self.name} must be a slice of integers, got {index}") from None
        numbers = np.asarray(index)
        if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
            raise ValueError(
                f"index of {self.name} must be a slice or integers [k], got {numbers.dtype} of shape "
                f"{numbers.shape}"
            )
        bad = np.flatnonzero((numbers < 0) | (numbers >= n))
        if bad.size:
            raise ValueError(f"index of {self.name} must lie in [0, {n}), got {numbers[bad[0]]}")
        return numbers.astype(np.int64)

    def _unit_rows(self, wanted: np.ndarray) -> np.ndarray:
        """Rows with strictly increasing numbers, checked and renormalised block by block."""
        out, norms = np.empty((len(wanted), self.shape[1]), self.dtype), np.empty(len(wanted))
        fair, found = np.ones(len(wanted), bool), {}
        with np.errstate(all="ignore"):
            self._read(wanted, out)
            for block in self._blocks(len(wanted)):
                rows = out[block]
                if self.stored == np.uint8:
                    rows -= _MIDDLE
                lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
                if not self._normalize:
                    fair[block], named = origins(rows, lengths, self.stored.name)
                    found |= named
                norms[block] = _renormalise(rows, lengths)
        self._check(wanted, norms, fair)
        self.roundings |= found
        return out

    def _hashes(self, wanted: np.ndarray) -> np.ndarray:
        """Fingerprints of rows with strictly increasing numbers."""
        out = np.empty(len(wanted), np.uint64)
        for block in self._blocks(len(wanted)):
            stored: Any = np.empty((len(wanted[block]), self.shape[1]), self.stored)
            with np.errstate(all="ignore"):
                self._read(wanted[block], stored)
                stored += np.zeros((), self.stored)  # −0.0 + 0.0 is 0.0
            digests = (hashlib.blake2b(row, digest_size=8).digest() for row in stored.view(np.uint8))
            out[block] = np.frombuffer(b"".join(digests), "<u8")
        return out

    def _blocks(self, count: int) -> Iterator[slice]:
        """Slices that cover `count` rows, a few megabytes each."""
        step = max(1, _BLOCK_BYTES // (self.shape[1] * self.dtype.itemsize))
        return (slice(first, first + step) for first in range(0, count, step))

    def _read(self, wanted: np.ndarray, out: np.ndarray) -> None:
        """Write rows into out [k, d] without normalising them, from the parts that hold them."""
        cuts = np.searchsorted(wanted, self._ends)
        for i in np.flatnonzero(np.diff(cuts, prepend=0)).tolist():
            part = self._parts[i]
            if part is not self._live:
                self._live.close()
                self._live = part
            mine = slice(cuts[i - 1] if i else 0, cuts[i])
            part.read(wanted[mine] - self._start(i), out[mine])

    def _start(self, i: int) -> int:
        """Row number at which part i begins."""
        return int(self._ends[i]) - self._parts[i].shape[0]

    def _check(self, wanted: np.ndarray, norms: np.ndarray, fair: np.ndarray) -> None:
        """Record the norms; raise ValueError for rows that are not finite, are zero or have no fair norm."""
        finite = norms[np.isfinite(norms)]
        if finite.size:
            known = self.norms or (np.inf, 0.0)
            self.norms = (min(known[0], float(finite.min())), max(known[1], float(finite.max())))
        k = len(wanted)
        for rule, bad in (("be finite", ~np.isfinite(norms)), ("have no zero rows", norms == 0)):
            if bad.any():
                raise ValueError(
                    f"{self.name} must {rule}, violated by {bad.sum()} of {k} rows read: "
                    f"{self._in_words(wanted[bad])}; drop them"
                )
        off = ~fair
        if off.any():
            raise ValueError(
                f"{self.name} must have rows of unit norm, but {off.sum()} of {k} rows read do not: "
                f"{self._in_words(wanted[off][:1])} has norm {norms[off][0]:.9g}; "
                "use normalize=True (--normalize)"
            )

    def _in_words(self, numbers: np.ndarray) -> str:
        """The first few row numbers as text, with the position of the first row in its shard."""
        first, *others = numbers[:_SHOWN].tolist()
        i = int(np.searchsorted(self._ends, first, side="right"))
        shard = f" (row {first - self._start(i)} of {Path(self._parts[i].name).name})"
        more = ["…"] if len(numbers) > _SHOWN else []
        words = [f"{first}{shard if len(self._parts) > 1 else ''}", *map(str, others), *more]
        return f"row{'s' if others else ''} {', '.join(words)}"


def _renormalise(block: np.ndarray, norms: np.ndarray) -> np.ndarray:
    """Divide rows [k, d] by their norms [k], in place, and return the norms, also where float64 overflowed.

    Zero rows and rows that are not finite stay unchanged; their norms are 0, NaN or infinity.
    """
    # For norms far from 1, float64 squares and float32 quotients leave their range: scale those rows first.
    odd = np.flatnonzero(~((norms > 1e-30) & (norms < 1e30)))
    rows = block[odd].astype(np.float64)
    largest = np.abs(rows).max(axis=1)
    fair = (largest > 0) & np.isfinite(largest)
    rows[fair] /= largest[fair, None]
    lengths = np.linalg.norm(rows, axis=1)
    divisors = norms.astype(block.dtype)
    divisors[odd] = 1
    block /= divisors[:, None]
    block[odd[fair]] = rows[fair] / lengths[fair, None]
    norms[odd] = np.where(fair, np.minimum(largest * lengths, np.finfo(np.float64).max), largest)
    return norms


def row_notes(x: Embeddings, y: Embeddings, names: tuple[str, str]) -> list[str]:
    """The notes on how the rows of two modalities were changed, by their names."""
    notes = (z.note(name) for z, name in zip((x, y), names, strict=True))
    return [note for note in notes if note is not None]

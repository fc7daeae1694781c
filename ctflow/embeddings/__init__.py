"""A user's embeddings: unit rows [n, d] from files or arrays of any size, read and checked on request."""

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ctflow.embeddings import readers as files
from ctflow.embeddings.array_likes import as_array
from ctflow.embeddings.pair_files import read_pairs
from ctflow.embeddings.readers import Part
from ctflow.storage.reading import check_file, existing_path, readable

__all__ = ["Embeddings", "as_embeddings", "open_embeddings", "open_pair", "read_pairs"]

# Largest distance of a unit row's norm from 1. For float32 and float64 it is 64 rounding errors, as for any
# cloud, because norms are summed in that precision. Half precisions only store rows normalised in float32,
# whose error is 0.5 eps, or 1 eps if the norm was rounded too; 64 would accept norms of 0.94 or 0.5.
_ROUNDING = {"float16": 4 * 2**-10, "bfloat16": 4 * 2**-7, "float32": 64 * 2**-23, "float64": 64 * 2**-52}
_BLOCK_BYTES = 1 << 23
_SHOWN = 3

_READERS: dict[str, Any] = {
    ".npy": lambda path, column: files.npy(path),
    ".npz": files.Zipped,
    ".safetensors": files.safetensors,
    ".parquet": files.Parquet,
    ".h5": files.Hdf5,
    ".hdf5": files.Hdf5,
}


class Embeddings:
    """Unit rows [n, d] of a file, a folder of shards, or an array, read on request.

    Create one with `open_embeddings`, `open_pair` or `as_embeddings`. It is not safe to share among threads.

    Attributes:
        name: name used in messages: the path as given, or the name of the array.
        label: short name of the modality, used in reports: the file's name without its ending, or `name`.
        shape: (n, d), n >= 2 and d >= 2.
        stored: dtype of the stored numbers: float16, bfloat16, float32 or float64.
        dtype: dtype of the rows that are returned: float64 if stored as float64, else float32.
        norms: smallest and largest stored norm among the rows read so far; None before the first read.
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
                norm of a row differs from 1 by more than the rounding of `stored`.
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
        with np.errstate(all="ignore"):
            self._read(wanted, out)
            for block in self._blocks(len(wanted)):
                norms[block] = _renormalise(out[block])
        self._check(wanted, norms)
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

    def _check(self, wanted: np.ndarray, norms: np.ndarray) -> None:
        """Record the norms; raise ValueError for rows that are not finite, are zero or lack unit norm."""
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
        off = np.abs(norms - 1) > _ROUNDING[self.stored.name]
        if not self._normalize and off.any():
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


def _renormalise(block: np.ndarray) -> np.ndarray:
    """Divide rows [k, d] by their norms, in place, and return the norms.

    Zero rows and rows that are not finite stay unchanged; their norms are 0, NaN or infinity.
    """
    norms = np.sqrt(np.einsum("ij,ij->i", block, block, dtype=np.float64))
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


def open_embeddings(
    path: str | os.PathLike[str],
    *,
    column: str | None = None,
    normalize: bool = False,
    name: str | None = None,
) -> Embeddings:
    """Open a file of embeddings, or a folder of shards, ordered by the numbers in their names.

    The formats are .npy, .npz, .safetensors, .parquet (needs ctflow[parquet]), .h5 and .hdf5 (need
    ctflow[hdf5]). Only headers are read here; rows are read and checked by `Embeddings.rows`.

    Args:
        path: a file, or a folder of files that share one of these endings; shards without rows are skipped.
        column: the array, dataset or column to read, if a file holds several.
        normalize: accept rows of any norm > 0 and bring them to unit norm.
        name: name used in messages; the path by default.

    Raises:
        ValueError: the path holds no floating-point numbers [n, d] with n >= 2 and d >= 2; the shards differ
            in width or dtype; or the extra that reads this format is not installed.
    """
    path = existing_path(path)
    parts = [_open_part(file, column) for file in (_shards(path) if path.is_dir() else [path])]
    filled = [part for part in parts if part.shape[0] > 0]
    label = name or (path.name if path.is_dir() else path.stem)
    return Embeddings(name or str(path), filled or parts[:1], normalize=normalize, label=label)


def _shards(folder: Path) -> list[Path]:
    """The embedding files of a folder in the order of their numbers, so that `_10` follows `_9`."""
    with readable(str(folder), "folder"):
        inside = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    shards = [entry for entry in inside if entry.suffix.lower() in _READERS]
    kinds = sorted({entry.suffix.lower() for entry in shards})
    if len(kinds) != 1:
        folders = sorted(f"{entry.name}/" for entry in inside if entry.is_dir())
        got = ", ".join(kinds or folders) or "none"
        raise ValueError(
            f"{folder} must hold files with one of the endings {', '.join(_READERS)}, got {got}; give the "
            "path of such a file or folder"
        )
    return sorted(shards, key=lambda entry: (_natural(entry.name), entry.name))


def _natural(name: str) -> list[str | int]:
    """A name split into alternating text and numbers, as a sort key."""
    return [int(word) if i % 2 else word for i, word in enumerate(re.split("([0-9]+)", name))]


def _open_part(path: Path, column: str | None) -> Part:
    """Open one file with the reader for its ending."""
    ending = path.suffix.lower()
    if ending not in _READERS:
        raise ValueError(f"{path} must end in one of {', '.join(_READERS)}; save it with np.save")
    check_file(path)
    if ending == ".npy" and column is not None:
        raise ValueError(f"{path} holds one array without a name, got column {column!r}; leave column out")
    part = _READERS[ending](path, column)
    files.check_table(part.name, part.shape, part.dtype.name)
    files.check_promise(part.name, part, path.stat().st_size)
    return part


def as_embeddings(array_or_embeddings: Any, *, name: str, normalize: bool = False) -> Embeddings:
    """Turn an array [n, d] of NumPy, JAX or another library into embeddings; pass embeddings through.

    Args:
        array_or_embeddings: an array, which is not copied if NumPy can view its memory, or embeddings.
        name: name of an array in messages; embeddings keep their own name.
        normalize: accept rows of any norm > 0 and bring them to unit norm.

    Raises:
        ValueError: this is no floating-point array [n, d] with n >= 2 and d >= 2. For a list, a path, None
            or another library's object, the message gives the line of code that converts it.
    """
    given = array_or_embeddings
    if isinstance(given, Embeddings):
        return given.normalized() if normalize else given
    array = as_array(name, given)
    files.check_table(name, array.shape, array.dtype.name)
    return Embeddings(name, [files.Memory(name, array)], normalize=normalize)


def open_pair(folder: str | os.PathLike[str], *, normalize: bool = False) -> tuple[Embeddings, Embeddings]:
    """Open the images and texts of a clip-retrieval folder, `img_emb/` and `text_emb/`; rows i are partners.

    Raises:
        ValueError: a folder is missing or cannot be opened; or their shards differ in number, rows or width,
            so that rows i would not be partners.
    """
    root = existing_path(folder)
    names = ("img_emb", "text_emb")
    missing = [name for name in names if not (root / name).is_dir()]
    if missing:
        raise ValueError(
            f"{root} must hold the folders img_emb and text_emb, but has no {' and no '.join(missing)}"
        )
    x, y = (open_embeddings(root / name, normalize=normalize) for name in names)
    if x.shape != y.shape:
        raise ValueError(f"{x.name} and {y.name} must pair row by row, got shapes {x.shape} and {y.shape}")
    layouts = [[(_natural(Path(file).stem)[1::2], n) for file, n in side.shards()] for side in (x, y)]
    if layouts[0] != layouts[1]:
        raise ValueError(
            f"{x.name} and {y.name} must have shards with equal numbers in their names and equal row counts, "
            "or row i is no partner of row i; add what is missing, or open each with open_embeddings"
        )
    return x, y

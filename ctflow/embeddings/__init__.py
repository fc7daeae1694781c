"""A user's embeddings: unit rows [n, d] of files or arrays of any size, checked and read when asked for."""

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

# How far a unit row's norm may be from 1. In single and double precision 64 rounding errors, as for any
# cloud: norms are summed in that precision. Half precisions only store: a row normalised in float32 is off
# by half an eps at most, and by one if its norm was rounded too; 64 would pass norms of 0.94, or 0.5.
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
    """Unit rows [n, d] of a file, a folder of shards, or an array, read when asked for.

    Made by `open_embeddings`, `open_pair` and `as_embeddings`; of use to one thread at a time.

    Attributes:
        name: what messages call it, the path as given or the array's name.
        shape: (n, d), n >= 2 and d >= 2.
        stored: the dtype on disk: float16, bfloat16, float32 or float64.
        dtype: of the rows handed out: float64 if stored as float64, else float32.
        norms: smallest and largest norm of any row read so far, as stored; None before.
    """

    def __init__(self, name: str, parts: Sequence[Part], *, normalize: bool = False):
        first = parts[0]
        for part in parts:
            files.check_table(part.name, part.shape, part.dtype.name)
            if (part.shape[1], part.dtype.name) != (first.shape[1], first.dtype.name):
                raise ValueError(
                    f"{part.name} must have the width and dtype of {first.name}, {first.shape[1]} "
                    f"{first.dtype.name}, got {part.shape[1]} {part.dtype.name}; convert one"
                )
        self._ends = np.cumsum([part.shape[0] for part in parts])
        self.name, self.shape = name, (int(self._ends[-1]), int(first.shape[1]))
        if self.shape[0] < 2:
            raise ValueError(f"{name} must have n >= 2 rows, got shape {self.shape}")
        # Big-endian numbers are read as well as the machine's own.
        self.stored = first.dtype.newbyteorder("=")
        self.dtype = np.dtype(np.float64 if self.stored == np.float64 else np.float32)
        self.norms: tuple[float, float] | None = None
        self._parts, self._normalize, self._live = parts, normalize, first

    def __len__(self) -> int:
        return self.shape[0]

    def normalized(self) -> "Embeddings":
        """The same rows, accepted with any norm > 0."""
        return Embeddings(self.name, self._parts, normalize=True)

    def shards(self) -> list[tuple[str, int]]:
        """Name and number of rows of every file."""
        return [(part.name, part.shape[0]) for part in self._parts]

    def rows(self, index: slice | np.ndarray) -> np.ndarray:
        """Rows [k, d] of unit norm, in `dtype`.

        Args:
            index: a slice, or integers [k] in [0, n) in any order, repeats allowed. Increasing ones need
                no more memory than the result.

        Raises:
            ValueError: index out of range; among the rows read one is not finite, zero, or, unless opened
                with `normalize`, off the unit sphere by more than the rounding of `stored`.
        """
        return self._in_any_order(index, self._unit_rows)

    def fingerprints(self, index: slice | np.ndarray) -> np.ndarray:
        """A number per row [k], uint64, from a hash of the row as stored, before any normalisation.

        Rows with equal numbers in one dtype have equal fingerprints, whatever the file format or its byte
        order; −0.0 counts as 0.0. Two given rows that differ share a fingerprint with probability 2⁻⁶⁴.
        Rows are hashed unchecked, so that a fingerprint says nothing about whether `rows` accepts a row.

        Args:
            index: as for `rows`. Memory is bounded by one block of rows, beyond the result.

        Raises:
            ValueError: index out of range.
        """
        return self._in_any_order(index, self._hashes)

    def _in_any_order(self, index: Any, of_increasing: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Values [k, ...] of the rows asked for, by a function of strictly increasing row numbers."""
        wanted = self._wanted(index)
        if (np.diff(wanted) <= 0).any():
            wanted, place = np.unique(wanted, return_inverse=True)
            return of_increasing(wanted)[place]
        return of_increasing(wanted)

    def _wanted(self, index: Any) -> np.ndarray:
        """The index as row numbers [k]."""
        n = self.shape[0]
        if isinstance(index, slice):
            try:
                return np.arange(*index.indices(n))
            except TypeError:
                raise ValueError(f"rows of {self.name} must be asked for by integers, got {index}") from None
        numbers = np.asarray(index)
        if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
            raise ValueError(
                f"rows of {self.name} must be asked for by a slice or by integers [k], got "
                f"{numbers.dtype} of shape {numbers.shape}"
            )
        bad = np.flatnonzero((numbers < 0) | (numbers >= n))
        if bad.size:
            raise ValueError(f"rows of {self.name} must be asked for in [0, {n}), got {numbers[bad[0]]}")
        return numbers.astype(np.int64)

    def _unit_rows(self, wanted: np.ndarray) -> np.ndarray:
        """Rows of strictly increasing numbers, checked and renormalised block by block."""
        out, norms = np.empty((len(wanted), self.shape[1]), self.dtype), np.empty(len(wanted))
        with np.errstate(all="ignore"):
            self._read(wanted, out)
            for block in self._blocks(len(wanted)):
                norms[block] = _renormalise(out[block])
        self._check(wanted, norms)
        return out

    def _hashes(self, wanted: np.ndarray) -> np.ndarray:
        """Fingerprints of rows of strictly increasing numbers."""
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
        """Slices of so many rows, a few megabytes each."""
        step = max(1, _BLOCK_BYTES // (self.shape[1] * self.dtype.itemsize))
        return (slice(first, first + step) for first in range(0, count, step))

    def _read(self, wanted: np.ndarray, out: np.ndarray) -> None:
        """Write rows as stored into out [k, d], from the parts that hold them."""
        cuts = np.searchsorted(wanted, self._ends)
        for i in np.flatnonzero(np.diff(cuts, prepend=0)).tolist():
            part = self._parts[i]
            if part is not self._live:
                self._live.close()
                self._live = part
            mine = slice(cuts[i - 1] if i else 0, cuts[i])
            part.read(wanted[mine] - self._start(i), out[mine])

    def _start(self, i: int) -> int:
        """Number of part i's first row."""
        return int(self._ends[i]) - self._parts[i].shape[0]

    def _check(self, wanted: np.ndarray, norms: np.ndarray) -> None:
        """Note the norms, and refuse rows that are not finite, zero, or not of unit norm."""
        finite = norms[np.isfinite(norms)]
        if finite.size:
            known = self.norms or (np.inf, 0.0)
            self.norms = (min(known[0], float(finite.min())), max(known[1], float(finite.max())))
        k = len(wanted)
        for rule, bad in (("be finite", ~np.isfinite(norms)), ("have no zeros as a row", norms == 0)):
            if bad.any():
                raise ValueError(
                    f"{self.name} must {rule}, {bad.sum()} of {k} rows read break this: "
                    f"{self._in_words(wanted[bad])}; drop them"
                )
        off = np.abs(norms - 1) > _ROUNDING[self.stored.name]
        if not self._normalize and off.any():
            raise ValueError(
                f"{self.name} must have rows of unit norm, {off.sum()} of {k} rows read have not: "
                f"{self._in_words(wanted[off][:1])} has norm {norms[off][0]:.9g}; "
                "use normalize=True (--normalize)"
            )

    def _in_words(self, numbers: np.ndarray) -> str:
        """The first few row numbers, and the first one's place in its shard."""
        first, *others = numbers[:_SHOWN].tolist()
        i = int(np.searchsorted(self._ends, first, side="right"))
        shard = f" (row {first - self._start(i)} of {Path(self._parts[i].name).name})"
        more = ["…"] if len(numbers) > _SHOWN else []
        words = [f"{first}{shard if len(self._parts) > 1 else ''}", *map(str, others), *more]
        return f"row{'s' if others else ''} {', '.join(words)}"


def _renormalise(block: np.ndarray) -> np.ndarray:
    """Divide rows [k, d] by their norms, in place, and return the norms.

    Zero rows and rows that are not finite are left alone; theirs is 0 or not finite.
    """
    norms = np.sqrt(np.einsum("ij,ij->i", block, block, dtype=np.float64))
    # Far from 1, squares of float64 and quotients of float32 leave their range: scale such rows first.
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
    """Open a file of embeddings, or a folder of shards in the order of their numbers.

    Reads .npy, .npz, .safetensors, .parquet (needs ctflow[parquet]), .h5 and
    .hdf5 (need ctflow[hdf5]). Here only headers are read; rows are checked when they are asked for.

    Args:
        path: a file, or a folder that holds files of one of these kinds; shards of no rows are left out.
        column: the array, dataset or column to take where a file holds several.
        normalize: accept rows of any norm > 0.
        name: what messages call the embeddings; the path by default.

    Raises:
        ValueError: there is nothing at the path that could be read as [n, d] floating-point numbers with
            n >= 2 and d >= 2; shards differ in width or dtype; an extra is not installed.
    """
    path = existing_path(path)
    parts = [_open_part(file, column) for file in (_shards(path) if path.is_dir() else [path])]
    filled = [part for part in parts if part.shape[0] > 0]
    return Embeddings(name or str(path), filled or parts[:1], normalize=normalize)


def _shards(folder: Path) -> list[Path]:
    """The embedding files of a folder, `_10` after `_9`."""
    with readable(str(folder), "folder"):
        inside = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    shards = [entry for entry in inside if entry.suffix.lower() in _READERS]
    kinds = sorted({entry.suffix.lower() for entry in shards})
    if len(kinds) != 1:
        folders = sorted(f"{entry.name}/" for entry in inside if entry.is_dir())
        got = ", ".join(kinds or folders) or "none"
        raise ValueError(
            f"{folder} must hold files of one of the kinds {', '.join(_READERS)}, got {got}; name the file "
            "or folder that does"
        )
    return sorted(shards, key=lambda entry: (_natural(entry.name), entry.name))


def _natural(name: str) -> list[str | int]:
    """A name cut into texts and numbers in turn, for sorting."""
    return [int(word) if i % 2 else word for i, word in enumerate(re.split("([0-9]+)", name))]


def _open_part(path: Path, column: str | None) -> Part:
    """Open one file by its ending."""
    ending = path.suffix.lower()
    if ending not in _READERS:
        raise ValueError(f"{path} must end in one of {', '.join(_READERS)}; save it with np.save")
    check_file(path)
    if ending == ".npy" and column is not None:
        raise ValueError(f"{path} holds one array, which has no name; leave out column, got {column!r}")
    part = _READERS[ending](path, column)
    files.check_table(part.name, part.shape, part.dtype.name)
    files.check_promise(part.name, part, path.stat().st_size)
    return part


def as_embeddings(array_or_embeddings: Any, *, name: str, normalize: bool = False) -> Embeddings:
    """An array-like [n, d], of NumPy, JAX or another library, as embeddings; embeddings as they are.

    Args:
        array_or_embeddings: not copied where NumPy can look at it.
        name: what messages call an array; embeddings keep theirs.
        normalize: accept rows of any norm > 0.

    Raises:
        ValueError: no floating-point array [n, d] with n >= 2 and d >= 2; where another library's object, a
            list, a path or None was given, with the line of code that makes an array or embeddings of it.
    """
    given = array_or_embeddings
    if isinstance(given, Embeddings):
        return given.normalized() if normalize else given
    array = as_array(name, given)
    files.check_table(name, array.shape, array.dtype.name)
    return Embeddings(name, [files.Memory(name, array)], normalize=normalize)


def open_pair(folder: str | os.PathLike[str], *, normalize: bool = False) -> tuple[Embeddings, Embeddings]:
    """Images and texts of a clip-retrieval folder, `img_emb/` and `text_emb/`, row i with row i.

    Raises:
        ValueError: one is missing or cannot be opened; their shards differ in number, rows or width, so
            that rows would not be partners.
    """
    root = existing_path(folder)
    names = ("img_emb", "text_emb")
    missing = [name for name in names if not (root / name).is_dir()]
    if missing:
        raise ValueError(
            f"{root} must hold the folders img_emb and text_emb, {' and '.join(missing)} missing"
        )
    x, y = (open_embeddings(root / name, normalize=normalize) for name in names)
    if x.shape != y.shape:
        raise ValueError(f"{x.name} and {y.name} must pair row by row, got shapes {x.shape} and {y.shape}")
    layouts = [[(_natural(Path(file).stem)[1::2], n) for file, n in side.shards()] for side in (x, y)]
    if layouts[0] != layouts[1]:
        raise ValueError(
            f"{x.name} and {y.name} must have shards of the same numbers and rows, or row i is not the "
            "partner of row i; complete them, or open each with open_embeddings"
        )
    return x, y

"""A user's embeddings: unit rows [n, d] of files or arrays of any size, checked and read when asked for."""

import csv
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ctflow import embedding_files as files
from ctflow.embedding_files import Part

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

    def rows(self, index: slice | np.ndarray) -> np.ndarray:
        """Rows [k, d] of unit norm, in `dtype`.

        Args:
            index: a slice, or integers [k] in [0, n) in any order, repeats allowed. Increasing ones need
                no more memory than the result.

        Raises:
            ValueError: index out of range; among the rows read one is not finite, zero, or, unless opened
                with `normalize`, off the unit sphere by more than the rounding of `stored`.
        """
        wanted = self._wanted(index)
        if (np.diff(wanted) <= 0).any():
            wanted, place = np.unique(wanted, return_inverse=True)
            return self._unit_rows(wanted)[place]
        return self._unit_rows(wanted)

    def _wanted(self, index: Any) -> np.ndarray:
        """The index as row numbers [k]."""
        n = self.shape[0]
        if isinstance(index, slice):
            return np.arange(n)[index]
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
        step = max(1, _BLOCK_BYTES // (self.shape[1] * self.dtype.itemsize))
        for first in range(0, len(wanted), step):
            block = slice(first, first + step)
            out[block] = self._read(wanted[block])
            norms[block] = _renormalise(out[block])
        self._check(wanted, norms)
        return out

    def _read(self, wanted: np.ndarray) -> np.ndarray:
        """Rows as stored, from the parts that hold them."""
        pieces = []
        cuts = np.searchsorted(wanted, self._ends)
        for i in np.flatnonzero(np.diff(cuts, prepend=0)).tolist():
            part = self._parts[i]
            if part is not self._live:
                self._live.close()
                self._live = part
            mine = wanted[cuts[i - 1] if i else 0 : cuts[i]]
            pieces.append(part.read(mine - self._start(i)))
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

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
        if finite.size < k:
            bad = wanted[~np.isfinite(norms)]
            raise ValueError(
                f"{self.name} must be finite: {bad.size} of {k} rows read are not, {self._first(bad)}; drop "
                "them"
            )
        if (bad := wanted[norms == 0]).size:
            raise ValueError(
                f"{self.name} must have no zero rows: {bad.size} of {k} read are, {self._first(bad)}; drop "
                "them"
            )
        off = np.abs(norms - 1) > _ROUNDING[self.stored.name]
        if not self._normalize and off.any():
            raise ValueError(
                f"{self.name} must have rows of unit norm: {off.sum()} of {k} read have not, "
                f"{self._first(wanted[off][:1])} of norm {norms[off][0]:.9g}; normalize=True (--normalize) "
                "does it"
            )

    def _first(self, bad: np.ndarray) -> str:
        """The first few of these row numbers in words, with the first one's place in its shard."""
        shown = ", ".join(map(str, bad[:_SHOWN]))
        i = int(np.searchsorted(self._ends, bad[0], side="right"))
        shard = f" (row {bad[0] - self._start(i)} of {Path(self._parts[i].name).name})"
        verb = "is row" if len(bad) == 1 else "are rows"
        return f"the first {verb} {shown}{shard if len(self._parts) > 1 else ''}"


def _renormalise(block: np.ndarray) -> np.ndarray:
    """Divide rows [k, d] by their norms, in place; returns the norms, 0 and non-finite ones included."""
    norms = np.sqrt(np.einsum("ij,ij->i", block, block, dtype=np.float64))
    # Squares of float64, and quotients of float32, leave their range far from 1: scale such rows first.
    odd = np.flatnonzero(~((norms > 1e-30) & (norms < 1e30)))
    ordinary = norms.copy()
    ordinary[odd] = 1
    block /= ordinary.astype(block.dtype)[:, None]
    for i in odd:
        row = block[i].astype(np.float64)
        largest = np.abs(row).max()
        if 0 < largest < np.inf:
            scaled = row / largest
            length = np.linalg.norm(scaled)
            block[i], norms[i] = scaled / length, min(float(largest) * length, np.finfo(np.float64).max)
        else:
            norms[i] = largest
    return norms


def open_embeddings(
    path: str | os.PathLike[str],
    *,
    column: str | None = None,
    normalize: bool = False,
    name: str | None = None,
) -> Embeddings:
    """Open a file, or a folder of shards in the natural order of their names (2 before 10).

    `.npy` (memory is that of the rows asked for), `.npz` (its array is loaded whole), `.safetensors`,
    `.parquet` (extra `parquet`), `.h5` and `.hdf5` (extra `hdf5`). Nothing is unpickled.

    Args:
        path: a file with one of these endings, or a folder of files with one of them.
        column: the array, tensor or column to read where a file holds several.
        normalize: bring rows to unit norm; rows of another norm are refused otherwise.
        name: what messages call it; the path by default.

    Raises:
        ValueError: what is wrong with the file, in one line that names it.
    """
    path = Path(path)
    shards = _shards(path) if path.is_dir() else [path]
    parts = [_open(shard, column) for shard in shards]
    # An empty last shard is what an interrupted or uneven export leaves.
    filled = [part for part in parts if part.shape[0] > 0]
    return Embeddings(name or str(path), filled or parts, normalize=normalize)


def _open(path: Path, column: str | None) -> Part:
    ending = path.suffix.lower()
    if ending not in _READERS:
        raise ValueError(f"{path} must end in {_endings()}, got {ending or 'no ending'!r}")
    if not path.exists():
        raise ValueError(f"{path} is not there; check the path")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty (0 bytes); write it again")
    return _READERS[ending](path, column)


def _shards(folder: Path) -> list[Path]:
    """The folder's files of the one ending it holds, in natural order."""
    files_there = [
        entry for entry in folder.iterdir() if entry.is_file() and entry.suffix.lower() in _READERS
    ]
    endings = sorted({entry.suffix.lower() for entry in files_there})
    if len(endings) != 1:
        got = " and ".join(endings) if endings else "none"
        raise ValueError(f"{folder} must hold shards of one kind, {_endings()}; got {got}")
    return sorted(files_there, key=lambda entry: _natural(entry.name))


def _natural(name: str) -> list[Any]:
    """A key under which numbers in names count as numbers."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def _endings() -> str:
    *first, last = _READERS
    return f"{', '.join(first)} or {last}"


def open_pair(
    folder: str | os.PathLike[str], *, column: str | None = None, normalize: bool = False
) -> tuple[Embeddings, Embeddings]:
    """Open both modalities of a folder as clip-retrieval writes it: shards in img_emb/ and text_emb/.

    Raises:
        ValueError: one of them is missing, or cannot be read.
    """
    folder = Path(folder)
    places = [folder / name for name in ("img_emb", "text_emb")]
    if not all(place.is_dir() for place in places):
        raise ValueError(f"{folder} must be a folder with img_emb/ and text_emb/, or give a second file")
    x, y = (open_embeddings(place, column=column, normalize=normalize) for place in places)
    return x, y


def as_embeddings(rows: Any, *, name: str, normalize: bool = False) -> Embeddings:
    """Rows in memory, [n, d] of floats, as `Embeddings`; what is one already is passed through."""
    if isinstance(rows, Embeddings):
        return rows
    array = np.asarray(rows)
    files.check_table(name, array.shape, array.dtype.name)
    return Embeddings(name, [files.Memory(name, array)], normalize=normalize)


def read_pairs(path: str | os.PathLike[str], shape: tuple[int, int]) -> np.ndarray:
    """Read index pairs [p, 2]: integers in a `.npy`, or two a line in a `.csv`, its header skipped.

    Args:
        path: the file.
        shape: rows of the first and of the second cloud.

    Raises:
        ValueError: no such pairs, or indices out of range.
    """
    path = Path(path)
    if path.suffix.lower() not in (".npy", ".csv"):
        raise ValueError(f"{path} must end in .npy or .csv, got {path.suffix!r}")
    if not path.exists():
        raise ValueError(f"{path} is not there; check the path")
    with files.readable(str(path), "file of index pairs"):
        pairs = np.load(path, allow_pickle=False) if path.suffix.lower() == ".npy" else _csv_pairs(path)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or len(pairs) == 0 or pairs.dtype.kind not in "iu":
        raise ValueError(f"{path} must hold integers [p, 2], got {pairs.dtype.name} {pairs.shape}")
    bad = np.flatnonzero(((pairs < 0) | (pairs >= np.array(shape))).any(axis=1))
    if bad.size:
        raise ValueError(
            f"{path} must hold indices below {shape[0]} and {shape[1]}: {bad.size} of {len(pairs)} pairs do "
            f"not, pair {bad[0]} is {pairs[bad[0]].tolist()}"
        )
    return pairs.astype(np.int64)


def _csv_pairs(path: Path) -> np.ndarray:
    with open(path, newline="", encoding="utf-8") as file:
        lines = [line for line in csv.reader(file) if line]
    if lines and not lines[0][0].strip().lstrip("-").isdigit():
        lines = lines[1:]
    return np.array([[int(word) for word in line] for line in lines], np.int64)

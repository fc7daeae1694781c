"""Files: clouds, and what a run leaves behind. Written whole or not at all; nothing is pickled.

Importing this module does not import JAX. `save_clouds` and `load_clouds` need JAX: they are in
`ctflow.cloud_files`, which is imported when one of them is first used.
"""

import csv
import functools
import hashlib
import json
import os
import platform
from collections.abc import Mapping
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ctflow.storage.folders import atomic, inside, prepare_folder
from ctflow.storage.reading import readable

if TYPE_CHECKING:
    from ctflow.cloud_files import load_clouds, save_clouds

__all__ = [
    "atomic",
    "git_commit",
    "inside",
    "load_clouds",
    "plain",
    "prepare_folder",
    "provenance",
    "read_arrays",
    "read_csv",
    "save_clouds",
    "sources",
    "versions",
    "write_arrays",
    "write_csv",
    "write_json",
]

# What NumPy and zipfile raise for damaged archives beyond the usual: encrypted members, member names that are
# not found, and headers that are no Python literals.
_NPZ_DAMAGE = (RuntimeError, KeyError, SyntaxError, TypeError)
_RECORDED = ("ctflow", "jax", "jaxlib", "numpy", "scipy", "optax")


def __getattr__(name: str) -> Any:
    if name in ("load_clouds", "save_clouds"):
        return getattr(import_module("ctflow.cloud_files"), name)
    raise AttributeError(f"module 'ctflow.io' has no attribute {name!r}")


def write_csv(path: str | os.PathLike[str], columns: Mapping[str, Any]) -> None:
    """Write equally long columns as a tidy table; numbers keep 10 significant digits."""
    values = [np.asarray(column) for column in columns.values()]
    lengths = {len(column) for column in values}
    if len(lengths) != 1:
        raise ValueError(f"columns must be equally long, got lengths {sorted(lengths)}")
    with atomic(path) as file:
        rows = [columns.keys(), *zip(*([_cell(v) for v in column] for column in values), strict=True)]
        text = "".join(",".join(row) + "\n" for row in rows)
        file.write(text.encode())


def _cell(value: Any) -> str:
    if isinstance(value, float | np.floating):
        return f"{value:.10g}"
    text = str(value)
    if any(mark in text for mark in ',"\n'):
        raise ValueError(f"a table's text must be free of commas, quotes and line ends, got {text!r}")
    return text


def read_csv(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read a table of `write_csv`: numeric columns as numbers, others as text.

    Raises:
        ValueError: no table, or rows of unequal length.
    """
    with open(path, newline="", encoding="utf-8") as file:
        try:
            header, *rows = csv.reader(file)
        except csv.Error as error:
            raise ValueError(f"{str(path)!r} must be a table ({error}); check it") from error
    bad = next((i for i, row in enumerate(rows) if len(row) != len(header)), None)
    if bad is not None:
        raise ValueError(
            f"{str(path)!r} must have rows of {len(header)} cells, row {bad} has {len(rows[bad])}; check it"
        )
    columns = {name: np.array([row[i] for row in rows]) for i, name in enumerate(header)}
    return {name: _numbers(column) for name, column in columns.items()}


def _numbers(column: np.ndarray) -> np.ndarray:
    for kind in (int, float):
        try:
            return column.astype(kind)
        except ValueError:
            continue
    return column


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write JSON, keys in the order given."""
    with atomic(path) as file:
        file.write((json.dumps(content, indent=1, default=plain) + "\n").encode())


def plain(value: Any) -> Any:
    """What JSON has no word for, as the nearest thing it has."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


def write_arrays(path: str | os.PathLike[str], arrays: Mapping[str, Any]) -> None:
    """Write named arrays as a compressed .npz."""
    with atomic(path) as file:
        plain: dict[str, Any] = {name: np.asarray(a) for name, a in arrays.items()}
        np.savez_compressed(file, **plain)


def read_arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read an .npz of plain arrays; pickled content is refused."""
    # Opened here, since np.load leaves a damaged file open.
    with (
        readable(str(path), ".npz file of plain arrays", *_NPZ_DAMAGE),
        open(path, "rb") as stream,
        np.load(stream, allow_pickle=False) as file,
    ):
        return {name: file[name] for name in file.files}


def provenance() -> dict[str, Any]:
    """Where numbers came from: versions, git commit, digest of the sources, device."""
    import jax

    return {
        "versions": {"python": platform.python_version(), **versions()},
        "git": git_commit(),
        "sources": sources(),
        "device": str(jax.devices()[0].device_kind),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
    }


def versions() -> dict[str, str]:
    """Installed versions of the packages that decide a result."""
    found = {}
    for name in _RECORDED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


@functools.cache
def sources() -> str:
    """SHA-256, cut short, of this package's Python files."""
    digest = hashlib.sha256()
    root = Path(__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def git_commit() -> str | None:
    """The commit that the source tree this package runs from stands on, read from its files; or None."""
    root = Path(__file__).resolve().parent.parent / ".git"
    try:
        if root.is_file():  # a worktree
            root = (root.parent / root.read_text().removeprefix("gitdir:").strip()).resolve()
        head = (root / "HEAD").read_text().strip()
        if not head.startswith("ref:"):
            return head
        name = head.removeprefix("ref:").strip()
        shared = root / (root / "commondir").read_text().strip() if (root / "commondir").exists() else root
        for folder in (root, shared):
            if (folder / name).is_file():
                return (folder / name).read_text().strip()
        packed = (shared / "packed-refs").read_text().splitlines()
        return next((line.split()[0] for line in packed if line.endswith(f" {name}")), None)
    except (OSError, UnicodeDecodeError):
        return None

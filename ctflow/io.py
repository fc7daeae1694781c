"""Files: clouds, and what a run leaves behind. Written whole or not at all; nothing is pickled."""

import csv
import functools
import hashlib
import json
import os
import platform
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ctflow.clouds import Pair, WeightedCloud, check_clouds
from ctflow.reading import readable

# What NumPy and zipfile raise for damaged archives beyond the usual: encrypted members, member names that are
# not found, and headers that are no Python literals.
_NPZ_DAMAGE = (RuntimeError, KeyError, SyntaxError, TypeError)
_RECORDED = ("ctflow", "jax", "jaxlib", "numpy", "scipy", "optax")


@contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path`; on success it is flushed to disk and takes the name."""
    path = Path(path)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            yield file  # pyright: ignore[reportReturnType]
            file.flush()
            os.fsync(file.fileno())
            os.chmod(file.name, 0o644)
            os.replace(file.name, path)
        except BaseException as error:
            os.unlink(file.name)
            if isinstance(error, OSError) and error.filename is None:
                error.filename = str(path)  # a full disk does not say what it had no room for
            raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the name, too, outlives a loss of power
    finally:
        os.close(folder)


def inside(folder: Path, name: str) -> Path:
    """The path of a file of that name in a folder.

    Raises:
        ValueError: the name leads out of the folder.
    """
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{name!r} leads out of {str(folder)!r}; results are written inside it")
    return path


def prepare_folder(path: str | os.PathLike[str], *, name: str = "--out") -> Path:
    """Make a folder and show that it can be written to, before anything long is run.

    Raises:
        ValueError: it cannot be made or written to.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(
            f"{name} must be a folder that can be written to, got {str(path)!r} ({error.strerror}); "
            "choose another"
        ) from None
    return folder


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
    """Read a table of `write_csv`: numeric columns as numbers, others as text."""
    with open(path, newline="", encoding="utf-8") as file:
        try:
            header, *rows = csv.reader(file)
        except csv.Error as error:
            raise ValueError(f"{path} is no table: {error}") from error
    if any(len(row) < len(header) for row in rows):
        raise ValueError(f"{path} is no table: its rows differ in length")
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


def save_clouds(path: str | os.PathLike[str], clouds: Any) -> None:
    """Write a cloud or a Pair, weights included, as .safetensors."""
    from safetensors.numpy import save

    clouds = check_clouds("clouds", clouds)
    if type(clouds) is tuple:
        raise ValueError("clouds must be one cloud or a ct.Pair, got a tuple")
    parts = clouds._asdict() if isinstance(clouds, Pair) else {"cloud": clouds}
    tensors = {}
    for name, cloud in parts.items():
        fields = cloud._asdict() if isinstance(cloud, WeightedCloud) else {"points": cloud}
        tensors |= {f"{name}.{field}": np.ascontiguousarray(a) for field, a in fields.items()}
    with atomic(path) as file:
        file.write(save(tensors))


def load_clouds(path: str | os.PathLike[str]) -> Any:
    """Read what `save_clouds` wrote.

    Raises:
        ValueError: not such a file, or not points on a sphere.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{str(path)!r} must be a .safetensors file of clouds ({error})") from None
    parts: dict[str, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        part, _, field = name.partition(".")
        parts.setdefault(part, {})[field] = tensor
    kinds = ({"points"}, {"points", "weights"})
    if set(parts) not in ({"cloud"}, {"x", "y"}) or any(set(f) not in kinds for f in parts.values()):
        raise ValueError(
            f"{str(path)!r} must hold `cloud.points`, or `x.points` and `y.points`, each with or without "
            f"`weights`; got {', '.join(tensors)}"
        )
    clouds = {
        name: WeightedCloud(fields["points"], fields["weights"]) if "weights" in fields else fields["points"]
        for name, fields in parts.items()
    }
    return check_clouds("clouds", clouds["cloud"] if "cloud" in clouds else Pair(**clouds))


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

"""Files that somebody else wrote: what is wrong with one is said in one line."""

import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# What Python, NumPy and the system raise for damaged files; a header may promise anything, so MemoryError
# too. AttributeError, NameError, TypeError and the like are left out: they show a mistake in ctflow.
_DAMAGE = (
    OSError,
    ValueError,
    EOFError,
    MemoryError,
    RecursionError,
    OverflowError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
)


@contextmanager
def readable(name: str, kind: str, *also: type[Exception]) -> Iterator[None]:
    """Turn what libraries and the system raise for a damaged file, each in its own way, into one line.

    Args:
        name: of the file, used in the message.
        kind: what it should be, used in the message.
        also: what the library that reads this kind raises beyond `_DAMAGE`.

    Raises:
        ValueError: chained to the original error.
    """
    try:
        yield
    except (*_DAMAGE, *also) as error:
        said = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
        raise ValueError(f"{name} must be a readable {kind} ({said.splitlines()[0]}); check it") from error


def existing_path(path: Any) -> Path:
    """The path, of a file or folder that is there."""
    if not isinstance(path, str | os.PathLike):
        raise ValueError(f"path must be a path, got {type(path).__name__}")
    with readable(str(path), "path"):
        there = Path(path).exists()
    if not there:
        raise ValueError(f"{path} does not exist; check the path")
    return Path(path)


def check_file(path: Path) -> None:
    """Raise ValueError unless it is a regular file of some bytes."""
    if not path.is_file():
        raise ValueError(f"{path} must be a file, got a folder or a device; check the path")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} must hold embeddings, got an empty file of 0 bytes; write it again")

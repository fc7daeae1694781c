"""Reading of files from other programs: any damage is reported in a one-line message."""

import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Errors that Python, NumPy and the system raise for damaged files. A damaged header may ask for any amount of
# memory, hence MemoryError. AttributeError, TypeError and the like are not here: they show a bug in ctflow.
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
    """Turn the various errors for a damaged file into a ValueError with a one-line message.

    Args:
        name: name of the file, used in the message.
        kind: expected kind of the file, used in the message.
        also: further errors, beyond `_DAMAGE`, that the reading library raises for damaged files.

    Raises:
        ValueError: the file is damaged; chained to the original error.
    """
    try:
        yield
    except (*_DAMAGE, *also) as error:
        said = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
        raise ValueError(f"{name} must be a readable {kind} ({said.splitlines()[0]}); check it") from error


def existing_path(path: Any) -> Path:
    """The path of an existing file or folder; raise ValueError if there is none."""
    if not isinstance(path, str | os.PathLike):
        raise ValueError(f"path must be a path, got {type(path).__name__}")
    with readable(str(path), "path"):
        there = Path(path).exists()
    if not there:
        raise ValueError(f"{path} does not exist; check the path")
    return Path(path)


def check_file(path: Path) -> None:
    """Raise ValueError unless the path is a regular file that is not empty."""
    if not path.is_file():
        raise ValueError(f"{path} must be a file, got a folder or a device; check the path")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} must hold embeddings, got an empty file of 0 bytes; write it again")

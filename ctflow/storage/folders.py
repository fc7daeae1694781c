"""Files and folders that are whole or not there, and folders that one process keeps to itself. No JAX."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


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
    _flush(path.parent)


def _flush(folder: Path) -> None:
    """Flush a folder to disk, so that new names in it outlive a loss of power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


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


@contextmanager
def held(folder: Path) -> Iterator[Path]:
    """Keep a folder to this process; the system lets go of it when the process ends, however it ends.

    Raises:
        ValueError: another process holds it.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"{str(folder)!r} is in use by another run; wait for it, or choose another folder"
            ) from None
        yield folder
    finally:
        os.close(handle)


@contextmanager
def all_or_none(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary folder whose files move into `path` once all of them are written.

    If anything fails, no file is moved, and folders that were made for this are removed again.

    Raises:
        ValueError: the folder cannot be made or written to, another process holds it, or a folder stands
            where a file should go.
    """
    folder = Path(path)
    made = [place for place in (folder, *folder.absolute().parents) if not place.exists()]
    try:
        with (
            held(prepare_folder(folder)),
            tempfile.TemporaryDirectory(dir=folder, prefix=".ctflow.") as temporary,
        ):
            yield Path(temporary)
            _move(Path(temporary), folder)
    except BaseException:
        for place in made:
            if place.is_dir() and not any(place.iterdir()):
                place.rmdir()
        raise


def _move(source: Path, folder: Path) -> None:
    """Give all files of `source` their names in `folder`."""
    files = sorted(source.iterdir())
    for file in files:
        if (folder / file.name).is_dir():
            raise ValueError(f"{folder / file.name} is a folder; choose another --out, or remove it")
    for file in files:
        os.replace(file, folder / file.name)
    _flush(folder)

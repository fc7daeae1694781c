"""Files and folders that are written completely or not at all, and locks on folders. No JAX."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path`; on success, flush it to disk and rename it to `path`.

    Raises:
        FileNotFoundError: the folder does not exist.
    """
    path = check_folder_of(path)
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
                error.filename = str(path)  # a full disk raises an error without a file name
            raise
    _flush(path.parent)


def check_folder_of(path: str | os.PathLike[str]) -> Path:
    """The path of a file to be written.

    Raises:
        FileNotFoundError: its folder does not exist.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"the folder of {str(path)!r} does not exist: make it first")
    return path


def _flush(folder: Path) -> None:
    """Flush a folder to disk, so that new file names in it survive a power failure."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def inside(folder: Path, name: str) -> Path:
    """The path of the file `name` in a folder.

    Raises:
        ValueError: the path is outside the folder.
    """
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{name!r} leads out of {str(folder)!r}; give a name inside it")
    return path


def prepare_folder(path: str | os.PathLike[str], *, name: str = "--out") -> Path:
    """Create a folder if needed, and check that it is writable before a long run starts.

    Raises:
        ValueError: the folder cannot be created or written to.
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
def locked(folder: Path) -> Iterator[Path]:
    """Lock a folder for this process; the system releases the lock however the process ends.

    Raises:
        ValueError: another process has locked the folder.
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
    """A temporary folder whose files move into `path` after all of them are written.

    If writing fails, no file is moved, and the folders created for them are removed again.

    Raises:
        ValueError: the folder cannot be created or written to, another process has locked it, or it has a
            subfolder with the name of a file.
    """
    folder = Path(path)
    made = [place for place in (folder, *folder.absolute().parents) if not place.exists()]
    try:
        with (
            locked(prepare_folder(folder)),
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
    """Move all files of `source` into `folder`."""
    files = sorted(source.iterdir())
    for file in files:
        if (folder / file.name).is_dir():
            raise ValueError(f"{folder / file.name} is a folder; choose another --out, or remove it")
    for file in files:
        os.replace(file, folder / file.name)
    _flush(folder)

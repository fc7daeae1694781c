"""Checkpoints: everything that a run needs to continue, in files that are written completely or not at all.

Each run has its own folder. A checkpoint is one .safetensors file in it: the arrays, and in the header, as
JSON, the identity of the run (`ctflow.storage.identity`). The file name contains part of the SHA-256 of the
file's bytes, so that a damaged file is detected. The last two checkpoints are kept.
"""

import hashlib
import json
import os
import re
import shutil
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ctflow._base.resources import check_fits
from ctflow.storage.folders import atomic, locked, prepare_folder
from ctflow.storage.identity import differences, remarks

_NAME = re.compile(r"(\d{12})-([0-9a-f]{32})\.safetensors")
_KEPT = 2
# Skip a checkpoint if writing the last one took more than this share of the time since then.
_SHARE = 1 / 40


@dataclass(frozen=True)
class Found:
    """A checkpoint that was read.

    Attributes:
        count: number of steps or runs that were done.
        arrays: the arrays as they were written.
    """

    count: int
    arrays: dict[str, np.ndarray]


class Store:
    """The checkpoints of one run, in a folder that `opened` has locked."""

    def __init__(self, folder: Path, identity: Mapping[str, str]):
        self.folder = folder
        self._identity = dict(identity)
        self._good: list[Path] = []
        self._failed = False
        self._written, self._took = time.perf_counter(), 0.0

    def files(self) -> list[Path]:
        """The checkpoints, oldest first."""
        return sorted(path for path in self.folder.iterdir() if _NAME.fullmatch(path.name))

    def load(self) -> Found | None:
        """The newest checkpoint that is not damaged; None if the folder has no checkpoints.

        Raises:
            ValueError: all checkpoints are damaged, or they belong to a different run.
        """
        files = self.files()
        for path in reversed(files):
            try:
                identity, arrays = _read(path)
            except ValueError as error:
                warnings.warn(f"{error}; the previous one is used", RuntimeWarning, stacklevel=4)
                continue
            if text := differences(identity, self._identity):
                raise ValueError(
                    f"checkpoint folder {str(self.folder)!r} belongs to a different run: {text}; use a "
                    "new folder or restore the original settings"
                )
            if text := remarks(identity, self._identity):
                warnings.warn(
                    f"the run in {str(self.folder)!r} continues despite differences: {text}; none of these "
                    "changes its numbers",
                    RuntimeWarning,
                    stacklevel=4,
                )
            self._good = files[: files.index(path) + 1][-_KEPT:]
            return Found(int(path.name[:12]), arrays)
        if files:
            raise ValueError(f"{str(self.folder)!r} holds only damaged checkpoints; delete it to start again")
        return None

    def check_room(self, size: int, *, force: bool, told: bool) -> None:
        """Raise MemoryError unless the disk has room for checkpoints of `size` bytes each, or `force` is set.

        Room for three is needed: two are kept while a third is written.
        """
        there = shutil.disk_usage(self.folder).free + sum(path.stat().st_size for path in self.files())
        what = f"keeping checkpoints in {str(self.folder)!r}"
        check_fits(what, (_KEPT + 1) * size, force=force, told=told, there=there, of="disk")

    def write(self, count: int, arrays: Mapping[str, np.ndarray], *, now: bool = True) -> bool:
        """Write a checkpoint and delete all but the last two; return whether one was written.

        A full disk causes one warning; the run and the existing checkpoints are unharmed. With `now` false,
        nothing is written if the last checkpoint took more than 1/40 of the time since it was written.
        """
        started = time.perf_counter()
        if self._good and int(self._good[-1].name[:12]) == count:  # a resumed run that is already at its end
            return False
        if not now and self._took > _SHARE * (started - self._written):
            return False
        try:
            path = self._write(count, arrays)
        except OSError as error:
            kept = (
                f"the one at {int(self._good[-1].name[:12])} is kept"
                if self._good
                else "there is no earlier one"
            )
            if not self._failed:
                warnings.warn(
                    f"no checkpoint could be written at {count} into {str(self.folder)!r} "
                    f"({error.strerror}): {kept}; the run continues and will try again",
                    RuntimeWarning,
                    stacklevel=3,
                )
            self._failed = True
            return False
        self._failed = False
        self._good = [*(old for old in self._good if old != path), path][-_KEPT:]
        for old in self.files():
            if old not in self._good:
                old.unlink(missing_ok=True)
        self._written = time.perf_counter()
        self._took = self._written - started
        return True

    def _write(self, count: int, arrays: Mapping[str, np.ndarray]) -> Path:
        from safetensors.numpy import save

        plain = {name: np.asarray(array, order="C") for name, array in arrays.items()}
        content = save(plain, metadata={"identity": json.dumps(self._identity)})
        path = self.folder / f"{count:012d}-{hashlib.sha256(content).hexdigest()[:32]}.safetensors"
        with atomic(path) as file:
            file.write(content)
        return path


def _read(path: Path) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """Identity and arrays of a checkpoint.

    Raises:
        ValueError: the file cannot be read, or its bytes have changed.
    """
    from safetensors.numpy import load

    matched = _NAME.fullmatch(path.name)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror})") from None
    if matched is None or hashlib.sha256(content).hexdigest()[:32] != matched[2]:
        raise ValueError(f"{path} is damaged: its bytes have changed since it was written")
    size = int.from_bytes(content[:8], "little")
    return json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["identity"]), load(content)


@contextmanager
def opened(
    path: str | os.PathLike[str] | None, identity: Mapping[str, str] | None, *, resume: bool
) -> Iterator[Store | None]:
    """Lock the folder of a run, created if needed, and give its checkpoints; give None without a path.

    Raises:
        ValueError: the folder is not writable, another process has locked it, or it already holds a run and
            `resume` is false.
    """
    if path is None or identity is None:
        yield None
        return
    with locked(prepare_folder(path, name="checkpoint")) as folder:
        store = Store(folder, identity)
        if store.files() and not resume:
            raise ValueError(
                f"{str(folder)!r} already holds a run; continue it with resume=True, or choose another folder"
            )
        for litter in folder.glob(".*.safetensors.*"):  # left by a process that was killed during a write
            litter.unlink(missing_ok=True)
        yield store


def newest(folder: Path) -> Found | None:
    """The newest checkpoint in a folder that is not damaged, of whatever run; None if there is none.

    The folder is not locked: a run may go on writing there.

    Raises:
        ValueError: all checkpoints are damaged.
    """
    files = sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name))
    for path in reversed(files):
        with suppress(ValueError):
            return Found(int(path.name[:12]), _read(path)[1])
    if files:
        raise ValueError(f"{str(folder)!r} holds only damaged checkpoints")
    return None


def check_resume(checkpoint: Any, resume: bool) -> None:
    """Raise ValueError for `resume` without a checkpoint, or a checkpoint that is not a path."""
    if resume and checkpoint is None:
        raise ValueError("resume=True needs checkpoint=PATH, the folder of the run to continue")
    if checkpoint is not None and not isinstance(checkpoint, str | os.PathLike):
        raise ValueError(f"checkpoint must be a path, got {checkpoint!r}")

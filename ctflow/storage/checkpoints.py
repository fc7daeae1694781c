"""Checkpoints: what a run needs to go on, in files that are whole or not there.

A run has a folder to itself. A checkpoint is one .safetensors file in it: arrays, and in the header, as JSON,
what the run is made of (`ctflow.storage.identity`). The file's name carries the SHA-256 of its bytes, so that
a damaged one is never taken for numbers. The last two are kept.
"""

import hashlib
import json
import os
import re
import shutil
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ctflow._base.resources import check_fits
from ctflow.storage.folders import atomic, held, prepare_folder
from ctflow.storage.identity import differences, remarks

_NAME = re.compile(r"(\d{12})-([0-9a-f]{32})\.safetensors")
_KEPT = 2
# A checkpoint is left out while the last one took more than this share of the time since.
_SHARE = 1 / 40


@dataclass(frozen=True)
class Found:
    """A checkpoint that was read.

    Attributes:
        count: steps or runs done.
        arrays: as they were written.
    """

    count: int
    arrays: dict[str, np.ndarray]


class Store:
    """The checkpoints of one run, in a folder that `opened` holds."""

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
        """The newest checkpoint that is not damaged; None where there is none at all.

        Raises:
            ValueError: all are damaged, or the run was made of something else.
        """
        files = self.files()
        for path in reversed(files):
            try:
                identity, arrays = _read(path)
            except ValueError as error:
                warnings.warn(f"{error}; the one before it is taken", RuntimeWarning, stacklevel=4)
                continue
            if text := differences(identity, self._identity):
                raise ValueError(
                    f"{str(self.folder)!r} holds another run: {text}; choose another folder, or go back"
                )
            if text := remarks(identity, self._identity):
                warnings.warn(
                    f"the run in {str(self.folder)!r} continues, though not everything is as it was: {text}; "
                    "none of this changes its numbers",
                    RuntimeWarning,
                    stacklevel=4,
                )
            self._good = files[: files.index(path) + 1][-_KEPT:]
            return Found(int(path.name[:12]), arrays)
        if files:
            raise ValueError(
                f"{str(self.folder)!r} holds no checkpoint that is whole; remove it to start again"
            )
        return None

    def check_room(self, size: int, *, force: bool, told: bool) -> None:
        """Raise MemoryError if the disk has no room for checkpoints of so many bytes, unless forced.

        Two are kept while a third is written.
        """
        there = shutil.disk_usage(self.folder).free + sum(path.stat().st_size for path in self.files())
        what = f"keeping checkpoints in {str(self.folder)!r}"
        check_fits(what, (_KEPT + 1) * size, force=force, told=told, there=there, of="disk")

    def write(self, count: int, arrays: Mapping[str, np.ndarray], *, now: bool = True) -> bool:
        """Write a checkpoint and drop all but the last two; returns whether one was written.

        A disk that is full costs one warning, never the run or the checkpoints that are there. With `now`
        false it is put off while writing would take more than a fortieth of the run's time.
        """
        started = time.perf_counter()
        if self._good and int(self._good[-1].name[:12]) == count:  # gone on with, and at an end already
            return False
        if not now and self._took > _SHARE * (started - self._written):
            return False
        try:
            path = self._write(count, arrays)
        except OSError as error:
            kept = (
                f"the one at {self._good[-1].name[:12].lstrip('0')} is kept"
                if self._good
                else "none is there"
            )
            if not self._failed:
                warnings.warn(
                    f"no checkpoint could be written at {count} into {str(self.folder)!r} "
                    f"({error.strerror}): {kept}; the run goes on and tries again",
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
        ValueError: a byte is not as it was written.
    """
    from safetensors.numpy import load

    matched = _NAME.fullmatch(path.name)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror})") from None
    if matched is None or hashlib.sha256(content).hexdigest()[:32] != matched[2]:
        raise ValueError(f"{path} is damaged: its bytes are not those that were written")
    size = int.from_bytes(content[:8], "little")
    return json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["identity"]), load(content)


@contextmanager
def opened(
    path: str | os.PathLike[str] | None, identity: Mapping[str, str] | None, *, resume: bool
) -> Iterator[Store | None]:
    """The checkpoints of a run in its own folder, made if need be; None for no path.

    Raises:
        ValueError: the folder cannot be written to, another process holds it, or it holds a run and
            `resume` is false.
    """
    if path is None or identity is None:
        yield None
        return
    with held(prepare_folder(path, name="checkpoint")) as folder:
        store = Store(folder, identity)
        if store.files() and not resume:
            raise ValueError(
                f"{str(folder)!r} holds a run already; go on with it by resume=True, or choose another folder"
            )
        for litter in folder.glob(".*.safetensors.*"):  # of a process that was killed while it wrote
            litter.unlink(missing_ok=True)
        yield store


def check_resume(checkpoint: Any, resume: bool) -> None:
    """Raise ValueError for `resume` without a checkpoint."""
    if resume and checkpoint is None:
        raise ValueError("resume=True needs checkpoint=PATH, the folder to go on from")
    if checkpoint is not None and not isinstance(checkpoint, str | os.PathLike):
        raise ValueError(f"checkpoint must be a path, got {checkpoint!r}")

"""Which checkpoints a series has, from folders and files: their order, steps and two modalities."""

import os
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from ctflow.embeddings import Embeddings, open_embeddings, open_pair
from ctflow.embeddings.folders import natural
from ctflow.embeddings.readers import READERS, ending_of
from ctflow.embeddings.sides import FOLDERS
from ctflow.storage.reading import existing_path, readable

_MODALITIES = 2
_ALONE = "give the other modality's file too"  # the remedy for one file, which does not help here


class Place(NamedTuple):
    """Where one checkpoint is: a path that holds both modalities, or one path for each."""

    name: str
    paths: tuple[Path, ...]

    def open(self, columns: tuple[str, str] | None, normalize: bool) -> tuple[Embeddings, Embeddings]:
        """Open both modalities."""
        if len(self.paths) == 1:
            try:
                return open_pair(self.paths[0], columns=columns, normalize=normalize)
            except ValueError as error:
                said = str(error).removesuffix(_ALONE)
                remedy = (
                    "" if said == str(error) else "put both files of a checkpoint into a folder of its own"
                )
                raise ValueError(said + remedy) from error
        x, y = (open_embeddings(path, normalize=normalize) for path in self.paths)
        return x, y


def places(paths: Sequence[str | os.PathLike[str]]) -> list[Place]:
    """The checkpoints of a series, in the order of the paths and of the numbers in names within a folder.

    A path is one checkpoint if it is a file with both modalities, a folder with `img_emb/` and `text_emb/`,
    or a folder with two files of embeddings, one per modality, in the order of their names. Any other folder
    holds one checkpoint per entry.

    Raises:
        ValueError: a path does not exist, or a folder holds no checkpoints.
    """
    found = []
    for path in map(existing_path, paths):
        if (single := _single(path)) is not None:
            found.append(single)
            continue
        inside = [place for entry in _entries(path) if (place := _single(entry)) is not None]
        if not inside:
            raise ValueError(
                f"{path} must hold checkpoints: files with both modalities, or folders with one file per "
                "modality, got none"
            )
        found += inside
    return found


def _single(path: Path) -> Place | None:
    """The checkpoint that a path is; None if it is a folder of something else, or no file of embeddings."""
    if path.is_file():
        return Place(path.stem, (path,)) if ending_of(path) in READERS else None
    entries = _entries(path)
    if any(entry.is_dir() and entry.name in FOLDERS for entry in entries):
        return Place(path.name, (path,))
    files = [entry for entry in entries if entry.is_file() and ending_of(entry) in READERS]
    folders = [entry for entry in entries if entry.is_dir()]
    if len(files) == _MODALITIES and not folders and not _numbers_differ(*files):
        return Place(path.name, tuple(files))
    return None


def _numbers_differ(first: Path, second: Path) -> bool:
    """Whether two names differ in their numbers only, as two checkpoints do and two modalities do not."""
    words = [natural(path.stem) for path in (first, second)]
    return words[0][::2] == words[1][::2]


def _entries(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    with readable(str(folder), "folder"):
        inside = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    return sorted(inside, key=lambda entry: (natural(entry.name), entry.name))


def steps_of(names: Sequence[str]) -> list[int]:
    """The training step of each checkpoint: the number in its name if all have one and they increase.

    Else they are counted from 0.
    """
    numbers = [re.findall("[0-9]+", name) for name in names]
    if all(numbers):
        steps = [int(found[-1]) for found in numbers]
        if all(a < b for a, b in pairwise(steps)):
            return steps
    return list(range(len(names)))

"""The files of a folder: shards, the partitions of a hive folder, or what `datasets.save_to_disk` wrote."""

import json
import re
from pathlib import Path
from typing import Any

from ctflow.embeddings.readers import READERS, RECIPES, ending_of
from ctflow.storage.reading import readable

_STATE, _SPLITS = "state.json", "dataset_dict.json"
_STATE_BYTES = 1 << 24
_DEEPEST = 8


def files_of(path: Path) -> list[Path]:
    """The file itself, or the embedding files of a folder, in order.

    Raises:
        ValueError: the folder holds no such files, files of several kinds, or several data sets.
    """
    if not path.is_dir() or ending_of(path) in RECIPES:
        return [path]
    if (path / _STATE).is_file():
        return _saved(path)
    if (path / _SPLITS).is_file():
        splits = sorted(entry.name for entry in path.iterdir() if (entry / _STATE).is_file())
        raise ValueError(
            f"{path} must be one data set, got the splits {', '.join(splits) or 'none'}; give the path of "
            f"one, such as {path / (splits or ['train'])[0]}"
        )
    return _shards(path, 0)


def _saved(folder: Path) -> list[Path]:
    """The .arrow files that a data set's state names; they must be in its folder."""
    with readable(str(folder / _STATE), "state of a data set"):
        if (folder / _STATE).stat().st_size > _STATE_BYTES:
            raise ValueError(f"it has more than {_STATE_BYTES} bytes")
        names = _data_files(json.loads((folder / _STATE).read_text("utf-8")))
    for name in names:
        file = folder / name
        if file.name != name or ending_of(file) != ".arrow" or file.resolve().parent != folder.resolve():
            raise ValueError(
                f"{folder} must hold its numbers itself, got the file {name!r} elsewhere; no other file is "
                "read: save the data set again with save_to_disk"
            )
        if not file.is_file():
            raise ValueError(f"{folder} must hold {name}, which {_STATE} names, got no such file")
    return [folder / name for name in names]


def _data_files(state: Any) -> list[str]:
    match state:
        case {"_indices_data_files": [_, *_]}:
            raise ValueError("its rows are chosen by indices, save it after flatten_indices()")
        case {"_data_files": [_, *_] as listed} if all(
            isinstance(entry, dict) and isinstance(entry.get("filename"), str) for entry in listed
        ):
            return [entry["filename"] for entry in listed]
    raise ValueError("it names no files")


def _shards(folder: Path, depth: int) -> list[Path]:
    """The embedding files in the order of their numbers, so that `_10` follows `_9`.

    A folder without such files may hold folders `key=value`, as pandas, Spark and DuckDB write them.
    """
    with readable(str(folder), "folder"):
        inside = [entry for entry in folder.iterdir() if not entry.name.startswith((".", "_"))]
    found = [entry for entry in inside if ending_of(entry) in READERS]
    partitions = [entry for entry in inside if "=" in entry.name and entry.is_dir()]
    if partitions and not found and depth < _DEEPEST:
        return [file for part in _in_order(partitions) for file in _shards(part, depth + 1)]
    kinds = sorted({ending_of(entry) for entry in found})
    if len(kinds) != 1:
        folders = sorted(f"{entry.name}/" for entry in inside if entry.is_dir())
        got = ", ".join(kinds or folders) or "none"
        raise ValueError(
            f"{folder} must hold files with one of the endings {', '.join(READERS)}, got {got}; give the "
            "path of such a file or folder"
        )
    return _in_order(found)


def _in_order(entries: list[Path]) -> list[Path]:
    return sorted(entries, key=lambda entry: (natural(entry.name), entry.name))


def natural(name: str) -> list[str | int]:
    """A name split into alternating text and numbers, as a sort key."""
    return [int(word) if i % 2 else word for i, word in enumerate(re.split("([0-9]+)", name))]

"""Files of clouds and results. A file is written completely or not at all; nothing is pickled.

Importing this module does not import JAX. `save_clouds` and `load_clouds` need JAX: they are in
`ctflow.cloud_files`, which is imported on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ctflow.storage.folders import atomic, inside, prepare_folder
from ctflow.storage.provenance import git_commit, provenance, sources, versions
from ctflow.storage.tables import plain, read_arrays, read_csv, write_arrays, write_csv, write_json

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


def __getattr__(name: str) -> Any:
    if name in ("load_clouds", "save_clouds"):
        return getattr(import_module("ctflow.cloud_files"), name)
    raise AttributeError(f"module 'ctflow.io' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

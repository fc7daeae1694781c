"""Files of rows [n, d], opened by their header and read a few rows at a time; nothing is ever unpickled.

Nothing is memory-mapped either: pages that were read would stay in the resident memory, and a file that is
cut while mapped ends the process. A file is never a reason to read another file, nor to unpack more of it at
once than `parts.check_piece` allows.
"""

from ctflow.embedding_files.flat import Flat, npy, safetensors
from ctflow.embedding_files.hdf5 import Hdf5
from ctflow.embedding_files.parquet import Parquet
from ctflow.embedding_files.parts import FLOATS, Memory, Part, check_promise, check_table, choose
from ctflow.embedding_files.zipped import Zipped

__all__ = [
    "FLOATS",
    "Flat",
    "Hdf5",
    "Memory",
    "Parquet",
    "Part",
    "Zipped",
    "check_promise",
    "check_table",
    "choose",
    "npy",
    "safetensors",
]

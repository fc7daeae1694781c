"""Readers of files with rows [n, d]: they read the header first, then a few rows at a time.

Nothing is unpickled. Nothing is memory-mapped, because pages that were read would stay in resident memory,
and a file that is cut while it is mapped ends the process. No file makes a reader open another file, or
unpack more at once than `parts.check_piece` allows.
"""

from ctflow.embeddings.readers.flat import Flat, npy, safetensors
from ctflow.embeddings.readers.hdf5 import Hdf5
from ctflow.embeddings.readers.parquet import Parquet
from ctflow.embeddings.readers.parts import (
    NUMBERS,
    Ambiguous,
    Memory,
    Part,
    check_numbers,
    check_promise,
    check_table,
    choose,
)
from ctflow.embeddings.readers.zipped import Zipped

__all__ = [
    "NUMBERS",
    "Ambiguous",
    "Flat",
    "Hdf5",
    "Memory",
    "Parquet",
    "Part",
    "Zipped",
    "check_numbers",
    "check_promise",
    "check_table",
    "choose",
    "npy",
    "safetensors",
]

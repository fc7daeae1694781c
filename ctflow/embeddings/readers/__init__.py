"""Readers of files with rows [n, d]: they read the header first, then a few rows at a time.

Nothing is unpickled. Nothing is memory-mapped, because pages that were read would stay in resident memory,
and a file that is cut while it is mapped ends the process. No file makes a reader open another file, or
unpack more at once than `parts.check_piece` allows. Text has no header: it is decoded once, block by block,
into at most an eighth of the memory; so are tensors of PyTorch.
"""

from ctflow.embeddings.readers.flat import Flat, npy
from ctflow.embeddings.readers.hdf5 import Hdf5
from ctflow.embeddings.readers.parquet import Parquet
from ctflow.embeddings.readers.parts import NUMBERS, AmbiguousError, Memory, Part, check_table
from ctflow.embeddings.readers.registry import (
    ARRAYS,
    READERS,
    RECIPES,
    check_part,
    check_together,
    ending_of,
    open_raw,
)
from ctflow.embeddings.readers.safetensors_files import safetensors
from ctflow.embeddings.readers.zipped import Zipped

__all__ = [
    "ARRAYS",
    "NUMBERS",
    "READERS",
    "RECIPES",
    "AmbiguousError",
    "Flat",
    "Hdf5",
    "Memory",
    "Parquet",
    "Part",
    "Zipped",
    "check_part",
    "check_table",
    "check_together",
    "ending_of",
    "npy",
    "open_raw",
    "safetensors",
]

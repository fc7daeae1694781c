"""Files of rows [n, d], opened by their header and read a few rows at a time; nothing is ever unpickled.

Nothing is memory-mapped either: pages that were read would stay in the resident memory, and a file that is
cut while mapped ends the process. A file is never a reason to read another file, nor to unpack more of it at
once than `parts.check_piece` allows.
"""

from ctflow.embeddings.readers.flat import Flat, npy, safetensors
from ctflow.embeddings.readers.hdf5 import Hdf5
from ctflow.embeddings.readers.parquet import Parquet
from ctflow.embeddings.readers.parts import FLOATS, Memory, Part, check_promise, check_table, choose
from ctflow.embeddings.readers.zipped import Zipped

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

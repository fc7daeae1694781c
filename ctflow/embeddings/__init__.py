"""A user's embeddings: unit rows [n, d] from files or arrays of any size, read and checked on request."""

from ctflow.embeddings.ids import read_ids
from ctflow.embeddings.opening import as_embeddings, open_embeddings
from ctflow.embeddings.pair_files import read_pairs
from ctflow.embeddings.rows import Embeddings
from ctflow.embeddings.sides import open_pair

__all__ = ["Embeddings", "as_embeddings", "open_embeddings", "open_pair", "read_ids", "read_pairs"]

"""The diagnosis of a user's own embeddings (`ct.diagnose`): is there a gap, how large, where does it sit."""

"""The diagnosis of a user's embeddings (`ct.diagnose`): whether there is a gap, and how large it is."""

"""Why embeddings have a gap: what the loss, free particles and the start of training say about it."""

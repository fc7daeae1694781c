"""Exact copies of rows, as when an image is listed once for each of its captions."""

import numpy as np

from ctflow.embeddings import Embeddings
from ctflow.embeddings.names import LETTERS

_BLOCK = 8192


def first_equal(z: Embeddings, label: np.ndarray | None) -> np.ndarray | None:
    """For each row, the number of the earliest equal row with the same label; None if no row is repeated."""
    n = len(z)
    prints = np.concatenate([z.fingerprints(slice(a, min(a + _BLOCK, n))) for a in range(0, n, _BLOCK)])
    # Most clouds have no copies. A sort alone shows this, with a third of the memory.
    ordered = np.sort(prints)
    if (ordered[1:] != ordered[:-1]).all():
        return None
    keys = [prints] if label is None else [prints, np.unique(label, return_inverse=True)[1]]
    order = np.lexsort(keys[::-1])  # stable, so equal rows keep their order
    new = np.ones(n, bool)
    new[1:] = np.any([key[order][1:] != key[order][:-1] for key in keys], axis=0)
    if new.all():
        return None
    first = np.empty(n, int)
    first[order] = order[np.flatnonzero(new)][np.cumsum(new) - 1]
    return first


def repeats(
    first: tuple[np.ndarray | None, ...], paired: bool, names: tuple[str, str] = LETTERS
) -> list[str]:
    """A note on repeated rows, for the report."""
    found = []
    for name, rows in zip(names, first, strict=True):
        if rows is not None:
            found.append(f"{name} has {len(rows)} rows, of which {len(np.unique(rows))} are distinct")
    how = "one item with all its partners"
    if not paired:
        how = (
            "one row with the weight of all copies (if they are independent draws from a few possible "
            'values, use the estimator "v")'
        )
    return [f"{'; '.join(found)}: exact copies of a row are treated as {how}"] if found else []

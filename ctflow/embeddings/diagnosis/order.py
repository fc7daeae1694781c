"""A warning for rows that should be partners but are not, as in files that are not in the same order."""

import numpy as np

from ctflow.embeddings import Embeddings
from ctflow.embeddings.names import LETTERS

_LOOK = 2048
STRONG = 4.0
"""Partners belong together if their mean cosine is this many standard deviations above shuffled ones."""


def order_note(
    x: Embeddings,
    y: Embeddings,
    cosine: float,
    mean: float,
    sd: float,
    *,
    by_row: bool = True,
    names: tuple[str, str] = LETTERS,
) -> str | None:
    """A warning if partners are no nearer than shuffled ones, with the shift between the files; else None.

    Args:
        x: rows of the first cloud.
        y: rows of the second cloud.
        cosine: mean cosine of partners.
        mean: mean of `cosine` over shuffles of the partners.
        sd: standard deviation of `cosine` over shuffles.
        by_row: whether row i of x was taken as the partner of row i of y; False if pairs were given.
        names: names of the modalities.
    """
    if cosine > mean + STRONG * sd:
        return None
    text = (
        f"rows that should be partners are no nearer than shuffled ones (mean cosine {cosine:.4g}, "
        f"shuffled {mean:.4g} ± {sd:.2g}): "
        + ("are the files in the same order?" if by_row else "are these the right pairs?")
    )
    if not by_row:
        return text
    count = np.arange(min(len(x), len(y), _LOOK))
    table = x.rows(count) @ y.rows(count).T
    offsets = np.arange(-len(count) + 32, len(count) - 31) if len(count) > 64 else np.zeros(0, int)
    scores = [np.sqrt(len(line)) * (line.mean() - mean) for line in (np.diagonal(table, k) for k in offsets)]
    if scores and max(scores) > 8 * max(float(table.std()), 1e-12):
        k = offsets[int(np.argmax(scores))]
        text += (
            f" Row i of {names[0]} looks like the partner of row i {'+' if k > 0 else '-'} {abs(k)} of "
            f"{names[1]}."
        )
    return text

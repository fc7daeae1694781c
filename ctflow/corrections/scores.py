"""Measures of how well embeddings serve a purpose, on rows that nothing was fitted on.

All measures use one matrix of scores between all rows of both modalities, so that cosines and other scorings
are measured in the same way. Ties count with their expected value. Each measure comes with the influence of
every group of rows on it, which gives the standard errors of differences.
"""

from typing import NamedTuple

import numpy as np

from ctflow.corrections.correction import Correction
from ctflow.corrections.csls import Csls, all_scores
from ctflow.corrections.maps import send
from ctflow.diagnostics.retrieval import chance
from ctflow.embeddings import Embeddings
from ctflow.embeddings.pairing import Block

NEIGHBOURS = 10
_BLOCK = 1024
# Scores that differ by less than this count as equal: they are float64 sums of a few hundred products.
_ROUNDING = 16 * 2**-52

PURPOSES = ("retrieval", "mixed", "clustering")
"""Find the partner in the other modality; find it in a corpus of both; cluster both modalities together."""

# The measures of each purpose, one for each modality.
SIDES = {
    "retrieval": ("recall@1_x_to_y", "recall@1_y_to_x"),
    "mixed": ("mixed_recall@1_x", "mixed_recall@1_y"),
    "clustering": ("mixing_x", "mixing_y"),
}


class Held(NamedTuple):
    """Held-out rows of both modalities, with their pairs and groups."""

    x: np.ndarray
    """[a, d] unit rows, float32 or float64."""
    y: np.ndarray
    """[b, d]."""
    block: Block
    group: np.ndarray
    """[a + b] group numbers from 0, first for x and then for y; rows of one group belong together."""


class Value(NamedTuple):
    """A mean over queries, with the influence of each group of rows on it."""

    mean: float
    influence: np.ndarray
    """[groups], with mean 0. The standard error is √(mean of its squares / number of groups)."""

    @property
    def error(self) -> float:
        """Standard error of the mean; groups are taken as independent."""
        return float(np.sqrt(np.mean(self.influence**2) / len(self.influence)))

    def __sub__(self, other: "Value") -> "Value":
        return Value(self.mean - other.mean, self.influence - other.influence)


def held_of(x: Embeddings, y: Embeddings, block: Block) -> Held:
    """Read the rows of a block into memory."""
    group = np.unique(np.concatenate([block.x_group, block.y_group]), return_inverse=True)[1]
    return Held(x.rows(block.x), y.rows(block.y), block, group)


class Moved(NamedTuple):
    """Held-out rows after a correction, in float64, and the scores [a + b, a + b] of all pairs of rows."""

    x: np.ndarray
    y: np.ndarray
    cosine: np.ndarray
    scores: np.ndarray
    """The same array as `cosine`, unless a scoring replaces it."""


def moved(fitted: Correction | Csls, held: Held) -> Moved:
    """Apply a correction to the held-out rows and score all pairs of rows.

    Raises:
        ValueError: the image of a row has no direction.
    """
    maps = (fitted.x, fitted.y) if isinstance(fitted, Correction) else (None, None)
    x, y = (
        np.concatenate(list(send(name, fitted.method, part, z.__getitem__, len(z))))
        for name, part, z in (("x", maps[0], held.x), ("y", maps[1], held.y))
    )
    rows = np.concatenate([x, y])
    cosine = rows @ rows.T
    return Moved(x, y, cosine, all_scores(fitted, x, y) if isinstance(fitted, Csls) else cosine)


def measured(scores: np.ndarray, held: Held) -> dict[str, Value]:
    """Recall@1 and @5 in both directions, mixed recall@1, and mixing, from scores [a + b, a + b].

    `mixed_recall@1` is the share of queries whose best candidate among the rows of both modalities is a
    partner. Rows of the query's own modality and group, itself included, are not candidates. `mixing` is the
    share of the other modality among the 10 best of the same candidates.
    """
    a, total = len(held.x), len(scores)
    sides = {"x": slice(0, a), "y": slice(a, total)}
    pairs = held.block.pairs + np.array([0, a])
    partners = {"x": pairs, "y": pairs[:, ::-1]}
    found: dict[str, Value] = {}
    for name, other in (("x", "y"), ("y", "x")):
        mine, theirs = sides[name], sides[other]
        asked, first = np.unique(partners[name][:, 0], return_inverse=True)
        parts = []
        for start in range(0, len(asked), _BLOCK):
            query = asked[start : start + _BLOCK]
            inside = (first >= start) & (first < start + _BLOCK)
            own = first[inside] - start, partners[name][inside, 1]
            block = scores[query].copy()
            same = held.group[query][:, None] == held.group[None, mine]
            across = _hits(block[:, theirs], (own[0], own[1] - theirs.start), (1, 5))
            block[:, mine][same] = -np.inf
            mixing = _share(block, theirs)
            parts.append(np.column_stack([across, _hits(block, own, (1,)), mixing]))
        table = np.concatenate(parts)
        names = [f"recall@1_{name}_to_{other}", f"recall@5_{name}_to_{other}", f"mixed_recall@1_{name}"]
        for column, values in zip([*names, f"mixing_{name}"], table.T, strict=True):
            found[column] = _value(values, held.group[asked], int(held.group.max()) + 1)
    return found


def by_chance(held: Held) -> tuple[float, float]:
    """Expected recall@1 from x to y and from y to x when candidates are in random order."""
    pairs = np.unique(held.block.pairs, axis=0)
    found = []
    for column, size in ((0, len(held.y)), (1, len(held.x))):
        _, partners = np.unique(pairs[:, column], return_counts=True)
        found.append(float(np.mean(partners / size)))
    return found[0], found[1]


def score(values: dict[str, Value], purpose: str) -> Value:
    """The score of a purpose, the mean over its two measures; larger is better.

    For clustering each measure is ½ - |mixing - ½|, largest when half of the neighbours are of each modality.
    """
    sides = [values[name] for name in SIDES[purpose]]
    if purpose == "clustering":
        sides = [_towards_half(side) for side in sides]
    return Value(
        float(np.mean([side.mean for side in sides])), np.mean([side.influence for side in sides], axis=0)
    )


def _towards_half(value: Value) -> Value:
    sign = 1.0 if value.mean <= 0.5 else -1.0
    return Value(0.5 - abs(value.mean - 0.5), sign * value.influence)


def _hits(scores: np.ndarray, partners: tuple[np.ndarray, np.ndarray], ks: tuple[int, ...]) -> np.ndarray:
    """Probability [q, len(ks)] that a partner is among the k best candidates of each query.

    Args:
        scores: [q, c].
        partners: row and column numbers of all partners in `scores`; every query has at least one.
        ks: the numbers k of best candidates.
    """
    query, candidate = partners
    mine = scores[query, candidate]
    best = np.full(len(scores), -np.inf)
    np.maximum.at(best, query, mine)
    good = np.bincount(query[mine >= best[query] - _ROUNDING], minlength=len(scores))
    above = (scores > best[:, None] + _ROUNDING).sum(axis=1)
    level = (scores >= best[:, None] - _ROUNDING).sum(axis=1) - above
    return np.stack([chance(k - above, good, level) for k in ks], axis=1)


def _share(scores: np.ndarray, others: slice) -> np.ndarray:
    """Expected share [q] of the other modality among the best candidates of each query."""
    k = min(NEIGHBOURS, int(np.isfinite(scores).sum(axis=1).min()))
    last = np.partition(scores, -k, axis=1)[:, -k][:, None]
    above, level = scores > last + _ROUNDING, scores >= last - _ROUNDING
    num_above, num_level = above.sum(axis=1), (level & ~above).sum(axis=1)
    tied = (level & ~above)[:, others].sum(axis=1)
    return (above[:, others].sum(axis=1) + (k - num_above) * tied / num_level) / k


def _value(each: np.ndarray, group: np.ndarray, size: int) -> Value:
    """The mean over queries [q], with the influence of each of the `size` groups."""
    count = np.bincount(group, minlength=size)
    lean = np.bincount(group, each - each.mean(), minlength=size)
    return Value(float(each.mean()), lean * size / count.sum())

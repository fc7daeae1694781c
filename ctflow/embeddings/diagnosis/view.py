"""What pictures and pages show of a sample of rows: clouds along the gap, partners, spectra."""

from typing import NamedTuple

import numpy as np
from scipy import linalg

from ctflow.diagnostics.retrieval import chance
from ctflow.embeddings.diagnosis.study import Study

MAX_DRAWN = 1500
"""Largest number of rows of each modality that are drawn as points."""
_MAX_FOR_SPECTRA = 1024
_MAX_PAIRS = 20_000
_BLOCK = 512
_LEVEL = 4 * 2**-52
_ROUNDING = 1e-13


class Partners(NamedTuple):
    """The pairs of the sample; positions count the sampled rows of each modality from 0."""

    positions: np.ndarray
    """[p, 2]."""
    cosine: np.ndarray
    """[p]."""
    rank: np.ndarray
    """[p, 2] rank of the partner among the sampled rows of the other modality, for queries of x and of y."""
    nearest: np.ndarray
    """[p] position of the sampled row of y that is nearest to the pair's row of x."""
    shuffled: np.ndarray
    """Cosines of rows whose partners were shuffled, at most p."""
    across: tuple[float, float]
    """Share of queries of x and of y whose partner is first among the sampled rows of the other modality."""
    mixed: tuple[float, float]
    """Share of queries of x and of y whose partner is first among the sampled rows of both modalities."""


class View(NamedTuple):
    """Small arrays about the sample of rows that sums over all pairs of rows use."""

    rows: tuple[np.ndarray, np.ndarray]
    """Row numbers of the sample in each modality."""
    weight: tuple[np.ndarray, np.ndarray]
    """Their weights, each summing to 1."""
    along: tuple[np.ndarray, np.ndarray]
    """Positions along the gap axis, 0 halfway between the means. The axis of one half of the groups is the
    mean difference of the other half, because rows lie apart on an axis that was fitted to them."""
    plane: tuple[np.ndarray, np.ndarray]
    """[a, 2] and [b, 2] positions in the plane in which both clouds together spread most."""
    explained: tuple[float, float]
    """Share of the pooled variance along each axis of the plane."""
    typical: tuple[float, float]
    """Mean distance of two rows of one modality; NaN if all rows are of one group."""
    drawn: tuple[np.ndarray, np.ndarray]
    """Positions of at most `MAX_DRAWN` rows of each modality to draw as points; partners are kept."""
    spectra: tuple[np.ndarray, ...]
    """Standard deviations of x and of y along their principal directions, decreasing; with partners, also the
    root mean squares of the partners' differences, which include a constant shift."""
    partners: Partners | None

    @property
    def typical_distance(self) -> float:
        """Mean distance of two rows of one modality, the mean of both modalities."""
        return float(np.mean(self.typical))

    @property
    def means(self) -> tuple[float, float]:
        """Weighted means of both clouds along the gap axis."""
        x, y = (float(w @ a) for w, a in zip(self.weight, self.along, strict=True))
        return x, y


def view(s: Study) -> View:
    """Look at the sample of a study."""
    rng, size = s.random(9), len(s.block.x)
    points = s.rows.points[:size], s.rows.points[size:]
    weight = s.rows.x[:size], s.rows.y[size:]
    along = _along(s)
    plane, explained = _plane(points, rng)
    drawn = _drawn(s, rng)
    sets = [_some(z, rng) for z in points]
    if s.paired:
        i, j = _some(s.block.pairs, rng).T
        sets.append(points[0][i] - points[1][j])
    return View(
        rows=(s.block.x, s.block.y),
        weight=weight,
        along=(along[:size], along[size:]),
        plane=plane,
        explained=explained,
        typical=tuple(_typical(s, side, chosen) for side, chosen in enumerate(drawn)),  # pyright: ignore[reportArgumentType]
        drawn=drawn,
        spectra=tuple(_spectrum(z, centred=k < 2) for k, z in enumerate(sets)),
        partners=_partners(s, rng) if s.paired else None,
    )


def _along(s: Study) -> np.ndarray:
    """Positions [N] of the table's rows along the mean difference of the other half of the groups."""
    rows, found = s.rows, np.zeros(len(s.rows.points))
    whole = rows.y @ rows.points - rows.x @ rows.points
    middle = (rows.y @ rows.points + rows.x @ rows.points) / 2
    for half in (s.first_half, ~s.first_half):
        mine = half[rows.group]
        x, y = (np.where(mine, 0, w) for w in (rows.x, rows.y))
        axis = whole
        if x.sum() > 0 and y.sum() > 0:
            axis = y @ rows.points / y.sum() - x @ rows.points / x.sum()
        length = np.linalg.norm(axis)
        if length > _ROUNDING:
            found[mine] = (rows.points[mine] - middle) @ (axis / length)
    return found


def _plane(
    points: tuple[np.ndarray, np.ndarray], rng: np.random.Generator
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[float, float]]:
    """Positions in the plane of the two leading principal directions of both clouds, weighted equally."""
    some = [_some(z, rng) for z in points]
    pooled = np.concatenate([z / np.sqrt(len(z)) for z in some])
    mean = (some[0].mean(axis=0) + some[1].mean(axis=0)) / 2
    pooled -= np.concatenate([np.full((len(z), 1), 1 / np.sqrt(len(z))) for z in some]) * mean
    total = float(np.sum(pooled**2))
    if not total > _ROUNDING**2:
        return (np.zeros((len(points[0]), 2)), np.zeros((len(points[1]), 2))), (0.0, 0.0)
    values, axes = _leading(pooled, 2)
    # Signs: y lies to the right of x; upwards is where the largest coordinate of the axis is positive.
    shift = (some[1].mean(axis=0) - some[0].mean(axis=0)) @ axes[:, 0]
    signs = np.sign([shift, axes[np.argmax(np.abs(axes[:, 1])), 1]])
    axes = axes * np.where(signs == 0, 1, signs)
    x, y = ((z - mean) @ axes for z in points)
    return (x, y), (float(values[0] / total), float(values[1] / total))


def _leading(rows: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The largest eigenvalues [count] of rowsᵀrows, decreasing, and eigenvectors [d, count]."""
    n, d = rows.shape
    small = rows.T @ rows if d <= n else rows @ rows.T
    last = len(small) - 1
    values, vectors = linalg.eigh(small, subset_by_index=(last - count + 1, last))
    values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
    if d > n:
        vectors = rows.T @ vectors
        vectors /= np.maximum(np.linalg.norm(vectors, axis=0), _ROUNDING)
    return values, vectors


def _spectrum(rows: np.ndarray, *, centred: bool) -> np.ndarray:
    """Singular values of rows divided by √n, decreasing."""
    rows = rows - rows.mean(axis=0) if centred else rows
    n, d = rows.shape
    small = rows.T @ rows if d <= n else rows @ rows.T
    values = np.sqrt(np.maximum(linalg.eigvalsh(small)[::-1] / n, 0))
    return values[values > 1e-9 * max(values[0], _ROUNDING)]


def _some(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if len(rows) <= _MAX_FOR_SPECTRA:
        return rows
    return rows[np.sort(rng.choice(len(rows), _MAX_FOR_SPECTRA, replace=False))]


def _drawn(s: Study, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Rows of whole groups in random order, until one modality has `MAX_DRAWN`; at least 2 of each."""
    size, group = len(s.block.x), s.rows.group
    place = np.empty(group.max() + 1, int)
    place[rng.permutation(len(place))] = np.arange(len(place))
    sides = []
    for mine in (group[:size], group[size:]):
        sides.append(np.cumsum(np.bincount(place[mine], minlength=len(place))))
    fits = (np.maximum(*sides) <= MAX_DRAWN)[place]
    found = [np.flatnonzero(fits[mine]) for mine in (group[:size], group[size:])]
    if min(map(len, found)) < 2:  # one group holds most rows
        found = [np.sort(rng.permutation(n)[:MAX_DRAWN]) for n in (size, len(group) - size)]
    return found[0], found[1]


def _typical(s: Study, side: int, chosen: np.ndarray) -> float:
    """Mean distance of two of the chosen rows of one modality, from distinct groups."""
    place = chosen + side * len(s.block.x)
    group = s.rows.group[place]
    apart = group[:, None] != group
    distance = np.sqrt(np.maximum(2 - 2 * s.cosine[np.ix_(place, place)], 0))
    return float(distance[apart].mean()) if apart.any() else float("nan")


def _sampled_pairs(s: Study, rng: np.random.Generator) -> np.ndarray:
    """Pairs of positions [p, 2]: all of the sample's, or as many as are shown."""
    pairs = s.block.pairs
    if len(pairs) <= _MAX_PAIRS:
        return pairs
    return pairs[np.sort(rng.choice(len(pairs), _MAX_PAIRS, replace=False))]


def _partners(s: Study, rng: np.random.Generator) -> Partners:
    pairs, size = _sampled_pairs(s, rng), len(s.block.x)
    i, j = pairs[:, 0], pairs[:, 1] + size
    cosine, group = s.cosine[i, j], s.rows.group
    rank, nearest = np.empty((len(pairs), 2), int), np.empty(len(pairs), int)
    for first in range(0, len(pairs), _BLOCK):
        part = slice(first, first + _BLOCK)
        level = cosine[part, None] + _LEVEL
        there = s.cosine[i[part], size:]
        rank[part, 0], nearest[part] = 1 + (there > level).sum(axis=1), there.argmax(axis=1)
        rank[part, 1] = 1 + (s.cosine[j[part], :size] > level).sum(axis=1)
    other = rng.permutation(j)
    kept = group[i] != group[other]
    sides = (i, j, slice(0, size)), (j, i, slice(size, None))
    (across_x, mixed_x), (across_y, mixed_y) = (_found_first(s, *side) for side in sides)
    shuffled = s.cosine[i[kept], other[kept]]
    return Partners(pairs, cosine, rank, nearest, shuffled, (across_x, across_y), (mixed_x, mixed_y))


def _found_first(s: Study, queries: np.ndarray, partners: np.ndarray, own: slice) -> tuple[float, float]:
    """Shares of queries with a partner first among the rows of the other modality, and of both.

    Ties count with their expected value. Rows of the query's own modality and group, itself included, are no
    candidates.
    """
    asked = np.unique(queries)
    best = np.full(len(s.cosine), -np.inf)
    np.maximum.at(best, queries, s.cosine[queries, partners])
    level = np.abs(s.cosine[queries, partners] - best[queries]) <= _LEVEL
    good = np.bincount(queries[level], minlength=len(best))
    total = np.zeros(2)
    for first in range(0, len(asked), _BLOCK):
        rows = asked[first : first + _BLOCK]
        table = s.cosine[rows]
        mine = table[:, own].copy()
        mine[s.rows.group[rows][:, None] == s.rows.group[own]] = -np.inf
        table[:, own] = -np.inf
        counts = np.zeros((2, len(rows)), int)  # candidates above the best partner, and level with it
        for k, candidates in enumerate((table, mine)):
            above = (candidates > best[rows, None] + _LEVEL).sum(axis=1)
            counts += above, (candidates >= best[rows, None] - _LEVEL).sum(axis=1) - above
            total[k] += float(chance(1 - counts[0], good[rows], counts[1]).sum())
    across, mixed = (total / len(asked)).tolist()
    return across, mixed

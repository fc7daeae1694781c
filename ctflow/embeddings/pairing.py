"""Which rows of two clouds belong together: pairs, and groups that are independent of one another.

Rows of one group depend on each other (an image and its five captions); different groups are independent.
Statistics with the estimator `u` use pairs of rows from distinct groups only, a relabelling exchanges the two
modalities of whole groups, and a bootstrap draws whole groups.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ctflow._base.checks import check_choice
from ctflow.diagnostics.index_pairs import components, group_labels, listed_pairs
from ctflow.embeddings import Embeddings
from ctflow.embeddings.names import LETTERS
from ctflow.embeddings.repeats import first_equal, repeats

UNPAIRED = "unpaired"
MIN_GROUPS = 10


class Block(NamedTuple):
    """The rows of some groups: indices into each cloud, weights, groups, and the pairs among the rows."""

    x: np.ndarray
    """[a] rows of the first cloud."""
    y: np.ndarray
    """[b] rows of the second cloud."""
    x_group: np.ndarray
    y_group: np.ndarray
    x_weight: np.ndarray
    """[a] weights, not normalised: the summed weight of the row's pairs; for unpaired rows, its copies."""
    y_weight: np.ndarray
    pairs: np.ndarray
    """[p, 2] positions in `x` and `y`; empty if the rows are unpaired."""
    pair_weight: np.ndarray


class Pairing:
    """The groups of two clouds of `shape` (n, m) rows, taken one block at a time."""

    shape: tuple[int, int]
    num_groups: int
    notes: tuple[str, ...] = ()
    paired: bool = True
    """Whether rows have partners."""
    rows_as_groups: bool = False
    """Whether each row is a group of its own, because the pairs join nearly all rows."""

    @property
    def effective_groups(self) -> float:
        """Number of groups of equal weight that would give as precise statistics."""
        return self.num_groups

    @property
    def items(self) -> tuple[int, int]:
        """Number of distinct rows of each cloud that are measured."""
        return self.shape

    def take(self, groups: np.ndarray) -> Block:
        """The rows of the groups with these increasing numbers, and the pairs among the rows."""
        raise NotImplementedError

    def sample(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Draw at most `count` groups at random; their numbers increase."""
        return _choose(rng, self.num_groups, count)

    def split_pairs(self, size: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
        """Yield pairs between groups, `size` at a time: rows of x, rows of y, groups of x, weights."""
        yield from ()

    def num_units(self, most: int) -> int:
        """Number of units, at most `most`, into which consecutive groups are merged."""
        return int(self.unit_of(np.array([self.num_groups - 1]), most)[0]) + 1

    def unit_of(self, groups: np.ndarray, most: int) -> np.ndarray:
        """The unit of each group; unit numbers increase with group numbers."""
        return groups // -(-self.num_groups // most)


class RowByRow(Pairing):
    """Row i of x is the partner of row i of y, and each pair is a group."""

    def __init__(self, n: int):
        self.shape, self.num_groups = (n, n), n

    def take(self, groups):
        """The two rows of each group."""
        ones, index = np.ones(len(groups)), np.arange(len(groups))
        return Block(groups, groups, groups, groups, ones, ones, np.column_stack([index, index]), ones)


class Unpaired(Pairing):
    """Two independent clouds. Each distinct row is a group: first the rows of x, then those of y.

    Args:
        shape: (n, m).
        first: for each cloud, the earliest row equal to each row, [n] and [m]. Equal rows are one item whose
            weight is their number.
    """

    paired = False

    def __init__(self, shape: tuple[int, int], first: tuple[np.ndarray, np.ndarray]):
        self.shape = shape
        self._items = [np.unique(f, return_counts=True) for f in first]
        self._sizes = [len(rows) for rows, _ in self._items]
        self.num_groups = sum(self._sizes)

    @property
    def items(self) -> tuple[int, int]:
        """Number of distinct rows."""
        return self._sizes[0], self._sizes[1]

    def take(self, groups):
        """One row per group, and no pairs."""
        split = self._sizes[0]
        chosen = groups[groups < split], groups[groups >= split] - split
        (x, of_x), (y, of_y) = (
            (rows[k], count[k].astype(float)) for (rows, count), k in zip(self._items, chosen, strict=True)
        )
        none = np.zeros((0, 2), int), np.zeros(0)
        return Block(x, y, chosen[0], split + chosen[1], of_x, of_y, *none)

    def unit_of(self, groups, most):
        """The unit of each row; no unit holds rows of both clouds."""
        return _units_apart(groups, self.items, most)

    def sample(self, count, rng):
        """At most `count` rows of each cloud."""
        n, m = self._sizes
        return np.concatenate([_choose(rng, n, count), n + _choose(rng, m, count)])


class Listed(Pairing):
    """Index pairs with weights. Rows without a pair belong to no group and are never taken.

    Args:
        shape: (n, m).
        pairs: [p, 2] rows of x and of y.
        weights: [p], > 0.
        labels: group of each row of x [n] and of y [m].
    """

    def __init__(self, shape, pairs, weights, labels, notes=()):
        self.shape, self.notes = shape, notes
        self.pairs, self.weights = pairs, weights
        self._masses = [np.bincount(pairs[:, c], weights, shape[c]) for c in (0, 1)]
        used = np.concatenate([mass > 0 for mass in self._masses])
        number = np.full(sum(shape), -1)
        number[used] = np.unique(np.concatenate(labels)[used], return_inverse=True)[1]
        self.num_groups = int(number.max()) + 1
        self._orders = [_sorted_by(part) for part in np.split(number, [shape[0]])]
        self._by_x = _sorted_by(pairs[:, 0])
        share = np.bincount(number[pairs[:, 0]], weights) / weights.sum()
        self._effective_groups = float(1 / np.sum(share**2))

    @property
    def effective_groups(self) -> float:
        """1/Σ s², where s are the groups' shares of the pairs' weight."""
        return self._effective_groups

    @property
    def items(self) -> tuple[int, int]:
        """Number of distinct rows of x and of y that have a partner."""
        x, y = (int((mass > 0).sum()) for mass in self._masses)
        return x, y

    def take(self, groups):
        """All rows and pairs of the groups."""
        (x, i), (y, j) = (_members(order, groups) for order in self._orders)
        chosen, owner = _members(self._by_x, x)
        place = np.full(self.shape[1], -1)
        place[y] = np.arange(len(y))
        local = np.column_stack([owner, place[self.pairs[chosen, 1]]])
        inside = local[:, 1] >= 0
        weights = self._masses[0][x], self._masses[1][y]
        return Block(x, y, groups[i], groups[j], *weights, local[inside], self.weights[chosen][inside])


class RowsAsGroups(Listed):
    """Index pairs that join nearly all rows. Each row is a group: first the rows of x, then those of y."""

    rows_as_groups = True

    def __init__(self, shape, pairs, weights, notes=()):
        labels = np.arange(shape[0]), shape[0] + np.arange(shape[1])
        super().__init__(shape, pairs, weights, labels, notes)

    def unit_of(self, groups, most):
        """The unit of each row; no unit holds rows of both clouds."""
        return _units_apart(groups, self.items, most)

    def split_pairs(self, size):
        """Yield all pairs, `size` at a time, because each pair joins two groups."""
        group = np.unique(self.pairs[:, 0], return_inverse=True)[1]
        for start in range(0, len(group), size):
            part = slice(start, start + size)
            yield *self.pairs[part].T, group[part], self.weights[part]

    def sample(self, count, rng):
        """Draw at most `count` rows of x, and at most `count` rows of y with a partner among them."""
        x = _choose(rng, self.items[0], count)
        of_x, of_y = (np.unique(column, return_inverse=True)[1] for column in self.pairs.T)
        partners = np.unique(of_y[np.isin(of_x, x)])
        return np.concatenate([x, self.items[0] + partners[_choose(rng, len(partners), count)]])


def _units_apart(groups: np.ndarray, sizes: tuple[int, int], most: int) -> np.ndarray:
    """The unit of each of n rows of x and m of y. No unit holds rows of both clouds, whatever n and m are."""
    n, m = sizes
    if n + m <= most:
        return groups
    of_x, of_y = (-(-size // (most // 2)) for size in (n, m))
    return np.where(groups < n, groups // of_x, -(-n // of_x) + (groups - n) // of_y)


def _choose(rng: np.random.Generator, size: int, count: int) -> np.ndarray:
    return np.arange(size) if count >= size else np.sort(rng.choice(size, count, replace=False))


def _sorted_by(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The positions sorted by their labels, and the sorted labels."""
    order = np.argsort(labels, kind="stable")
    return order, labels[order]


def _members(index: tuple[np.ndarray, np.ndarray], wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The positions whose label is wanted, and for each the index of its label in `wanted`."""
    order, labels = index
    first, last = (np.searchsorted(labels, wanted, side) for side in ("left", "right"))
    owner = np.repeat(np.arange(len(wanted)), last - first)
    ends = np.cumsum(last - first)
    return order[np.arange(len(owner)) + (last - ends)[owner]], owner


def pair_up(
    x: Embeddings, y: Embeddings, pairs: Any = None, groups: Any = None, names: tuple[str, str] = LETTERS
) -> Pairing:
    """The pairing of two sets of rows, where exact copies of a row are one item.

    An image whose row is repeated for each caption is one item with several partners, so the result is the
    same as if each distinct row were listed once and `pairs` were given.

    Args:
        x: rows of the first cloud.
        y: rows of the second cloud.
        pairs: as for `pairing`.
        groups: as for `pairing`; equal rows of two groups are two items.
        names: names of the modalities in notes.

    Raises:
        ValueError: as for `pairing`; or there are too few distinct rows or pairs to compare.
    """
    shape = len(x), len(y)
    labels = (None, None) if groups is None else group_labels(groups, *shape)
    first = tuple(first_equal(z, label) for z, label in zip((x, y), labels, strict=True))
    plan = pairing(*shape, pairs, groups, first, names)
    for name, rows, items in zip((x.name, y.name), first, plan.items, strict=True):
        if items < 2:
            raise ValueError(
                f"{name} must have at least 2 distinct rows, got {items}"
                + (
                    f": {len(rows)} copies of one row. This modality has collapsed to a point"
                    if rows is not None and len(np.unique(rows)) == 1
                    else ""
                )
                + "; there is nothing to compare"
            )
    if plan.paired and plan.num_groups < MIN_GROUPS:
        raise ValueError(
            f"{x.name} and {y.name} must have at least {MIN_GROUPS} distinct pairs to be compared, got "
            f"{plan.num_groups}"
        )
    plan.notes = (*repeats(first, plan.paired, names), *plan.notes)
    return plan


def pairing(
    n: int,
    m: int,
    pairs: Any = None,
    groups: Any = None,
    first: tuple[np.ndarray | None, ...] = (None, None),
    names: tuple[str, str] = LETTERS,
) -> Pairing:
    """The pairing of n rows with m rows.

    Args:
        n: number of rows of the first cloud.
        m: number of rows of the second cloud.
        pairs: None (row i with row i), `unpaired`, integers [p, 2], or a `ctflow.couplings.Coupling`. Rows
            without a partner are left out.
        groups: the group of each row: integers or text, [n] and [m] in a tuple, or one [n] for both clouds.
            By default, a group holds the rows that pairs connect, directly or through other rows.
        first: for each cloud, the earliest row equal to each row; None if no row is repeated.
        names: names of the modalities in notes.

    Raises:
        ValueError: n and m differ without pairs, an index is out of range, or `groups` break a rule.
    """
    if isinstance(pairs, str):
        check_choice("pairs", pairs, (UNPAIRED,))
        if groups is not None:
            raise ValueError("groups need pairs, got unpaired rows, which are independent; leave groups out")
        return Unpaired((n, m), _or_itself(first, n, m))
    if pairs is None:
        if n != m:
            raise ValueError(
                f"without pairs the clouds must have equally many rows, got {n} and {m}; give pairs=, or "
                f'pairs="{UNPAIRED}" for independent rows'
            )
        if groups is None and first[0] is None and first[1] is None:
            return RowByRow(n)
        pairs = np.column_stack([np.arange(n)] * 2)
    indices, weights = listed_pairs(pairs, n, m)
    notes = []
    lonely = [size - len(np.unique(indices[:, c])) for c, size in enumerate((n, m))]
    if any(lonely):
        notes.append(
            f"{lonely[0]} rows of {names[0]} and {lonely[1]} of {names[1]} have no partner and are left out"
        )
    labels = None if groups is None else group_labels(groups, n, m)
    indices, weights = _added_up(indices, weights, _or_itself(first, n, m))
    if labels is None:
        labels = components(indices, n, m)
    joined = labels[0][indices[:, 0]]
    if groups is not None and (joined != labels[1][indices[:, 1]]).any():
        raise ValueError("groups must hold both rows of every pair, got a pair that joins two groups")
    shares = np.bincount(np.unique(joined, return_inverse=True)[1], weights) / weights.sum()
    if groups is not None and len(shares) < MIN_GROUPS:
        raise ValueError(f"groups must form at least {MIN_GROUPS} groups of paired rows, got {len(shares)}")
    # The effective number of groups: a group that holds nearly all rows is as bad as having few groups.
    effective = float(1 / np.sum(shares**2))
    few = groups is None and effective < min(MIN_GROUPS, len(indices)) * (1 - 1e-9)
    if few:
        ending = "s" if len(shares) > 1 else ""
        notes.append(
            f"the pairs join the rows into {len(shares)} group{ending} (an effective number of "
            f"{effective:.3g}, given their weights), too few to resample: rows are treated as "
            "independent, and no intervals are given"
        )
        return RowsAsGroups((n, m), indices, weights, tuple(notes))
    return Listed((n, m), indices, weights, labels, tuple(notes))


def _or_itself(first: tuple[np.ndarray | None, ...], n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    """For each cloud, the earliest row equal to each row; the row itself if no row is repeated."""
    x, y = (np.arange(size) if rows is None else rows for rows, size in zip(first, (n, m), strict=True))
    return x, y


def _added_up(
    indices: np.ndarray, weights: np.ndarray, first: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """The distinct pairs of items, each with the summed weight of its copies."""
    pairs, place = np.unique(
        np.column_stack([first[c][indices[:, c]] for c in (0, 1)]), axis=0, return_inverse=True
    )
    return pairs, np.bincount(place.ravel(), weights)


def partners(block: Block, column: int) -> np.ndarray:
    """The pairs that count in retrieval: all listed pairs, or for a coupling the likeliest of each row."""
    if is_counted(block):
        return block.pairs
    return likeliest(block.pairs, block.pair_weight, column)


def is_counted(block: Block) -> bool:
    """Whether the weights of the pairs count how often each is listed, and are not probabilities."""
    return bool((block.pair_weight == np.round(block.pair_weight)).all())


def likeliest(pairs: np.ndarray, weights: np.ndarray, column: int) -> np.ndarray:
    """For each row in the column (0 or 1), its pairs with the largest weight: its partners in retrieval."""
    best = np.zeros(pairs[:, column].max() + 1)
    np.maximum.at(best, pairs[:, column], weights)
    return pairs[weights >= best[pairs[:, column]] * (1 - 1e-9)]

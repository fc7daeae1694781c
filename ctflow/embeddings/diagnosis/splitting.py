"""Splits groups of rows into those that a comparison fits on and those that it measures, without overlap."""

from typing import NamedTuple

import numpy as np
from scipy import sparse

from ctflow.embeddings.pairing import Pairing

MIN_PART = 20


class Split(NamedTuple):
    """Increasing numbers of the groups in each part."""

    fitted: np.ndarray
    """Groups on which corrections are fitted and their strengths chosen."""
    held_out: np.ndarray
    """Groups on which corrections are measured."""


def split(
    plan: Pairing, held_out: float, max_rows: int, max_groups: int | None, rng: np.random.Generator
) -> Split:
    """Split the groups at random into those to fit on and those held out.

    Args:
        plan: the groups; rows that are partners, or copies of each other, are in one group.
        held_out: share of the groups held out, in (0, 1).
        max_rows: largest number of rows of each modality to measure, so that all pairs of rows fit in memory.
        max_groups: largest number of groups to use; None for all.
        rng: source of random numbers.

    Raises:
        ValueError: there are too few independent groups, or the pairs join nearly all rows.
    """
    if plan.rows_as_groups:
        raise ValueError(
            "pairs must not join nearly all rows, or partners would be both fitted on and measured: "
            f"{_num_joined(plan)} groups are independent and at least {2 * MIN_PART} of similar size are "
            "needed; give pairs that join fewer rows"
        )
    order = rng.permutation(plan.num_groups)[:max_groups]
    kept = round(held_out * len(order))
    measured, fitted = _within(plan, order[:kept], max_rows), np.sort(order[kept:])
    if min(len(measured), len(fitted)) < MIN_PART:
        raise ValueError(
            f"{len(order)} independent groups of pairs are too few to split: {len(fitted)} would be fitted "
            f"on and {len(measured)} measured, but each part needs {MIN_PART}; give more pairs, or another "
            "held_out or max_rows"
        )
    return Split(fitted, measured)


def _within(plan: Pairing, groups: np.ndarray, max_rows: int) -> np.ndarray:
    """The leading groups, in the given order, that together have at most `max_rows` rows per modality."""
    order = np.argsort(groups)
    block = plan.take(groups[order])
    sizes = []
    for labels in (block.x_group, block.y_group):
        count = np.zeros(len(groups), int)
        count[order] = np.searchsorted(labels_sorted := np.sort(labels), groups[order], "right")
        count[order] -= np.searchsorted(labels_sorted, groups[order], "left")
        sizes.append(np.cumsum(count))
    return np.sort(groups[np.maximum(*sizes) <= max_rows])


def _num_joined(plan: Pairing) -> int:
    """Number of groups into which the pairs join the rows, for a plan that treats each row as a group."""
    block, (n, m) = plan.take(np.arange(plan.num_groups)), plan.shape
    rows = block.x[block.pairs[:, 0]], n + block.y[block.pairs[:, 1]]
    graph = sparse.coo_array((np.ones(len(rows[0]), np.int8), rows), shape=(n + m, n + m))
    labels = sparse.csgraph.connected_components(graph, directed=False)[1]
    return len(np.unique(labels[rows[0]]))

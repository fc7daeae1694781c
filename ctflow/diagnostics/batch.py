"""The losses of a model on its own rows, taken as one batch: what training would report for them."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ctflow.diagnostics.pairing import Block

_BLOCK = 1024


class Batch(NamedTuple):
    """Losses of rows taken as one batch."""

    loss: float
    """InfoNCE, the mean of both directions, in nats; for several partners per row, less its least value."""
    error: float
    """Standard error of the loss over other batches of as many groups."""
    information: float
    """I(π) of the pairs, in nats: the loss where all cosines are equal; log n for n pairs."""
    sigmoid: float | None
    """SigLIP's loss per row of x, in nats; None without a bias."""
    paired_distance: float
    """Mean squared distance of partners."""


def in_batch(x: np.ndarray, y: np.ndarray, block: Block, temperature: float, bias: float | None) -> Batch:
    """The losses of a block's rows, in blocks of rows of x.

    J^Sym + log V + I(π) = -E_π s/τ + ½Σ p_i log Σ_j q_j e^{s_ij/τ} + ½Σ q_j log Σ_i p_i e^{s_ij/τ} + I(π)
    (arXiv 2601.19597), which for n pairs with one partner each is the symmetric cross-entropy of CLIP. The
    standard error is the scatter of each group's first-order share in it: its own loss, and what its rows add
    to the others' denominators.

    Args:
        x: unit rows [a, d].
        y: unit rows [b, d].
        block: their weights, groups and pairs.
        temperature: τ > 0.
        bias: SigLIP's b, or None.
    """
    p, q, pi = (w / w.sum() for w in (block.x_weight, block.y_weight, block.pair_weight))
    i, j = block.pairs.T
    cosine = np.einsum("pd,pd->p", x[i], y[j], dtype=float)
    field_x, softplus = np.empty(len(x)), 0.0
    top, total = np.full(len(y), -np.inf), np.zeros(len(y))
    for rows, logits in _logits(x, y, temperature):
        highest = logits.max(axis=1, keepdims=True)
        field_x[rows] = np.log(np.exp(logits - highest) @ q) + highest[:, 0]
        above = np.maximum(top, logits.max(axis=0))
        total = total * np.exp(top - above) + p[rows] @ np.exp(logits - above)
        top = above
        if bias is not None:
            softplus += float(np.logaddexp(0, logits + bias).sum())
    field_y = np.log(total) + top
    information = float(pi @ np.log(pi / (p[i] * q[j])))
    loss = -pi @ cosine / temperature + (p @ field_x + q @ field_y) / 2 + information
    in_x, in_y = np.zeros(len(x)), np.zeros(len(y))
    for rows, logits in _logits(x, y, temperature):
        in_y += p[rows] @ np.exp(logits - field_x[rows, None]) * q
        in_x[rows] = np.exp(logits - field_y) @ q * p[rows]
    share = _by_group(block, (p * field_x + in_x) / 2, (q * field_y + in_y) / 2, -pi * cosine / temperature)
    sigmoid = None
    if bias is not None:
        sigmoid = float((softplus - (cosine / temperature + bias).sum()) / len(x))
    between = x[i] - y[j]
    return Batch(
        loss=float(loss),
        error=float(share.std(ddof=1) * np.sqrt(len(share))) if len(share) > 1 else np.nan,
        information=information,
        sigmoid=sigmoid,
        paired_distance=float(pi @ np.einsum("pd,pd->p", between, between, dtype=float)),
    )


def _logits(x: np.ndarray, y: np.ndarray, temperature: float) -> Iterator[tuple[slice, np.ndarray]]:
    """s/τ in float64, a block of rows of x at a time."""
    columns = y.astype(float).T / temperature
    for first in range(0, len(x), _BLOCK):
        rows = slice(first, min(first + _BLOCK, len(x)))
        yield rows, x[rows].astype(float) @ columns


def _by_group(block: Block, of_x: np.ndarray, of_y: np.ndarray, of_pairs: np.ndarray) -> np.ndarray:
    """Sums over each group's rows and pairs, [groups]."""
    labels = np.concatenate([block.x_group, block.y_group, block.x_group[block.pairs[:, 0]]])
    return np.bincount(np.unique(labels, return_inverse=True)[1], np.concatenate([of_x, of_y, of_pairs]))

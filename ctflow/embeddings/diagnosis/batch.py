"""The losses that training would report for the user's rows as one batch."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ctflow.embeddings.pairing import Block, is_counted

_BLOCK = 1024
_HELD = 2**25


class Batch(NamedTuple):
    """Losses of pairs that form one batch."""

    pairs: float
    """Number of entries in the batch, one per pair; e^{I(π)} for a coupling whose weights are not counts."""
    loss: float
    """InfoNCE, the mean of both directions, in nats."""
    error: float
    """Standard error of the loss over other batches with as many groups."""
    above_bound: float
    """J^Sym + log V + I(π), in nats: the energy of these rows above its lower bound for their pairs."""
    sigmoid: float | None
    """SigLIP's loss, in nats per pair; None without a bias."""
    paired_distance: float
    """Mean squared distance of partners."""


def in_batch(x: np.ndarray, y: np.ndarray, block: Block, temperature: float, bias: float | None) -> Batch:
    """The losses of a block's pairs, computed for blocks of rows of x.

    As in training, the batch has one entry per pair, so a row is in it once for each of its partners. With p
    and q the shares of the entries that hold each row, J^Sym + log V is -E_π s/τ + ½Σ p_i log Σ_j q_j
    e^{s_ij/τ} + ½Σ q_j log Σ_i p_i e^{s_ij/τ} (arXiv 2601.19597), and the symmetric cross-entropy of CLIP is
    that plus the logarithm of the number of entries. The standard error comes from the scatter of each
    group's first-order contribution: its own loss, and what its rows add to the denominators of others.

    Args:
        x: unit rows [a, d], float64.
        y: unit rows [b, d], float64.
        block: their weights, groups and pairs.
        temperature: τ > 0.
        bias: SigLIP's b, or None.
    """
    p, q, pi = (w / w.sum() for w in (block.x_weight, block.y_weight, block.pair_weight))
    i, j = block.pairs.T
    cosine = np.einsum("pd,pd->p", x[i], y[j], dtype=float)
    # If the table of logits fits in memory, both directions share it.
    logits = x @ y.T / temperature if len(x) * len(y) <= _HELD else None
    field_x, in_y = fields(x, y, p, q, temperature, logits)
    field_y, in_x = fields(y, x, q, p, temperature, None if logits is None else logits.T)
    energy = float(-pi @ cosine / temperature + (p @ field_x + q @ field_y) / 2)
    information = float(pi @ np.log(pi / (p[i] * q[j])))
    pairs = float(block.pair_weight.sum() if is_counted(block) else np.exp(information))
    share = _by_group(block, (p * field_x + in_x) / 2, (q * field_y + in_y) / 2, -pi * cosine / temperature)
    sigmoid = None
    if bias is not None:
        softplus = sum(
            float(p[rows] @ np.logaddexp(0, part + bias) @ q)
            for rows, part in _logits(x, y, temperature, logits)
        )
        sigmoid = pairs * softplus - float(pi @ (cosine / temperature + bias))
    between = x[i] - y[j]
    return Batch(
        pairs=pairs,
        loss=max(energy + float(np.log(pairs)), 0.0),
        error=float(share.std(ddof=1) * np.sqrt(len(share))) if len(share) > 1 else np.nan,
        above_bound=max(energy + information, 0.0),
        sigmoid=sigmoid,
        paired_distance=float(pi @ np.einsum("pd,pd->p", between, between, dtype=float)),
    )


def fields(
    x: np.ndarray,
    y: np.ndarray,
    p: np.ndarray,
    q: np.ndarray,
    temperature: float,
    held: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Log Γ_i = log Σ_j q_j e^{s_ij/τ} [a], and each row of y's share, Σ_i p_i q_j e^{s_ij/τ}/Γ_i [b]."""
    field, part = np.empty(len(x)), np.zeros(len(y))
    for rows, logits in _logits(x, y, temperature, held):
        highest = logits.max(axis=1, keepdims=True)
        kernel = np.exp(np.subtract(logits, highest, out=logits), out=logits)
        total = kernel @ q
        field[rows] = np.log(total) + highest[:, 0]
        part += (p[rows] / total) @ kernel
    return field, part * q


def _logits(
    x: np.ndarray, y: np.ndarray, temperature: float, held: np.ndarray | None
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield s/τ for one block of rows of x at a time, copied from the whole table if it is held."""
    for first in range(0, len(x), _BLOCK):
        rows = slice(first, min(first + _BLOCK, len(x)))
        yield rows, x[rows] @ y.T / temperature if held is None else held[rows].copy()


def _by_group(block: Block, of_x: np.ndarray, of_y: np.ndarray, of_pairs: np.ndarray) -> np.ndarray:
    """The sum over the rows and pairs of each group, [groups]."""
    labels = np.concatenate([block.x_group, block.y_group, block.x_group[block.pairs[:, 0]]])
    return np.bincount(np.unique(labels, return_inverse=True)[1], np.concatenate([of_x, of_y, of_pairs]))

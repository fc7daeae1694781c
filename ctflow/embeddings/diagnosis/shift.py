"""The in-batch loss as the gap is widened or closed rigidly, along the line between the means. No JAX."""

from typing import Any, NamedTuple

import numpy as np
from scipy import optimize

from ctflow.diagnostics import retrieval
from ctflow.embeddings.diagnosis.batch import fields
from ctflow.embeddings.pairing import Block, is_counted, partners

SHIFTS = np.linspace(-0.5, 1.25, 15)
"""The shares of the gap that are taken out: 0 leaves the rows where they are, 1 makes the means meet."""
_REFINEMENTS = 12
MOST_LOSSES = len(SHIFTS) + _REFINEMENTS
"""Largest number of losses that are computed."""
_XATOL = 4e-3


class LossAgainstGap(NamedTuple):
    """The in-batch loss of rows that are moved rigidly, [k] each, ordered by `shift`.

    Attributes:
        shift: share of the difference of the means that is taken out, half of it from either modality; the
            rows are then brought back to the sphere. 0 are the rows as they are.
        gap: centroid gap afterwards, in [-2, 2]; negative once the means have passed each other.
        loss: in-batch loss, in nats.
        here: position of shift 0.
        closed: position of shift 1.
        least: position of the smallest loss.
        recall: recall@1 at those three positions, the mean of both directions.
        equal: the loss if all cosines were equal, the log of the number of pairs; rows with a higher loss are
            worse than rows that say nothing about pairs.
        rows: numbers of rows of either modality.
    """

    shift: np.ndarray
    gap: np.ndarray
    loss: np.ndarray
    here: int
    closed: int
    least: int
    recall: tuple[float, float, float]
    equal: float
    rows: tuple[int, int]

    @property
    def price(self) -> float:
        """Loss with the gap closed minus the loss as it is, in nats; negative if closing it helps."""
        return float(self.loss[self.closed] - self.loss[self.here])

    @property
    def change(self) -> str:
        """What closing the gap does to the loss, in words."""
        return f"{'raises' if self.price > 0 else 'lowers'} the loss by {abs(self.price):.2g} nats"

    @property
    def gain(self) -> float:
        """Loss as it is minus the smallest loss on the line, in nats, >= 0."""
        return float(self.loss[self.here] - self.loss[self.least])


def loss_against_gap(
    x: np.ndarray, y: np.ndarray, block: Block, temperature: float, tick: Any = lambda steps: None
) -> LossAgainstGap:
    """Compute the loss along the line between the means, and find its minimum there.

    Both modalities move by half of the shift, as in arXiv 2203.02053. The minimum is refined between the two
    neighbours of the smallest loss on the grid. The loss is that of `in_batch`.

    Args:
        x: unit rows [a, d], float64.
        y: unit rows [b, d], float64.
        block: weights and pairs of these rows; each row has a partner.
        temperature: τ > 0.
        tick: called with the number of losses that were computed.
    """
    line = _Line(x, y, block, temperature)

    def measured(shift: float) -> tuple[float, float]:
        tick(1)
        return line.loss(shift), line.gap(shift)

    found = {s: measured(s) for s in SHIFTS.tolist()}
    best = min(found, key=lambda s: found[s][0])
    if SHIFTS[0] < best < SHIFTS[-1]:
        step = SHIFTS[1] - SHIFTS[0]
        options = {"xatol": _XATOL, "maxiter": _REFINEMENTS - 1}
        sought = optimize.minimize_scalar(
            lambda s: measured(s)[0], bounds=(best - step, best + step), method="bounded", options=options
        )
        if sought.fun < found[best][0]:
            found[float(sought.x)] = measured(float(sought.x))
    shift = np.array(sorted(found))
    loss, gap = np.array([found[s] for s in shift.tolist()]).T
    here, closed = (int(np.flatnonzero(shift == s)[0]) for s in (0.0, 1.0))
    least = int(np.argmin(loss))
    if loss[here] <= loss[least] + 1e-6 * abs(loss[least]):
        least = here
    recalls = {k: line.recall(float(shift[k])) for k in {here, closed, least}}
    three = recalls[here], recalls[closed], recalls[least]
    return LossAgainstGap(shift, gap, loss, here, closed, least, three, line.log_size, (len(x), len(y)))


class _Line:
    """Rows on the line: x - s Δ/2 and y + s Δ/2, normalised, where Δ is the difference of the means.

    Their products follow from ⟨x, y⟩, ⟨x, Δ⟩ and ⟨y, Δ⟩, so rows are multiplied once for all shifts.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray, block: Block, temperature: float):
        self.x, self.y, self.block, self.temperature = x, y, block, temperature
        self.p, self.q, self.pi = (w / w.sum() for w in (block.x_weight, block.y_weight, block.pair_weight))
        self.difference = self.p @ x - self.q @ y
        self.square = float(self.difference @ self.difference)
        self.of_x, self.of_y = x @ self.difference, y @ self.difference
        self.cosine = x @ y.T
        i, j = block.pairs.T
        information = float(self.pi @ np.log(self.pi / (self.p[i] * self.q[j])))
        self.log_size = float(np.log(block.pair_weight.sum())) if is_counted(block) else information

    def _norms(self, shift: float) -> tuple[np.ndarray, np.ndarray]:
        more = shift * shift * self.square / 4
        return np.sqrt(1 - shift * self.of_x + more), np.sqrt(1 + shift * self.of_y + more)

    def loss(self, shift: float) -> float:
        """The in-batch loss after the shift."""
        of_x, of_y = self._norms(shift)
        logits = self.cosine + (shift / 2) * (self.of_x[:, None] - self.of_y)
        logits -= shift * shift * self.square / 4
        logits /= self.temperature * of_x[:, None]
        logits /= of_y
        i, j = self.block.pairs.T
        paired = self.pi @ logits[i, j]
        there, _ = fields(self.x, self.y, self.p, self.q, self.temperature, logits)
        back, _ = fields(self.y, self.x, self.q, self.p, self.temperature, logits.T)
        return max(float((self.p @ there + self.q @ back) / 2 - paired) + self.log_size, 0.0)

    def moved(self, shift: float) -> tuple[np.ndarray, np.ndarray]:
        """The rows of both modalities after the shift."""
        of_x, of_y = self._norms(shift)
        half = shift / 2 * self.difference
        return (self.x - half) / of_x[:, None], (self.y + half) / of_y[:, None]

    def gap(self, shift: float) -> float:
        """The distance of the means after the shift; negative where they have passed each other."""
        x, y = self.moved(shift)
        left = self.p @ x - self.q @ y
        return float(np.copysign(np.linalg.norm(left), left @ self.difference))

    def recall(self, shift: float) -> float:
        """Recall@1 after the shift, the mean of both directions."""
        x, y = self.moved(shift)
        return recall(x, y, self.block)


def recall(x: np.ndarray, y: np.ndarray, block: Block) -> float:
    """Recall@1 of the rows of a block, the mean of both directions; ties count with their expected value."""
    there = retrieval.hits(x, y, (1,), partners(block, 0))[1].mean()
    back = retrieval.hits(y, x, (1,), partners(block, 1)[:, ::-1])[1].mean()
    return float((there + back) / 2)


def with_partners(block: Block) -> Block:
    """The rows of a block that have a partner in it, with weights that are sums of their pairs'."""
    kept, place = zip(*(np.unique(side, return_inverse=True) for side in block.pairs.T), strict=True)
    pairs = np.column_stack(place)
    sums = [np.bincount(side, block.pair_weight, len(rows)) for side, rows in zip(place, kept, strict=True)]
    i, j = kept
    return Block(
        block.x[i], block.y[j], block.x_group[i], block.y_group[j], sums[0], sums[1], pairs, block.pair_weight
    )

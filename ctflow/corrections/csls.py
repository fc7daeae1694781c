"""Cross-domain similarity local scaling: a score that penalises rows that are close to many others.

    csls(x, y) = 2⟨x, y⟩ - r_Y(x) - r_X(y),

where r_Y(x) is the mean cosine of x with its k nearest rows in a bank Y (Conneau et al., arXiv 1710.04087,
equation 3). It moves no row: use it where scores are computed. It cannot correct stored rows.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ctflow._base.checks import check_count
from ctflow.corrections.rows import any_number

_BLOCK = 1024
BANK = 4000


def csls(
    x: Any, y: Any, *, neighbours: int = 10, x_bank: Any = None, y_bank: Any = None, normalize: bool = False
) -> np.ndarray:
    """Score every row of x with every row of y, [n, m]; a larger score is nearer. One vector x [d] gives [m].

    Args:
        x: unit rows [n, d] of one modality, or one vector [d].
        y: unit rows [m, d] of the other, or one vector [d].
        neighbours: k, the number of nearest rows per bank; at most the rows of the smaller bank.
        x_bank: unit rows [a, d], the bank of r_X, such as earlier queries; x by default.
        y_bank: unit rows [b, d], the bank of r_Y; y by default.
        normalize: accept rows of any norm > 0.

    Raises:
        ValueError: invalid rows, different widths, k out of range, or a single vector without its bank.
    """
    for name, value, bank in (("x", x, x_bank), ("y", y, y_bank)):
        if bank is None and np.ndim(value) == 1:
            raise ValueError(
                f"{name}_bank must be given when {name} is one vector: nearest rows are searched in the bank"
            )
    given = {
        "x": x,
        "y": y,
        "x_bank": x if x_bank is None else x_bank,
        "y_bank": y if y_bank is None else y_bank,
    }
    rows, shapes, width = {}, {}, None
    for name, value in given.items():
        found, shapes[name] = any_number(name, value, width, normalize)
        n = 1 if len(shapes[name]) == 1 else shapes[name][0]
        rows[name], width = found.rows(slice(0, n)).astype(float), found.shape[1]
    check_count("neighbours", neighbours)
    scale = Csls(rows["x_bank"], rows["y_bank"], neighbours)
    scores = 2 * rows["x"] @ rows["y"].T
    scores -= scale.levels(rows["x"])[1][:, None] + scale.levels(rows["y"])[0][None, :]
    return scores.reshape(shapes["x"][:-1] + shapes["y"][:-1])


@dataclass(frozen=True)
class Csls:
    """The CSLS scoring with fixed banks; `compare` fits it under the name `csls`."""

    x_bank: np.ndarray
    """[a, d] unit rows, float64."""
    y_bank: np.ndarray
    """[b, d]."""
    neighbours: int

    method = "csls"

    def __post_init__(self):
        smallest = min(len(self.x_bank), len(self.y_bank))
        if self.neighbours > smallest:
            raise ValueError(f"neighbours must be <= the {smallest} rows of a bank, got {self.neighbours}")

    @property
    def strength(self) -> float:
        """The number of neighbours, as a float."""
        return float(self.neighbours)

    def levels(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean cosine [n] of each row with its nearest rows in the bank of x, and in the bank of y."""
        x, y = (_level(rows, bank, self.neighbours) for bank in (self.x_bank, self.y_bank))
        return x, y

    def scores(self, x: Any, y: Any) -> np.ndarray:
        """Scores [n, m] of unit rows of x with unit rows of y, by `csls` with these banks."""
        return csls(x, y, neighbours=self.neighbours, x_bank=self.x_bank, y_bank=self.y_bank)


def all_scores(scale: Csls, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Scores [n + m, n + m] of all rows, first those of x and then those of y, with each other.

    The score of a from domain A with b from domain B is 2⟨a, b⟩ - r_B(a) - r_A(b), also where A is B: each
    candidate is compared with what the query usually finds in the candidate's own modality.
    """
    rows = np.concatenate([x, y])
    level = np.stack(scale.levels(rows))
    domain = np.repeat([0, 1], [len(x), len(y)])
    # Subtract at [q, c] the query's level in the candidate's domain, then the candidate's in the query's.
    scores = 2 * rows @ rows.T
    scores -= level.T[:, domain]
    scores -= level[domain]
    return scores


def _level(rows: np.ndarray, bank: np.ndarray, k: int) -> np.ndarray:
    blocks = (rows[first : first + _BLOCK] @ bank.T for first in range(0, len(rows), _BLOCK))
    means = [np.partition(cosine, -k, axis=1)[:, -k:].mean(axis=1) for cosine in blocks]
    return np.concatenate([np.zeros(0), *means])

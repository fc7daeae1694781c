"""The paper's own terms at a user's temperature, on every resample at once (arXiv 2601.19597).

`ctflow.energies` has them for one pair of clouds; here one kernel matrix serves hundreds of weightings.
"""

import numpy as np

from ctflow.diagnostics.resampling import Resamples, Rows
from ctflow.diagnostics.two_sample import same_group


def energy_terms(
    cosine: np.ndarray,
    paired: np.ndarray,
    rows: Rows,
    resamples: Resamples,
    *,
    temperature: float,
    estimator: str,
) -> dict[str, np.ndarray]:
    """J^Sym and what it is made of, in nats, [columns] each.

    The kernel's volume is left out of the free energies, so that they mean the same at every d:
    `free_energy_12` is F̃₁₂ + log V = -E_π s/τ + ∫log Γ₁ dq₁, `divergence_12` is D̃(1‖2) = ∫log(Γ₁/Γ₂)dq₁, and
    `energy`, J^Sym + log V, is their mean difference: ½(F̃₁₂ + F̃₂₁) - ½(D̃(1‖2) + D̃(2‖1)).

    Args:
        cosine: [N, N], over the table's rows.
        paired: mean cosine of the pairs, [columns].
        rows: the table.
        resamples: weights.
        temperature: τ > 0.
        estimator: `u` leaves a row's own group, its partner too, out of its fields Γ: the large-batch limit.
            `v` keeps them: the energy of these rows as a batch, where J^Sym + log V >= -I(π).
    """
    logits = cosine / temperature
    if estimator == "u":
        logits = np.where(rows.group[:, None] == rows.group[None, :], -np.inf, logits)
    largest = logits.max(axis=1)
    kernel = np.exp(logits - largest[:, None])
    with np.errstate(divide="ignore"):
        log_x, log_y = (np.log(kernel @ w) + largest[:, None] for w in (resamples.x, resamples.y))
    if estimator == "u":
        groups = same_group(rows)
        log_x = log_x - np.log1p(-(groups @ resamples.x)[rows.group])
        log_y = log_y - np.log1p(-(groups @ resamples.y)[rows.group])
    self_x, cross_y = (_mean(log, resamples.x) for log in (log_x, log_y))
    self_y, cross_x = (_mean(log, resamples.y) for log in (log_y, log_x))
    alignment = -paired / temperature
    return {
        "energy": alignment + (cross_y + cross_x) / 2,
        "free_energy_12": alignment + self_x,
        "free_energy_21": alignment + self_y,
        "divergence_12": self_x - cross_y,
        "divergence_21": self_y - cross_x,
    }


def _mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Σ w f over rows of positive weight, [columns]."""
    return np.einsum("nc,nc->c", weights, np.where(weights > 0, values, 0))


def mutual_information(rows: Rows) -> float:
    """I(π) of the table's pairs, in nats."""
    x, y = rows.pairs.T
    independent = rows.x[x] * rows.y[y]
    return float(rows.pair_weight @ np.log(rows.pair_weight / independent))


def sigmoid_loss(cosine: np.ndarray, rows: Rows, pairs: np.ndarray, temperature: float, bias: float) -> float:
    """SigLIP's loss a row of x, -Σ_j log σ(±(s_ij/τ + b)), + for pairs (arXiv 2303.15343)."""
    of_x, of_y = rows.x > 0, rows.y > 0
    logits = cosine[np.ix_(of_x, of_y)] / temperature + bias
    positive = cosine[tuple(pairs.T)] / temperature + bias
    return float((np.logaddexp(0, logits).sum() - positive.sum()) / of_x.sum())

"""The paper's terms at a user's temperature, on every resample at once (arXiv 2601.19597).

`ctflow.energies` computes them for one pair of clouds; here one kernel matrix serves hundreds of weightings.
"""

import numpy as np

from ctflow.embeddings.diagnosis.resampling import Resamples, Rows
from ctflow.embeddings.diagnosis.two_sample import same_group, without_groups

# If the largest exponential of a sum is 1 and the weighted sum's logarithm is below this, terms may be lost.
_UNDERFLOW = -600.0


def energy_terms(
    cosine: np.ndarray,
    paired: np.ndarray,
    rows: Rows,
    resamples: Resamples,
    *,
    temperature: float,
    estimator: str,
) -> dict[str, np.ndarray]:
    """J^Sym and its parts, in nats, [columns] each.

    log V is added so that the free energies do not depend on the kernel's volume V, which depends on d:
    `free_energy_12` is F̃₁₂ + log V = -E_π s/τ + ∫log Γ₁ dq₁, `divergence_12` is D̃(1‖2) = ∫log(Γ₁/Γ₂)dq₁, and
    `energy` is J^Sym + log V = ½(F̃₁₂ + F̃₂₁) + log V - ½(D̃(1‖2) + D̃(2‖1)).

    Each field Γ is a mean over the table's rows, and its logarithm is a plug-in value: on average it is below
    the logarithm of the law's field, and it rises as rows are added.

    Args:
        cosine: [N, N], over the table's rows.
        paired: mean cosine of the pairs, [columns].
        rows: the table.
        resamples: weights.
        temperature: τ > 0.
        estimator: `u` excludes a row's own group, with its partners, from its fields Γ, as in the large-batch
            limit. `v` includes it: the energy of these rows as a batch, where J^Sym + log V >= -I(π).
    """
    logits = cosine / temperature
    if estimator == "u":
        logits = without_groups(logits, rows, -np.inf)
    both = log_fields(logits, np.concatenate([resamples.x, resamples.y], axis=1))
    log_x, log_y = np.split(both, 2, axis=1)
    # With `u`, a cloud of a single group has no field on its own rows, so its terms are NaN.
    with np.errstate(divide="ignore", invalid="ignore"):
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


def log_fields(logits: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Log Σ_j w_jc e^{logits_ij}, [N, columns], at any temperature; -inf where no term has weight.

    This is one matrix product after subtracting the largest logit of each row. Where all terms with weight
    underflow, the product is repeated without the largest logits, none of which has weight there.

    Args:
        logits: [N, M]; -inf excludes a term.
        weights: [M, columns], 0 or above 1e-20.
    """
    found = np.full((len(logits), weights.shape[1]), -np.inf)
    rows, open_, limit = np.arange(len(logits)), np.ones(found.shape, bool), np.full(len(logits), np.inf)
    while rows.size:
        here = np.where(logits[rows] < limit[:, None], logits[rows], -np.inf)
        top = here.max(axis=1)
        rows, open_, here, top = (a[np.isfinite(top)] for a in (rows, open_, here, top))
        with np.errstate(divide="ignore"):
            part = np.log(np.exp(here - top[:, None]) @ weights)
        found[rows] = np.where(open_, part + top[:, None], found[rows])
        open_ &= part < _UNDERFLOW
        more = open_.any(axis=1)
        # A term with weight above this limit would have kept the sum above the threshold.
        rows, open_, limit = rows[more], open_[more], top[more] + _UNDERFLOW + 50
    return found


def _mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Σ w f over rows of positive weight, [columns]."""
    return np.einsum("nc,nc->c", weights, np.where(weights > 0, values, 0))

"""Entropic optimal transport from one modality to the other."""

import numpy as np

from ctflow._base.checks import check_positive
from ctflow.corrections.maps import Barycentric
from ctflow.corrections.sample import Cloud, Sample

MIN_EPSILON = 0.005
SUPPORT = 2000


def transport(
    s: Sample, epsilon: float, rng: np.random.Generator, *, support: int = SUPPORT, max_steps: int = 20_000
) -> Barycentric:
    """The map from y to x, fitted on at most `support` random rows of each modality."""
    (x, a), (y, b) = (_some(cloud, rng, support) for cloud in (s.x, s.y))
    f, _ = sinkhorn(x, y, epsilon, x_weight=a, y_weight=b, max_steps=max_steps)
    # The cost ½‖x - y‖² is 1 - ⟨x, y⟩ for unit rows; factors that do not depend on x cancel in the map.
    return Barycentric(x, f / epsilon + np.log(a), np.asarray(float(epsilon)))


def _some(cloud: Cloud, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """At most `count` random rows, with their weights rescaled to sum to 1."""
    chosen = np.sort(rng.permutation(len(cloud.rows))[:count])
    weight = cloud.weight[chosen]
    return cloud.rows[chosen], weight / weight.sum()


def sinkhorn(
    x: np.ndarray,
    y: np.ndarray,
    epsilon: float,
    *,
    x_weight: np.ndarray | None = None,
    y_weight: np.ndarray | None = None,
    tolerance: float = 1e-4,
    max_steps: int = 20_000,
) -> tuple[np.ndarray, np.ndarray]:
    """Potentials f [n], g [m] of entropic optimal transport between weighted unit rows.

    The plan is a_i b_j exp((f_i + g_j - ½‖x_i - y_j‖²)/ε). Costs are at most 2, so for ε >= 0.005 the kernel
    stays within the range of float64 and no logarithms are needed.

    Args:
        x: unit rows [n, d].
        y: unit rows [m, d].
        epsilon: ε in units of ½‖x - y‖², at least 0.005.
        x_weight: a [n], sums to 1; uniform by default.
        y_weight: b [m], sums to 1; uniform by default.
        tolerance: stop when the mean relative error of the marginal of y is below this.
        max_steps: largest number of Sinkhorn iterations.

    Raises:
        ValueError: ε is out of range, or the error is not below `tolerance` after `max_steps` iterations.
    """
    check_epsilon(epsilon)
    a = np.full(len(x), 1 / len(x)) if x_weight is None else x_weight
    b = np.full(len(y), 1 / len(y)) if y_weight is None else y_weight
    kernel = np.exp((x @ y.T - 1) / epsilon)
    v = np.ones(len(y))
    for _ in range(max_steps):
        u = 1 / (kernel @ (b * v))
        forward = (a * u) @ kernel
        # The marginal of x is exact after updating u, so the error is that of the marginal of y.
        if b @ np.abs(forward * v - 1) < tolerance:
            return epsilon * np.log(u), epsilon * np.log(v)
        v = 1 / forward
    raise ValueError(
        f"transport did not converge in {max_steps} steps at epsilon {epsilon:g}; take a larger epsilon"
    )


def check_epsilon(epsilon: float) -> None:
    """Raise ValueError unless ε is a number >= 0.005."""
    check_positive("epsilon", epsilon)
    if epsilon < MIN_EPSILON:
        raise ValueError(f"epsilon must be >= {MIN_EPSILON}, got {epsilon}")

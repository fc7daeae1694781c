"""Finite batches on the ring of `ctflow.claims.ring`: the loss of parallel rings with N negatives.

All cosines of two parallel rings are p cos(θ_i - θ_j) + c. No softmax depends on the constant c, so the
loss L_N of N independent negatives depends on κ = p/τ only. With w(Δ) = e^{κ cos Δ}, averages ⟨·⟩ over the
ring and E over the pairs,

    L_N(κ) = -κ e_1 + E log(w(Δ⁺) + Σ_{k<=N} w(Δ_k)).

CLIP's loss of B pairs drawn from π has this mean at N = B - 1. Parallel rings rest at p = τ/τ*_N, where
κ*_N = 1/τ*_N is the minimiser of L_N. To first order in 1/N (delta method),

    L_N - log N = log I_0(κ) - κ e_1 + (1/N) {E w/I_0(κ) - ½ [I_0(2κ)/I_0(κ)² - 1]} + O(N^{-2}).

The first term in braces is the positive's share of the denominator and raises τ*_N; the second is the bias
of the logarithm of a mean and lowers it. They nearly cancel: with the positive in the denominator, L_N is
the cross-entropy of finding the partner among N + 1 candidates, so at every N it is least at the pairs'
density ratio π/(pq) if s/τ can represent it. Parallel rings represent von Mises pairs, for which τ*_N = τ*
exactly; wrapped normal ones are close to them. Without the positive nothing cancels.
"""

import numpy as np
from scipy import optimize, special

from ctflow.claims.ring import critical_temperature, mean_cosines, pair_cosines

LARGEST = 40.0
"""The largest κ at which the quadrature is accurate; a minimiser beyond it is not found."""
_ANGLES = 512
_STEP = 0.2


def slope(kappa: float, sigma: float, size: int, *, positive: bool = True) -> float:
    """dL_N/dκ for any N = `size` >= 1; `positive` is whether e^{s⁺/τ} is in the denominator."""
    angle = 2 * np.pi * np.arange(_ANGLES) / _ANGLES
    modes = np.arange(1, int(9 / max(sigma, 0.05)) + 1)
    pairs = (1 + 2 * pair_cosines(sigma, modes) @ np.cos(modes[:, None] * angle)) / _ANGLES
    return slope_of(kappa, pairs, size, positive=positive)


def slope_of(kappa: float, pairs: np.ndarray, size: int, *, positive: bool = True) -> float:
    """dL_N/dκ by quadrature, for partners displaced by n equally spaced angles of probabilities `pairs` [n].

    1/S = ∫_0^∞ e^{-tS} dt turns the mean of a ratio into a product over the independent negatives:

        L_N' = -E cos Δ + ∫_0^∞ {E[w cos Δ e^{-tw}] φ^N + N E[e^{-tw}] φ^{N-1} ⟨w cos Δ e^{-tw}⟩} dt

    with φ(t) = ⟨e^{-tw}⟩. Without the positive, the first term is left out and E[e^{-tw}] becomes 1. The sum
    over log t in steps of 0.2 is exact to about 1e-12.
    """
    cosines = np.cos(2 * np.pi * np.arange(len(pairs)) / len(pairs))
    # w is divided by its largest value, which changes no ratio.
    w = np.exp(kappa * (cosines - 1))
    # The integrand falls like t to the left and like e^{-tS} to the right, with S >= N times the least w.
    t = np.exp(np.arange(np.log(1e-16 / size), np.log(50 / size) + 2 * kappa, _STEP))[:, None]
    decay = np.exp(-t * w)
    weighted = decay * w * cosines
    phi, psi = decay.mean(axis=1), weighted.mean(axis=1)
    first, second = (weighted @ pairs, decay @ pairs) if positive else (0.0, 1.0)
    integrand = first * phi**size + size * second * phi ** (size - 1) * psi
    return float(_STEP * (t[:, 0] * integrand).sum() - pairs @ cosines)


def critical_temperature_of(sigma: float, size: int, *, positive: bool = True) -> float:
    """τ*_N = 1/κ*_N with L_N'(κ*_N) = 0, or 0 if L_N still falls at κ = 40.

    For κ → ∞ the loss without the positive has the slope E max_k cos Δ_k - e_1. It is negative for few
    negatives or a small blur, and then there is no minimiser.
    """
    if slope(LARGEST, sigma, size, positive=positive) <= 0:
        return 0.0
    found = optimize.brentq(lambda kappa: slope(kappa, sigma, size, positive=positive), 1e-3, LARGEST)
    return 1 / float(found)  # type: ignore[arg-type]


def first_order(sigma: float, size: int, *, positive: bool = True) -> float:
    """τ*_N to first order in 1/N: one Newton step in κ from κ* = 1/τ*, linear in 1/N.

    With A_1 = I_1/I_0 at κ*, τ*_N = τ* + τ*² bias'(κ*) / (N (1 - A_1/κ* - A_1²)).
    """
    tau = critical_temperature(sigma)
    first = mean_cosines(tau, 1)
    curvature = 1 - first * tau - first**2
    return tau + tau**2 * bias_slope(1 / tau, sigma, positive=positive) / (size * curvature)


def bias_slope(kappa: float, sigma: float, *, positive: bool = True) -> float:
    """d/dκ of the coefficient of 1/N in L_N, with E w = Σ_m e_m I_m(κ) over all integers m."""
    zero, one = special.ive(0, kappa), special.ive(1, kappa)
    mean, second = one / zero, special.ive(0, 2 * kappa) / zero**2
    share = 0.0
    if positive:
        m = np.arange(-200, 201)
        e = pair_cosines(sigma, m)
        value = (e * special.ive(m, kappa)).sum() / zero
        share = (e * (special.ive(m - 1, kappa) + special.ive(m + 1, kappa))).sum() / (2 * zero)
        share -= value * mean
    return float(share - special.ive(1, 2 * kappa) / zero**2 + second * mean)

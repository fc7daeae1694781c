"""Other losses than J^Sym for two and more modalities with latents on a ring: results in closed form.

Notation as in `ctflow.claims.ring`. Any loss of the cosines has slopes g_ij = ∂E/∂s_ij, which at the flat
ring depend on θ_i - θ_j alone, with ĝ_m = Σ_ij g_ij cos m(θ_i - θ_j). Out of plane, a wave m grows at the
rate ĝ_1 + ĝ_m in antiphase and ĝ_1 - ĝ_m in phase.

*One direction of InfoNCE* has the slopes of both, (A_m - e_m)/τ, so the same rates out of plane.

*SimCLR's loss*, with the rows of both views as negatives: the slopes between the views and within them
give the rates (A_1 - e_1 - e_m)/τ in antiphase and (A_1 - A_m - e_1 + e_m)/τ in phase. A difference of
levels, m = 0, always decays, at the rate (1 + e_1 - A_1)/τ: the views are not parted by their levels.

*SigLIP's loss* on parallel rings at heights a and b depends on p = √((1-a²)(1-b²)) and on the level c = ab
of the cosines p cos(θ_i - θ_j) + c, and is convex in (p, c). Since a² + b² = 1 + c² - p², rings that rest at
(p, c) are √((1-c)² - p²) apart. A fixed bias b sets c, hence this gap, whatever the start. A learned bias
sets c/τ + b only; InfoNCE sets neither.

*Several modalities*, each two of them with J^Sym: see `in_clique` and `heights_in_clique`.
"""

from typing import Any, NamedTuple

import numpy as np
from scipy import optimize, special

from ctflow.claims import ring


def pooled_growth(sigma: float, tau: float, modes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Growth rates [modes] out of plane, in antiphase and in phase, under `ct.energies.pooled`."""
    a, one = ring.mean_cosines(tau, modes), ring.mean_cosines(tau, 1)
    e, first = ring.pair_cosines(sigma, modes), ring.pair_cosines(sigma, 1)
    return (one - first - e) / tau, (one - a - first + e) / tau


def in_clique(growth: ring.Growth, modalities: int) -> tuple[np.ndarray, np.ndarray]:
    """Antiphase growth rates [modes] of K modalities, `ct.energies.clique`, out of plane and along the ring.

    With the rates A in antiphase and B in phase of two modalities they are (K·A + (K - 2)·B)/(K(K - 1)).
    """
    k = modalities

    def mixed(antiphase: np.ndarray, in_phase: np.ndarray) -> np.ndarray:
        return (k * antiphase + (k - 2) * in_phase) / (k * (k - 1))

    return mixed(growth.antiphase, growth.in_phase), mixed(growth.antiphase_along, growth.in_phase_along)


def onset_in_clique(sigma: float, modalities: int) -> float:
    """The temperature below which K modalities at the flat ring part, by waves out of plane or along it.

    It falls with K, towards the τ* of `ring.critical_temperature`, below which their levels part for every K.
    """
    star, modes = ring.critical_temperature(sigma), np.arange(ring.MODES)

    def largest(tau: float) -> float:
        out, beside = in_clique(ring.growth(sigma, tau, modes), modalities)
        return float(max(out[2:].max(), beside.max()))

    return float(optimize.root_scalar(largest, bracket=(star * (1 + 1e-9), 3 * star)).root)


def height_in_clique(sigma: float, tau: float) -> float:
    """The height |a| = √(1 - τ/τ*) of every ring of three and more that rest in a clique; 0 above τ*.

    Each two need (1-a²)(1-b²) = (τ/τ*)², so all |a| agree: two modalities can share the drop as they like,
    three cannot. Each ring is left its side, so two of three always end at one height.
    """
    return max(0.0, 1 - tau / ring.critical_temperature(sigma)) ** 0.5


class SigmoidRest(NamedTuple):
    """Where parallel rings rest under SigLIP's loss.

    Attributes:
        in_plane: p = √((1-a²)(1-b²)).
        level: c = ab.
        gap: the distance of the rings, √((1-c)² - p²).
        heights: (a, b) with a >= |b|.
        energy: in nats per positive pair.
    """

    in_plane: float
    level: float
    gap: float
    heights: tuple[float, float]
    energy: float


def sigmoid_energy(law: np.ndarray, tau: Any, bias: Any, negatives: float, in_plane: Any, level: Any) -> Any:
    """SigLIP's loss of parallel rings with the pairs π [n, n] of equally spaced angles."""
    n = len(law)
    cosine = np.cos(2 * np.pi * np.arange(n) / n)
    pairs = np.array([np.trace(np.roll(law, shift, axis=0)) for shift in range(n)])
    u = (in_plane * cosine + level) / tau + bias
    return pairs @ np.logaddexp(0, -u) + negatives * np.mean(np.logaddexp(0, u))


def sigmoid_rest(law: np.ndarray, tau: float, bias: float, negatives: float) -> SigmoidRest:
    """The parallel rings of least energy at a fixed bias; unique up to exchange and reflection.

    Args:
        law: π [n, n] on equally spaced angles, as of `ring.law`.
        tau: temperature > 0.
        bias: b.
        negatives: N > 0 per positive pair.
    """

    def of(angles: np.ndarray) -> float:
        a, b = angles
        return float(sigmoid_energy(law, tau, bias, negatives, np.cos(a) * np.cos(b), np.sin(a) * np.sin(b)))

    starts = [(0.1, 0.2), (0.5, 0.6), (0.5, -0.6), (1.2, 0.1)]
    best = min((optimize.minimize(of, start, tol=1e-14) for start in starts), key=lambda found: found.fun)
    a, b = sorted(np.sin(best.x), key=abs, reverse=True)
    a, b = abs(a), b * np.sign(a)
    p, c = float(np.sqrt((1 - a**2) * (1 - b**2))), float(a * b)
    return SigmoidRest(p, c, abs(float(a - b)), (float(a), float(b)), float(best.fun))


def best_bias(law: np.ndarray, tau: float, negatives: float) -> tuple[float, float]:
    """The bias of least loss when all levels are free, as c/τ + b, and the p of least loss with it."""

    def of(numbers: np.ndarray) -> float:
        return float(sigmoid_energy(law, tau, numbers[0], negatives, special.expit(numbers[1]), 0.0))

    found = optimize.minimize(of, (-np.log(negatives), 0.0), tol=1e-14)
    return float(found.x[0]), float(special.expit(found.x[1]))

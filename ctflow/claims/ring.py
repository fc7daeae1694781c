"""Two modalities with latents on a ring: results in closed form.

Latents are equally spaced angles θ. The partner of a latent is displaced by a wrapped normal angle with
standard deviation σ. With κ = 1/τ let

    A_m = I_m(κ)/I_0(κ),   e_m = e^{-m²σ²/2},   g_m = A_m - e_m.

A_m is the mean of cos mΔ under the softmax of two overlapping rings, and e_m its mean under the pairs. The
critical temperature τ* is where g_1 = 0.

*Parallel rings* x = (√(1-a²) cos θ, √(1-a²) sin θ, a), y = (√(1-b²) cos θ, √(1-b²) sin θ, b): all cosines are
p cos(θ_i - θ_j) + ab with p = √((1-a²)(1-b²)), and J^Sym does not depend on the constant ab, only on p. It is
stationary at p = τ/τ*, where the effective temperature τ/p equals τ*. The flow keeps rings parallel. With
latitudes α, β (a = sin α, b = sin β) and G = g_1(κ = p/τ)/τ,

    dα/dt = G sin α cos β,   dβ/dt = G sin β cos α,

so that d log a/dt = d log b/dt = G cos α cos β: **the ratio a/b is conserved**, and the start selects one end
from the family (1-a²)(1-b²) = (τ/τ*)², all of equal energy. Mirror images (b = -a) end 2√(1 - τ/τ*)
apart, rings of equal height end together.

*The flat ring* (a = b = 0) has both clouds overlapping in a plane. Small displacements ∝ cos mθ (the mode m),
out of plane or along the ring, in phase or in antiphase, grow at the rates of `growth`.
"""

from typing import Any, NamedTuple

import numpy as np
from scipy import integrate, optimize, special

MODES = 24
"""Number of modes examined, m = 0 … 23; the relevant ones have m² up to about 1/τ."""


class Growth(NamedTuple):
    """Rates [modes], 1/time, at which displacements of the flat ring grow; negative if they decay.

    Attributes:
        antiphase: out of plane, x and y in opposite directions.
        in_phase: out of plane, x and y in the same direction.
        antiphase_along: along the ring, in opposite directions.
        in_phase_along: along the ring, in the same direction.
    """

    antiphase: np.ndarray
    in_phase: np.ndarray
    antiphase_along: np.ndarray
    in_phase_along: np.ndarray


def law(n: int, sigma: float) -> np.ndarray:
    """Probabilities π_ij [n, n] of pairs of angles; matched pairs at σ = 0."""
    if sigma == 0:
        return np.eye(n) / n
    angle = 2 * np.pi * np.arange(n) / n
    apart = angle[:, None] - angle
    turns = 2 * np.pi * np.arange(-4, 5)[:, None, None]
    weights = np.exp(-((apart + turns) ** 2) / (2 * sigma**2)).sum(axis=0)
    return weights / weights.sum()


def mean_cosines(tau: float, modes: np.ndarray | int) -> Any:
    """A_m = I_m(1/τ)/I_0(1/τ), the mean of cos mΔ under a von Mises law of concentration 1/τ."""
    return special.ive(modes, 1 / tau) / special.ive(0, 1 / tau)


def pair_cosines(sigma: float, modes: np.ndarray | int) -> Any:
    """e_m = e^{-m²σ²/2}, the mean of cos mΔ over pairs."""
    return np.exp(-((np.asarray(modes) * sigma) ** 2) / 2)


def critical_temperature(sigma: float) -> float:
    """τ* = 1/κ* with I_1(κ*)/I_0(κ*) = e^{-σ²/2}."""
    target = pair_cosines(sigma, 1)
    found = optimize.root_scalar(lambda kappa: mean_cosines(1 / kappa, 1) - target, bracket=(1e-9, 1e6))
    return 1 / float(found.root)


def gap(sigma: float, tau: float) -> float:
    """The largest distance of two parallel rings at rest, of mirror images: 2√(1 - τ/τ*), or 0 above τ*."""
    return 2 * max(0.0, 1 - tau / critical_temperature(sigma)) ** 0.5


def energy(sigma: float, tau: float) -> float:
    """J^Sym + log V, in nats, of parallel rings of many points at rest: the same at every τ below τ*."""
    kappa = 1 / max(tau, critical_temperature(sigma))
    return float(np.log(special.ive(0, kappa)) + kappa * (1 - pair_cosines(sigma, 1)))


def ends(sigma: float, tau: float, heights: tuple[float, float]) -> tuple[float, float]:
    """The heights a, b at which parallel rings that start at `heights` come to rest.

    The ratio q² of the smaller to the larger of a², b² is conserved, and the larger, A, solves
    q²A² - (1 + q²)A + 1 - (τ/τ*)² = 0. Above τ* both end at 0. Two flat rings (0, 0) stay flat.
    """
    return ends_at(tau / critical_temperature(sigma), heights)


def ends_at(ratio: float, heights: tuple[float, float]) -> tuple[float, float]:
    """`ends` for a given τ/τ*, which the loss may set otherwise than by J^Sym."""
    largest = max(heights, key=abs)
    if ratio >= 1 or largest == 0:
        return 0.0, 0.0
    share = (min(heights, key=abs) / largest) ** 2
    half, constant = (1 + share) / 2, 1 - ratio**2
    square = constant / (half + np.sqrt(half**2 - share * constant))
    a, b = (float(height / abs(largest) * np.sqrt(square)) for height in heights)
    return a, b


def latitudes(
    sigma: float, tau: float, heights: tuple[float, float], times: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Heights [times] of two parallel rings of many points, by the equation for densities.

    A law that is uniform on a parallel stays so. The equation reduces to the two latitudes, which are solved
    to a relative accuracy of 1e-10.
    """
    target = pair_cosines(sigma, 1)

    def velocity(_, latitudes):
        (alpha, beta), cos = latitudes, np.cos(latitudes)
        force = (mean_cosines(tau / (cos[0] * cos[1]), 1) - target) / tau
        return force * np.array([np.sin(alpha) * cos[1], np.sin(beta) * cos[0]])

    found = integrate.solve_ivp(
        velocity, (0, times[-1]), np.arcsin(heights), t_eval=times, rtol=1e-10, atol=1e-12
    )
    return np.sin(found.y[0]), np.sin(found.y[1])


def growth(sigma: float, tau: float, modes: np.ndarray) -> Growth:
    """Growth rates of the modes m >= 0 of the flat ring, from its second variation in closed form.

    The rates out of plane are (g_1 + g_m)/τ in antiphase and (g_1 - g_m)/τ in phase. Along the ring they are,
    with h_m = (e_{m-1} + e_{m+1})/2,

        antiphase  m²(A_m + A_m²/2) - (e_1 + h_m)/τ,     in phase  -m²(A_m - A_m²/2) - (e_1 - h_m)/τ,

    where the terms in A are the rates without pairs (`ctflow.meanfield.rates`). At m = 0 the displacements
    out of plane are shifts along the axis, and the one along the ring in phase is a rotation.
    """
    modes = np.asarray(modes)
    a, one = mean_cosines(tau, modes), mean_cosines(tau, 1)
    e, first = pair_cosines(sigma, modes), pair_cosines(sigma, 1)
    beside = (pair_cosines(sigma, modes - 1) + pair_cosines(sigma, modes + 1)) / 2
    return Growth(
        antiphase=(one - first + (a - e)) / tau,
        in_phase=(one - first - (a - e)) / tau,
        antiphase_along=modes**2 * (a + a**2 / 2) - (first + beside) / tau,
        in_phase_along=-(modes**2) * (a - a**2 / 2) - (first - beside) / tau,
    )


def onset(sigma: float) -> tuple[float, int]:
    """The temperature below which overlap is lost at the flat ring, and the mode m that grows first.

    This is the largest τ at which an antiphase rate is 0; it lies above τ*, with some m >= 2 out of plane.
    The flat ring is the overlapping state only if no in-phase mode grows there (`is_flat`).
    """
    star = critical_temperature(sigma)

    def largest(tau: float) -> float:
        return float(growth(sigma, tau, np.arange(MODES)).antiphase[2:].max())

    tau = optimize.root_scalar(largest, bracket=(star, 3 * star)).root
    return tau, 2 + int(np.argmax(growth(sigma, tau, np.arange(MODES)).antiphase[2:]))


def onset_along(sigma: float) -> tuple[float, int] | None:
    """Like `onset`, for waves along the ring, the only ones on the circle; None if none grows at any τ.

    The largest m²(A_m + A_m²/2) tends to 0.882/τ as τ falls. So a wave grows at low τ if e_1 < 0.882, that is
    σ > 0.50. Temperatures from 0.004 to 10 are searched.
    """

    def largest(tau: float) -> float:
        return float(growth(sigma, tau, np.arange(MODES)).antiphase_along.max())

    taus = np.geomspace(0.004, 10, 400)
    above = np.flatnonzero([largest(tau) > 0 for tau in taus])
    if len(above) == 0:
        return None
    tau = optimize.root_scalar(largest, bracket=(taus[above[-1]], taus[above[-1] + 1])).root
    return tau, int(np.argmax(growth(sigma, tau, np.arange(MODES)).antiphase_along))


def is_flat(sigma: float, tau: float) -> bool:
    """Whether no in-phase mode of the flat ring grows, so that the flat ring is the overlapping state."""
    rates = growth(sigma, tau, np.arange(1, MODES))
    return bool(max(rates.in_phase.max(), rates.in_phase_along.max()) <= 1e-9 / tau)


def rings(
    n: int, d: int, heights: tuple[float, float], rng: np.random.Generator, noise: float = 0.003
) -> tuple:
    """Two rings [n, d] at heights along the last axis, with normal noise; in d = 2 heights are ignored."""
    angle = 2 * np.pi * np.arange(n) / n
    clouds = []
    for height in heights:
        z = np.zeros((n, d))
        z[:, 0], z[:, 1] = np.cos(angle), np.sin(angle)
        if d > 2:
            z[:, :2] *= np.sqrt(1 - height**2)
            z[:, -1] = height
        z += noise * rng.standard_normal(z.shape)
        clouds.append(z / np.linalg.norm(z, axis=1, keepdims=True))
    return tuple(clouds)

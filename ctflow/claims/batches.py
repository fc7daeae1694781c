"""Finite batches on the ring: the critical temperature with N negatives, and what minibatch noise selects.

*The critical temperature* τ*_N is where parallel rings leave the plane under the loss of N negatives
(`finite_batches`). By quadrature it is compared with its first order in 1/N, and with particles whose
gradient is averaged over drawn negatives. With the positive in the denominator it is nearly τ* at all N.

*Neutral states.* Below τ*_N parallel rings rest at all ratios of their heights. The noise of minibatches
gives them a drift towards equal heights or, at low temperatures and from heights of opposite sign, towards
mirror images (`batch_noise`). Free particles start at such states and are compared with dψ/dt = η K(ψ),
where tan ψ = b/a.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from scipy import integrate, interpolate

import ctflow as ct
from ctflow.claims import batch_noise, ring
from ctflow.claims.evidence import Check, Evidence, at_least, at_most, close, within
from ctflow.claims.finite_batches import critical_temperature_of, first_order, slope_of
from ctflow.storage.tables import columns

TITLE = "finite batches and the critical temperature"
SOURCE = "delta method in 1/N; second order of the limit of the flow in the noise"
BLUR = 1.0
BATCH = 16
COLD, WARM = 0.62, 0.9
"""Fractions of τ*_N on either side of 0.85, below which mirror images attract their neighbours."""
_POINTS = 24
_NEGATIVES = 15


def run(*, quick: bool, seed: int = 0) -> Evidence:
    """Quadrature for two or three blurs; particles and noise for 24 latents with σ = 1, on S²."""
    rng = np.random.default_rng(seed)
    shifts, shift_rows = _shifts((1.0, 0.5) if quick else (1.0, 0.5, 0.3))
    draws = 4000 if quick else 24000
    particles = _particles(jax.random.key(seed), draws, (True,) if quick else (True, False))
    fractions = (COLD, WARM) if quick else (0.4, COLD, 0.8, WARM)
    noise, drift_rows = _drifts(rng, fractions, quick=quick)
    seeds, step_size = (8, 0.02) if quick else (16, 0.01)
    paths, path_rows = [], []
    for fraction, ratios in ((COLD, (-0.5, 0.0, 0.5)), (WARM, (-0.5,))):
        nodes = [row for row in drift_rows if row["fraction"] == fraction]
        checks, rows = _paths(rng, fraction, ratios, nodes, seeds, step_size)
        paths, path_rows = paths + checks, path_rows + rows
    tables = {"shift": columns(shift_rows), "drift": columns(drift_rows), "paths": columns(path_rows)}
    sample = f"{_POINTS} latents; {draws:,} draws of negatives; {seeds} runs per start at η = {step_size}"
    return Evidence(shifts + particles + noise + paths, tables, sample)


def _shifts(blurs) -> tuple[list[Check], list[dict]]:
    """τ*_N by quadrature against its first order: the remainder is ∝ N^{-2}."""
    checks, rows = [], []
    for sigma in blurs:
        for positive in (True, False):
            mine = [
                {
                    "sigma": sigma,
                    "positive": int(positive),
                    "N": size,
                    "limit": ring.critical_temperature(sigma),
                    "tau": critical_temperature_of(sigma, size, positive=positive),
                    "first_order": first_order(sigma, size, positive=positive),
                }
                for size in (3, 7, 15, 31, 63, 255, 1023)
            ]
            small, large = (abs(row["tau"] - row["first_order"]) for row in mine[-2:])
            exponent = np.log(large / small) / np.log(mine[-1]["N"] / mine[-2]["N"])
            where = f"σ = {sigma:g}, positive {'in' if positive else 'not in'} the denominator"
            checks.append(close(f"{where}: exponent of N in τ*_N − first order", -2, exponent, absolute=0.05))
            rows += mine
    kappa = 1 / ring.critical_temperature(BLUR)
    pairs = np.exp(kappa * np.cos(2 * np.pi * np.arange(512) / 512))
    pairs /= pairs.sum()
    for size in (1, _NEGATIVES):
        found = slope_of(kappa, pairs, size)
        checks.append(close(f"von Mises pairs, N = {size}: L_N′ at κ*", 0, found, absolute=1e-10))
    return checks, rows


def _particles(key, draws: int, kinds: tuple[bool, ...]) -> list[Check]:
    """The temperature at which the mean gradient of two parallel rings changes sign, divided by their p."""
    heights = 0.15, -0.1
    x, y = ring.rings(_POINTS, 3, heights, np.random.default_rng(0), noise=0.0)
    law = ring.law(_POINTS, BLUR)
    p = np.sqrt((1 - heights[0] ** 2) * (1 - heights[1] ** 2))
    keys = jax.random.split(key, draws)
    coupling = ct.couplings.complete(law)
    checks = []
    for positive in kinds:
        predicted = critical_temperature_of(BLUR, _NEGATIVES, positive=positive)
        # A secant this short is straight to 1e-4 of τ.
        low, high = (p * predicted * (1 + part) for part in (-0.02, 0.02))
        below, above = (
            np.asarray(_rise(keys, ct.Pair(x, y), coupling, tau, positive=positive)) for tau in (low, high)
        )
        part = below.mean() / (below.mean() - above.mean())
        at_root = below + part * (above - below)
        error = (high - low) * at_root.std(ddof=1) / np.sqrt(draws) / abs(above.mean() - below.mean())
        where = f"N = {_NEGATIVES}, positive {'in' if positive else 'not in'} the denominator"
        found = low + part * (high - low)
        checks.append(within(f"{where}: τ*_N of particles", predicted, found / p, error / p, slack=1e-4))
    return checks


@partial(jax.jit, static_argnames="positive")
def _rise(keys, clouds, coupling, tau, *, positive: bool):
    """The relative rise of both rings in every draw, [draws]: the sum of dz/dt over z."""

    def one(key):
        options = {"temperature": tau, "num_negatives": _NEGATIVES, "positive_in_denominator": positive}
        gradients = ct.infonce.gradient(key, clouds, coupling, **options)
        return -sum(jnp.sum(g[:, 2]) / z[0, 2] for g, z in zip(gradients, clouds, strict=True))

    return jax.lax.map(one, keys, batch_size=200)


def _drifts(rng, fractions, *, quick: bool) -> tuple[list[Check], list[dict]]:
    """K(ψ) at fractions of τ*_N, and checks of its signs and parts."""
    law, star = ring.law(_POINTS, BLUR), critical_temperature_of(BLUR, BATCH - 1)
    checks, rows, largest = [], [], 0.0
    for fraction in fractions:
        for angle in np.radians(np.linspace(-45, 45, 7 if quick else 13)):
            heights = ring.ends_at(fraction, (np.cos(angle), np.sin(angle)))
            clouds = np.stack(ring.rings(_POINTS, 3, heights, rng, noise=0.0))
            draws = 3000 if quick else 16000
            found = batch_noise.drift(rng, clouds, law, fraction * star, BATCH, draws=draws)
            largest = max(largest, found.first_order)
            rows.append(
                {
                    "fraction": fraction,
                    "angle": angle,
                    "drift": found.total,
                    "error": found.error,
                    "curvature": found.curvature,
                    "noise_x": found.noise[0],
                    "noise_y": found.noise[1],
                    "lowest": found.lowest,
                }
            )
    checks.append(at_most("change of ψ by one step, first order in η", 1e-12, largest))

    def near(fraction, degrees):
        return next(
            r for r in rows if r["fraction"] == fraction and np.isclose(np.degrees(r["angle"]), degrees)
        )

    row = near(COLD, -30)
    part = np.sin(2 * row["angle"]) * (row["noise_x"] - row["noise_y"]) / 4
    # The plane components of the means, and the steps of whole rings, add terms of relative order 1/n.
    quantity = f"{COLD} τ*_N, −30°: drift from the sphere's curvature"
    checks.append(close(quantity, part, row["curvature"], relative=2 / _POINTS))
    quantity = "drift at −30° (negative: towards mirror images)"
    checks.append(at_most(f"{COLD} τ*_N: {quantity}", 0, row["drift"], row["error"], sigmas=-4))
    row = near(WARM, -30)
    checks.append(at_least(f"{WARM} τ*_N: {quantity}", 0, row["drift"], row["error"], sigmas=-4))
    return checks, rows


def _paths(
    rng, fraction: float, ratios, nodes, seeds: int, step_size: float
) -> tuple[list[Check], list[dict]]:
    """Minibatch descent from ratios of heights at a fraction of τ*_N, against dψ/d(ηt) = K(ψ)."""
    law, tau = ring.law(_POINTS, BLUR), fraction * critical_temperature_of(BLUR, BATCH - 1)
    starts, times = np.arctan(ratios), np.linspace(0, 0.8, 9)[1:]
    clouds = [
        np.stack(ring.rings(_POINTS, 3, ring.ends_at(fraction, (1.0, ratio)), rng, noise=0.0))
        for ratio in ratios
        for _ in range(seeds)
    ]
    found = batch_noise.descend(
        rng,
        np.stack(clouds),
        law,
        tau,
        BATCH,
        step_size=step_size,
        saves=len(times),
        steps_per_save=round(times[0] / step_size**2),
    ).reshape(len(times), len(ratios), seeds)
    means, errors = found.mean(axis=2), found.std(axis=2, ddof=1) / np.sqrt(seeds)
    drift = interpolate.CubicSpline([row["angle"] for row in nodes], [row["drift"] for row in nodes])
    uncertain = max(row["error"] for row in nodes)
    solved = integrate.solve_ivp(
        lambda _, psi: drift(psi), (0, times[-1]), starts, t_eval=times, rtol=1e-8, atol=1e-10
    )
    # The length of a step of a picked point is ∝ ηn/B, which is the size of the next order.
    order = step_size * _POINTS / BATCH
    checks, rows = [], []
    for k, start in enumerate(starts):
        for when, time in enumerate(times):
            rows.append(
                {
                    "fraction": fraction,
                    "start": start,
                    "time": time,
                    "angle": means[when, k],
                    "error": errors[when, k],
                    "predicted": solved.y[k, when],
                }
            )
        for when in (len(times) // 4, len(times) - 1):
            predicted = solved.y[k, when]
            checks.append(
                within(
                    f"{fraction} τ*_N, from {np.degrees(start):.0f}°: ψ in radians at ηt = {times[when]:.1f}",
                    predicted,
                    means[when, k],
                    np.hypot(errors[when, k], uncertain * times[when]),
                    slack=2 * order * abs(predicted - start),
                )
            )
    return checks, rows

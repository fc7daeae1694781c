"""Entropy breaks ties: inside a flat valley of U it spreads the cloud, and leaves the alignment unchanged.

First, S² has a valley along the equator whose width varies as e^{-⟨z, b⟩}. As τ → 0 the Gibbs law tends to
the law on the valley with density ∝ width, whose mean along b/|b| is -I_1(|b|)/I_0(|b|) (Laplace's method).
Second, the valley has constant width and particles start near one of its points. ⟨U⟩/τ is ½ from the start
(equipartition over one direction across) and stays ½, while the mean along the valley decays as e^{-t} and
the uniformity ends at that of the circle. With U = 0 the cloud spreads over the sphere, as e^{-(d-1)t}.
"""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

import ctflow as ct
from ctflow.claims.evidence import Evidence, at_most, close, within
from ctflow.claims.langevin import langevin
from ctflow.meanfield import HarmonicGrid
from ctflow.storage.tables import columns

TITLE = "entropy as a tie-breaker"
SOURCE = "Laplace's method; heat kernel on the valley"
_NARROWING = np.array([0.5, 0.0, 0.0])
_DURATION, _STEPS = 6.0, 6_000
"""The slowest rate along a valley is about 1, so e⁻⁶ of the start is left. All runs share one program."""


def uniformity(z) -> jax.Array:
    """Wang and Isola's log E exp(-2‖z - z'‖²) over all pairs, including those of a point with itself."""
    squares = 2 - 2 * jnp.matmul(z, z.T, precision="highest")
    return jax.nn.logsumexp(-2 * squares) - 2 * jnp.log(jnp.asarray(z.shape[0], z.dtype))


def run(*, quick: bool, seed: int = 0) -> Evidence:
    """Check the limit law at three temperatures, spreading inside the valley, and spreading with U = 0."""
    n = 1_000 if quick else 8_000
    checks, limits, exact = _limit_law(n, seed)
    found, along = _inside_the_valley(n, seed)
    curves = {"limit": limits, "exact": exact, "valley": along}
    return Evidence(checks + found + _no_potential(n, seed), curves, f"{n:,} particles")


def _limit_law(n: int, seed: int):
    size = np.linalg.norm(_NARROWING)
    predicted = -special.ive(1, size) / special.ive(0, size)
    ring = ct.potentials.Ring(np.eye(3)[2], stiffness=4.0, narrowing=jnp.asarray(_NARROWING))
    rows, checks = [], []
    for index, tau in enumerate((0.4, 0.2, 0.1)):
        gibbs = ct.gibbs.GibbsMeasure(ring, temperature=tau, d=3)
        exact = gibbs.mean(lambda z: z[:, 0])
        spread = np.sqrt(gibbs.mean(lambda z: z[:, 0] ** 2) - exact**2)
        key_start, key_noise = jax.random.split(jax.random.fold_in(jax.random.key(seed), index))
        ends = langevin(
            ring,
            _on_valley(key_start, n),
            temperature=tau,
            duration=_DURATION,
            num_steps=_STEPS,
            key=key_noise,
        )
        found, error = ends.cloud[:, 0].mean(), spread / np.sqrt(n)
        rows.append({"tau": tau, "exact": exact, "simulated": found, "error": error, "limit": predicted})
        where = f"S², valley of varying width, τ = {tau:g}: mean along it"
        checks.append(within(f"{where}, particles", exact, found, error, slack=0.005))
        checks.append(close(f"{where}, Gibbs against the limit τ → 0", predicted, exact, absolute=tau))
    off = [abs(row["exact"] - predicted) for row in rows]
    checks.append(at_most("the same: how far τ = 0.1 is from the limit, over τ = 0.4", 0.5, off[2] / off[0]))
    curve = [
        {"tau": tau, "exact": ct.gibbs.GibbsMeasure(ring, temperature=tau, d=3).mean(lambda z: z[:, 0])}
        for tau in np.geomspace(0.01, 0.5, 20)
    ]
    return checks, columns(rows), columns(curve)


def _on_valley(key, n: int):
    """A start that is not the Gibbs law: uniform on the half of the equator where the valley is narrow."""
    angle = np.pi * (np.asarray(jax.random.uniform(key, (n,))) - 0.5)
    return jnp.asarray(np.column_stack([np.cos(angle), np.sin(angle), np.zeros(n)]))


def _inside_the_valley(n: int, seed: int):
    tau, stiffness = 0.2, 20.0
    ring = ct.potentials.Ring(np.eye(3)[2], stiffness=stiffness)
    key_noise = jax.random.fold_in(jax.random.key(seed), 10)

    def look(z):
        return {"potential": jnp.mean(ring(z)) / tau, "along": jnp.mean(z[:, 0]), "uniformity": uniformity(z)}

    # The start is in equilibrium across the valley and at one place along it.
    height = np.sqrt(tau / stiffness) * np.asarray(jax.random.normal(jax.random.fold_in(key_noise, 1), (n,)))
    start = np.column_stack([np.sqrt(1 - height**2), np.zeros(n), height])
    _, times, saved = langevin(
        ring,
        start,
        temperature=tau,
        duration=_DURATION,
        num_steps=_STEPS,
        key=key_noise,
        saves=20,
        save=look,
    )
    gibbs = ct.gibbs.GibbsMeasure(ring, temperature=tau, d=3)
    radius = gibbs.mean(lambda z: np.sqrt(1 - z[:, 2] ** 2))
    even = gibbs.mean_potential / tau
    # Points are nearly independent at every save. U/τ is ½χ² with variance ½, so its mean has ½/n.
    checks = [
        within("S², even valley: equipartition, ⟨U⟩/τ by quadrature for ½", 0.5, even, 0.0, slack=0.02),
        within(
            "S², even valley: ⟨U⟩/τ over the whole run",
            even,
            saved["potential"][1:].mean(),
            np.sqrt(0.5 / n / 20) * 2,
        ),
        at_most(
            "S², even valley: farthest ⟨U⟩/τ from it at any time, in standard errors",
            5.0,
            np.abs(saved["potential"][1:] - even).max() / np.sqrt(0.5 / n),
        ),
    ]
    for index in (2, 5):
        decay = radius * np.exp(-times[index])
        spread = np.sqrt((1 + np.exp(-4 * times[index])) / 2 - np.exp(-2 * times[index]))
        checks.append(
            within(
                f"S², even valley, t = {times[index]:.1f}: mean along it",
                decay,
                saved["along"][index],
                spread / np.sqrt(n),
                slack=0.01,
            )
        )
    grid = HarmonicGrid(3, 1, count=32)
    mass = grid.weights * np.exp(gibbs.log_density(grid.nodes))
    ends = float(np.log(mass @ np.exp(4 * (grid.nodes @ grid.nodes.T - 1)) @ mass))
    checks += [
        # The diagonal adds a relative 1/n·e^{-uniformity} for n points; the noise is about as large.
        close(
            "S², even valley: uniformity at the end against the Gibbs law's",
            ends,
            saved["uniformity"][-1],
            absolute=3 / (n * np.exp(ends)),
        ),
        close(
            "S², even valley: the Gibbs law's uniformity against the circle's",
            np.log(special.ive(0, 4.0)),
            ends,
            absolute=5 * tau / stiffness,
        ),
    ]
    checks.append(
        at_most(
            "S², even valley: uniformity (low: even) at the end less that at the start",
            -1.0,
            saved["uniformity"][-1] - saved["uniformity"][0],
        )
    )
    predicted = {"along_predicted": radius * np.exp(-times), "uniformity_end": np.full(times.shape, ends)}
    return checks, {"time": times, **saved, "potential_predicted": np.full(times.shape, even), **predicted}


def _no_potential(n: int, seed: int) -> list:
    checks = []
    for d in (2, 3, 8):
        _, times, (heights, spreads, evenness) = langevin(
            ct.potentials.Linear(jnp.zeros(d)),
            np.tile(np.eye(d)[0], (n, 1)),
            temperature=1.0,
            duration=10 / (d - 1),
            num_steps=1000,
            key=jax.random.fold_in(jax.random.key(seed), 20 + d),
            saves=10,
            save=lambda z: (jnp.mean(z[:, 0]), jnp.std(z[:, 0]), uniformity(z)),
        )
        decay, uniform = np.exp(-1.0), float(ct.kernels.Exponential(0.25).log_volume(d, jnp.float64)) - 4
        checks += [
            within(
                f"d = {d}, U = 0: mean height at t = {times[1]:.2f}", decay, heights[1], spreads[1] / n**0.5
            ),
            close(
                f"d = {d}, U = 0: uniformity at the end against the sphere's",
                uniform,
                evenness[-1],
                absolute=3 / (n * np.exp(uniform)),
            ),
        ]
    return checks

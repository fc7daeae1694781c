"""F(ρ) - F(ρ*) = KL(ρ‖ρ*) along the unimodal flow, dKL/dt = -Fisher information, late slope 2·spectral gap.

The identities are checked on the exact Fokker-Planck densities. Langevin particles are then compared with
these densities in the mean height at several times, and in the late decay rate of the mean height.
"""

import jax
import jax.numpy as jnp
import numpy as np

import ctflow as ct
from ctflow.claims.evidence import Evidence, close, sphere, within
from ctflow.claims.langevin import langevin
from ctflow.meanfield import FokkerPlanck, HarmonicGrid
from ctflow.storage.tables import columns

TITLE = "F − F* = KL, and how it decays"
SOURCE = "free-energy identity; Fokker–Planck eigenpairs"
_DEGREE = 24
_BATCHES = 40


def tilted_wells(d: int) -> ct.potentials.VonMisesFisherMixture:
    """A potential with two wells of weights 0.7 and 0.3, 90° apart."""
    means, weights = jnp.asarray(np.eye(d)[[-1, 0]]), jnp.array([0.7, 0.3])
    return ct.potentials.VonMisesFisherMixture(means, concentration=3.0, weights=weights)


def start_density(z: np.ndarray) -> np.ndarray:
    """A smooth density on the side away from the deeper well: 1 - 0.8 z_d, for any d."""
    return 1 - 0.8 * z[:, -1]


def draw_start(key, n: int, d: int):
    """N independent points [n, d] with density `start_density`, by rejection sampling."""
    z = np.asarray(ct.sphere.uniform(key, 3 * n, d))
    kept = z[np.asarray(jax.random.uniform(jax.random.fold_in(key, 1), (3 * n,))) * 1.8 < start_density(z)]
    return jnp.asarray(kept[:n])


def fisher_information(grid: HarmonicGrid, density: np.ndarray, log_gibbs: np.ndarray) -> float:
    """∫ρ‖∇g‖² dμ for g = log(ρ/ρ*), with ‖∇g‖² = ½Δ(g²) - gΔg computed in harmonics."""
    g = np.log(density) - log_gibbs

    def laplacian(values):
        return -grid.synthesise(grid.laplacian * grid.analyse(values))

    return float(grid.weights @ (density * (laplacian(g**2) / 2 - g * laplacian(g))))


def run(*, quick: bool, seed: int = 0) -> Evidence:
    """Check identities and particles at three temperatures on S¹ and S²."""
    n = 4_000 if quick else 100_000
    checks, rows, curves = [], [], []
    for d in (2, 3):
        for tau in (1.0, 0.5, 0.3):
            where = f"{sphere(d)}, τ = {tau:g}"
            gibbs = ct.gibbs.GibbsMeasure(tilted_wells(d), temperature=tau, d=d)
            flow = FokkerPlanck(gibbs, max_degree=_DEGREE)
            checks += _identities(where, gibbs, flow)
            found, along = _particles(where, gibbs, flow, n, seed)
            checks, rows = checks + found, rows + along
            curves += _curve(gibbs, flow)
    return Evidence(checks, {"decay": columns(rows), "exact": columns(curves)}, f"{n:,} particles")


def _identities(where: str, gibbs, flow: FokkerPlanck) -> list:
    """Checks of F − F* = KL and of the dissipation at one time, and of the late decay of KL."""
    time, step = 0.3, 1e-3
    rho = flow.density(start_density, [time - step, time, time + step])
    field = -gibbs.log_density(flow.nodes) - gibbs.log_partition_function
    free = [flow.node_weights @ (r * (field + np.log(r))) for r in rho]
    grid = HarmonicGrid(gibbs.d, _DEGREE, count=2 * _DEGREE + 32)
    fisher = fisher_information(grid, rho[1], gibbs.log_density(grid.nodes))
    late = flow.kl(start_density, [10.0 / flow.spectral_gap, 10.5 / flow.spectral_gap])
    slope = np.log(late[0] / late[1]) / (0.5 / flow.spectral_gap)
    kl = flow.kl(start_density, [time])[0]
    return [
        close(f"{where}: F − F* at t = {time} against KL", kl, free[1] - gibbs.free_energy, relative=1e-6),
        close(f"{where}: −dF/dt against Fisher's", fisher, (free[0] - free[2]) / (2 * step), relative=2e-3),
        close(f"{where}: late decay of KL against 2·gap", 2 * flow.spectral_gap, slope, relative=0.01),
    ]


def _curve(gibbs, flow: FokkerPlanck) -> list[dict]:
    """The exact KL and mean height at 61 times up to 3/(spectral gap), as table rows."""
    times = np.linspace(0, 3 / flow.spectral_gap, 61)
    heights = flow.density(start_density, times) @ (flow.node_weights * flow.nodes[:, -1])
    return [
        {"d": gibbs.d, "tau": gibbs.temperature, "time": t, "kl": kl, "height": height}
        for t, kl, height in zip(times, flow.kl(start_density, times), heights, strict=True)
    ]


def _particles(where: str, gibbs, flow: FokkerPlanck, n: int, seed: int):
    """Checks of the particles' mean height at several times and of its late decay rate."""
    key_start, key_noise = jax.random.split(jax.random.fold_in(jax.random.key(seed), 10 * gibbs.d))
    gap = flow.spectral_gap
    solution = langevin(
        gibbs.potential,
        draw_start(key_start, n, gibbs.d),
        temperature=gibbs.temperature,
        duration=3 / gap,
        num_steps=300,
        key=key_noise,
        saves=10,
        save=lambda cloud: jnp.mean(cloud[:, -1].reshape(_BATCHES, -1), axis=1),
    )
    height = flow.nodes[:, -1]
    exact = flow.density(start_density, solution.times) @ (flow.node_weights * height)
    limit = gibbs.mean(lambda z: z[:, -1])
    means, errors = solution.saved.mean(axis=1), solution.saved.std(axis=1, ddof=1) / _BATCHES**0.5
    checks = [
        within(
            f"{where}, t = {solution.times[i]:.2f}: mean height of particles", exact[i], means[i], errors[i]
        )
        for i in (2, 5, 10)
    ]

    def rate(sample):  # over times at which only the slowest mode is left
        return np.log((sample[3] - limit) / (sample[6] - limit)) / (solution.times[6] - solution.times[3])

    left_out = [rate(np.delete(solution.saved, b, axis=1).mean(axis=1)) for b in range(_BATCHES)]
    error = np.sqrt((_BATCHES - 1) * np.var(left_out))
    checks.append(within(f"{where}: rate of the mean height", rate(exact), rate(means), error))
    rows = [
        {
            "d": gibbs.d,
            "tau": gibbs.temperature,
            "time": t,
            "kl": kl,
            "height": e,
            "height_particles": m,
            "standard_error": s,
            "slope": -2 * gap,
        }
        for t, kl, e, m, s in zip(
            solution.times, flow.kl(start_density, solution.times), exact, means, errors, strict=True
        )
    ]
    return checks, rows

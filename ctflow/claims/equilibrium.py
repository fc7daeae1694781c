"""One equilibrium: eight starts end in the same Gibbs law; birth and death balances unequal wells sooner.

Langevin particles from eight starts are compared with exact quadrature. Among the starts are all points in
one place and all points where the potential is high. Then two wells of weights 0.8 and 0.2 behind a barrier
start with half of the mass each. Langevin balances them in a time of the inverse spectral gap. The
Wasserstein-Fisher-Rao flow takes a time of about 1, for any barrier: once each well is in equilibrium inside,
the logit of a well's mass m obeys d logit(m)/dt = -(logit m - logit m*), the difference of δF between wells.
"""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special, stats

import ctflow as ct
from ctflow.claims.evidence import Evidence, at_least, sphere, within
from ctflow.claims.fields import cluster, potential_at
from ctflow.claims.langevin import langevin, measured, moving
from ctflow.storage.tables import columns

TITLE = "one equilibrium, from every start"
SOURCE = "Gibbs measure by quadrature; logit law of two wells"
TEMPERATURES = (1.0, 0.6, 0.4)
STARTS = (
    "uniform",
    "first well",
    "second well",
    "antipodal point",
    "ring",
    "mixture",
    "great circle",
    "heights of U",
)


def wells(d: int, concentration: float, weights) -> ct.potentials.VonMisesFisherMixture:
    """A potential with two wells 120° apart."""
    means = np.zeros((2, d))
    means[0, -1], means[1, 0], means[1, -1] = 1, np.sin(2 * np.pi / 3), np.cos(2 * np.pi / 3)
    return ct.potentials.VonMisesFisherMixture(
        jnp.asarray(means), concentration=concentration, weights=jnp.array(weights)
    )


def starting_cloud(kind: str, potential, key, n: int, d: int) -> np.ndarray:
    """The N points [n, d] of one of the `STARTS`."""
    means = np.asarray(potential.means)
    uniform = np.asarray(ct.sphere.uniform(key, 8 * n, d))

    def near(center):
        return cluster(np.random.default_rng(np.asarray(jax.random.key_data(key))), center, n, 0.15)

    if kind == "uniform":
        return uniform[:n]
    if kind == "first well":
        return near(means[0])
    if kind == "second well":
        return near(means[1])
    if kind == "antipodal point":
        return np.tile(-means[0], (n, 1))
    if kind == "mixture":
        return np.concatenate([near(means[0])[: n // 4], near(-means[1])[n // 4 :]])
    if kind == "heights of U":
        return uniform[np.argsort(-np.asarray(potential_at(potential, uniform)))[:n]]
    # A ring 60° from the first well, or the great circle 90° from it; on S¹ these are two points.
    height = 0.5 if kind == "ring" else 0.0
    flat = uniform[:n] - (uniform[:n] @ means[0])[:, None] * means[0]
    return height * means[0] + np.sqrt(1 - height**2) * flat / np.linalg.norm(flat, axis=1, keepdims=True)


def run(*, quick: bool, seed: int = 0) -> Evidence:
    """Check every start at three temperatures on S¹ and S², then the unequal wells."""
    n = 500 if quick else 20_000
    checks, rows = [], []
    for d in (2, 3):
        keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), d), len(STARTS) + 1)
        potential = wells(d, 4.0, [0.5, 0.5])
        clouds = [starting_cloud(kind, potential, k, n, d) for kind, k in zip(STARTS, keys, strict=False)]
        for tau in TEMPERATURES:
            found, more = _from_every_start(potential, clouds, tau, keys[-1])
            checks, rows = checks + found, rows + more
    more, repeats = (400, 2) if quick else (2_000, 4)
    found, masses = _unequal_wells(more, repeats, seed)
    sample = f"{n:,} particles a start; {repeats} runs of {more:,} in unequal wells"
    return Evidence(checks + found, {"starts": columns(rows), "wells": masses}, sample)


def _from_every_start(potential, clouds: list[np.ndarray], tau: float, key):
    n, d = clouds[0].shape
    gibbs = ct.gibbs.GibbsMeasure(potential, temperature=tau, d=d)
    gap = ct.meanfield.FokkerPlanck(gibbs).spectral_gap
    # The particles do not interact, so all starts run as one cloud. All τ take 400 steps, for one program.
    ends = langevin(
        potential,
        np.concatenate(clouds),
        temperature=tau,
        duration=8 / gap,
        num_steps=400,
        key=key,
    ).cloud
    u = np.asarray(potential_at(potential, ends)).reshape(len(STARTS), n)
    exact = gibbs.mean_potential
    spread = np.sqrt(gibbs.mean(lambda z: np.asarray(potential_at(potential, z)) ** 2) - exact**2)
    center = np.asarray(potential.means[0])
    share = (ends @ center).reshape(len(STARTS), n)
    height = gibbs.mean(lambda z: z @ center)
    height_spread = np.sqrt(gibbs.mean(lambda z: (z @ center) ** 2) - height**2)
    checks, rows, tests = [], [], 2 * len(TEMPERATURES) * len(STARTS)
    for kind, values, heights in zip(STARTS, u, np.asarray(share), strict=True):
        where = f"{sphere(d)}, τ = {tau:g}, start {kind}"
        checks += [
            within(f"{where}: mean U", exact, values.mean(), spread / np.sqrt(n)),
            within(f"{where}: mean height along well 1", height, heights.mean(), height_spread / np.sqrt(n)),
            at_least(
                f"{where}: p of a KS test of U, {tests} of them at 1 %",
                0.01 / tests,
                stats.kstest(values, gibbs.potential_cdf).pvalue,
            ),
        ]
        rows.append(
            {
                "d": d,
                "tau": tau,
                "start": kind,
                "exact": exact,
                "simulated": values.mean(),
                "error": spread / np.sqrt(n),
            }
        )
    return checks, rows


def _unequal_wells(n: int, repeats: int, seed: int):
    tau, weights = 1 / 12, [0.8, 0.2]
    potential = wells(3, 12.0, weights)
    gibbs = ct.gibbs.GibbsMeasure(potential, temperature=tau, d=3)
    flow = ct.meanfield.FokkerPlanck(gibbs)
    means = np.asarray(potential.means)
    exact = gibbs.mean(lambda z: z @ means[0] > z @ means[1])
    step = 0.05 * tau
    times, curves = np.zeros(0), {"Wasserstein-Fisher-Rao": [], "Langevin": []}
    kernel = ct.kernels.ChordalGaussian(0.3 * tau**0.5)

    def first_well(cloud):
        return ct.clouds.mean(cloud, (ct.clouds.points(cloud) @ (means[0] - means[1]) > 0).astype(float))

    save = measured(first_well)
    for repeat in range(repeats):
        keys = jax.random.split(jax.random.fold_in(jax.random.key(seed + 1), repeat), 3)
        start = moving(
            jnp.concatenate(
                [
                    ct.sphere.von_mises_fisher(k, jnp.asarray(m), 1 / tau, n // 2)
                    for k, m in zip(keys, means, strict=False)
                ]
            )
        )
        for name, kind in (
            ("Wasserstein-Fisher-Rao", ct.flows.WassersteinFisherRao(step, kernel)),
            ("Langevin", ct.flows.Langevin(step)),
        ):
            solution = ct.solve(
                ct.energies.Potential(potential, temperature=tau),
                start,
                kind,
                num_steps=960,
                key=keys[2],
                save_every=24,
                save=save,
            )
            curves[name].append(solution.saved)
            times = np.asarray(solution.times)
    born, slow = (np.array(curve) for curve in curves.values())
    late = born[:, times > 3]
    noise = np.sqrt(exact * (1 - exact) / n)

    def logit_rate(mass):
        y = special.logit(mass) - special.logit(exact)
        at = np.searchsorted(times, [0.3, 1.3])
        return np.log(y[at[0]] / y[at[1]]) / np.diff(times[at])[0]

    found = [logit_rate(curve) for curve in born]
    half = start_density(means, 1 / tau)
    index = np.searchsorted(times, 2.0)
    nearer = flow.node_weights * (flow.nodes @ (means[0] - means[1]) > 0)
    stuck = flow.density(half, times) @ nearer
    # Error of the logarithm of a logit difference for a mass that is off by one standard deviation.
    spread = noise / (exact * (1 - exact)) / abs(special.logit(0.5) - special.logit(exact)) * np.exp(1.3)
    checks = [
        within(
            "S², wells 0.8/0.2: first well's mass after t = 3, birth and death",
            exact,
            late.mean(),
            noise / np.sqrt(repeats),
            slack=0.005,
        ),
        within(
            "S², wells 0.8/0.2: rate of its logit, birth and death",
            1.0,
            np.mean(found),
            spread / np.sqrt(repeats),
            slack=0.05,
        ),
        within(
            f"S², wells 0.8/0.2: first well's mass at t = {times[index]:.1f}, Langevin",
            stuck[index],
            slow[:, index].mean(),
            np.sqrt(0.25 / n / repeats),
            slack=0.005,
        ),
        at_least(
            "inverse spectral gap: Langevin's time over birth and death's 1", 5.0, 1 / flow.spectral_gap
        ),
    ]
    return checks, {
        "time": times,
        "birth_death": born.mean(axis=0),
        "langevin": slow.mean(axis=0),
        "exact": np.full(times.shape, exact),
        "langevin_exact": stuck,
        "logit_law": special.expit(special.logit(exact) * (1 - np.exp(-times))),
    }


def start_density(means: np.ndarray, kappa: float):
    """The density of two von Mises-Fisher laws of concentration κ on S², half and half."""
    return lambda z: (np.exp(kappa * (z @ means.T - 1)).sum(axis=1) / 2) * 2 * kappa / -np.expm1(-2 * kappa)

"""When a gap must open: critical temperatures predicted from one cloud without a gap, and particles' own.

`ct.stability.critical_temperature` finds the best cloud that both modalities can share and the temperature at
which its lowest antiphase curvature crosses zero. Particles then start from the shared cloud at temperatures
around that, 1e-6 radians apart in random directions, and follow the gradient flow; the temperature at which
they turn from closing to parting is interpolated.

From d = 8 to 512 the predicted temperatures are the same: the shared clouds found there span a few dimensions
only, and every further dimension adds the same out-of-plane displacements once more.

*Classes.* K classes of equal size, of whose pairs a share ε falls between different classes, uniformly. Where
all points of a class are one, at the corners of a regular simplex of cosine c, J^Sym is least at 1 - c = τL
with L = log((K-1)(1-ε)/ε). Up to τ₀ = K/((K-1)L) such a simplex exists, and the softmax equals π there:
overlap meets the bound -I(π) - log V, and no temperature is critical if d >= K. In fewer dimensions one is.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import ctflow as ct
from ctflow.claims import criterion, mixtures, ring
from ctflow.claims.evidence import Check, Evidence, at_most, close, sphere
from ctflow.clouds import points, with_points
from ctflow.couplings import Coupling
from ctflow.storage.tables import columns

TITLE = "when a gap must open"
SOURCE = (
    "lowest antiphase curvature of the best shared cloud (ct.stability); the ring and classes in closed form"
)
RATIOS = np.array([0.98, 1.02])
"""Temperatures of the runs, as multiples of the predicted one."""
_N = 24
_STEPS, _ROUNDS = 400, 16
"""Steps between looks at the distance of the clouds, and the largest number of looks."""
_CLASSES, _LEAK = 6, 0.2


class Case(NamedTuple):
    """Pairs, the range of temperatures to look at, and τ* in closed form or NaN."""

    name: str
    coupling: Coupling
    temperatures: tuple[float, float]
    closed: float = np.nan


def classes(count: int, n: int, leak: float) -> np.ndarray:
    """π [n, n] of equal classes in which a share `leak` of the pairs falls between different classes."""
    label = np.arange(n) * count // n
    same = label[:, None] == label
    size = n // count
    return np.where(same, (1 - leak) / size, leak / (n - size)) / n


def simplex_temperature(count: int, leak: float) -> float:
    """τ₀ = K/((K-1)L) up to which overlapping classes meet the bound in d >= K dimensions."""
    return count / ((count - 1) * np.log((count - 1) * (1 - leak) / leak))


def cases(d: int) -> list[Case]:
    """The couplings, of 24 latents each."""
    waves, _ = ring.onset(0.8)
    laws = {
        "ring σ = 0.8": (ring.law(_N, 0.8), (0.9 * waves, 1.3 * waves), waves),
        "ring σ = 0.5": (ring.law(_N, 0.5), (0.21, 0.4), np.nan),
        "two clusters σ = 0.5": (mixtures.law(_N, 0.5), (0.47, 0.75), np.nan),
    }
    if d < _CLASSES:
        laws["classes"] = classes(_CLASSES, _N, _LEAK), (0.33, 0.55), np.nan
    return [
        Case(name, ct.couplings.from_matrix(law, dtype=np.float64), range_, closed)
        for name, (law, range_, closed) in laws.items()
    ]


def run(*, quick: bool, seed: int = 0) -> Evidence:
    """Check predicted against simulated onsets, and classes against the bound."""
    checks, rows = [], []
    for d in (3, 8) if quick else (3, 8, 32, 128, 512):
        for case in cases(d):
            row, found = _case(case, d, seed)
            rows.append(row)
            checks += found
    return Evidence(
        checks + _at_the_bound(quick),
        {"onsets": columns(rows)},
        f"{_N} particles a cloud, 1 seed a temperature",
    )


def _case(case: Case, d: int, seed: int) -> tuple[dict[str, Any], list[Check]]:
    """τ* of one coupling in one dimension, predicted and where particles part."""
    found = ct.stability.critical_temperature(
        case.coupling, d, temperatures=case.temperatures, scan=3, rtol=6e-3, starts=1
    )
    rng, rates = np.random.default_rng([seed, d]), []
    for tau in RATIOS * found.value:
        energy = ct.energies.symmetric(case.coupling, temperature=float(tau))
        shared = ct.stability.shared_equilibrium(
            energy, d, start=found.shared.cloud, starts=0, tolerance=1e-8
        )
        rates.append(parting_rate(energy, shared, float(0.3 * tau), rng))
    seen = criterion.crossing(RATIOS * found.value, -np.array(rates))
    name = f"{case.name}, {sphere(d)}: temperature at which clouds part"
    checks = [close(name, found.value, seen, relative=0.02)]
    if not np.isnan(case.closed):
        checks.append(close(f"{name}, from the Hessian", case.closed, found.value, relative=0.005))
    row = {"case": case.name, "d": d, "predicted": found.value, "simulated": seen, "closed": case.closed}
    return row, checks


def parting_rate(energy: Any, shared: Any, step_size: float, rng: np.random.Generator) -> float:
    """The rate, 1/time, at which clouds part that start about 1e-6 radians from a shared one.

    It is taken from the last of the rounds in which neither rounding nor the size of the gap shows.

    Args:
        energy: of as many clouds as `shared` has modalities.
        shared: of `ct.stability.shared_equilibrium`.
        step_size: of the gradient flow.
        rng: generator for the displacements, which add up to 0.
    """
    clouds = [jnp.asarray(z) for z in jax.tree.leaves(points(shared.clouds))]
    noise = rng.standard_normal((len(clouds), *clouds[0].shape))
    noise -= noise.mean(axis=0)
    moved = [ct.sphere.normalize(z + 1e-6 * part) for z, part in zip(clouds, noise, strict=True)]
    flow = ct.flows.GradientFlow(step_size)
    state = flow.init(
        with_points(shared.clouds, jax.tree.unflatten(jax.tree.structure(points(shared.clouds)), moved))
    )

    def apart(state: Any) -> float:
        sides = jnp.stack(jax.tree.leaves(points(state.clouds)))
        return float(jnp.linalg.norm(sides - jnp.mean(sides, axis=0, keepdims=True)))

    rate, distance = np.nan, apart(state)
    for _ in range(_ROUNDS):
        state = ct.evolve(energy, flow, state, num_steps=_STEPS)
        before, distance = distance, apart(state)
        if not 1e-10 < distance < 1e-2:
            break
        rate = np.log(distance / before) / (_STEPS * step_size)
    return float(rate)


def _at_the_bound(quick: bool) -> list[Check]:
    """Classes in as many dimensions as there are classes: overlap meets the bound, and no gap is required."""
    checks, d = [], 8
    coupling = ct.couplings.from_matrix(classes(_CLASSES, _N, _LEAK), dtype=np.float64)
    found = ct.stability.critical_temperature(
        coupling, d, temperatures=(0.15, 0.8), scan=4 if quick else 10, starts=2
    )
    name = f"{_CLASSES} classes, d = {d}"
    checks.append(close(f"{name}: critical temperature", 0.0, found.value, absolute=0.0))
    for ratio in (0.6, 0.95):
        tau = ratio * simplex_temperature(_CLASSES, _LEAK)
        energy = ct.energies.symmetric(coupling, temperature=tau)
        shared = ct.stability.shared_equilibrium(energy, d, starts=2)
        above = shared.value - float(energy.lower_bound(d))
        checks.append(at_most(f"{name}, τ = {ratio:g} τ₀: energy of overlap above the bound", 1e-8, above))
    return checks

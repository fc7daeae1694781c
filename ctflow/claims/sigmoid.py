"""SigLIP's sigmoid loss on a ring: a fixed bias sets the gap, a learned one leaves it to the start.

This goes beyond the paper. The loss charges the level of the cosines, which InfoNCE does not see. On parallel
rings it is a convex function of p and c, the ring's cosines being p cos(θ_i - θ_j) + c
(`ctflow.claims.ring_losses`). With κ* and β* the p/τ and c/τ + b of least loss, which depend on σ and on the
number of negatives N only, rings at a bias b rest at p = τκ* and c = τ(β* - b), if such rings exist. They are
√((1-c)² - p²) apart, whatever their heights at the start; at biases up to β* + κ* - 1/τ they overlap. If the
bias is learned with the clouds, only c/τ + b = β* is set, and starts and learning rates decide on the gap
again; if the temperature is learned as well, only p/τ = κ* is. Two rings of one height are at a saddle, at
which waves out of plane can grow before the levels part, as under InfoNCE (`ctflow.claims.overlap`): then
they end in another state.
"""

from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import ctflow as ct
from ctflow.claims import ring, ring_losses
from ctflow.claims.evidence import Check, Evidence, at_least, at_most, close
from ctflow.running.sweep import sweep
from ctflow.storage.tables import columns

TITLE = "the sigmoid loss and the gap"
SOURCE = "parallel rings under SigLIP's loss (arXiv 2303.15343): minimum of a convex function of two numbers"
SIGMA, TAU, NEGATIVES = 1.0, 0.3, 15.0
STARTS = ((0.3, -0.3), (0.4, 0.2), (0.6, 0.1))
"""Heights of the two rings at the start."""
RATES = (0.3, 3.0)
"""Learning rates of the bias, as multiples of that of the clouds."""
RATE_TAU = 2.0
"""Learning rate of log τ, where it is learned."""
_N = 32
_STEP = 0.05
_STEPS = 6000


def forced(law: np.ndarray) -> float:
    """The bias up to which rings overlap, β* + κ* - 1/τ."""
    best, in_plane = ring_losses.best_bias(law, TAU, NEGATIVES)
    return best + in_plane / TAU - 1 / TAU


def run(*, quick: bool, seed: int = 0) -> Evidence:
    """Check gaps at fixed biases from three starts, and what learned ones leave."""
    law = ring.law(_N, SIGMA)
    closed = forced(law)
    biases = np.array([-1.0, 1.0, 3.0] if quick else [-1.0, -0.5, 0.5, 1.0, 2.0, 3.0, 4.0]) + closed
    fixed, checks = _fixed(law, biases, seed)
    learned, more = _learned(law, closed + 2.0, seed)
    line = np.linspace(closed - 1.5, closed + 5, 60)
    rests = [ring_losses.sigmoid_rest(law, TAU, bias, NEGATIVES) for bias in line]
    curve = [{"bias": b, "gap": r.gap, "level": r.level} for b, r in zip(line, rests, strict=True)]
    tables = {"fixed": fixed, "learned": learned, "curve": curve}
    return Evidence(
        checks + more,
        {name: columns(rows) for name, rows in tables.items()},
        f"{_N} particles a cloud, 3 starts",
    )


def descend(law: np.ndarray, runs: list[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
    """Where rings, bias and temperature end: each run has `start`, `bias`, `rate` and `rate_tau`."""
    coupling = ct.couplings.from_matrix(law, dtype=np.float64)
    flow = ct.flows.GradientFlow(_STEP)

    def loss(numbers: Any, clouds: Any) -> Any:
        log_tau, bias = numbers
        energy = ct.energies.Sigmoid(coupling, temperature=jnp.exp(log_tau), bias=bias, negatives=NEGATIVES)
        return energy(clouds)

    def end(inputs: Any) -> Any:
        x, y, bias, rates = inputs

        def step(carry: Any, _: Any) -> tuple[Any, None]:
            state, numbers = carry
            slopes = jax.grad(loss)(numbers, state.clouds)
            log_tau, bias = numbers
            energy = ct.energies.Sigmoid(
                coupling, temperature=jnp.exp(log_tau), bias=bias, negatives=NEGATIVES
            )
            state = ct.evolve(energy, flow, state, num_steps=1)
            return (state, jax.tree.map(lambda v, s, r: v - _STEP * r * s, numbers, slopes, rates)), None

        begin = flow.init(ct.Pair(x, y)), (jnp.log(jnp.asarray(TAU)), bias)
        (state, numbers), _ = jax.lax.scan(step, begin, length=_STEPS)
        return state.clouds, jnp.exp(numbers[0]), numbers[1]

    rng = np.random.default_rng(seed)
    x, y = (
        np.stack(side)
        for side in zip(*(ring.rings(_N, 3, run["start"], rng, 1e-3) for run in runs), strict=True)
    )
    bias = np.array([run["bias"] for run in runs])
    rates = tuple(np.array([run[name] for run in runs]) for name in ("rate_tau", "rate"))
    clouds, tau, last = sweep(end, (x, y, bias, rates))
    found = []
    for i, run in enumerate(runs):
        heights = clouds.x[i, :, 2].mean(), clouds.y[i, :, 2].mean()
        a, b = heights
        found.append(
            {
                "start_a": run["start"][0],
                "start_b": run["start"][1],
                "bias": run["bias"],
                "rate": run["rate"],
                "rate_tau": run["rate_tau"],
                "gap": float(np.linalg.norm((clouds.x[i] - clouds.y[i]).mean(axis=0))),
                "in_plane": float(np.sqrt((1 - a**2) * (1 - b**2)) / tau[i]),
                "level": float(a * b / tau[i] + last[i]),
                "waves": float(max(np.std(side[i, :, 2]) for side in clouds)),
                "bias_end": float(last[i]),
                "tau_end": float(tau[i]),
            }
        )
    return found


def _fixed(law: np.ndarray, biases: np.ndarray, seed: int) -> tuple[list[dict[str, Any]], list[Check]]:
    """Gaps at fixed biases; InfoNCE from the same starts."""
    runs = [
        {"start": start, "bias": bias, "rate": 0.0, "rate_tau": 0.0}
        for bias, start in product(biases, STARTS)
    ]
    found, checks = descend(law, runs, seed), []
    for i, bias in enumerate(biases):
        gaps = np.array([row["gap"] for row in found[len(STARTS) * i :][: len(STARTS)]])
        rest = ring_losses.sigmoid_rest(law, TAU, float(bias), NEGATIVES)
        for row in found[len(STARTS) * i :][: len(STARTS)]:
            row["predicted"] = rest.gap
        name = f"bias {bias - forced(law):+.1f} from where rings overlap"
        checks.append(
            close(f"{name}: centroid gap, mean of the starts", rest.gap, gaps.mean(), absolute=0.02)
        )
        checks.append(at_most(f"{name}: difference of gaps between starts", 0.03, np.ptp(gaps)))
    ends = [ring.ends(SIGMA, TAU, start) for start in STARTS]
    infonce = np.array([abs(a - b) for a, b in ends])
    checks.append(
        at_least("InfoNCE: difference of gaps between starts, in closed form", 0.5, np.ptp(infonce))
    )
    return found, checks


def _learned(law: np.ndarray, bias: float, seed: int) -> tuple[list[dict[str, Any]], list[Check]]:
    """A learned bias, and a learned bias and temperature: what they set, and what they leave to the start."""
    runs = [
        {"start": start, "bias": bias, "rate": rate, "rate_tau": rate_tau}
        for rate_tau, rate, start in product((0.0, RATE_TAU), RATES, STARTS)
    ]
    found = descend(law, runs, seed)
    best, in_plane = ring_losses.best_bias(law, TAU, NEGATIVES)
    checks = []
    for row in found:
        row["predicted"] = np.nan
    for name, rate_tau in (("bias learned", 0.0), ("bias and temperature learned", RATE_TAU)):
        every = [row for row in found if row["rate_tau"] == rate_tau]
        rows = [row for row in every if row["waves"] < 0.02]
        checks.append(at_least(f"{name}: runs of {len(every)} that end as parallel rings", 4, len(rows)))
        for what, value in (("in_plane", in_plane / TAU), ("level", best)):
            seen = np.array([row[what] for row in rows])
            label = {"in_plane": "p/τ", "level": "c/τ + b"}[what]
            farthest = seen[np.argmax(np.abs(seen - value))]
            checks.append(
                close(f"{name}: {label}, farthest of {len(rows)} runs", value, farthest, relative=0.02)
            )
        gaps = [row["gap"] for row in every]
        checks.append(at_least(f"{name}: difference of gaps between runs", 0.3, np.ptp(gaps)))
    return found, checks

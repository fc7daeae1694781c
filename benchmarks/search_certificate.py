"""Can the certificate of a spectral sum be broken? Hostile clouds, and float64 sums over all pairs as judge.

A case is a pair of clouds on the circle or S² with weights, a kernel, a precision, a tolerance and a
cotangent. Clouds are drawn at random from families that are hard for harmonics (clusters of any width,
copies of one point, lattices, antipodal pairs, points on the axes where waves are exact), and the cases
that come closest to the bound are then changed at random for as long as that brings them closer still.

For every case the error of value, x-, y-, weights- and temperature-gradient is divided by what is allowed
if the certificate holds, and by the bound that was claimed. Neither may exceed 1.

    python benchmarks/search_certificate.py --preset paper --out benchmarks/results
"""

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from hostile_clouds import cloud, cotangent, weights
from pairs_in_numpy import Case, exact, unit

import ctflow as ct
from ctflow import plotting as pl
from ctflow._base.pytree import pytree
from ctflow.experiment import Result, columns, main
from ctflow.kernels import squared_angle
from ctflow.partition.bounds import GRADIENT_FACTOR, proves
from ctflow.partition.plan import choose_degrees, tolerance
from ctflow.partition.spectral import spectral_pull, spectral_sum

KERNELS = ("Exponential", "ChordalGaussian", "GeodesicGaussian")
# Few degrees, so that few programs are compiled; a case takes the next higher one of these.
DEGREES = {2: (64, 256), 3: (24, 80)}
QUANTITIES = ("value", "x", "y", "weights", "temperature")


@dataclass(frozen=True)
class Config:
    """Settings.

    Attributes:
        cases: random cases of `size` points.
        climbs: how many of the worst are changed further, for every quantity and precision.
        changes: tried on each of these.
        larger: (points, cases) of larger clouds.
        door: clouds whose sums are taken through `ct.log_partition` and `ct.solve`.
        workers: processes among which the cases are shared.
    """

    cases: int = 16_000
    size: int = 500
    climbs: int = 8
    changes: int = 60
    larger: tuple[tuple[int, int], ...] = ((2000, 200), (20_000, 4))
    door: int = 12
    seed: int = 0
    workers: int = 2


PRESETS = {
    "paper": Config(),
    "smoke": Config(cases=40, climbs=1, changes=4, larger=((700, 2),), door=2, workers=1),
}


@pytree
class OneOf(ct.kernels.Kernel):
    """One of KERNELS, by its number; one program serves all three."""

    width: Any
    number: Any

    def log_kernel(self, cosine):
        """Log κ - log κ(1)."""
        chordal = (cosine - 1) / self.width**2
        geodesic = -squared_angle(cosine) / (2 * self.width**2)
        smooth = jnp.where(self.number < 0.5, (cosine - 1) / self.width, chordal)
        return jnp.where(self.number < 1.5, smooth, geodesic)


# The accused.


@partial(jax.jit, static_argnames=("degree", "dtype", "exclude_self"))
def forward(x, y, weights, kernel, *, degree, dtype, exclude_self):
    """One attempt at the sum."""
    options = {"degree": degree, "dtype": dtype, "exclude_self": exclude_self}
    return spectral_sum(x, y, weights, kernel, gradient=True, axis=None, **options)


@partial(jax.jit, static_argnames=("degree", "dtype", "exclude_self"))
def backward(x, y, weights, kernel, field, cotangent, *, degree, dtype, exclude_self):
    """One attempt at its gradients."""
    options = {"degree": degree, "dtype": dtype, "exclude_self": exclude_self}
    return spectral_pull(x, y, weights, kernel, field, cotangent, of_kernel=True, axis=None, **options)


def judge(case: Case) -> dict[str, Any]:
    """Errors of a case over what is allowed, and over the bounds; NaN where nothing was claimed.

    Allowed are rtol for the value and ten times that for gradients, of cotangents with Σ|g_i| = 1; for
    those in y, weights and temperature also a relative error rtol of every row. Rounding the result to
    its own precision is not counted as an error.
    """
    options = {"degree": case.degree, "dtype": case.dtype, "exclude_self": case.exclude_self}
    x, y, w, g, width = (jnp.asarray(a, case.dtype) for a in (*case[:4], case.width))
    kernel = OneOf(width, jnp.asarray(float(case.kernel), case.dtype))
    sums = forward(x, y, w, kernel, **options)
    pulled = None
    if proves(sums.bound, case.rtol):
        pulled = backward(x, y, w, kernel, sums.field, g, **options)
    found = _compared(case, sums, pulled, np.float64)
    ratios = (found[f"{name}_over_bound"] for name in QUANTITIES)
    if case.dtype == "float64" and np.nanmax([0, *ratios]) > 0.5:  # the judge has an error of its own
        found = _compared(case, sums, pulled, np.longdouble)
    return found


def _compared(case: Case, sums: Any, pulled: Any, precision: Any) -> dict[str, Any]:
    """What `judge` returns, with sums over all pairs in a NumPy precision."""
    claimed = pulled is not None and bool(proves(pulled[1], case.rtol))
    found: dict[str, Any] = {
        "dtype": case.dtype,
        "proven": pulled is not None,
        "proven_backward": claimed,
    }
    found |= {f"{name}_over_{of}": np.nan for name in QUANTITIES for of in ("allowed", "bound")}
    if not np.isfinite(float(sums.bound.value)):
        return found
    right = exact(case, precision)
    eps = float(jnp.finfo(case.dtype).eps)

    def note(name: str, error: Any, bound: Any, allowed: float, claimed: bool) -> None:
        found[f"{name}_over_bound"] = float(error) / max(float(bound), 1e-300)
        if claimed:
            found[f"{name}_over_allowed"] = float(error) / allowed

    log_field = np.log(np.maximum(right.field, 1e-300))
    value = np.maximum(np.abs(np.asarray(sums.value, precision) - log_field) - eps * np.abs(log_field), 0)
    slope = _beyond(sums.gradient, right.x, eps)
    note("value", value.max(), sums.bound.value, case.rtol, pulled is not None)
    note("x", slope.max(), sums.bound.gradient, GRADIENT_FACTOR * case.rtol, pulled is not None)
    if pulled is None:
        return found
    (d_y, d_weights, d_kernel), bound = pulled
    w, scale, given = case.weights.astype(case.dtype), np.abs(case.cotangent).sum(), float(sums.bound.value)
    # A point of weight 0 has no gradient; over its weight it is not seen.
    per_weight = np.asarray(d_y, precision) / np.where(w > 0, w, 1)[:, None]
    by_log_width = np.asarray(d_kernel.width, precision) * np.asarray(case.width, case.dtype)
    off = {
        "y": np.where(w > 0, _beyond(per_weight, right.y, eps) - given * right.rows[0], 0),
        "weights": _beyond(d_weights, right.weights, eps) - given * right.rows[1],
        "temperature": _beyond(by_log_width, right.temperature, eps) - given * right.rows[2],
    }
    for (name, error), limit in zip(off.items(), (bound.points, bound.weights, bound.kernel), strict=True):
        note(name, max(np.max(error), 0) / scale, limit, GRADIENT_FACTOR * case.rtol, claimed)
    return found


def _beyond(got: Any, right: Any, eps: float) -> Any:
    """Distances of rows or numbers, less twice the rounding of what is right."""
    right = np.asarray(right)
    off, size = np.asarray(got, right.dtype) - right, right
    if right.ndim == 2:
        off, size = (np.sqrt(np.sum(a * a, axis=1)) for a in (off, size))
    return np.maximum(np.abs(off) - 2 * eps * np.abs(size), 0)


# What it is tried with.


def random_case(rng: np.random.Generator, n: int, *, small: bool = True) -> Case:
    """A case of n points; `small` ones take all programs, larger ones few."""
    d = int(rng.integers(2, 4))
    exclude = bool(small and rng.random() < 0.35)
    m = n if exclude or d == 2 or not small or rng.random() < 0.7 else n // 2
    x = cloud(rng, n, d)
    y = cloud(rng, m, d)
    if n == m:
        near = unit(x + 10 ** rng.uniform(-8, -0.5) * rng.standard_normal(x.shape))
        y = [x, near, -x, y][rng.choice(4, p=[0.3, 0.25, 0.15, 0.3])]
    kernel = int(rng.integers(3))
    low, high = ((0.003, 10), (0.05, 3), (0.06, 0.7))[kernel]
    dtype = str(rng.choice(["float32", "float32", "float64"])) if small else "float32"
    rtols = {"float32": [1e-5, 1e-5, 3e-7, 1e-6, 1e-4], "float64": [1e-9, 1e-9, 1e-11, 1e-6]}[dtype]
    case = Case(
        *(x, y, weights(rng, m), cotangent(rng, n), kernel),
        width=float(np.float32(np.exp(rng.uniform(np.log(low), np.log(high))))),
        **{"degree": 0, "dtype": dtype, "rtol": float(rng.choice(rtols)), "exclude_self": exclude},
    )
    return case._replace(degree=degree(rng, case, small))


def degree(rng: np.random.Generator, case: Case, small: bool) -> int:
    """The degree that the package takes, or another one that a user may ask for by `Planned`."""
    d = case.x.shape[1]
    if not small:
        return DEGREES[d][0]
    if rng.random() < 0.1:
        return int(rng.choice(DEGREES[d]))
    kernel = getattr(ct.kernels, KERNELS[case.kernel])(case.width)
    chosen = choose_degrees(kernel, len(case.x), len(case.y), d, case.dtype, case.rtol)
    least = DEGREES[d][-1] if chosen is None else chosen.narrow
    return next(number for number in DEGREES[d] if number >= least)


def changed(rng: np.random.Generator, case: Case) -> Case:
    """The case with something about it moved a little: some points, the weights, the kernel."""
    x, y, w, g = (a.copy() for a in case[:4])
    same = x.shape == y.shape and np.array_equal(x, y)
    kind = rng.integers(6)
    if kind <= 2:
        z = [x, y][rng.integers(2)]
        some = rng.integers(len(z), size=rng.integers(1, max(2, len(z) // 10)))
        step = 10 ** rng.uniform(-7, 0) * rng.standard_normal((len(some), z.shape[1]))
        z[some] = unit(z[some] + step) if kind else z[rng.integers(len(z))]
        if same:
            x, y = z, z.copy()
    elif kind == 3:
        w = w * np.exp(rng.standard_normal(len(w)) * 10 ** rng.uniform(-2, 0.5))
        w = w / w.sum() if (w / w.sum()).max() < 0.999 else case.weights
    elif kind == 4:
        g = cotangent(rng, len(g))
    width = case.width * float(np.exp(0.1 * rng.standard_normal())) if kind == 5 else case.width
    return case._replace(x=x, y=y, weights=w, cotangent=g, width=float(np.float32(width)))


def climb(rng: np.random.Generator, case: Case, column: str, changes: int) -> list[dict[str, Any]]:
    """What is found on the way, as the case is changed to make one of the ratios larger."""
    best, rows = judge(case)[column], []
    for _ in range(changes):
        candidate = changed(rng, case)
        rows.append(judge(candidate))
        if rows[-1][column] > best:
            case, best = candidate, rows[-1][column]
    return rows


# Through the front door: temperatures that are traced, under jit and vmap, and in a flow.


def through_the_door(rng: np.random.Generator, n: int) -> list[dict[str, Any]]:
    """Largest errors over allowances of `ct.log_partition` and `ct.solve` on one float32 cloud."""
    d = int(rng.integers(2, 4))
    x = jnp.asarray(cloud(rng, n, d), jnp.float32)
    taus = np.exp(rng.uniform(np.log(0.03), np.log(2), 2)).astype(np.float32)
    rtol = tolerance(None, "float32")
    found = []
    of_x, of_tau = _door(x, jnp.asarray(taus))
    for number, tau in enumerate(taus):
        case = Case(
            *(np.asarray(x), np.asarray(x), np.full(n, 1 / n), np.full(n, 1 / n), 0),
            **{"width": float(tau), "degree": 0, "dtype": "float32", "rtol": rtol, "exclude_self": False},
        )
        if ct.partition.certify(x, x, ct.kernels.Exponential(float(tau))).method != "spectral":
            continue  # exact sums in tiles have the rounding of float32, and prove nothing
        right, eps = exact(case), float(np.finfo("float32").eps)
        steepest = np.linalg.norm(right.x, axis=1) + np.linalg.norm(right.y, axis=1) * n
        total = right.x / n + right.y / n
        error = n * _beyond(of_x[number], total, eps) - rtol * (steepest + n * right.rows[0])
        found.append({"way": "jit and vmap, x and y", "ratio": error.max() / (2 * GRADIENT_FACTOR * rtol)})
        log_top = -1 / float(tau)
        error = _beyond(float(of_tau[number]) * float(tau), right.temperature + log_top, eps)
        ratio = (error - rtol * right.rows[2]).max() / (GRADIENT_FACTOR * rtol)
        found.append({"way": "jit and vmap, temperature", "ratio": ratio})
        step = 0.1
        energy = ct.energies.SmoothedEntropy(ct.kernels.Exponential(float(tau)))
        run = ct.solve(energy, x, ct.flows.GradientFlow(step), num_steps=1, raise_on_failure=False)
        moved = np.asarray(ct.sphere.log_map(x.astype(jnp.float64), run.clouds.astype(jnp.float64)))
        inside = np.linalg.norm(step * n * total, axis=1) < 3
        error = np.where(inside, np.linalg.norm(moved / step + n * total, axis=1), 0)
        rounding = 8 * eps / step
        ratio = (error - rtol * (steepest + n * right.rows[0]) - rounding).max() / (
            2 * GRADIENT_FACTOR * rtol
        )
        found.append({"way": "solve, one step", "ratio": ratio})
    return found


@jax.jit
def _door(x: Any, taus: Any) -> Any:
    """Gradients of the mean of L over one cloud, in it and in the temperature, for every temperature."""

    def mean(x, tau):
        kernel = ct.partition.Planned(ct.kernels.Exponential(tau), degrees=(64, 64))
        return jnp.mean(ct.log_partition(x, x, kernel, method="spectral"))

    return jax.vmap(jax.grad(mean, argnums=(0, 1)), in_axes=(None, 0))(x, taus)


def run(config: Config, checkpoint: Path | None = None) -> Result:
    """All cases, and the largest ratio of every kind."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(config.workers, context, _enable_float64) as pool:
        rows = list(_rows(config, pool))
        door = [row for found in pool.map(_door_of, _jobs(config, 3, config.door)) for row in found]
    table = columns(rows)
    facts: dict[str, Any] = {"device": jax.devices()[0].device_kind, "cases": len(rows)}
    for dtype in ("float32", "float64"):
        of = table["dtype"] == dtype
        facts[f"cases_{dtype}"] = int(of.sum())
        facts[f"proven_{dtype}"] = int(table["proven"][of].sum())
        facts[f"proven_backward_{dtype}"] = int(table["proven_backward"][of].sum())
        for name in (f"{q}_over_{over}" for over in ("allowed", "bound") for q in QUANTITIES):
            facts[f"{name}_{dtype}"] = float(np.max(np.nan_to_num(table[name][of]), initial=0))
    for way in dict.fromkeys(row["way"] for row in door):
        facts[f"{way}, over allowed"] = float(max(0, *(row["ratio"] for row in door if row["way"] == way)))
    print("\n".join(f"{name:40} {value}" for name, value in facts.items()))
    return Result({"search_certificate": _quantiles(table)}, _kept(table), facts)


def _enable_float64() -> None:
    jax.config.update("jax_enable_x64", True)


def _jobs(config: Config, kind: int, count: int) -> list[tuple[int, int, int, int]]:
    """Seeds and size of so many jobs."""
    return [(config.seed, kind, number, config.size) for number in range(count)]


def _case_of(job: tuple[int, int, int, int]) -> Case:
    *seed, size = job
    return random_case(np.random.default_rng(seed), size)


def _judged(job: tuple[int, int, int, int]) -> dict[str, Any]:
    return judge(_case_of(job))


def _climbed(job: tuple[tuple[int, int, int, int], str, int]) -> list[dict[str, Any]]:
    start, column, changes = job
    return climb(np.random.default_rng([*start, 1]), _case_of(start), column, changes)


def _larger(job: tuple[int, int, int, int]) -> dict[str, Any]:
    *seed, size = job
    return judge(random_case(np.random.default_rng(seed), size, small=False))


def _door_of(job: tuple[int, int, int, int]) -> list[dict[str, Any]]:
    *seed, size = job
    return through_the_door(np.random.default_rng(seed), size)


def _rows(config: Config, pool: Executor) -> Iterator[dict[str, Any]]:
    """What is found: random cases, then climbs from the worst, then larger clouds."""
    jobs, found = _jobs(config, 0, config.cases), []
    for row in pool.map(_judged, jobs, chunksize=20):
        found.append(row)
        yield row
        if len(found) % 500 == 0:
            worst = {name: _largest(found, f"{name}_over_bound") for name in QUANTITIES}
            print(
                f"{len(found)} of {config.cases} random cases; largest errors over bounds: {worst}",
                flush=True,
            )
    climbs = []
    for column in (f"{name}_over_bound" for name in QUANTITIES):
        for dtype in ("float32", "float64"):
            ratios = [row[column] if row["dtype"] == dtype else np.nan for row in found]
            worst = np.argsort(-np.nan_to_num(ratios))[: config.climbs]
            climbs += [(jobs[number], column, config.changes) for number in worst]
    for rows in pool.map(_climbed, climbs):
        yield from rows
    print(f"{len(climbs)} climbs", flush=True)
    for n, count in config.larger:
        yield from pool.map(_larger, [(config.seed, 2, number, n) for number in range(count)])
        print(f"{count} cases of {n} points", flush=True)


def _largest(found: list[dict[str, Any]], column: str) -> float:
    return round(float(np.nanmax([row[column] for row in found])), 3)


def _quantiles(table: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The distribution of every ratio, by precision: a row for each."""
    rows = []
    for dtype in ("float32", "float64"):
        for name in QUANTITIES:
            for over in ("allowed", "bound"):
                ratios = table[f"{name}_over_{over}"][table["dtype"] == dtype]
                ratios = ratios[np.isfinite(ratios)]
                marks = np.quantile(ratios, (0.5, 0.99, 1)) if ratios.size else np.full(3, np.nan)
                row = {"dtype": dtype, "quantity": name, "over": over, "cases": ratios.size}
                rows.append(row | dict(zip(("median", "quantile_99", "largest"), marks, strict=True)))
    return columns(rows)


def _kept(table: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The ratios over the bounds, for the figure."""
    names = [f"{name}_over_bound" for name in QUANTITIES]
    narrow = table["dtype"] == "float32"
    return {
        f"{name}_{d}": table[name][of]
        for name in names
        for d, of in (("float32", narrow), ("float64", ~narrow))
    }


@pl.styled
def plot(result: Result) -> dict[str, Any]:
    """How much of the bound the errors use up, for every quantity."""
    figure, axes = pl.panels(1, 2, size=(7.5, 2.8), sharey=True)
    edges = np.geomspace(1e-6, 10, 57)
    for ax, dtype in zip(axes[0], ("float32", "float64"), strict=True):
        for name, color in zip(QUANTITIES, (pl.BLUE, pl.RED, pl.GREEN, pl.ORANGE, pl.PURPLE), strict=True):
            ratios = result.arrays[f"{name}_over_bound_{dtype}"]
            ratios = np.clip(ratios[np.isfinite(ratios)], edges[0], edges[-1])
            share = np.histogram(ratios, edges)[0] / max(len(ratios), 1)
            ax.stairs(100 * share, edges, color=color, label=name, linewidth=1.2)
        ax.axvline(1, color=pl.GREY, linestyle=":")
        ax.set(xscale="log", xlabel="error / claimed bound", title=dtype)
    axes[0, 0].set_ylabel("cases (%)")
    axes[0, 1].legend(title="error of")
    return {"search_certificate.png": pl.Picture(figure)}


if __name__ == "__main__":
    main(name="search_certificate", presets=PRESETS, run=run, plot=plot, description=__doc__ or "")

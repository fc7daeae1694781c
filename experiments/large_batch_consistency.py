"""Finite-batch InfoNCE against its large-batch limit, in gradient and in value (arXiv 2601.19597).

Two questions that are easily mixed up:

As published: how far is the gradient with N negatives from that with 4096 of them? This measures how much
a batch still changes, not how far it is from the limit: the positive pair stays in the denominator and
holds most of the softmax until N·Γ(z) ≫ e^{1/τ}, at 4096 as well.

Against the limit: how far is it from ∇J, the gradient of the deterministic energy of the very law that
the negatives are drawn from (here a cloud of 4096 points, so that J is a finite sum)? The error splits
into the scatter of the draws, ∝ N^{-1/2}, and a bias, ∝ N^{-1}, most of it the positive's in the cosine
critic. The value's bias L_N - J - log(N V) is ∝ N^{-1} too.

    python experiments/large_batch_consistency.py --preset paper --out figures
"""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

import ctflow as ct
from ctflow._base.resources import check_array, check_fits, program_bytes, tree_bytes
from ctflow.experiment import Result, columns, main, results_of
from ctflow.io import read_csv
from experiments.plots.large_batch_consistency import plot
from experiments.setups.large_batch_consistency import CRITICS, PRESETS, Config, Problem, draw, loss


def as_published(config: Config, critic: str, seed: int) -> list[dict]:
    """Cosine and relative error between the gradients with the first N of the pool and with all of it."""
    sizes = jnp.array([*config.batch_sizes, config.reference_size])
    problem = draw(config, critic, seed)
    *found, reference = np.asarray(nested_gradients(config, critic, problem, sizes), np.float64)
    return [
        {
            "critic": critic,
            "N": size,
            "seed": seed,
            "cosine": g @ reference / np.linalg.norm(g) / np.linalg.norm(reference),
            "relative_error": np.linalg.norm(g - reference) / np.linalg.norm(reference),
        }
        for size, g in zip(config.batch_sizes, found, strict=True)
    ]


def split_error(draws: np.ndarray, limit: np.ndarray) -> dict[str, float]:
    """Scatter and bias of estimates [draws, k] of a limit [k], relative to its norm.

    The squared norm of the mean error overstates the squared bias by scatter²/draws, which is taken off.
    """
    size = np.linalg.norm(limit)
    mean, count = draws.mean(axis=0), len(draws)
    scatter = np.sqrt(((draws - mean) ** 2).sum() / (count - 1))
    bias = ((mean - limit) ** 2).sum() - scatter**2 / count
    return {
        "error": np.sqrt(((draws - limit) ** 2).sum(axis=1).mean()) / size,
        "scatter": scatter / size,
        "bias": np.sqrt(max(bias, 0.0)) / size,
    }


@partial(jax.jit, static_argnums=(0, 1))
def values_and_gradients(config: Config, critic: str, problem: Problem, counts: Any) -> Any:
    """(values, gradients) without and with the positive in the denominator, for counts [draws, members]."""

    def one(counts):
        return [
            jax.value_and_grad(
                partial(loss, config, critic, problem=problem, counts=counts, positive=positive)
            )(problem.encoder)
            for positive in (False, True)
        ]

    return jax.lax.map(one, counts)


@partial(jax.jit, static_argnums=(0, 1))
def nested_gradients(config: Config, critic: str, problem: Problem, sizes: Any) -> Any:
    """Gradients [sizes, k] with the first N of the pool, for every N of `sizes`."""

    def gradient(size):
        counts = (jnp.arange(config.reference_size) < size).astype(problem.pool.dtype)
        of = partial(loss, config, critic, problem=problem, counts=counts, positive=True)
        return jax.grad(of)(problem.encoder).ravel()

    return jax.lax.map(gradient, sizes)


def against_limit(config: Config, critic: str, seed: int) -> list[dict]:
    """Errors of value and gradient against J and ∇J, with and without the positive in the denominator."""
    problem = draw(config, critic, seed)
    rng = np.random.default_rng([config.seed, seed])
    members = config.reference_size
    both = partial(values_and_gradients, config, critic, problem)
    # As many counts as in the draws, since another shape would be another program.
    (value, gradient), _ = both(jnp.ones((config.limit_draws, members), jnp.float32))
    limit, limit_value = np.asarray(gradient[0]).ravel(), float(value[0])
    rows = []
    for size in config.limit_batch_sizes:
        counts = rng.multinomial(size, np.full(members, 1 / members), size=config.limit_draws)
        for positive, (values, gradients) in zip((0, 1), both(jnp.asarray(counts, jnp.float32)), strict=True):
            values = np.asarray(values)
            rows.append(
                {
                    "setting": f"{critic} encoder",
                    "N": size,
                    "seed": seed,
                    "positive": positive,
                    **split_error(np.asarray(gradients).reshape(config.limit_draws, -1), limit),
                    "value_bias": values.mean() - limit_value,
                    "value_scatter": values.std(ddof=1),
                }
            )
    return rows


def flat(clouds: Any) -> jax.Array:
    return jnp.concatenate([jnp.ravel(z) for z in clouds])


@partial(jax.jit, static_argnames=("temperature", "num_negatives", "positive_in_denominator"))
def draws_on_clouds(keys: Any, clouds: ct.Pair, coupling: Any, **options: Any) -> Any:
    """Values [draws] and gradients [draws, k] of `ct.infonce` on a pair of clouds."""

    def one(key):
        return (
            ct.infonce.loss(key, clouds, coupling, **options),
            flat(ct.infonce.gradient(key, clouds, coupling, **options)),
        )

    return jax.lax.map(one, keys)


def on_clouds(config: Config, seed: int) -> list[dict]:
    """The same with no encoder, on a pair of clouds on S²: `ct.infonce` against `ct.energies`."""
    key_x, key_noise, key_draws = jax.random.split(jax.random.fold_in(jax.random.key(config.seed), seed), 3)
    tau = config.cloud_temperature
    x = ct.sphere.uniform(key_x, config.num_anchors, 3)
    y = ct.sphere.normalize(x + 0.3 * jax.random.normal(key_noise, x.shape))
    coupling, clouds = ct.couplings.paired(config.num_anchors, dtype=float), ct.Pair(x, y)
    energy = ct.energies.directional(coupling, temperature=tau)

    value, ambient = jax.value_and_grad(energy)(clouds)
    limit = flat(jax.tree.map(ct.sphere.project_tangent, clouds, ambient))
    log_volume = ct.kernels.Exponential(tau).log_volume(3, float)
    rows = []
    for size in config.cloud_batch_sizes:
        for positive in (0, 1):
            keys = jax.random.split(jax.random.fold_in(key_draws, size), config.limit_draws)
            options = {"temperature": tau, "num_negatives": size, "positive_in_denominator": bool(positive)}
            values, found = map(np.asarray, draws_on_clouds(keys, clouds, coupling, **options))
            values = values - float(value + log_volume) - np.log(size)
            rows.append(
                {
                    "setting": "clouds",
                    "N": size,
                    "seed": seed,
                    "positive": positive,
                    **split_error(found, np.asarray(limit)),
                    "value_bias": values.mean(),
                    "value_scatter": values.std(ddof=1),
                }
            )
    return rows


def check_memory(config: Config) -> None:
    """Say what memory the gradients on the pool will take; raise MemoryError where that is not there."""
    check_array("all pairs of anchors", config.num_anchors, config.num_anchors)
    problem = jax.eval_shape(partial(draw, config, CRITICS[0], 0))
    counts = jax.ShapeDtypeStruct((config.limit_draws, config.reference_size), jnp.float32)
    program = values_and_gradients.lower(config, CRITICS[0], problem, counts).compile()
    needed = program_bytes(program) + 3 * tree_bytes(problem)
    check_fits("large-batch consistency", needed, force=False, told=True)


def run(config: Config, checkpoint: Path | None = None) -> Result:
    """The published protocol for both critics, then the comparison with the limit."""
    with jax.enable_x64(True):
        check_memory(config)
        seeds, few = range(config.num_seeds), range(config.limit_seeds)
        jobs = [
            *(("published", partial(as_published, config, critic, s)) for critic in CRITICS for s in seeds),
            *(("limit", partial(against_limit, config, critic, s)) for critic in CRITICS for s in few),
            *(("limit", partial(on_clouds, config, s)) for s in few),
        ]
        rows: dict[str, list[dict]] = {"published": [], "limit": []}
        with tqdm(total=len(jobs), desc="large-batch consistency", unit="job") as bar:
            for (kind, _), found in zip(
                jobs, results_of([job for _, job in jobs], checkpoint, config), strict=True
            ):
                rows[kind] += found
                bar.update()
        jax.clear_caches()
    limit = columns(rows["limit"])
    return Result(
        {
            "published_runs": columns(rows["published"]),
            "published": summarize(config, columns(rows["published"])),
            "limit_runs": limit,
            "slopes": slopes(config, limit),
        },
        {},
        {"reference_size": config.reference_size, "limit_draws": config.limit_draws},
    )


def summarize(config: Config, runs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Mean and deviation over seeds, beside the published code's, and their distance in standard errors."""
    theirs = read_csv(Path(__file__).parent / "published" / "gradient_consistency.csv")
    rows = []
    for critic in CRITICS:
        for size in np.unique(runs["N"]):
            pick = (runs["critic"] == critic) & (runs["N"] == size)
            same = (theirs["kind"] == critic) & (theirs["N"] == size) & (config.reference_size == 4096)
            row: dict[str, Any] = {"critic": critic, "N": size, "seeds": pick.sum()}
            for name, short in (("cosine", "cos"), ("relative_error", "relerr")):
                mean, std = runs[name][pick].mean(), runs[name][pick].std(ddof=1)
                their_mean, their_std = (
                    theirs[f"{short}_{what}"][same][0] if same.any() else np.nan for what in ("mean", "std")
                )
                error = np.sqrt(std**2 / pick.sum() + their_std**2 / 20)
                row |= {
                    name: mean,
                    f"{name}_std": std,
                    f"{name}_published": their_mean,
                    f"{name}_published_std": their_std,
                    f"{name}_errors_off": (mean - their_mean) / error,
                }
            rows.append(row)
    return columns(rows)


def slopes(config: Config, runs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Exponents of N in the gradient's scatter and the value's bias, with standard errors over seeds.

    On the largest N; for the value, on the largest where its bias is four times what the draws leave
    uncertain. Without the positive it is about -Var(e^s)/(2N·E[e^s]²), which is nowhere: left out.
    """
    rows = []
    for setting in dict.fromkeys(runs["setting"]):
        for positive in (0, 1):
            of = (runs["setting"] == setting) & (runs["positive"] == positive)
            for name, theory in (("scatter", -0.5), ("value_bias", -1.0))[: 1 + positive]:
                noise = (
                    runs["value_scatter"] / np.sqrt(config.limit_draws)
                    if name == "value_bias"
                    else 0 * runs["N"]
                )
                seen = [
                    size
                    for size in np.unique(runs["N"][of])
                    if np.abs(runs[name])[of & (runs["N"] == size)].mean()
                    > 4 * noise[of & (runs["N"] == size)].mean()
                ]
                sizes, found = seen[-config.fit_points :], []
                if len(sizes) < 2:
                    continue
                for seed in np.unique(runs["seed"][of]):
                    pick = of & (runs["seed"] == seed) & np.isin(runs["N"], sizes)
                    size = np.abs(runs[name][pick])
                    found.append(np.polyfit(np.log(runs["N"][pick]), np.log(size), 1)[0])
                spread = np.std(found, ddof=1) / np.sqrt(len(found)) if len(found) > 1 else np.nan
                rows.append(
                    {
                        "setting": setting,
                        "positive": positive,
                        "quantity": name,
                        "slope": np.mean(found),
                        "standard_error": spread,
                        "theory": theory,
                        "from_N": sizes[0],
                    }
                )
    return columns(rows)


if __name__ == "__main__":
    main(name="large_batch_consistency", presets=PRESETS, run=run, plot=plot, description=__doc__ or "")

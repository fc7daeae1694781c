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

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

import ctflow as ct
from ctflow._base.checks import check_count, check_positive
from ctflow._base.resources import check_array, check_fits, program_bytes, tree_bytes
from ctflow.experiment import Result, columns, main, plot_of, results_of
from ctflow.io import read_csv

CRITICS = ("cosine", "rbf")


@dataclass(frozen=True)
class Config:
    """Settings; the defaults are the paper's, and below them those of the comparison with the limit."""

    batch_sizes: tuple[int, ...] = (4, 8, 16, 32, 64, 128, 256, 512, 1024)
    """Numbers of negatives N."""
    reference_size: int = 4096
    num_seeds: int = 20
    num_anchors: int = 64
    input_dim: int = 64
    embedding_dim: int = 128
    num_components: int = 4
    separation: float = 4.0
    spread: float = 1.0
    cosine_temperature: float = 0.1
    cosine_augmentation: float = 0.05
    rbf_temperature: float = 1.0
    rbf_augmentation: float = 0.2
    limit_batch_sizes: tuple[int, ...] = (4**2, 4**4, 4**6, 4**8, 4**9, 4**10)
    limit_seeds: int = 3
    limit_draws: int = 8
    """Independent draws of N negatives for every seed, to tell scatter from bias."""
    cloud_batch_sizes: tuple[int, ...] = tuple(4**k for k in range(1, 7))
    """N on clouds: there every anchor draws its own negatives, one by one."""
    cloud_temperature: float = 0.5
    fit_points: int = 3
    """Slopes are fitted on the largest N."""
    seed: int = 0

    def __post_init__(self):
        for name in (
            "reference_size",
            "num_seeds",
            "num_anchors",
            "input_dim",
            "embedding_dim",
            "num_components",
            "limit_seeds",
        ):
            check_count(name, getattr(self, name))
        for name in ("limit_draws", "fit_points"):
            check_count(name, getattr(self, name), minimum=2)
        for name in (
            "separation",
            "spread",
            "cosine_temperature",
            "cosine_augmentation",
            "rbf_temperature",
            "rbf_augmentation",
            "cloud_temperature",
        ):
            check_positive(name, getattr(self, name))
        for name in ("batch_sizes", "limit_batch_sizes", "cloud_batch_sizes"):
            sizes = getattr(self, name)
            if not sizes or min(sizes) < 1 or list(sizes) != sorted(set(sizes)):
                raise ValueError(f"{name} must be >= 1, increasing and not empty, got {sizes}")
        if self.batch_sizes[-1] > self.reference_size:
            raise ValueError(
                f"batch_sizes must be <= reference_size = {self.reference_size}, got {self.batch_sizes[-1]}"
            )


PRESETS = {
    "paper": Config(),
    "smoke": Config(
        batch_sizes=(16, 128),
        reference_size=1024,
        num_seeds=2,
        limit_batch_sizes=(4**7, 4**8, 4**9),
        limit_seeds=2,
        limit_draws=4,
        cloud_batch_sizes=(64, 1024),
    ),
}


class Problem(NamedTuple):
    """One seed's encoder [embedding, input] and inputs: anchors and positives [B, input], pool [M, input]."""

    encoder: jax.Array
    anchors: jax.Array
    positives: jax.Array
    pool: jax.Array


def temperature(config: Config, critic: str) -> float:
    return config.cosine_temperature if critic == "cosine" else config.rbf_temperature


def mixture(config: Config, key: Any, n: int) -> jax.Array:
    """Inputs [n, input_dim] of a mixture of Gaussians whose means are drawn afresh at every call."""
    key_means, key_component, key_noise = jax.random.split(key, 3)
    means = config.separation * ct.sphere.uniform(key_means, config.num_components, config.input_dim)
    component = jax.random.randint(key_component, (n,), 0, config.num_components)
    return means[component] + config.spread * jax.random.normal(key_noise, (n, config.input_dim))


def draw(config: Config, critic: str, seed: int) -> Problem:
    """One seed's data as published: float32, anchors and pool from different mixtures."""
    keys = jax.random.split(jax.random.fold_in(jax.random.key(config.seed), seed), 4)
    shape = (config.embedding_dim, config.input_dim)
    augmentation = config.cosine_augmentation if critic == "cosine" else config.rbf_augmentation
    anchors = mixture(config, keys[1], config.num_anchors)
    problem = Problem(
        jax.random.normal(keys[0], shape) / np.sqrt(config.input_dim),
        anchors,
        anchors + augmentation * jax.random.normal(keys[2], anchors.shape),
        mixture(config, keys[3], config.reference_size),
    )
    return Problem(*(part.astype(jnp.float32) for part in problem))


def embed(critic: str, encoder: Any, inputs: Any) -> jax.Array:
    """Embeddings [n, d]: on the sphere for the cosine critic, in (-1, 1)^d for the RBF critic."""
    z = jnp.matmul(inputs, encoder.T, precision="highest")
    return ct.sphere.normalize(z) if critic == "cosine" else jnp.tanh(z)


def scores(critic: str, z: Any, w: Any) -> jax.Array:
    """The critic on all pairs [n, m]: ⟨z, w⟩, or -‖z - w‖²/d."""
    inner = jnp.matmul(z, w.T, precision="highest")
    if critic == "cosine":
        return inner
    squares = (jnp.sum(a * a, axis=1) for a in (z, w))
    return (2 * inner - next(squares)[:, None] - next(squares)[None, :]) / z.shape[1]


def loss(
    config: Config, critic: str, encoder: Any, problem: Problem, counts: Any, *, positive: bool
) -> jax.Array:
    """InfoNCE with pool member j taken counts[j] times, less log N.

    With `counts` of a draw it is L_N - log N; with one of each, and without the positive in the
    denominator, it is J + log V, the limit itself. `positive` says whether that term is there.
    """
    tau = temperature(config, critic)
    z, v, w = (embed(critic, encoder, part) for part in problem[1:])
    own = jnp.diagonal(scores(critic, z, v)) / tau
    negatives = jax.nn.logsumexp(scores(critic, z, w) / tau, b=counts[None, :] / counts.sum(), axis=1)
    denominator = jnp.logaddexp(negatives, own - jnp.log(counts.sum())) if positive else negatives
    return jnp.mean(denominator - own)


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
    (value, gradient), _ = both(jnp.ones((1, members), jnp.float32))
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


plot = plot_of(__file__)

if __name__ == "__main__":
    main(name="large_batch_consistency", presets=PRESETS, run=run, plot=plot, description=__doc__ or "")

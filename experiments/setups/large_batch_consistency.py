"""Settings of the consistency experiment, and its critics, encoders and loss."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import ctflow as ct
from ctflow._base.checks import check_count, check_positive

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

"""The toy's settings, and its linear encoders and particles: drawn, trained and moved."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import ctflow as ct
from ctflow._base.checks import check_count, check_positive
from ctflow.latents import VonMisesMixture

LATENTS = VonMisesMixture()
METHODS = ("minibatches", "population", "particles from trained", "particles from start")
ENCODERS, PARTICLES = METHODS[:2], METHODS[2:]


@dataclass(frozen=True)
class Config:
    """Settings; angles in radians. The defaults are the paper's."""

    sigmas: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
    """Misalignment: how far the second modality's latent is displaced."""
    num_seeds: int = 20
    batch_size: int = 256
    num_steps: int = 2000
    save_every: int = 20
    learning_rate: float = 5e-3
    temperature: float = 0.07
    obs_noise: float = 0.02
    """Standard deviation of the noise on either feature (cos θ, sin θ)."""
    num_eval: int = 8000
    num_bins: int = 60
    grid_points: int = 160
    """Angles of the quadrature that the population objective and the free particles live on."""
    num_particle_seeds: int = 5
    particle_learning_rate: float = 2e-2
    collapse_condition: float = 8.0
    """A run whose encoders' larger condition number is above this has collapsed; clean ones end below 4."""
    seed: int = 0

    def __post_init__(self):
        for name in ("num_seeds", "num_steps", "save_every", "num_eval", "num_bins", "num_particle_seeds"):
            check_count(name, getattr(self, name))
        for name in ("batch_size", "grid_points"):
            check_count(name, getattr(self, name), minimum=4)
        for name in ("learning_rate", "particle_learning_rate", "obs_noise", "collapse_condition"):
            check_positive(name, getattr(self, name))
        if not self.temperature >= 0.025:
            raise ValueError(
                f"temperature must be >= 0.025 (below, a batch's exponentials leave float32), "
                f"got {self.temperature}"
            )
        if not self.sigmas or not min(self.sigmas) >= 0:
            raise ValueError(f"sigmas must not be empty and >= 0, got {self.sigmas}")
        if self.num_steps % self.save_every:
            raise ValueError(
                f"num_steps must be a multiple of save_every, got {self.num_steps} and {self.save_every}"
            )
        if self.num_particle_seeds > self.num_seeds:
            raise ValueError(
                f"num_particle_seeds must be <= num_seeds = {self.num_seeds}, got {self.num_particle_seeds}"
            )


PRESETS = {
    "paper": Config(),
    "smoke": Config(
        sigmas=(0.0, 0.3, 0.6),
        num_seeds=4,
        num_steps=600,
        save_every=100,
        grid_points=96,
        num_particle_seeds=1,
    ),
}


def circle(angles: Any) -> jax.Array:
    """Points (cos, sin) on the circle, [..., 2]."""
    return jnp.stack([jnp.cos(angles), jnp.sin(angles)], axis=-1)


def encode(matrix: jax.Array, features: jax.Array) -> jax.Array:
    """Normalised images of features [n, 2] under a linear encoder [2, 2]."""
    return ct.sphere.normalize(jnp.matmul(features, matrix.T, precision="highest"))


def draw(config: Config, key: jax.Array, sigma: Any, n: int, dtype: Any = jnp.float32) -> tuple[Any, Any]:
    """Features of n pairs, [n, 2] each: of θ and of θ + σξ, with observation noise."""
    key_theta, key_rest = jax.random.split(key)
    theta = LATENTS.sample(key_theta, (n,), dtype)
    xi, *noise = jax.random.normal(key_rest, (5, n), dtype)
    x, y = (circle(angle) for angle in (theta, theta + sigma * xi))
    return tuple(f + config.obs_noise * jnp.stack(e, axis=1) for f, e in ((x, noise[:2]), (y, noise[2:])))  # pyright: ignore[reportReturnType]


def initial_encoders(config: Config, seed: int) -> jax.Array:
    """Both encoders' entries uniform in ±1/√2, [2, 2, 2]; the same for every σ."""
    key = jax.random.fold_in(jax.random.key(config.seed), seed)
    bound = 2**-0.5
    return jax.random.uniform(key, (2, 2, 2), jnp.float32, -bound, bound)


def train(config: Config, loss: Callable[[Any, Any], Any], start: Any, learning_rate: float) -> Any:
    """Adam on `loss(parameters, step)`; the parameters at the start and after every `save_every` steps."""
    optimizer = optax.adam(learning_rate)

    def step(carry, index):
        parameters, memory = carry
        update, memory = optimizer.update(jax.grad(loss)(parameters, index), memory)
        return (optax.apply_updates(parameters, update), memory), None

    def save(carry, indices):
        carry, _ = jax.lax.scan(step, carry, indices)
        return carry, carry[0]

    indices = jnp.arange(config.num_steps, dtype=jnp.int32).reshape(-1, config.save_every)
    _, later = jax.lax.scan(save, (start, optimizer.init(start)), indices)
    return jnp.concatenate([start[None], jnp.asarray(later)])


def batch_loss(x: jax.Array, y: jax.Array, temperature: float) -> jax.Array:
    """The published loss of a batch of pairs [n, 2]: cross-entropy of each with its own, both ways, halved.

    It is J^Sym + log V + log n of the batch's own coupling (`ct.couplings.paired`), with one matrix of
    exponentials for both directions; shifted by 1/τ it stays in range for τ > 0.025 in float32.
    """
    weights = jnp.exp((jnp.matmul(x, y.T, precision="highest") - 1) / temperature)
    partition = jnp.mean(jnp.log(jnp.sum(weights, axis=0)) + jnp.log(jnp.sum(weights, axis=1))) / 2
    return partition - jnp.mean(jnp.sum(x * y, axis=1) - 1) / temperature


def train_on_minibatches(config: Config, inputs: Any) -> jax.Array:
    """The published training of one run: a fresh batch every step. Encoders [saves, 2, 2, 2]."""
    seed, start, sigma = inputs
    key = jax.random.fold_in(jax.random.key(config.seed + 1), seed)

    def loss(encoders, step):
        features = draw(config, jax.random.fold_in(key, step), sigma, config.batch_size)
        x, y = (encode(*pair) for pair in zip(encoders, features, strict=True))
        return batch_loss(x, y, config.temperature)

    return train(config, loss, start, config.learning_rate)


class Population:
    """The law of the pairs at every σ, on a grid: what a batch of infinite size would hold."""

    def __init__(self, config: Config, count: int, dtype: Any):
        laws = [LATENTS.pair_law(count, sigma=s, noise=config.obs_noise) for s in config.sigmas]
        self.angles = laws[0][0]
        self.features = circle(jnp.asarray(self.angles, dtype))
        self.joint = np.stack([np.asarray(law[1].weights, dtype).reshape(law[1].shape) for law in laws])
        self.marginals = np.stack([np.stack(law[2:]).astype(dtype) for law in laws])
        self.temperature = config.temperature

    def energy(self, which: Any) -> ct.energies.Symmetric:
        """J^Sym at the σ of that index."""
        pi = ct.couplings.complete(jnp.asarray(self.joint)[which])
        return ct.energies.symmetric(pi, temperature=self.temperature)

    def clouds(self, which: Any, x: Any, y: Any) -> ct.Pair:
        """Representations [count, 2] of the grid's angles with their probabilities."""
        p, q = jnp.asarray(self.marginals)[which]
        return ct.Pair(ct.WeightedCloud(x, p), ct.WeightedCloud(y, q))

    def images(self, which: Any, encoders: Any) -> ct.Pair:
        """The clouds that a pair of encoders [2, 2, 2] makes."""
        return self.clouds(which, *(encode(matrix, self.features) for matrix in encoders))


def train_on_population(config: Config, population: Population, inputs: Any) -> jax.Array:
    """The same training on J^Sym itself. Encoders [saves, 2, 2, 2]."""
    which, start = inputs
    energy = population.energy(which)
    return train(
        config, lambda encoders, _: energy(population.images(which, encoders)), start, config.learning_rate
    )


def move_particles(config: Config, population: Population, inputs: Any) -> Any:
    """Free particles, one an angle of the grid, from where two encoders put them. Points [2, grid, 2]."""
    which, start = inputs
    energy, flow = population.energy(which), ct.flows.Descent(optax.adam(config.particle_learning_rate))
    state = flow.init(population.images(which, start))
    moved = ct.evolve(energy, flow, state, num_steps=config.num_steps).clouds
    return jnp.stack([moved.x.points, moved.y.points])

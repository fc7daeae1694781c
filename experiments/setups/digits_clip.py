"""The digits' images, pairings and encoders: settings, data, laws of pairs, and training."""

from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import ctflow as ct
from ctflow._base.checks import check_choice, check_count, check_positive
from ctflow.couplings import Coupling
from ctflow.partition.staged import exponential

STARTS = ("overlapping", "opposed")
NUM_IMAGES = 1797


@dataclass(frozen=True)
class Config:
    """Settings. Pixels have variance 1 over the training images, whose median distance is 11."""

    corruptions: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    """p of the law `class`: the probability that the partner is another image of the same class."""
    bandwidths: tuple[float, ...] = (2.0, 2.5, 3.0, 4.0)
    """h of the law `graded`: an image at pixel distance r is the partner with weight ∝ e^{-r²/2h²}."""
    temperatures: tuple[float, ...] = (0.07, 0.03)
    num_seeds: int = 5
    penalties: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0)
    """λ of the loss J^Sym + λ·½(D̃(1‖2) + D̃(2‖1)), tried at the first temperature from opposed starts."""
    penalised_corruption: float = 0.5
    penalised_bandwidth: float = 3.0
    num_train: int = 1000
    num_calibration: int = 297
    """Images held out besides those that the tables are measured on, to fit corrections to."""
    batch_size: int = 256
    num_steps: int = 1500
    num_saves: int = 10
    learning_rate: float = 1e-2
    """Of Adam at the start; it falls to 0 along a cosine."""
    weight_decay: float = 0.3
    width: int = 64
    dim: int = 16
    opposition: float = 2.0
    """Output biases ±b of the start `opposed`, in root mean square norms of the outputs."""
    num_particles: int = 400
    particle_steps: int = 1500
    particle_learning_rate: float = 2e-2
    num_flips: int = 100
    """Draws of the null: the modalities exchanged within a random half of the held-out pairs."""
    seed: int = 0

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, tuple) and not value:
                raise ValueError(f"{field.name} must not be empty")
            if isinstance(field.default, int) and field.name != "seed":
                check_count(field.name, value, minimum=2 if field.name in ("batch_size", "dim") else 1)
            elif field.name not in ("seed", "weight_decay") and "corruption" not in field.name:
                check_positive(field.name, np.asarray(value))
        if not all(0 <= p <= 1 for p in self.corruptions) or not self.weight_decay >= 0:
            raise ValueError(
                f"corruptions must lie in [0, 1] and weight_decay be >= 0, got {self.corruptions} and "
                f"{self.weight_decay}"
            )
        if self.num_steps % self.num_saves:
            raise ValueError(
                f"num_steps must be a multiple of num_saves, got {self.num_steps} and {self.num_saves}"
            )
        if self.num_test < 50 or self.num_particles > self.num_train:
            raise ValueError(
                f"num_train must be >= num_particles, and leave 50 of {NUM_IMAGES} images besides "
                f"num_calibration, got {self.num_train}, {self.num_particles} and {self.num_calibration}"
            )
        for name in ("corruption", "bandwidth"):
            if (value := getattr(self, f"penalised_{name}")) not in getattr(self, f"{name}s"):
                raise ValueError(f"penalised_{name} must be one of the {name}s, got {value}")

    @property
    def num_test(self) -> int:
        """Held-out pairs that the tables are measured on."""
        return NUM_IMAGES - self.num_train - self.num_calibration


PRESETS = {
    "paper": Config(),
    "smoke": Config(
        corruptions=(0.0, 1.0),
        bandwidths=(3.0,),
        temperatures=(0.07,),
        num_seeds=1,
        penalties=(0.3,),
        penalised_corruption=1.0,
        num_train=500,
        num_calibration=797,
        batch_size=128,
        num_steps=300,
        num_saves=3,
        num_particles=100,
        particle_steps=200,
        num_flips=50,
    ),
}


class Law(NamedTuple):
    """A law of pairs over the training images: `class` with its p, or `graded` with its h."""

    kind: str
    amount: float


class Setting(NamedTuple):
    """What tells one training from another."""

    law: Law
    temperature: float
    start: str
    penalty: float
    seed: int


class Digits(NamedTuple):
    """Upper and lower halves of the images, [images, 32] float32 each, and classes; training images first."""

    halves: tuple[np.ndarray, np.ndarray]
    labels: np.ndarray


def digits(config: Config) -> Digits:
    """scikit-learn's digits in a fixed random order, centred and scaled by the training images."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise ValueError("scikit-learn is missing: pip install 'ctflow[experiments]'") from None
    images, labels = map(np.asarray, load_digits(return_X_y=True))
    order = np.random.default_rng(config.seed).permutation(len(images))
    pixels = images[order] - images[order[: config.num_train]].mean(axis=0)
    pixels = (pixels / pixels[: config.num_train].std()).astype(np.float32)
    return Digits((pixels[:, :32], pixels[:, 32:]), labels[order])


def pair_law(data: Digits, law: Law, n: int) -> np.ndarray:
    """The law over the first n images as a matrix π [n, n] with uniform marginals."""
    if law.kind == "class":
        others = (data.labels[:n, None] == data.labels[None, :n]) & ~np.eye(n, dtype=bool)
        return ((1 - law.amount) * np.eye(n) + law.amount * others / others.sum(axis=1, keepdims=True)) / n
    pixels = np.concatenate(data.halves, axis=1)[:n].astype(float)
    square = np.sum(pixels**2, axis=1)
    distance = np.maximum(square[:, None] + square[None, :] - 2 * pixels @ pixels.T, 0)
    return ct.couplings.balance(-distance / (2 * law.amount**2))


class PairLaws:
    """Several laws over the first n images, told apart by an index that may be traced."""

    def __init__(self, data: Digits, laws: list[Law], n: int):
        matrices = np.stack([pair_law(data, law, n) for law in laws])
        self.n, self.laws = n, laws
        self.matrices = jnp.asarray(matrices, jnp.float32)
        information = jax.jit(lambda which: self.coupling(which).mutual_information())
        self.information = [float(information(which)) for which in range(len(laws))]

    def named(self, which: int) -> dict[str, Any]:
        """What a table says of the law."""
        nats = self.information[which]
        return {
            **dict(zip(("law", "amount"), self.laws[which], strict=True)),
            "information": nats,
            "bound": -nats,
        }

    def coupling(self, which: Any) -> Coupling:
        """π of that index."""
        return ct.couplings.complete(self.matrices[which])


def contrastive(config: Config, coupling: Coupling, temperature: Any) -> ct.energies.Symmetric:
    """J^Sym at one of the temperatures of the settings, which may be traced."""
    kernel = exponential(temperature, lowest=min(config.temperatures), dtype=np.float32)
    return ct.energies.symmetric(coupling, temperature=temperature, kernel=kernel)


def encode(encoder: dict, pixels: Any) -> jax.Array:
    """The outputs [k, dim] of a perceptron with one hidden layer, normalised."""
    return ct.sphere.normalize(_outputs(encoder, pixels))


@jax.jit
def _outputs(encoder: dict, pixels: Any) -> jax.Array:
    hidden = jax.nn.gelu(pixels @ encoder["in"] + encoder["in_bias"])
    return hidden @ encoder["out"] + encoder["out_bias"]


def initial_encoders(config: Config, data: Digits, start: str, seed: int) -> list[dict]:
    """Independent random weights; outputs centred on the training images, then moved apart if `opposed`."""
    rng, encoders = np.random.default_rng([config.seed, seed]), []
    for half, side in zip(data.halves, (1, -1), strict=True):
        encoder = {
            "in": rng.normal(0, 32**-0.5, (32, config.width)),
            "in_bias": np.zeros(config.width),
            "out": rng.normal(0, config.width**-0.5, (config.width, config.dim)),
            "out_bias": np.zeros(config.dim),
        }
        encoder = {name: value.astype(np.float32) for name, value in encoder.items()}
        outputs = np.asarray(_outputs(encoder, half[: config.num_train]))
        encoder["out_bias"] -= outputs.mean(axis=0)
        if start == STARTS[1]:
            encoder["out_bias"][0] += side * config.opposition * np.linalg.norm(outputs.std(axis=0))
        encoders.append(encoder)
    return encoders


def train(config: Config, data: Digits, laws: PairLaws, inputs: tuple) -> dict[str, Any]:
    """One contrastive training on pairs drawn afresh at every step, from `inputs_of` a setting; pure.

    Returns:
        The encoders at the end, J^Sym + log V of the training images under the law, and the energy distance
        of the held-out pairs before every stretch of steps, [num_saves].
    """
    which, temperature, penalty, seed, start = inputs
    key = jax.random.fold_in(jax.random.key(config.seed), seed)
    rate = optax.cosine_decay_schedule(config.learning_rate, config.num_steps)
    optimizer = optax.adamw(rate, weight_decay=config.weight_decay)
    halves = [jnp.asarray(half) for half in data.halves]
    count = config.batch_size
    cumulative = jnp.cumsum(laws.n * laws.matrices[which], axis=1)
    paired = ct.couplings.paired(count, dtype=jnp.float32)
    energy = contrastive(config, paired, temperature)
    divergence = ct.energies.SymmetricDivergence(energy.kernel)

    def clouds(encoders, *rows):
        return ct.Pair(*(encode(e, half[r]) for e, half, r in zip(encoders, halves, rows, strict=True)))

    def loss(encoders, images, partners):
        batch = clouds(encoders, images, partners)
        held = jax.lax.cond(penalty > 0, lambda b: penalty * divergence(b), lambda b: 0 * penalty, batch)
        return energy(batch) + held

    def step(carry, index):
        encoders, memory = carry
        key_image, key_partner = jax.random.split(jax.random.fold_in(key, index))
        images = jax.random.randint(key_image, (count,), 0, laws.n)
        level = jax.random.uniform(key_partner, (count,))
        partners = jnp.minimum(_searched(cumulative, images, level), laws.n - 1)
        update, memory = optimizer.update(jax.grad(loss)(encoders, images, partners), memory, encoders)
        return (optax.apply_updates(encoders, update), memory), None

    def stretch(carry, indices):
        test = clouds(carry[0], *[slice(-config.num_test, None)] * 2)
        return jax.lax.scan(step, carry, indices)[0], ct.diagnostics.energy_distance(*test, estimator="v")

    steps = jnp.arange(config.num_steps).reshape(config.num_saves, -1)
    (encoders, _), path = jax.lax.scan(stretch, (start, optimizer.init(start)), steps)
    whole = contrastive(config, laws.coupling(which), temperature)
    seen = whole(clouds(encoders, *[slice(laws.n)] * 2)) + whole.kernel.log_volume(config.dim, jnp.float32)
    return {"encoders": encoders, "path": path, "energy": seen}


def _searched(table: Any, rows: Any, levels: Any) -> jax.Array:
    """`jnp.searchsorted` of each level [k] in its row of a table [n, m], which copies no row."""

    def halve(_, bounds):
        low, high = bounds
        middle = (low + high) // 2
        right, open_ = table[rows, jnp.minimum(middle, table.shape[1] - 1)] < levels, low < high
        return jnp.where(open_ & right, middle + 1, low), jnp.where(open_ & ~right, middle, high)

    bounds = jnp.zeros_like(rows), jnp.full_like(rows, table.shape[1])
    return jax.lax.fori_loop(0, table.shape[1].bit_length(), halve, bounds)[0]


def inputs_of(config: Config, data: Digits, laws: PairLaws, s: Setting) -> tuple:
    """A setting as `train` takes it."""
    index, real = np.array([laws.laws.index(s.law), s.seed], np.int32), np.array(s[1:4:2], np.float32)
    return index[0], real[0], real[1], index[1], initial_encoders(config, data, s.start, s.seed)


def embed(config: Config, data: Digits, encoders: Any) -> dict[str, np.ndarray]:
    """Representations float32 [images, dim], x and y of the `train`, `calibration` and `test` images."""
    splits, ends = ("train", "calibration", "test"), np.cumsum([config.num_train, config.num_calibration])
    clouds = {}
    for name, encoder, half in zip("xy", encoders, data.halves, strict=True):
        parts = np.split(np.asarray(encode(encoder, half)), ends)
        clouds |= {f"{name}_{split}": part for split, part in zip(splits, parts, strict=True)}
    return clouds


def embeddings(config: Config, setting: Setting) -> dict[str, np.ndarray]:
    """One training as in the tables, and what `embed` gives of it."""
    check_choice("start", setting.start, STARTS)
    data = digits(config)
    # Twice, or XLA takes the one law for a constant and sums it while it compiles.
    laws = PairLaws(data, [setting.law] * 2, config.num_train)
    trained = jax.jit(lambda inputs: train(config, data, laws, inputs))(
        inputs_of(config, data, laws, setting)
    )
    return embed(config, data, trained["encoders"])

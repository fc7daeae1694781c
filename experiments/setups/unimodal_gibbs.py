"""Settings of the one-modality experiment, and its potential, starts and statistics."""

import dataclasses
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

import ctflow as ct
from ctflow._base.checks import check_count, check_positive

STARTS = ("uniform", "one well")
METHODS = ("Langevin", "J flow: kernel τ", "J flow: fitted kernel")


@dataclass(frozen=True)
class Config:
    """Settings; angles in radians, times in units of the Fokker-Planck equation ∂ρ = ∇·(ρ∇U/τ) + Δρ."""

    temperatures: tuple[float, ...] = (10.0, 5.0, 2.5, 1.0, 0.5, 0.2, 0.1)
    num_seeds: int = 20
    num_flow_seeds: int = 3
    num_published_seeds: int = 2
    published_steps: int = 5000
    num_particles: int = 768
    well_concentration: float = 12.0
    cap_radius: float = 0.5
    start_concentration: float = 20.0
    """κ of the von Mises-Fisher law in the first well that the `one well` start draws from."""
    relaxation_times: float = 7.0
    """Length of a run, in relaxation times of the slowest mode that the start excites: e⁻⁷ is left."""
    max_flow_time: float = 20.0
    max_step_size: float = 0.02
    langevin_step_per_temperature: float = 0.05
    """Langevin steps are at most this times τ. The curvature of U/τ in a well is k = 1/τ, so h·k <= 0.05: the
    variance there is off by (hk)²/8 = 0.03 %, the cap mass by 0.0001, a fortieth of its standard error."""
    num_saves: int = 40
    """Clouds kept along a Langevin run: points of the relaxation curve, frames of the animation."""
    closeup_temperature: float = 0.2
    seed: int = 0

    def __post_init__(self):
        for name in (
            "num_seeds",
            "num_flow_seeds",
            "num_published_seeds",
            "published_steps",
            "num_saves",
            "num_particles",
        ):
            check_count(name, getattr(self, name))
        for field in dataclasses.fields(self):
            if not field.name.startswith(("num_", "seed", "published_")):
                check_positive(field.name, np.asarray(getattr(self, field.name)))
        if not self.temperatures:
            raise ValueError("temperatures must not be empty")


PRESETS = {
    "paper": Config(),
    "smoke": Config(
        temperatures=(0.2,),
        num_seeds=3,
        num_flow_seeds=1,
        num_published_seeds=1,
        published_steps=300,
        num_saves=10,
        num_particles=256,
        max_flow_time=2.0,
    ),
}


def wells() -> np.ndarray:
    """The two wells' centres, [2, 3]: (0, 0, 1) and (0.85, 0.15, -0.5) normalised, 120° apart."""
    second = np.array([0.85, 0.15, -0.5])
    return np.stack([[0.0, 0.0, 1.0], second / np.linalg.norm(second)])


def potential(config: Config):
    return ct.potentials.VonMisesFisherMixture(jnp.asarray(wells()), concentration=config.well_concentration)


def start_density(config: Config, kind: str):
    """The density of a start w.r.t. the uniform law, from points [k, 3] to values [k]."""
    if kind == "uniform":
        return lambda z: np.ones(len(z))
    kappa = config.start_concentration
    return lambda z: np.exp(kappa * (z @ wells()[0] - 1)) * 2 * kappa / -np.expm1(-2 * kappa)


def start_cloud(config: Config, kind: str, key, n: int):
    """A start of n particles. They move in float32; what they are compared with is exact in float64."""
    if kind == "uniform":
        return ct.sphere.uniform(key, n, 3, jnp.float32)
    first = jnp.asarray(wells()[0], jnp.float32)
    return ct.sphere.von_mises_fisher(key, first, config.start_concentration, n)


@partial(jax.jit, static_argnums=0)
def statistics(config: Config, cloud) -> dict:
    """Mass in the caps about the wells, and share of the particles nearer to the first well."""
    centers = jnp.asarray(wells(), cloud.dtype)
    nearer = jnp.mean((cloud @ centers[0] > cloud @ centers[1]).astype(cloud.dtype))
    return {
        "cap_mass": ct.gibbs.cap_fraction(cloud, centers, radius=config.cap_radius),
        "first_well": nearer,
    }


def fitted_kernel_temperature(config: Config, temperature: float) -> float:
    """h² of a density estimate's bandwidth h = √min(τ, ½)·n^{-1/6}: the wells' width times its 2-D rate."""
    return min(temperature, 0.5) * config.num_particles ** (-1 / 3)

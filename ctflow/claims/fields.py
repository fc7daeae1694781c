"""Potentials, modes and energies that several claims share.

Numbers are leaves, so that one compiled program serves all values.
"""

from dataclasses import KW_ONLY
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ctflow.energies import CrossEntropy, Energy, log_density
from ctflow.kernels import Exponential, Kernel
from ctflow.potentials import PotentialBase


class Tilted(PotentialBase):
    """U(z) = -z_d + size·(z_1 z_d + z_1) + constant."""

    size: Any = 0.0
    constant: Any = 0.0

    def __call__(self, z):
        """U(z) for points [..., d]."""
        return -z[..., -1] + self.size * (z[..., 0] * z[..., -1] + z[..., 0]) + self.constant


class Effective(PotentialBase):
    """V_{1|2}(z) = U_{12}(z)/τ + log ρ̃_2(z): potential of a particle of cloud 1 while cloud 2 is frozen.

    Args:
        potential: U_{12}.
        cloud: cloud 2.
        temperature: τ.
        kernel: smooths cloud 2 to the density ρ̃_2.
    """

    potential: Any
    cloud: Any
    _: KW_ONLY
    temperature: Any
    kernel: Kernel

    def __call__(self, z):
        """V(z) for points [..., d]."""
        rows = jnp.reshape(z, (-1, z.shape[-1]))
        barrier = log_density(rows, self.cloud, self.kernel)
        return self.potential(z) / self.temperature + jnp.reshape(barrier, z.shape[:-1])


@jax.jit
def potential_at(potential: Any, z: Any) -> Any:
    """U at points [..., d], jitted: one program per kind of potential, for all temperatures."""
    return potential(z)


def cluster(rng: np.random.Generator, center: Any, n: int, spread: float) -> np.ndarray:
    """N points [n, d] around a center [d], with standard deviation `spread` radians per tangent direction."""
    z = np.asarray(center) + spread * rng.standard_normal((n, len(center)))
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def great_circle(d: int, count: int = 181) -> tuple[np.ndarray, np.ndarray]:
    """Angles [count] in radians, from the pole towards z_1, and their points [count, d] on a great circle."""
    angle = np.linspace(-np.pi, np.pi, count)
    line = np.zeros((count, d))
    line[:, 0], line[:, -1] = np.sin(angle), np.cos(angle)
    return angle, line


def zonal(d: int, degree: int):
    """The zonal harmonic of a degree, of mean square 1, as a polynomial of the height; and its derivative."""
    if d == 2:
        wave = np.polynomial.Chebyshev.basis(degree) * np.sqrt(2)
    else:
        wave = np.polynomial.Legendre.basis(degree) * np.sqrt(2 * degree + 1)
    return wave, wave.deriv()


def symmetric_without_potential(temperature: Any) -> Energy:
    """J^Sym with U = 0."""
    kernel = Exponential(temperature)
    return 0.5 * CrossEntropy(kernel, direction="12") + 0.5 * CrossEntropy(kernel, direction="21")

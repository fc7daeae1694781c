"""Laws of latent angles: the angle that two modalities observe, and the law of the observed pairs.

In the toy model of arXiv 2601.19597, θ is drawn from a mixture on the circle. One modality observes θ, the
other θ + σξ, both with a little noise. This module draws θ and computes the exact law of the pairs.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy import special, stats

from ctflow import couplings
from ctflow._base.annotations import Real
from ctflow._base.checks import check_concrete, check_count, check_key, check_positive

__all__ = [
    "VonMisesMixture",
    "wrap",
]

_QUANTILES = 2**14


def wrap(angle: Any) -> Any:
    """Angles in radians, wrapped to [-π, π)."""
    return (angle + np.pi) % (2 * np.pi) - np.pi


@dataclass(frozen=True)
class VonMisesMixture:
    """The von Mises mixture Σ_k p_k vM(m_k, κ) on the circle; its density is w.r.t. the angle in radians.

    Args:
        means: the mean angles m_k, radians.
        concentration: κ > 0.
        weights: p_k > 0, one per mean, summing to 1.
    """

    means: tuple[Real, ...] = (0.0, np.pi)
    concentration: Real = 6.0
    weights: tuple[float, ...] = (0.7, 0.3)

    def __post_init__(self):
        check_concrete(
            "VonMisesMixture", means=self.means, concentration=self.concentration, weights=self.weights
        )
        check_positive("concentration", self.concentration)
        fits = len(self.weights) == len(self.means) > 0 and min(self.weights) > 0
        if not fits or abs(sum(self.weights) - 1) > 1e-9:
            raise ValueError(
                f"weights must be > 0, one per mean, and sum to 1, got {self.weights} for means {self.means}"
            )

    def density(self, angles: Any) -> np.ndarray:
        """p(θ) at angles [...], in 1/radian; its integral over the circle is 1."""
        check_concrete("density", angles=angles)
        offsets = np.asarray(angles, np.float64)[..., None] - np.asarray(self.means)
        bumps = np.exp(self.concentration * (np.cos(offsets) - 1))
        return bumps @ np.asarray(self.weights) / (2 * np.pi * special.i0e(self.concentration))

    def quantiles(self, probabilities: Any) -> np.ndarray:
        """Quantiles in [-π, π] at `probabilities` in [0, 1], interpolated in a table of 2¹⁴ cells."""
        check_concrete("quantiles", probabilities=probabilities)
        shares = np.asarray(probabilities, np.float64)
        if not ((shares >= 0) & (shares <= 1)).all():
            raise ValueError(f"probabilities must lie in [0, 1], got {probabilities!r}")
        return np.interp(shares, np.linspace(0, 1, _QUANTILES + 1), self._table())

    def _table(self) -> np.ndarray:
        """Quantiles in [-π, π] at equally spaced probabilities from 0 to 1."""
        angles = np.linspace(-np.pi, np.pi, 4 * _QUANTILES + 1)
        distribution = np.zeros_like(angles)
        for mean, weight in zip(self.means, self.weights, strict=True):
            whole = stats.vonmises.cdf(angles, self.concentration, loc=mean)
            distribution += weight * (whole - whole[0])
        return np.interp(np.linspace(0, 1, _QUANTILES + 1), distribution / distribution[-1], angles)

    def sample(self, key: Array, shape: tuple[int, ...], dtype: Any = float) -> Float[Array, "..."]:
        """Draw an array of the given shape of independent angles in [-π, π], from a table of 2¹⁴ cells."""
        check_key("key", key)
        table = jnp.asarray(self._table(), dtype)
        at = jax.random.uniform(key, shape, dtype) * _QUANTILES
        cell = jnp.minimum(at.astype(jnp.int32), _QUANTILES - 1)
        part = at - cell.astype(at.dtype)
        return table[cell] * (1 - part) + table[cell + 1] * part

    def pair_law(
        self, count: int, *, sigma: Real, noise: float
    ) -> tuple[np.ndarray, couplings.Coupling, np.ndarray, np.ndarray]:
        """The exact law of a pair (θ + ε, θ + σξ + ε') on a grid; ε and ε' have standard deviation `noise`.

        The joint density is the mixture on the diagonal, blurred along both axes. The blur is computed in
        Fourier series, so it is exactly periodic. Sums over the grid converge exponentially once its spacing
        is below about √2·noise.

        Args:
            count: number of grid points, >= 4.
            sigma: σ >= 0, radians: the displacement of the second modality.
            noise: >= 0.005, radians: standard deviation of the observation noise of both modalities.

        Returns:
            The grid [count] in radians from -π on, the law as a complete coupling, and its two marginals.
        """
        check_count("count", count, minimum=4)
        check_concrete("pair_law", sigma=sigma, noise=noise)
        for name, value, least in (("sigma", sigma, 0), ("noise", noise, 0.005)):
            if not (np.isfinite(value) and value >= least):
                raise ValueError(f"{name} must be finite and >= {least}, got {value!r}")
        # The grid resolves all waves that survive the blur: at order 7/noise it leaves exp(-7²/2) = 2e-11.
        finer = max(1, -(-int(14 / noise) // count))
        angles = -np.pi + 2 * np.pi / (finer * count) * np.arange(finer * count)
        waves = np.fft.fftfreq(angles.size, 1 / angles.size)
        blurs = [np.exp(-(waves**2) * (noise**2 + s**2) / 2) for s in (0.0, sigma)]
        joint = np.fft.ifft2(np.fft.fft2(np.diag(self.density(angles))) * np.multiply.outer(*blurs)).real
        matrix = np.maximum(joint[::finer, ::finer], 0)
        matrix /= matrix.sum()
        return angles[::finer], couplings.from_matrix(matrix), matrix.sum(axis=1), matrix.sum(axis=0)

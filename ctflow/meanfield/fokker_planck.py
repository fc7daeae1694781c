"""The Fokker-Planck equation on S¹ and S², solved with the eigenpairs of its generator.

In the unimodal case the law of Langevin particles obeys ∂ρ = ∇·(ρ∇U/τ) + Δρ. With V = U/τ, the ground
state transform ρ = √ρ*·f turns it into ∂f = -(−Δ + W)f, W = ‖∇V‖²/4 - ΔV/2. This operator is symmetric; its
eigenvalues are the relaxation rates, computed by Galerkin's method in spherical harmonics.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import linalg, special

from ctflow._base.checks import check_count
from ctflow._base.pytree import positive
from ctflow.gibbs import GibbsMeasure, potential_values
from ctflow.meanfield.harmonics import HarmonicGrid, densities_at
from ctflow.potentials import PotentialBase

# Largest accepted error of a density, as a share of its mass.
_MAX_ERROR = 0.02


class FokkerPlanck:
    """The relaxation of the unimodal law to its Gibbs measure.

    Args:
        gibbs: the equilibrium, d = 2 or 3; its potential U must be twice differentiable.
        max_degree: largest degree of the harmonics, e.g. 24 for wells wider than 0.2 rad.

    Attributes:
        rates: relaxation rates in 1/time, ascending; `rates[0]` is 0 up to the truncation error.
        nodes: quadrature points [k, d] with `node_weights` [k] for the uniform law.

    Raises:
        ValueError: d > 3, or `max_degree` too small for this potential and temperature.
    """

    def __init__(self, gibbs: GibbsMeasure, *, max_degree: int = 24):
        check_count("max_degree", max_degree)
        if gibbs.d > 3:
            raise ValueError(f"the Fokker-Planck reference needs d = 2 or 3, got {gibbs.d}")
        self.gibbs = gibbs
        grid = HarmonicGrid(gibbs.d, max_degree, count=2 * max_degree + 32)
        self.nodes, self.node_weights = grid.nodes, grid.weights
        well = potential_values(_Effective(gibbs.potential, gibbs.temperature), self.nodes)
        generator = np.diag(grid.laplacian) + grid.basis.T @ (
            grid.basis * (self.node_weights * well)[:, None]
        )
        self.rates, vectors = linalg.eigh(generator)
        if not abs(self.rates[0]) < 1e-3 * self.rates[1]:
            raise ValueError(
                f"max_degree = {max_degree} is too small: the equilibrium's rate is {self.rates[0]:.1e}, "
                f"not 0; use a larger one"
            )
        self._modes = grid.synthesise(vectors.T).T
        self._max_degree = max_degree
        # The part of a density that the harmonics leave out decays at least at this rate.
        self._cut_rate = max(self.rates[1], (max_degree + 1) * (max_degree + gibbs.d - 1) + well.min())

    @property
    def spectral_gap(self) -> float:
        """The slowest rate > 0: the KL of any law to equilibrium decays at twice this rate or faster."""
        return float(self.rates[1])

    def _coefficients(self, initial: Callable[[np.ndarray], Any]) -> tuple[np.ndarray, np.ndarray, float]:
        """Coefficients of ρ_0/√ρ* in the modes, √ρ* at the nodes, and the norm of the remainder."""
        root = np.exp(self.gibbs.log_density(self.nodes) / 2)
        start = densities_at(self.nodes, self.node_weights, [initial])[0] / np.maximum(root, 1e-300)
        coefficients = self._modes.T @ (self.node_weights * start)
        # Mode 0 is ±√ρ*, so its coefficient is ± the mass.
        off = abs(abs(coefficients[0]) - 1)
        if not off < _MAX_ERROR:
            raise ValueError(
                f"initial must be a density that max_degree = {self._max_degree} resolves: its mass has an "
                f"error of {off:.1e}; use a start nearer to the Gibbs measure, a higher temperature or a "
                "larger max_degree"
            )
        left = self.node_weights @ (start - self._modes @ coefficients) ** 2
        return coefficients, root, float(np.sqrt(left))

    def late_rate(self, initial: Callable[[np.ndarray], Any]) -> float:
        """The slowest rate that a start excites; its KL decays at twice this rate at late times.

        A mode counts as excited if its coefficient is more than 1/1000 of the largest one.
        """
        coefficients, _, _ = self._coefficients(initial)
        excited = np.abs(coefficients[1:]) > 1e-3 * np.abs(coefficients[1:]).max()
        return float(self.rates[1:][excited][0])

    def density(self, initial: Callable[[np.ndarray], Any], times: Any) -> np.ndarray:
        """ρ_t at the nodes, [times, k].

        Args:
            initial: the density ρ_0 w.r.t. the uniform law, a function from points [k, d] to values [k].
            times: times >= 0, [times].

        Raises:
            ValueError: a time < 0, `initial` is not a density, or at some time the error may exceed 2 % of
                the mass. The truncation error decays fast, so later times may work.
        """
        times = np.asarray(times, np.float64)
        if times.ndim != 1 or not (times >= 0).all():
            raise ValueError(f"times must be numbers >= 0 with shape [times], got {times}")
        coefficients, root, left = self._coefficients(initial)
        decay = np.exp(-np.outer(times, self.rates - self.rates[0]))
        rho = root * ((decay * coefficients) @ self._modes.T)
        # By Cauchy-Schwarz with ∫ρ* = 1, the mass of the remainder is at most its norm.
        negative = -np.minimum(rho, 0) @ self.node_weights
        error = left * np.exp(-self._cut_rate * times) + negative + np.abs(rho @ self.node_weights - 1)
        if not (error < _MAX_ERROR).all():
            worst = np.argmax(np.nan_to_num(error, nan=np.inf))
            raise ValueError(
                f"max_degree = {self._max_degree} is too small for this start: at time {times[worst]:.3g} "
                f"the density may be off by {error[worst]:.1e} of its mass; use a larger one or later times"
            )
        return np.maximum(0, rho)

    def kl(self, initial: Callable[[np.ndarray], Any], times: Any) -> np.ndarray:
        """KL(ρ_t‖ρ*) = F(ρ_t) - F(ρ*) in nats, [times]."""
        rho = self.density(initial, times)
        return special.xlogy(rho, rho / np.exp(self.gibbs.log_density(self.nodes))) @ self.node_weights


class _Effective(PotentialBase):
    """W = ‖∇V‖²/4 - ΔV/2 for V = U/τ at points [k, d]; V is extended from the sphere constant along rays."""

    potential: Any
    temperature: float = positive()

    def __call__(self, z):
        """W(z) for points [k, d]."""

        def v(z):
            return self.potential(z / jnp.linalg.norm(z)) / self.temperature

        def w(z):
            return jnp.sum(jax.grad(v)(z) ** 2) / 4 - jnp.trace(jax.hessian(v)(z)) / 2

        return jax.vmap(w)(z)

"""The Fokker-Planck equation on S¹ and S², by its generator's eigenpairs.

In the unimodal case the law of Langevin particles obeys ∂ρ = ∇·(ρ∇U/τ) + Δρ. With V = U/τ the ground
state transform ρ = √ρ*·f turns it into ∂f = -(−Δ + W)f, W = ‖∇V‖²/4 - ΔV/2, which is symmetric: its
eigenvalues are the relaxation rates, found by Galerkin's method in spherical harmonics.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import linalg, special

from ctflow.checks import check_count
from ctflow.gibbs import GibbsMeasure
from ctflow.meanfield.harmonics import HarmonicGrid


class FokkerPlanck:
    """The exact relaxation of the unimodal law to its Gibbs measure.

    Args:
        gibbs: the equilibrium, d = 2 or 3; U twice differentiable.
        max_degree: of the harmonics, e.g. 24 for wells wider than 0.2 rad.

    Attributes:
        rates: relaxation rates, ascending; `rates[0]` is 0 up to truncation.
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
        well = (
            np.asarray(
                _effective_potential(gibbs.potential, gibbs.temperature, jnp.asarray(self.nodes)), np.float64
            )
            * self.node_weights
        )
        generator = np.diag(grid.laplacian) + grid.basis.T @ (grid.basis * well[:, None])
        self.rates, vectors = linalg.eigh(generator)
        if not abs(self.rates[0]) < 1e-3 * self.rates[1]:
            raise ValueError(
                f"max_degree = {max_degree} is too small: "
                f"the equilibrium's rate is {self.rates[0]:.1e}, not 0"
            )
        self._modes = grid.synthesise(vectors.T).T

    @property
    def spectral_gap(self) -> float:
        """The slowest rate: every law's KL to equilibrium decays at twice this or faster."""
        return float(self.rates[1])

    def _coefficients(self, initial: Callable[[np.ndarray], Any]) -> tuple[np.ndarray, np.ndarray]:
        root = np.exp(self.gibbs.log_density(self.nodes) / 2)
        start = np.asarray(initial(self.nodes), np.float64)
        return self._modes.T @ (self.node_weights * start / root), root

    def late_rate(self, initial: Callable[[np.ndarray], Any]) -> float:
        """The slowest rate that a start excites: its KL decays at twice this in the end.

        A mode counts as excited from 1/1000 of the strongest on.
        """
        coefficients, _ = self._coefficients(initial)
        excited = np.abs(coefficients[1:]) > 1e-3 * np.abs(coefficients[1:]).max()
        return float(self.rates[1:][excited][0])

    def density(self, initial: Callable[[np.ndarray], Any], times: Any) -> np.ndarray:
        """ρ_t at the nodes, [times, k].

        Args:
            initial: the density ρ_0 w.r.t. the uniform law, from points [k, d] to values [k].
            times: >= 0, [times].
        """
        coefficients, root = self._coefficients(initial)
        decay = np.exp(-np.outer(np.asarray(times, np.float64), self.rates - self.rates[0]))
        return np.maximum(0, root * ((decay * coefficients) @ self._modes.T))

    def kl(self, initial: Callable[[np.ndarray], Any], times: Any) -> np.ndarray:
        """KL(ρ_t‖ρ*) = F(ρ_t) - F(ρ*) in nats, [times]."""
        rho = self.density(initial, times)
        return special.xlogy(rho, rho / np.exp(self.gibbs.log_density(self.nodes))) @ self.node_weights


@jax.jit
def _effective_potential(potential: Any, temperature: Any, nodes: Any) -> Any:
    """W = ‖∇V‖²/4 - ΔV/2 of V = U/τ at points [k, d], from the extension of V constant along rays."""

    def v(z):
        return potential(z / jnp.linalg.norm(z)) / temperature

    def w(z):
        return jnp.sum(jax.grad(v)(z) ** 2) / 4 - jnp.trace(jax.hessian(v)(z)) / 2

    return jax.vmap(w)(nodes)

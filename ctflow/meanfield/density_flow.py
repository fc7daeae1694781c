"""The Wasserstein gradient flows of J_τ and of J^Sym as equations for densities, solved with harmonics.

∂ρ_a = ∇·(ρ_a ∇φ_a) with φ_a the first variation of the energy in ρ_a. For one density
φ = U/τ + log ρ̃ + K(ρ/ρ̃); for two with fixed fields U_12, U_21
φ_1 = ½[U_12/τ + log ρ̃_2 + K(ρ_2/ρ̃_1)], and φ_2 alike (arXiv 2601.19597). K is the normalised kernel and
ρ̃ = Kρ. There is no diffusion: structure finer than the kernel is only transported, so a density may sharpen
without limit, until the harmonics no longer resolve it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp

from ctflow._base.checks import check_positive
from ctflow.gibbs import potential_values
from ctflow.kernels import Exponential, Kernel, as_kernel
from ctflow.meanfield.harmonics import HarmonicGrid, densities_at
from ctflow.potentials import as_potential, check_potential

Density = Callable[[np.ndarray], Any]
_UNRESOLVED = 1e-4
_NEGATIVE = 0.01  # mass


class DensityFlow:
    """The flow of J_τ (one potential) or of J^Sym for fixed fields (two potentials), on S¹ or S².

    Args:
        potentials: U, or (U_12, U_21); each of `ct.potentials` or any function of one point [d].
        temperature: τ > 0.
        d: 2 or 3.
        kernel: the kernel K; by default `Exponential(τ)`, the kernel of InfoNCE.
        max_degree: largest degree of the harmonics that represent densities and fields.

    Attributes:
        grid: the `HarmonicGrid`; densities are given at its nodes.
    """

    def __init__(
        self,
        potentials: Sequence[Any] | Any,
        *,
        temperature: float,
        d: int,
        kernel: Kernel | None = None,
        max_degree: int = 24,
    ):
        check_positive("temperature", temperature)
        given = potentials if isinstance(potentials, tuple | list) else [potentials]
        potentials = [as_potential(p) for p in given]
        if len(potentials) not in (1, 2):
            raise ValueError(f"potentials must be U or (U_12, U_21), got {len(potentials)} of them")
        self.count, self.temperature = len(potentials), float(temperature)
        # Products of three harmonics are integrated exactly, so nothing is aliased.
        self.grid = HarmonicGrid(d, max_degree, count=3 * max_degree // 2 + 2)
        for potential in potentials:
            check_potential(potential, d)
        fields = [potential_values(potential, self.grid.nodes) for potential in potentials]
        self._fields = np.stack(fields) / self.temperature
        smoothing = Exponential(temperature) if kernel is None else as_kernel(kernel)
        self._eigenvalues = smoothing.degree_coefficients(d, max_degree)[self.grid.degrees]

    def smoothed(self, densities: np.ndarray) -> np.ndarray:
        """Kρ at the nodes for densities [..., k] at the nodes."""
        grid = self.grid
        return grid.synthesise(self._eigenvalues * grid.analyse(densities))

    def energy(self, densities: np.ndarray) -> Any:
        """J_τ or J^Sym of densities [..., count, k] at the nodes, in nats."""
        other = self.smoothed(densities)[..., ::-1, :]
        return np.mean(densities * (self._fields + np.log(other)) @ self.grid.weights, axis=-1)

    def first_variation(self, densities: np.ndarray) -> np.ndarray:
        """φ at the nodes, [count, k], for densities [count, k] at the nodes."""
        own = self.smoothed(densities)
        pulled = self.smoothed(densities[::-1] / own)
        return (self._fields + np.log(own[::-1]) + pulled) / self.count

    def _right_hand_side(self, _: float, state: np.ndarray) -> np.ndarray:
        """Coefficients of ∇·(ρ∇φ) = ½[Δ(ρφ) + ρΔφ - φΔρ]."""
        grid = self.grid
        rho_hat = state.reshape(self.count, -1)
        rho = grid.synthesise(rho_hat)
        phi_hat = grid.analyse(self.first_variation(rho))
        phi = grid.synthesise(phi_hat)
        rest = phi * grid.synthesise(grid.laplacian * rho_hat) - rho * grid.synthesise(
            grid.laplacian * phi_hat
        )
        return ((grid.analyse(rest) - grid.laplacian * grid.analyse(rho * phi)) / 2).ravel()

    def _tail(self, _: float, state: np.ndarray) -> float:
        """Crosses 0 when the upper quarter of the degrees holds 1e-4 of the squared density."""
        squares = state.reshape(self.count, -1) ** 2
        upper = self.grid.degrees > 0.75 * self.grid.max_degree
        return _UNRESOLVED - float(np.max(squares[:, upper].sum(axis=1) / squares.sum(axis=1)))

    _tail.terminal = True  # pyright: ignore[reportFunctionMemberAccess]

    def solve(
        self, starts: Sequence[Density] | Density, times: Any, *, tolerance: float = 1e-8
    ) -> np.ndarray:
        """Densities at the nodes, [times, count, k].

        The solver is SciPy's DOP853, an explicit Runge-Kutta method of order 8 with adaptive steps. The
        equations are not stiff, because the kernel bounds all rates.

        Args:
            starts: ρ_0, or one per cloud: functions from points [k, d] to densities [k] w.r.t. the uniform
                law.
            times: ascending, >= 0.
            tolerance: relative error per step.

        Raises:
            ValueError: the number of starts is not that of the potentials, a start is not a density, or the
                densities become negative or too fine for the harmonics (the message gives the time).
        """
        starts = [starts] if callable(starts) else list(starts)
        if len(starts) != self.count:
            raise ValueError(f"starts must be one per potential, {self.count}, got {len(starts)}")
        times = np.atleast_1d(np.asarray(times, np.float64))
        if times[0] < 0 or (np.diff(times) <= 0).any():
            raise ValueError(f"times must be >= 0 and ascending, got {times}")
        start = self.grid.analyse(densities_at(self.grid.nodes, self.grid.weights, starts)).ravel()
        check_positive("tolerance", tolerance)
        if self._tail(0.0, start) <= 0:
            raise ValueError(
                f"max_degree = {self.grid.max_degree} does not resolve the starts; use a larger one"
            )
        solved = solve_ivp(
            self._right_hand_side,
            (0.0, max(times[-1], 1e-12)),
            start,
            method="DOP853",
            t_eval=times,
            events=self._tail,
            rtol=tolerance,
            atol=tolerance / 100,
        )
        if len(solved.t) < times.size:
            if not len(solved.t_events[0]):
                raise ValueError(
                    f"the densities cannot be followed to time {times[-1]:.3g} ({solved.message}); ask for "
                    "earlier times, or use a larger max_degree or a coarser kernel"
                )
            raise ValueError(
                f"max_degree = {self.grid.max_degree} resolves the densities only until time "
                f"{solved.t_events[0][0]:.3g}, after which they are too fine; "
                "ask for earlier times or use a larger max_degree"
            )
        densities = self.grid.synthesise(solved.y.T.reshape(times.size, self.count, -1))
        negative = -np.minimum(densities, 0) @ self.grid.weights
        if not negative.max() < _NEGATIVE:
            time = times[np.flatnonzero(negative.max(axis=1) >= _NEGATIVE)[0]]
            raise ValueError(
                f"max_degree = {self.grid.max_degree} is too small at time {time:.3g}: a density has "
                f"{negative.max():.1e} of negative mass; ask for earlier times or use a larger max_degree"
            )
        return densities

"""Sinkhorn's problem on the host, in float64: a matrix scaled by rows and columns to given marginals."""

from typing import Any, NamedTuple

import numpy as np
from scipy import linalg
from scipy.special import logsumexp

from ctflow._base.checks import check_concrete


def balance(
    log_kernel: np.ndarray,
    *,
    row_marginal: Any = None,
    col_marginal: Any = None,
    tolerance: float = 1e-10,
    max_steps: int = 200,
) -> np.ndarray:
    """The matrix a_i exp(log_kernel_ij) b_j with given marginals (Sinkhorn's problem), float64 [n, m].

    Newton's method on the concave dual, with a kernel that is sharpened in stages. Sinkhorn's own iteration
    needs more than 10⁵ rounds if the kernel is narrower than the gaps between the latents.

    Args:
        log_kernel: [n, m], finite.
        row_marginal: sums of the rows, [n], > 0 and summing to 1; uniform by default.
        col_marginal: sums of the columns, [m], > 0 and summing to 1; uniform by default.
        tolerance: largest relative error allowed in a marginal.
        max_steps: largest number of Newton steps per stage.

    Raises:
        ValueError: marginals out of range, or not within `tolerance` at the end.
    """
    check_concrete("balance", log_kernel=log_kernel)
    p, q = (
        _marginal(name, given, size)
        for name, given, size in zip(
            ("row_marginal", "col_marginal"), (row_marginal, col_marginal), log_kernel.shape, strict=True
        )
    )
    sharpness = [1.0]
    while -log_kernel.max(axis=1).min() * sharpness[0] > 1 or np.ptp(log_kernel) * sharpness[0] > 100:
        sharpness.insert(0, sharpness[0] / 2)
    g = np.zeros(len(q))
    for stage in sharpness[:-1]:
        g, _, _ = _newton(_Problem(stage * log_kernel, p, q), g, 1e-3, max_steps)
        g = 2 * g  # the next kernel is twice as sharp
    _, pi, error = _newton(_Problem(log_kernel, p, q), g, tolerance, max_steps)
    if not error < tolerance:
        raise ValueError(
            f"the coupling's marginals could not be balanced: their relative error is {error:.1e}, more than "
            f"the tolerance {tolerance:.1e}; use a larger bandwidth"
        )
    return pi / pi.sum()


def _marginal(name: str, given: Any, size: int) -> np.ndarray:
    if given is None:
        return np.full(size, 1 / size)
    marginal = np.asarray(given, np.float64)
    if marginal.shape != (size,) or not (marginal > 0).all() or abs(marginal.sum() - 1) > 1e-9:
        raise ValueError(
            f"{name} must be {size} numbers > 0 that sum to 1, got shape {marginal.shape} and sum "
            f"{marginal.sum():.9g}; divide by the sum"
        )
    return marginal


class _Problem(NamedTuple):
    """A kernel and the marginals p [n] and q [m] that its scaled matrix is to have."""

    log_kernel: np.ndarray
    p: np.ndarray
    q: np.ndarray

    def row_potential(self, g: np.ndarray) -> np.ndarray:
        """The f that makes the rows of exp(log_kernel + f + g) sum to p."""
        return np.log(self.p) - np.asarray(logsumexp(self.log_kernel + g, axis=1))

    def semi_dual(self, g: np.ndarray) -> float:
        """Sinkhorn's dual, maximised over f and up to a constant: ⟨g, q⟩ + ⟨f, p⟩."""
        return float(g @ self.q + self.row_potential(g) @ self.p)


def _newton(
    problem: _Problem, g: np.ndarray, tolerance: float, max_steps: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """Maximise the semi-dual from g; returns g, the matrix and its largest relative marginal error."""
    log_kernel, p, q = problem
    g = np.log(q) - logsumexp(log_kernel + problem.row_potential(g)[:, None], axis=0)
    size, steps, diagonal = 1.0, 0, np.diag_indices(len(q))
    while True:
        pi = np.exp(log_kernel + problem.row_potential(g)[:, None] + g)  # its rows are exact
        cols = pi.sum(axis=0)
        error = float(np.abs(cols / q - 1).max())
        if error < tolerance or size < 1e-12 or steps == max_steps:
            return g, pi, error
        # The rank-one term regularises the null direction (constant g), the diagonal almost separate parts.
        laplacian = np.diag(cols) - pi.T @ (pi / p[:, None]) + np.outer(q, q)
        laplacian[diagonal] += 1e-10 * q
        step = linalg.solve(laplacian, q - cols, assume_a="pos")
        value, slope, size = problem.semi_dual(g), step @ (q - cols), 1.0
        least = value - 1e-14 * abs(value)
        while size >= 1e-12 and problem.semi_dual(g + size * step) < least + 1e-4 * size * slope:
            size /= 2
        g, steps = g + size * step, steps + 1

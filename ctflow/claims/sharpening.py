"""Kernel sharpening brings J_τ to F, and leaves the symmetric energy's divergence and instability.

J - F = ∫ρ log(ρ̃/ρ) dμ = -KL(ρ‖ρ̃) is never positive, and |J - F| is at most 2·sup|ρ̃ - ρ|/min ρ. J - F is of
*second* order in the kernel's temperature T, -(T²/8)∫(Δρ)²/ρ dμ, since the first order integrates to 0. As
T → 0, D̃(1‖2) tends to KL(ρ_1‖ρ_2) and the growth rate of degree ℓ at the overlapping state tends to
1.5·ℓ(ℓ+d-2): sharpening removes neither.
"""

import jax.numpy as jnp
import numpy as np

from ctflow.claims.evidence import Evidence, at_most, close, sphere
from ctflow.clouds import Pair, WeightedCloud
from ctflow.energies import SmoothedEntropy, SymmetricDivergence, log_density
from ctflow.kernels import Exponential
from ctflow.meanfield import HarmonicGrid, rates
from ctflow.storage.tables import columns

TITLE = "kernel sharpening"
SOURCE = "F − J ≤ 2 sup(ρ̃ − ρ)/min ρ; growth → 1.5 ℓ(ℓ+d−2)"
WIDTHS = (0.3, 0.1, 0.03, 0.01)


def run(*, quick: bool, seed: int = 0) -> Evidence:
    """Check smooth laws of three τ, as weighted quadrature nodes, with kernels of up to four temperatures."""
    rows = []
    for d in (2, 3):
        grid = HarmonicGrid(d, 8, count=(96 if d == 2 else 24 if quick else 40))
        for tau in (2.0, 1.0, 0.5):
            rows += _rows(grid, tau, WIDTHS[:3] if quick and d == 3 else WIDTHS)
    checks = []
    for r in rows:
        where = f"{sphere(r['d'])}, τ = {r['tau']:g}, kernel at {r['width']:g}"
        checks.append(at_most(f"{where}: |J − F|", r["bound"], -r["difference"]))
        if r["width"] <= 0.03:
            room = 5 * r["width"] / r["tau"]  # the next order in the kernel's temperature
            checks += [
                close(f"{where}: J − F", r["second_order"], r["difference"], relative=room),
                close(
                    f"{where}: ½[D̃(1‖2) + D̃(2‖1)] for the intrinsic one",
                    r["divergence_exact"],
                    r["divergence"],
                    relative=room,
                ),
            ]
    limits = []
    for d in (2, 3):
        for degree in (1, 2, 3):
            growth = [rates.growth(Exponential(t), d, degree).antiphase[degree] for t in (1e-2, 1e-3)]
            exact = 1.5 * degree * (degree + d - 2)
            limits.append({"d": d, "degree": degree, "predicted": exact, "simulated": growth[-1]})
            checks.append(
                close(
                    f"{sphere(d)}, degree {degree}: growth with the kernel at 0.001",
                    exact,
                    growth[-1],
                    relative=degree * (degree + d - 2) * 1e-3,
                )
            )
    return Evidence(checks, {"differences": columns(rows), "limits": columns(limits)})


def _rows(grid: HarmonicGrid, tau: float, widths) -> list[dict]:
    """J - F of ρ_1 ∝ exp(z_d/τ), and the divergence between ρ_1 and ρ_2 ∝ exp(z_1/τ), by kernel width."""
    nodes, weights = jnp.asarray(grid.nodes), grid.weights
    fields = [grid.nodes[:, axis] / tau for axis in (-1, 0)]
    first, second = (np.exp(field) / (weights @ np.exp(field)) for field in fields)
    clouds = Pair(*(WeightedCloud(nodes, jnp.asarray(weights * rho)) for rho in (first, second)))
    entropy = weights @ (first * np.log(first))
    # Δe^{az} = e^{az}(a²(1-z²) - (d-1)az) for the height z
    height = grid.nodes[:, -1]
    laplacian = first * ((1 - height**2) / tau**2 - (grid.d - 1) * height / tau)
    exact = weights @ ((first - second) * np.log(first / second)) / 2
    rows = []
    for width in widths:
        kernel = Exponential(width)
        eigenvalue = _smoothed(grid, first, kernel)
        rows.append(
            {
                "d": grid.d,
                "tau": tau,
                "width": width,
                "difference": float(SmoothedEntropy(kernel)(clouds.x)) - entropy,
                "bound": 2 * np.abs(eigenvalue - first).max() / first.min(),
                "second_order": -(width**2) / 8 * weights @ (laplacian**2 / first),
                "divergence": float(SymmetricDivergence(kernel)(clouds)),
                "divergence_exact": exact,
            }
        )
    return rows


def _smoothed(grid: HarmonicGrid, density: np.ndarray, kernel: Exponential) -> np.ndarray:
    """The smoothed density ρ̃ at the nodes."""
    cloud = WeightedCloud(jnp.asarray(grid.nodes), jnp.asarray(grid.weights * density))
    return np.exp(np.asarray(log_density(cloud.points, cloud, kernel)))

"""Closed-form rates and curvatures at the uniform state, per degree of spherical harmonics.

The flows are linearised about ρ = 1 (or ρ_1 = ρ_2 = 1) with U = 0 on S^{d-1}. Here e_ℓ = ℓ(ℓ+d-2), and λ_ℓ
are the kernel's eigenvalues (`Kernel.degree_coefficients`). The flow's decay rate is e_ℓ times the energy's
second variation along a mode of mean square 1 (arXiv 2601.19597), and half of that for J^Sym.
"""

from typing import NamedTuple

import numpy as np

from ctflow.kernels import Kernel, as_kernel

__all__ = ["Modes", "curvatures", "growth"]


class Modes(NamedTuple):
    """One number per degree ℓ = 0 … max_degree, [max_degree + 1] each.

    Attributes:
        unimodal: for J_τ, with one cloud.
        in_phase: for J^Sym, with the same perturbation in both clouds.
        antiphase: for J^Sym, with opposite perturbations in the two clouds.
    """

    unimodal: np.ndarray
    in_phase: np.ndarray
    antiphase: np.ndarray


def curvatures(kernel: Kernel, d: int, max_degree: int) -> Modes:
    """Second variations d²E/dε² of the energies along ρ = 1 + εY, with Y of mean square 1.

    J_τ: 2λ - λ². J^Sym in phase: 2λ - λ²; antiphase (one cloud 1 + εY, the other 1 - εY): -(2λ + λ²) < 0, so
    J^Sym is not convex.
    """
    eigenvalues = as_kernel(kernel).degree_coefficients(d, max_degree)
    convex = 2 * eigenvalues - eigenvalues**2
    return Modes(convex, convex, -(2 * eigenvalues + eigenvalues**2))


def growth(kernel: Kernel, d: int, max_degree: int) -> Modes:
    """Rates at which a small perturbation grows (> 0) or decays (< 0) under the energies' gradient flows.

    J_τ: -e(2λ - λ²). J^Sym, with its factor ½: in phase -½e(2λ - λ²), antiphase +½e(2λ + λ²), which tends to
    1.5 e as the kernel sharpens.
    """
    degrees = np.arange(max_degree + 1)
    e = degrees * (degrees + d - 2.0)
    second = curvatures(kernel, d, max_degree)
    return Modes(-e * second.unimodal, -e * second.in_phase / 2, -e * second.antiphase / 2)

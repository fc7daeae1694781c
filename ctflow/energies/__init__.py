"""Deterministic energies of clouds: callables `clouds → scalar` that add and scale.

Each part has the sign with which it enters the large-batch InfoNCE energy
J_τ = (1/τ)∫U dq - H_×(q, ρ̃), where ρ̃ = Γ/V is the kernel-smoothed density and
H_×(q, ρ̃) = -∫log ρ̃ dq (arXiv 2601.19597). Energies do not depend on time; flows move the clouds.
"""

from ctflow._base.pytree import positive, pytree, static
from ctflow.energies.controls import CentroidGap, EnergyDistance, MaximumMeanDiscrepancy, Uniformity
from ctflow.energies.losses import (
    InBatch,
    Sigmoid,
    Symmetric,
    directional,
    pooled,
    symmetric,
    symmetric_in_fields,
    unimodal,
)
from ctflow.energies.parts import (
    Alignment,
    CrossEntropy,
    LogVolume,
    PooledEntropy,
    Potential,
    SmoothedEntropy,
    SymmetricDivergence,
    log_density,
)
from ctflow.energies.several import clique, star
from ctflow.energy import Between, Component, Energy, Function, Scaled, Sum, as_energy, check_energy

__all__ = [
    "Alignment",
    "Between",
    "CentroidGap",
    "Component",
    "CrossEntropy",
    "Energy",
    "EnergyDistance",
    "Function",
    "InBatch",
    "LogVolume",
    "MaximumMeanDiscrepancy",
    "PooledEntropy",
    "Potential",
    "Scaled",
    "Sigmoid",
    "SmoothedEntropy",
    "Sum",
    "Symmetric",
    "SymmetricDivergence",
    "Uniformity",
    "as_energy",
    "check_energy",
    "clique",
    "directional",
    "log_density",
    "pooled",
    "positive",
    "pytree",
    "star",
    "static",
    "symmetric",
    "symmetric_in_fields",
    "unimodal",
]

"""What theory says about a user's pairs: the critical temperature and the least control."""

from typing import Any

import numpy as np

from ctflow.energies import SymmetricDivergence
from ctflow.kernels import Exponential
from ctflow.stability import OwnPairs, of_pairs

LEAST_STRENGTH = 0.01
"""Strength of the control where none is needed to keep overlap stable."""
MOST_STRENGTH = 1.0
"""Strength of the control where λ* is larger: at 1 the control cancels the divergence in the loss."""
_MARGIN = 1.1


def theory_of(coupling: Any, d: int, temperature: float, *, seed: int, progress: bool) -> OwnPairs | str:
    """τ* of the pairs in d dimensions and λ* of the divergence at a temperature, or why they have none."""
    control = SymmetricDivergence(Exponential(temperature))
    options: dict[str, Any] = {"temperature": temperature, "control": control}
    try:
        return of_pairs(coupling, d, seed=seed, progress=progress, **options)
    except ValueError as error:
        return str(error)


def strength_of(theory: OwnPairs | str) -> float:
    """A strength a tenth above λ*, in [`LEAST_STRENGTH`, `MOST_STRENGTH`]."""
    least = 0.0
    if not isinstance(theory, str) and theory.strength is not None:
        least = theory.strength.value
    return float(np.clip(_MARGIN * least, LEAST_STRENGTH, MOST_STRENGTH))

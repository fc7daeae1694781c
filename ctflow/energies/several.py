"""Losses of three and more modalities, made of one loss of two."""

from itertools import combinations
from typing import Any

from ctflow._base.checks import check_count
from ctflow.energy import Between, Energy, Sum, as_energy


def clique(energy: Any, modalities: int) -> Energy:
    """The mean of a loss of two clouds over every two of several: E = 2/(K(K-1)) Σ_{a<b} E(z_a, z_b).

    For a loss with E(x, y) = E(y, x) let A and B be its Hessians at a shared cloud in antiphase and in phase.
    Displacements of the K clouds that add up to 0 then have the Hessian (K·A + (K - 2)·B)/(K(K - 1)): where
    the shared cloud is a minimum in phase, B >= 0, so more modalities are harder to part than two.

    Args:
        energy: an energy of two clouds, such as `ct.energies.symmetric`.
        modalities: K >= 2; the clouds are a tuple of K.
    """
    check_count("modalities", modalities, minimum=2)
    return _mean_over(as_energy(energy), list(combinations(range(modalities), 2)))


def star(energy: Any, modalities: int) -> Energy:
    """The mean of a loss of two clouds over pairs with the first, the hub: E = 1/(K-1) Σ_{a>1} E(z_1, z_a).

    For a loss with E(x, y) = E(y, x), overlap of all is stable exactly where overlap of two is: with the
    hub's displacement over √(K - 1), the Hessian is that of two clouds beside K - 2 copies of that of one
    cloud against another that is held, ½(A + B) (see `clique`).

    Args:
        energy: an energy of two clouds; the hub is its first.
        modalities: K >= 2; the clouds are a tuple of K, with the hub at index 0.
    """
    check_count("modalities", modalities, minimum=2)
    return _mean_over(as_energy(energy), [(0, other) for other in range(1, modalities)])


def _mean_over(energy: Energy, edges: list[tuple[int, int]]) -> Energy:
    parts = tuple(Between(energy, first=first, second=second) for first, second in edges)
    return Sum(parts) / len(edges)

"""Functions for `save=` of `ct.solve` and `ct.evolve`: what to keep at each saved step."""

from collections.abc import Callable
from typing import Any

from ctflow.clouds import is_pair
from ctflow.diagnostics import centroid_gap
from ctflow.energy import as_energy, check_energy, report

__all__ = ["frames"]


def frames(energy: Any, /, **fields: Callable[[Any], Any]) -> Callable[[Any], dict[str, Any]]:
    """A function for `save=` that keeps the clouds, the energy with its terms and, for a Pair, the gap.

    This is what `ct.view` and `ct.plotting.plot` show. The clouds of every saved step stay in memory:
    frames × n × d numbers.

    Args:
        energy: the energy of the run.
        fields: further quantities by name, each a jittable function of the clouds: a number per step, or one
            number per particle (`[n]`, or a Pair of such arrays for two clouds).

    Returns:
        A function from clouds to a dict with `clouds`, `energy`, the energy's terms, `centroid_gap` and the
        fields.

    Raises:
        ValueError: the energy is none, such as a potential; a field is not a function, or has the name of
            something that is saved anyway.
    """
    energy = as_energy(energy)
    for name, field in fields.items():
        if name in ("clouds", "energy", "centroid_gap"):
            raise ValueError(f"fields must have other names than what is saved anyway, got {name!r}")
        if not callable(field):
            raise ValueError(f"{name} must be a function of the clouds, got {field!r}")

    def save(clouds: Any) -> dict[str, Any]:
        found = {"clouds": clouds, **report(energy, check_energy(energy, clouds))}
        if is_pair(clouds):
            found["centroid_gap"] = centroid_gap(*clouds)
        return found | {name: field(clouds) for name, field in fields.items()}

    return save

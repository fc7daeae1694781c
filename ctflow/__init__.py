"""ctflow: clouds of particles on the sphere, moved down the energies of contrastive learning.

`import ctflow as ct`; submodules and names load when first used, so that the import is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

__all__ = [
    "DivergedError",
    "Energy",
    "Flow",
    "Interrupted",
    "Kernel",
    "NonFiniteError",
    "Pair",
    "Potential",
    "Solution",
    "State",
    "Status",
    "WeightedCloud",
    "claims",
    "clouds",
    "compare",
    "corrections",
    "couplings",
    "diagnose",
    "diagnostics",
    "embeddings",
    "energies",
    "evolve",
    "experiment",
    "flows",
    "gibbs",
    "infonce",
    "io",
    "kernels",
    "latents",
    "log_partition",
    "meanfield",
    "move",
    "partition",
    "plotting",
    "positive",
    "potentials",
    "saving",
    "solve",
    "sphere",
    "stability",
    "static",
    "stopping",
    "sweep",
    "track",
    "velocity",
    "view",
    "viewing",
    "why",
]

# Names that live in a module; every other name of __all__ is a module itself.
_HOMES = {
    "Energy": "energy",
    "Flow": "flows",
    "Kernel": "kernels",
    "Pair": "clouds",
    "Potential": "potentials",
    "State": "flows",
    "WeightedCloud": "clouds",
    "compare": "comparison.compare",
    "diagnose": "embeddings.diagnosis.diagnose",
    "log_partition": "partition",
    "move": "flows",
    "positive": "_base.pytree",
    "track": "tracking.track",
    "view": "viewing.view",
    "why": "causes.why",
    "static": "_base.pytree",
    "velocity": "flows",
    "DivergedError": "running.solution",
    "Interrupted": "storage.interrupts",
    "NonFiniteError": "running.solution",
    "Solution": "running.solution",
    "Status": "running.solution",
    "evolve": "running.evolve",
    "solve": "running.solver",
    "sweep": "running.sweep",
}


if TYPE_CHECKING:
    from ctflow import (
        claims,
        clouds,
        corrections,
        couplings,
        diagnostics,
        embeddings,
        energies,
        experiment,
        flows,
        gibbs,
        infonce,
        io,
        kernels,
        latents,
        meanfield,
        partition,
        plotting,
        potentials,
        saving,
        sphere,
        stability,
        stopping,
        viewing,
    )
    from ctflow._base.pytree import positive, static
    from ctflow.causes.why import why
    from ctflow.clouds import Pair, WeightedCloud
    from ctflow.comparison.compare import compare
    from ctflow.embeddings.diagnosis.diagnose import diagnose
    from ctflow.energy import Energy
    from ctflow.flows import Flow, State, move, velocity
    from ctflow.kernels import Kernel
    from ctflow.partition import log_partition
    from ctflow.potentials import PotentialBase as Potential
    from ctflow.running.evolve import evolve
    from ctflow.running.solution import DivergedError, NonFiniteError, Solution, Status
    from ctflow.running.solver import solve
    from ctflow.running.sweep import sweep
    from ctflow.storage.interrupts import Interrupted
    from ctflow.tracking.track import track
    from ctflow.viewing.view import view


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(import_module(f"ctflow.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    if name in __all__:
        return import_module(f"ctflow.{name}")
    raise AttributeError(f"module 'ctflow' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

"""Reference solutions in the limit of infinitely many particles on S¹ and S², in float64 on the host."""

from typing import TYPE_CHECKING, Any

from ctflow._base.deprecation import deprecated_name
from ctflow.meanfield import rates
from ctflow.meanfield.density_flow import DensityFlow
from ctflow.meanfield.fokker_planck import FokkerPlanck
from ctflow.meanfield.harmonics import HarmonicGrid

__all__ = ["DensityFlow", "FokkerPlanck", "HarmonicGrid", "rates"]

if TYPE_CHECKING:
    GradientFlow = DensityFlow
else:

    def __getattr__(name: str) -> Any:
        return deprecated_name(__name__, name, {"GradientFlow": "DensityFlow"})

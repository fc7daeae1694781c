"""Reference solutions in the limit of infinitely many particles on S¹ and S², in float64 on the host."""

from ctflow.meanfield import rates
from ctflow.meanfield.fokker_planck import FokkerPlanck
from ctflow.meanfield.gradient_flow import GradientFlow
from ctflow.meanfield.harmonics import HarmonicGrid

__all__ = ["FokkerPlanck", "GradientFlow", "HarmonicGrid", "rates"]

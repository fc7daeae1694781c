"""Reference solutions in the limit of infinitely many particles on S¹ and S², in float64 on the host."""

from ctflow.meanfield import rates
from ctflow.meanfield.density_flow import DensityFlow
from ctflow.meanfield.fokker_planck import FokkerPlanck
from ctflow.meanfield.harmonics import HarmonicGrid

__all__ = ["DensityFlow", "FokkerPlanck", "GradientFlow", "HarmonicGrid", "rates"]

GradientFlow = DensityFlow
"""The former name of `DensityFlow`, which `ct.flows.GradientFlow` has for particles."""

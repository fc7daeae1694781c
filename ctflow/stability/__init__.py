"""Stability of states: curvatures and modes of any energy, shared clouds, and when a gap must open."""

from ctflow.stability.control import LeastControl, least_control
from ctflow.stability.critical import CriticalTemperature, critical_temperature
from ctflow.stability.shared import SharedEquilibrium, shared_equilibrium
from ctflow.stability.spectrum import Modes, modes

__all__ = [
    "CriticalTemperature",
    "LeastControl",
    "Modes",
    "SharedEquilibrium",
    "critical_temperature",
    "least_control",
    "modes",
    "shared_equilibrium",
]

"""Stability of states: curvatures and modes of any energy, shared clouds, and when a gap must open."""

from ctflow.stability.control import LeastControl, least_control
from ctflow.stability.critical import CriticalTemperature, critical_temperature
from ctflow.stability.limit import LimitingTemperature, limiting_temperature
from ctflow.stability.lowest import LowestState, lowest_state
from ctflow.stability.own_pairs import Estimate, OwnPairs, of_pairs
from ctflow.stability.price import ControlPrice, control_price
from ctflow.stability.shared import SharedEquilibrium, shared_equilibrium
from ctflow.stability.sharing import Parts, Shareable, parts, sampled, shareable
from ctflow.stability.spectrum import Modes, modes

__all__ = [
    "ControlPrice",
    "CriticalTemperature",
    "Estimate",
    "LeastControl",
    "LimitingTemperature",
    "LowestState",
    "Modes",
    "OwnPairs",
    "Parts",
    "Shareable",
    "SharedEquilibrium",
    "control_price",
    "critical_temperature",
    "least_control",
    "limiting_temperature",
    "lowest_state",
    "modes",
    "of_pairs",
    "parts",
    "sampled",
    "shareable",
    "shared_equilibrium",
]

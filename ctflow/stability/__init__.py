"""Stability of states: curvatures and modes of any energy, shared clouds, and when a gap must open.

Modalities overlap where they share one cloud, x = y. Overlap is stable if the lowest curvature of the energy
in antiphase, where the modalities move in opposite directions, is positive. Below the critical temperature τ*
overlap is unstable and a gap must open; a control of strength λ* or more, added to the energy, prevents it.
"""

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

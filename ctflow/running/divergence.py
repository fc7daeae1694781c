"""Whether a run's step size is too large for its energy, when to check that, and what to advise."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ctflow.clouds import points, weights
from ctflow.flows import Flow, State
from ctflow.running.programs import Programs
from ctflow.stopping import fastest_rate_of

_STEPS_AHEAD = 5


def has_diverged(
    programs: Programs, state: State, energies: Sequence[float], *, ended: bool, late: bool
) -> bool:
    """Whether the steps are too large where the clouds are or are going.

    Args:
        programs: of the run.
        state: where the run is.
        energies: at the saves so far.
        ended: the run ends here.
        late: this is one of a stochastic run's last saves.
    """
    expected = ended or late or _rose(programs.flow, state.clouds, energies)
    if expected and _is_too_fast(programs, state):
        return True
    return ended and _dithers(programs, state, energies)


def is_late(flow: Flow, clouds: Any, left: int, save_every: int, num_steps: int) -> bool:
    """Whether a stochastic run is at one of its last saves.

    At the end alone, none of a few points may be near a narrow well that too large steps throw them out of.
    The fewer points there are, the more saves are checked.
    """
    saves = max(4, 1000 // jax.tree.leaves(points(clouds))[0].shape[0])
    return flow.stochastic and left < min(saves * save_every, num_steps / 2)


def _is_too_fast(programs: Programs, state: State) -> bool:
    """Whether the steps are too large here or, without noise, one step later: there are cycles of two."""
    states, flow = [state.clouds], programs.flow
    if flow.stable_below is not None and not flow.stochastic:
        states.append(programs.advance(state, 1).clouds)
    return too_fast(programs.velocity, flow, *states) is not None


def _dithers(programs: Programs, state: State, energies: Sequence[float]) -> bool:
    """Whether the points still move though the energy is at rest: they jump to and fro over a minimum.

    A step of size h that moves them by δ should lower the energy by ∫|δ|² dq / h, all clouds together.
    """
    flow = programs.flow
    step_size = getattr(flow, "step_size", None)
    if flow.stable_below is None or flow.stochastic or step_size is None or len(energies) < 2:
        return False
    before, last = energies[-2:]
    if abs(last - before) > _rounding(state.clouds, last):
        return False
    here, there = state.clouds, programs.advance(state, 1).clouds
    squares = jax.tree.map(
        lambda w, a, b: jnp.sum(w[:, None] * (a - b) ** 2), weights(here), points(here), points(there)
    )
    return bool(sum(jax.tree.leaves(squares)) > 10 * _rounding(here, last) * float(step_size))


def _rounding(clouds: Any, energy: Any) -> Any:
    """Allowance for rounding in an energy of this size, for clouds of this dtype, in nats."""
    narrow = jax.tree.leaves(points(clouds))[0].dtype == jnp.float32
    return (1e-5 if narrow else 1e-9) * (1 + np.abs(energy))


def _rose(flow: Flow, clouds: Any, energies: Sequence[float]) -> bool:
    """Whether the energy rose although the flow should lower it.

    It is checked only at saves 2, 4, 8, …, because the check that follows is expensive. The result depends
    only on the saves, so a resumed run ends as the uninterrupted one would.
    """
    count = len(energies)
    if flow.stable_below is None or count < 2 or count & (count - 1):
        return False
    every = np.asarray(energies)
    before = every[:1] if flow.stochastic else every[:-1]
    later = every[-1:] if flow.stochastic else every[1:]
    return bool(np.any(later > before + _rounding(clouds, before)))


def too_fast(velocity: Callable[[Any], Any], flow: Flow, *states: Any) -> tuple[float, float] | None:
    """Step size and fastest rate if steps of that size do not settle at these clouds or on their path.

    The rate is the flow's own if that alone is too fast for the step size, else the energy's. The result is
    None if the steps settle, and for a flow without a step size or without a bound on it.
    """
    limit, step_size = flow.stable_below, getattr(flow, "step_size", None)
    if limit is None or step_size is None:
        return None
    step_size, ahead = float(step_size), _STEPS_AHEAD * float(step_size)
    own = flow.own_rate(jax.tree.leaves(points(states[0]))[0].shape[1])
    if step_size * own > limit:
        return step_size, own
    for iterations in (8, 64):
        rate = max(float(fastest_rate_of(velocity, z, ahead, iterations=iterations)) for z in states)
        if not 0.7 < step_size * rate / limit <= 1:  # in between, 8 iterations are not accurate enough
            break
    return (step_size, rate) if step_size * rate > 0.999 * limit else None  # the rate is a lower estimate


def advice(programs: Programs, *states: Any) -> str:
    """The remedy for a run that failed, as a sentence for its message, from the rates at these clouds."""
    flow = programs.flow
    found = too_fast(programs.velocity, flow, *states)
    if found is None or flow.stable_below is None:
        return "Try a smaller step size or learning rate."
    step_size, rate = found
    limit = flow.stable_below / rate
    fails, part = ("sample a wrong law", 10) if flow.stochastic else ("do not settle", 2)
    return (
        f"step_size={step_size:.4g} is too large: the fastest rate is {rate:.4g}, and steps above "
        f"{limit:.4g} {fails}. Try step_size={limit / part:.2g}."
    )

"""The compiled programs that `solve` calls: steps, reports and velocities of one energy, with fallbacks."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from ctflow._base.resources import program_bytes, tree_bytes
from ctflow.clouds import points, with_points
from ctflow.energy import report
from ctflow.flows import Flow, GradientFlow, State, jitted_velocity, rescaled, velocity
from ctflow.partition.staged import all_finite, proven, stages
from ctflow.running.evolve import guarded

# From so many points on a step in harmonics takes far longer than the calls from the host.
_HOST_STEP_POINTS = 4096

_report = partial(proven, jax.jit(report))


def programs_of(energy: Any, flow: Flow, state: State, *, reports: bool) -> "Programs":
    """The programs of a run, with or without reports."""
    plain = isinstance(flow, GradientFlow) and type(flow).step is GradientFlow.step and flow.order == 1
    n = max(z.shape[0] for z in jax.tree.leaves(points(state.clouds)))
    programs = Programs(energy, flow, state)
    if plain and n >= _HOST_STEP_POINTS and len(programs.stages) > 1:
        return SharedPrograms(energy, flow, state, reports=reports)
    return programs


@jax.jit
def _advance(energy: Any, flow: Flow, state: State, count: Any) -> State:
    """Take `count` steps, in a program that does not depend on how many."""
    return jax.lax.fori_loop(0, count, lambda _, s: guarded(flow, s, flow.step(energy, s)), state)


class Programs:
    """Programs of a run, one for each task: steps, report, velocity.

    Sums in harmonics are attempted one after the other (`stages`). A step in which an attempt is not proven
    comes out as NaN, and is taken again with the next attempt, in another program, which is compiled then.
    """

    def __init__(self, energy: Any, flow: Flow, state: State):
        self.energy, self.flow = energy, flow
        self.stages = stages(energy, jax.tree.leaves(points(state.clouds))[0].dtype)

    def advance(self, state: State, count: int) -> State:
        """Take `count` steps, or as many as come out finite."""
        target = int(state.step) + count
        state = self._steps(0, state, count)
        while len(self.stages) > 1 and not state.finite:
            for number in range(1, len(self.stages)):
                state = self._steps(number, state._replace(finite=jnp.ones((), bool)), 1)
                if state.finite:
                    break
            else:
                break
            state = self._steps(0, state, target - int(state.step))
        return state

    def report(self, clouds: Any) -> dict[str, Any]:
        """The energy and its terms."""
        return _report(self.energy, clouds)

    def velocity(self, clouds: Any) -> Any:
        """The velocity of every point."""
        return jitted_velocity(self.energy, clouds)

    def needed_bytes(self, state: State) -> int:
        """The memory that the steps need, from their compiled program."""
        return program_bytes(_advance.lower(self.stages[0], self.flow, state, 1).compile())

    def _steps(self, number: int, state: State, count: int) -> State:
        return _advance(self.stages[number], self.flow, state, count)


@partial(jax.jit, static_argnums=(0,))
def _report_and_velocity(reports: bool, energy: Any, clouds: Any) -> tuple[dict[str, Any], Any]:
    """Both from one pass over the pairs; the report is empty unless requested."""
    if not reports:
        return {}, velocity(energy, clouds)

    def value(moved):
        found = report(energy, with_points(clouds, moved))
        return found["energy"], found

    gradient, found = jax.grad(value, has_aux=True)(points(clouds))
    return found, rescaled(gradient, clouds)


@jax.jit
def _follow(flow: GradientFlow, state: State, v: Any) -> State:
    return guarded(flow, state, flow.follow(state, v))


class SharedPrograms(Programs):
    """One program for the report and the velocity, along which a second, small one moves the points.

    For sums in harmonics, to compile the steps, the report and the velocity apart takes longer than hundreds
    of steps.
    """

    def __init__(self, energy: Any, flow: Flow, state: State, *, reports: bool):
        super().__init__(energy, flow, state)
        self._reports = reports
        self._last: tuple[Any, Any] = None, None

    def _look(self, clouds: Any) -> tuple[dict[str, Any], Any]:
        """Report and velocity from the first attempt that is proven, kept for the step that follows."""
        if self._last[0] is not clouds:
            found = proven(partial(_report_and_velocity, self._reports), self.energy, clouds)
            self._last = (clouds, found) if all_finite(found) else (None, found)
        return self._last[1]

    def report(self, clouds):
        """The energy and its terms."""
        return self._look(clouds)[0]

    def velocity(self, clouds):
        """The velocity of every point."""
        return self._look(clouds)[1]

    def needed_bytes(self, state):
        """The memory that the steps need, from their compiled program."""
        program = _report_and_velocity.lower(self._reports, self.stages[0], state.clouds).compile()
        return program_bytes(program) + 2 * tree_bytes(state._replace(key=None))

    def _steps(self, number, state, count):
        for _ in range(count):
            here, found = self._last
            if here is not state.clouds:
                found = _report_and_velocity(self._reports, self.stages[number], state.clouds)
            state = _follow(self.flow, state, found[1])
        return state

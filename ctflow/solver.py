"""Running a flow: `evolve`, pure and traceable, and `solve`, a host loop over its jitted chunks."""

from collections.abc import Callable
from enum import StrEnum
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from tqdm import tqdm

from ctflow.checks import check_count, check_numbers
from ctflow.clouds import as_dtype, points
from ctflow.energies import check_energy
from ctflow.flows import Flow, State
from ctflow.partition import planned


class Status(StrEnum):
    """How a run ended."""

    FINISHED = "finished"
    NON_FINITE = "non-finite"


class Solution(NamedTuple):
    """What `solve` hands back.

    Attributes:
        cloud: the clouds at the end, shaped like the start.
        steps: the steps at which something was saved, [k], beginning with 0.
        times: the physical times of those steps, or None for a flow without time.
        saved: what `save` returned there, stacked along a leading axis [k].
        status: how the run ended.
        state: the flow's last state, to go on from.
    """

    cloud: Any
    steps: np.ndarray
    times: np.ndarray | None
    saved: Any
    status: Status
    state: State


class NonFiniteError(FloatingPointError):
    """A step came out NaN or infinite. `solution` holds everything up to the last good state."""

    def __init__(self, message: str, solution: Solution):
        super().__init__(message)
        self.solution = solution


def _guarded_step(energy: Any, flow: Flow, state: State) -> State:
    """One step; once one is non-finite, the state stays where it was before it."""
    new = flow.step(energy, state)
    finite = state.finite
    for z in jax.tree.leaves(points(new.clouds)):
        finite = finite & jnp.all(jnp.isfinite(z))
    moving = (new.clouds, new.step, new.memory), (state.clouds, state.step, state.memory)
    clouds, step, memory = jax.tree.map(lambda a, b: jnp.where(finite, a, b), *moving)
    return State(clouds, step, state.key, memory, finite)


def evolve(
    energy: Any,
    flow: Flow,
    state: State,
    *,
    num_steps: int,
    save_every: int | None = None,
    save: Callable[[Any], Any] | None = None,
) -> Any:
    """Run `num_steps` steps in one traced scan: pure, so it can be jitted, mapped and differentiated.

    Args:
        energy: an energy of `ct.energies`.
        flow: a flow of `ct.flows`.
        state: from `flow.init(clouds, key)` or an earlier call.
        num_steps: >= 0; with `save_every`, a multiple of it.
        save_every: steps between two calls of `save`.
        save: a function of the clouds.

    Returns:
        The last State; with `save_every`, the pair (State, saved), saved stacked along a leading axis of
        length num_steps/save_every + 1, the start first.
    """
    if (save_every is None) != (save is None):
        raise ValueError("save_every and save go together: give both or neither")
    if save_every is not None and num_steps % save_every:
        raise ValueError(f"num_steps must be a multiple of save_every, got {num_steps} and {save_every}")
    energy, flow = _prepared(energy, flow, state.clouds, None)
    return _evolve(energy, flow, state, num_steps=num_steps, save_every=save_every, save=save)


def _prepared(energy: Any, flow: Flow, clouds: Any, mesh: Mesh | None) -> tuple[Any, Flow]:
    """Kernel sums planned, while temperatures are still numbers; then all numbers in the clouds' dtype."""
    cloud = max(jax.tree.leaves(points(clouds)), key=lambda z: z.shape[0])
    n, d = cloud.shape
    energy = planned(energy, n, d, cloud.dtype, mesh=mesh)
    return as_dtype(energy, cloud.dtype), as_dtype(flow, cloud.dtype)


@partial(jax.jit, static_argnames=("num_steps", "save_every", "save"))
def _evolve(energy, flow, state, *, num_steps, save_every, save):
    """`evolve`, traced."""

    def steps(state, count):
        return jax.lax.scan(lambda s, _: (_guarded_step(energy, flow, s), None), state, length=count)[0]

    if save_every is None:
        return steps(state, num_steps)

    def chunk(state, _):
        state = steps(state, save_every)
        return state, save(state.clouds)

    start = save(state.clouds)
    state, saved = jax.lax.scan(chunk, state, length=num_steps // save_every)
    return state, jax.tree.map(lambda a, rest: jnp.concatenate([a[None], rest]), start, saved)


def shard(clouds: Any, mesh: Mesh) -> Any:
    """The clouds cut over the devices of a mesh of one axis, along their points.

    Raises:
        ValueError: the mesh has several axes, or a cloud's size is no multiple of its devices.
    """
    if len(mesh.axis_names) != 1:
        raise ValueError(f"mesh must have one axis, got {mesh.axis_names}")
    for z in jax.tree.leaves(points(clouds)):
        if z.shape[0] % mesh.size:
            raise ValueError(f"a cloud's size must be a multiple of {mesh.size} devices, got {z.shape[0]}")
    return jax.device_put(clouds, NamedSharding(mesh, PartitionSpec(mesh.axis_names[0])))


@jax.jit
def _report(energy: Any, clouds: Any) -> dict[str, Any]:
    return {"energy": energy(clouds), **energy.terms(clouds)}


def solve(
    energy: Any,
    start: Any,
    flow: Flow,
    *,
    num_steps: int,
    key: Any = None,
    save_every: int | None = None,
    save: Callable[[Any], Any] | None = None,
    progress: bool = False,
    raise_on_failure: bool = True,
    mesh: Mesh | None = None,
) -> Solution:
    """Move clouds down an energy by a flow, saving statistics on the way.

    The result does not depend on `save_every`: it only sets how often the host looks.

    Args:
        energy: an energy of `ct.energies`.
        start: a cloud [n, d], a `ct.Pair`, or a tuple of clouds; `ct.WeightedCloud` for unequal weights.
            The points' dtype is the run's.
        flow: a flow of `ct.flows`.
        num_steps: steps to take, >= 1.
        key: a JAX random key; needed by stochastic flows only.
        save_every: steps between two saves; a hundredth of the run by default.
        save: a jittable function of the clouds; the energy and its terms by default. `lambda clouds:
            clouds` saves everything.
        progress: show a progress bar.
        raise_on_failure: raise NonFiniteError, or return the Solution with its status.
        mesh: a `jax.sharding.Mesh` of one axis: every cloud is cut over its devices, and so are the sums
            over pairs. Each cloud's size must be a multiple of the number of devices.

    Raises:
        ValueError: bad clouds, energy, flow, key or counts; nothing has been run.
        NonFiniteError: a step came out NaN or infinite; its `solution` keeps the last good state.
    """
    clouds = check_energy(energy, start)
    if not isinstance(flow, Flow):
        raise ValueError(f"flow must be a flow of ct.flows, got {type(flow).__name__}")
    check_numbers(flow)
    check_count("num_steps", num_steps)
    save_every = max(1, num_steps // 100) if save_every is None else save_every
    check_count("save_every", save_every)
    if mesh is not None:
        clouds = shard(clouds, mesh)
    energy, flow = _prepared(energy, flow, clouds, mesh)
    state = flow.init(clouds, key)
    look = partial(_report, energy) if save is None else jax.jit(save)

    steps, saved = [0], [jax.device_get(look(state.clouds))]
    bar = tqdm(total=num_steps, disable=not progress, unit="step")
    while steps[-1] < num_steps:
        target = min(steps[-1] + save_every, num_steps)
        state = _evolve(energy, flow, state, num_steps=target - steps[-1], save_every=None, save=None)
        if not state.finite:
            break
        steps.append(target)
        saved.append(jax.device_get(look(state.clouds)))
        bar.update(target - bar.n)
    bar.close()

    indices = np.asarray(steps)
    times = flow.time(indices)
    stacked = jax.tree.map(lambda *values: np.stack(values), *saved)
    status = Status.FINISHED if state.finite else Status.NON_FINITE
    solution = Solution(
        state.clouds, indices, None if times is None else np.asarray(times), stacked, status, state
    )
    if status is Status.NON_FINITE and raise_on_failure:
        raise NonFiniteError(
            f"step {int(state.step) + 1} of {num_steps} came out non-finite; the state before it is in "
            f"this error's `.solution`. Try a smaller step size or learning rate.",
            solution,
        )
    return solution

"""`evolve`, which runs a flow's steps as one traced program, and what it shares with `solve`."""

from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ctflow._base.pytree import check_registered
from ctflow.clouds import as_dtype, points
from ctflow.energy import as_energy
from ctflow.flows import Flow, State
from ctflow.partition import planned
from ctflow.running import checks as run_checks

# How many runs of a sweep the program that is being traced will serve.
runs_of_sweep: ContextVar[int] = ContextVar("runs_of_sweep", default=1)


def guarded(flow: Flow, state: State, new: Any) -> State:
    """The state after one step of the flow, or the state before, marked, if that step is not finite."""
    if not isinstance(new, State):
        raise TypeError(
            f"{type(flow).__name__}.step must return a State, got {type(new).__name__}; return "
            "state._replace(clouds=..., step=state.step + 1)"
        )
    finite = state.finite
    for z in jax.tree.leaves(new.clouds):
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

    Unlike `solve`, it does not check whether the steps are too large.

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

    Raises:
        ValueError: a state, flow, count or `save` of the wrong kind; clouds off the sphere.

    Examples:
        >>> import jax
        >>> import ctflow as ct
        >>> up = ct.potentials.Linear([0.0, 0.0, 1.0])
        >>> energy = ct.energies.Potential(up, temperature=1.0)
        >>> flow = ct.flows.GradientFlow(step_size=0.1)
        >>> state = flow.init(ct.sphere.uniform(jax.random.key(0), n=50, d=3))
        >>> saves = {"save_every": 10, "save": lambda cloud: cloud[:, 2].mean()}
        >>> end, heights = ct.evolve(energy, flow, state, num_steps=20, **saves)
        >>> heights.shape, round(float(heights[-1]), 2)
        ((3,), 0.83)
    """
    state = run_checks.check_state(state)
    run_checks.check_flow(flow)
    run_checks.check_steps("num_steps", num_steps, minimum=0)
    if (save_every is None) != (save is None):
        raise ValueError("save_every and save go together: give both or neither")
    if save_every is not None and save is not None:
        run_checks.check_steps("save_every", save_every)
        if num_steps % save_every:
            raise ValueError(f"num_steps must be a multiple of save_every, got {num_steps} and {save_every}")
        run_checks.check_save(save, state.clouds)
    energy, flow = prepared(energy, flow, state.clouds, None, num_steps)
    return _evolve(energy, flow, state, num_steps=num_steps, save_every=save_every, save=save)


def prepared(energy: Any, flow: Flow, clouds: Any, mesh: Mesh | None, num_steps: int) -> tuple[Any, Flow]:
    """Energy and flow with kernel sums planned, while temperatures are numbers, and in the clouds' dtype.

    The sums are planned for as many evaluations as there are steps, in all runs of a sweep.
    """
    energy = as_energy(energy)
    check_registered("energy", energy)
    check_registered("flow", flow)
    cloud = max(jax.tree.leaves(points(clouds)), key=lambda z: z.shape[0])
    n, d = cloud.shape
    evaluations = num_steps * runs_of_sweep.get()
    energy = planned(energy, n, d, cloud.dtype, mesh=mesh, evaluations=evaluations)
    return as_dtype(energy, cloud.dtype), as_dtype(flow, cloud.dtype)


@partial(jax.jit, static_argnames=("num_steps", "save_every", "save"))
def _evolve(energy, flow, state, *, num_steps, save_every, save):
    """`evolve`, traced."""

    def steps(state, count):
        def step(state, _):
            return guarded(flow, state, flow.step(energy, state)), None

        return jax.lax.scan(step, state, length=count)[0]

    if save_every is None:
        return steps(state, num_steps)

    def chunk(state, _):
        state = steps(state, save_every)
        return state, save(state.clouds)

    start = save(state.clouds)
    state, saved = jax.lax.scan(chunk, state, length=num_steps // save_every)
    return state, jax.tree.map(lambda a, rest: jnp.concatenate([a[None], rest]), start, saved)


def shard(clouds: Any, mesh: Mesh) -> Any:
    """The clouds divided among the devices of a mesh of one axis, along their points.

    Raises:
        ValueError: the mesh has several axes, or a cloud's size is no multiple of its devices.
    """
    if len(mesh.axis_names) != 1:
        raise ValueError(f"mesh must have one axis, got {mesh.axis_names}")
    for z in jax.tree.leaves(points(clouds)):
        if z.shape[0] % mesh.size:
            raise ValueError(f"a cloud's size must be a multiple of {mesh.size} devices, got {z.shape[0]}")
    return jax.device_put(clouds, NamedSharding(mesh, PartitionSpec(mesh.axis_names[0])))

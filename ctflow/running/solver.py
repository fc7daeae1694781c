"""Running a flow: `evolve`, pure and traceable, and `solve`, a host loop over its jitted chunks."""

import os
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from tqdm import tqdm

from ctflow._base import memory
from ctflow._base.checks import check_numbers
from ctflow._base.pytree import check_registered
from ctflow.clouds import as_dtype, points, weights
from ctflow.energy import as_energy, check_energy, report
from ctflow.flows import Flow, State
from ctflow.partition import planned
from ctflow.running import checks as run_checks
from ctflow.running.solution import Solution, Status, failure
from ctflow.stopping import advice, rose, rounding, too_fast
from ctflow.storage import checkpoints, interrupts
from ctflow.storage.identity import identity


def _guarded_step(energy: Any, flow: Flow, state: State) -> State:
    """One step; once one is non-finite, the state stays where it was before it."""
    new = flow.step(energy, state)
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

    Whether the steps are too large is not looked at, as `solve` does.

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
    energy, flow = _prepared(energy, flow, state.clouds, None)
    return _evolve(energy, flow, state, num_steps=num_steps, save_every=save_every, save=save)


def _prepared(energy: Any, flow: Flow, clouds: Any, mesh: Mesh | None) -> tuple[Any, Flow]:
    """Kernel sums planned, while temperatures are still numbers; then all numbers in the clouds' dtype."""
    energy = as_energy(energy)
    check_registered("energy", energy)
    check_registered("flow", flow)
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
def _chunk(energy: Any, flow: Flow, state: State, count: Any) -> State:
    """So many steps, in a program that does not depend on how many."""
    return jax.lax.fori_loop(0, count, lambda _, s: _guarded_step(energy, flow, s), state)


_report = jax.jit(report)
_energy = jax.jit(lambda energy, clouds: energy(clouds))


def solve(
    energy: Any,
    start: Any,
    flow: Flow,
    *,
    num_steps: int,
    key: Any = None,
    save_every: int | None = None,
    save: Callable[[Any], Any] | None = None,
    stop: Callable[[np.ndarray], bool] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: bool = False,
    raise_on_failure: bool = True,
    force: bool = False,
    mesh: Mesh | None = None,
) -> Solution:
    """Move clouds down an energy by a flow, saving statistics on the way.

    The result does not depend on `save_every`, which only sets how often the host looks, nor on how often
    the run was killed and resumed: bit for bit on one device.

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
        stop: a rule of `ct.stopping`, or any function from the energies at the saves so far, [k], to a
            bool; the run ends once it is true.
        checkpoint: a folder of the run's own for its checkpoints, at every save unless that would take more
            than a fortieth of the run's time. Ctrl-C and SIGTERM always leave one.
        resume: go on from the newest checkpoint there, from the start if there is none. With a `save_every`
            of one's own, `num_steps` may have grown.
        progress: show memory and time to expect, and a progress bar, on stderr.
        raise_on_failure: raise NonFiniteError or DivergedError, or return the Solution with its status.
        force: run even if the memory or disk to expect is more than there is.
        mesh: a `jax.sharding.Mesh` of one axis: every cloud is cut over its devices, and so are the sums
            over pairs. Each cloud's size must be a multiple of the number of devices.

    Raises:
        ValueError: bad clouds, energy, flow, key, save or counts; an energy or velocity that is not finite at
            the start; a checkpoint of another run, damaged, or in use. Nothing has been run.
        MemoryError: the run cannot fit into memory, or its checkpoints on the disk; nothing has been run.
        NonFiniteError: a step came out NaN or infinite; its `solution` keeps the last good state.
        DivergedError: the step size is too large to settle where the clouds are or are going, or for a
            stochastic flow to reach its law; says which would do.
        Interrupted: with a checkpoint, Ctrl-C or SIGTERM came; a whole chunk was finished, saved, and is its
            `solution`.
        KeyboardInterrupt: without one, Ctrl-C came; what had been seen until then is its `solution`.
    """
    run_checks.check_host(energy, start, flow, key)
    run_checks.check_not_a_state(start)
    energy = as_energy(energy)
    clouds = check_energy(energy, start)
    run_checks.check_flow(flow)
    check_numbers(flow)
    run_checks.check_steps("num_steps", num_steps)
    save_every = max(1, num_steps // 100) if save_every is None else save_every
    run_checks.check_steps("save_every", save_every)
    if stop is not None and not callable(stop):
        raise ValueError(f"stop must be a rule of ct.stopping or a function of energies, got {stop!r}")
    checkpoints.check_resume(checkpoint, resume)
    made_of = None
    if checkpoint is not None:
        if jax.process_count() > 1:
            raise ValueError("checkpoint is for runs of one process, this one has several")
        devices = mesh.size if mesh is not None else 1
        parts = {"energy": energy, "flow": flow, "start": clouds, "key": key, "save": save, "stop": stop}
        made_of = identity(roots=(__name__,), save_every=save_every, **parts) | {
            "devices of the mesh": str(devices)
        }
    if mesh is not None:
        clouds = shard(clouds, mesh)
    given = flow
    energy, flow = _prepared(energy, flow, clouds, mesh)
    state = flow.init(clouds, key)
    if save is not None:
        run_checks.check_save(save, state.clouds)
    run = _Run(energy, flow, state, save, stop, given.time)
    history = run.history_bytes(num_steps, save_every)
    run.check_memory(num_steps, history, force=force, told=progress)
    with (
        checkpoints.opened(checkpoint, made_of, resume=resume) as store,
        interrupts.deferred(store is not None) as note,
    ):
        if store is not None and (found := store.load()) is not None:
            run.restore(found, num_steps, save_every)
        else:
            run.begin()
        if store is not None and run.steps[-1] < num_steps:
            size = memory.tree_bytes(run.state._replace(key=None)) + history
            store.check_room(size, force=force, told=progress)
        try:
            status = run.go(num_steps, save_every, store, note, progress)
        except KeyboardInterrupt as stop_now:
            stop_now.__dict__["solution"] = run.solution(Status.INTERRUPTED)
            raise
        solution = run.solution(status)
        if status is Status.INTERRUPTED and store is not None:
            saved = f"saved in {str(store.folder)!r}: go on with resume=True"
            print(f"interrupted at step {solution.step} of {num_steps}, {saved}", file=sys.stderr)
            raise interrupts.Interrupted(note.signum or 0, solution)
    if status in (Status.NON_FINITE, Status.DIVERGED) and raise_on_failure:
        text = advice(run.energy, run.flow, state.clouds, solution.cloud)
        raise failure(solution, num_steps, text)
    return solution


class _Run:
    """A run under way: the state, and what was seen of it so far."""

    def __init__(self, energy: Any, flow: Flow, state: State, save: Any, stop: Any, time: Any):
        self.energy, self.flow, self.state, self.stop, self.time = energy, flow, state, stop, time
        self._save = partial(_report, energy) if save is None else jax.jit(save)
        self._reports = save is None
        self.steps: list[int] = []
        self.saved: list[Any] = []
        self.energies: list[float] = []

    def check_memory(self, num_steps: int, history: int, *, force: bool, told: bool) -> None:
        """Predict the run's memory from its compiled program; refuse it where that is not there."""
        program = memory.program_bytes(_chunk.lower(self.energy, self.flow, self.state, 1).compile())
        memory.check_fits(f"this run of {num_steps} steps", program + 2 * history, force=force, told=told)

    def history_bytes(self, num_steps: int, save_every: int) -> int:
        """What all saves take."""
        one = memory.tree_bytes(jax.eval_shape(self._save, self.state.clouds))
        return (num_steps // save_every + 2) * one

    def begin(self) -> None:
        """Look at the start, and refuse one whose energy is not finite."""
        self.look()
        report = self.saved[0] if self._reports else {"energy": _energy(self.energy, self.state.clouds)}
        run_checks.check_finite_start(self.energy, self.state.clouds, report=jax.device_get(report))

    def look(self) -> None:
        """Save what is to be saved of the state."""
        report = jax.device_get(self._save(self.state.clouds))
        if self._reports:
            self.energies.append(float(report["energy"]))
        elif self.stop is not None:
            self.energies.append(float(_energy(self.energy, self.state.clouds)))
        self.saved.append(report)
        self.steps.append(int(self.state.step))  # last: Ctrl-C may come between any two lines

    def go(self, num_steps: int, save_every: int, store: Any, note: Any, progress: bool) -> Status:
        """Step until something ends the run."""
        bar = tqdm(total=num_steps, initial=self.steps[-1], disable=not progress, unit="step")
        try:
            while True:
                if (status := self._verdict(num_steps, save_every)) or note.signum is not None:
                    if store is not None:
                        store.write(self.steps[-1], self._arrays())
                    return status or Status.INTERRUPTED
                here = self.steps[-1]
                target = min(here + save_every, num_steps)
                if progress and here == 0:
                    self._time(num_steps)
                state = _chunk(self.energy, self.flow, self.state, target - int(self.state.step))
                self.state = jax.block_until_ready(state)
                if not state.finite:
                    if int(state.step) == 0:  # perhaps the start itself has no finite velocity
                        run_checks.check_finite_start(self.energy, state.clouds)
                    return Status.NON_FINITE
                if int(state.step) != target:
                    raise ValueError(
                        f"{type(self.flow).__name__}.step must count its steps, but they went from {here} to "
                        f"{int(state.step)} instead of {target}; return "
                        "state._replace(clouds=..., step=state.step + 1)"
                    )
                self.look()
                bar.update(target - bar.n)
                if store is not None and target < num_steps and note.signum is None:
                    store.write(target, self._arrays(), now=False)
        finally:
            bar.close()

    def _time(self, num_steps: int) -> None:
        """Take the first step alone, and say how long all of them will take."""
        started = time.perf_counter()
        self.state = jax.block_until_ready(_chunk(self.energy, self.flow, self.state, 1))
        seconds = num_steps * (time.perf_counter() - started)
        tqdm.write(f"{num_steps} steps, about {memory.seconds_in_words(seconds)}", file=sys.stderr)

    def _verdict(self, num_steps: int, save_every: int) -> Status | None:
        """Whether the run is at an end, by what was seen of it."""
        rule = self.stop is not None and bool(self.stop(np.asarray(self.energies)))
        finished = self.steps[-1] >= num_steps
        ended = rule or finished
        asked = ended or self._late(num_steps, save_every)
        if (asked or rose(self.flow, self.state.clouds, self.energies)) and self._too_fast():
            return Status.DIVERGED
        if ended and self._dithers():
            return Status.DIVERGED
        if rule:
            return Status.CONVERGED
        return Status.FINISHED if finished else None

    def _late(self, num_steps: int, save_every: int) -> bool:
        """Whether a stochastic run is at one of its last saves.

        At the end alone, none of a few points may be near a narrow well that steps too large throw them out
        of. The fewer points there are, the more saves are looked at.
        """
        saves = max(4, 1000 // jax.tree.leaves(points(self.state.clouds))[0].shape[0])
        left = num_steps - self.steps[-1]
        return self.flow.stochastic and left < min(saves * save_every, num_steps / 2)

    def _too_fast(self) -> bool:
        """Whether the steps are too large here, or, without noise, a step later: there are cycles of two."""
        states = [self.state.clouds]
        if self.flow.stable_below is not None and not self.flow.stochastic:
            states.append(_chunk(self.energy, self.flow, self.state, 1).clouds)
        return too_fast(self.energy, self.flow, *states) is not None

    def _dithers(self) -> bool:
        """Whether the points still move though the energy is at rest: they jump to and fro over a minimum.

        A step of size h that moves them by δ should take ∫|δ|² dq / h off the energy, all clouds together.
        """
        step_size = getattr(self.flow, "step_size", None)
        if self.flow.stable_below is None or self.flow.stochastic or step_size is None:
            return False
        if len(self.energies) < 2:
            return False
        before, energy = self.energies[-2:]
        if abs(energy - before) > rounding(self.state.clouds, energy):
            return False
        here, there = self.state.clouds, _chunk(self.energy, self.flow, self.state, 1).clouds
        squares = jax.tree.map(
            lambda w, a, b: jnp.sum(w[:, None] * (a - b) ** 2), weights(here), points(here), points(there)
        )
        return float(sum(jax.tree.leaves(squares))) > 10 * rounding(self.state.clouds, energy) * float(
            step_size
        )

    def solution(self, status: Status) -> Solution:
        """Everything so far."""
        indices, times = np.asarray(self.steps), self.time(np.asarray(self.steps))
        stacked = jax.tree.map(lambda *values: np.stack(values), *self.saved[: len(self.steps)])
        times = None if times is None else np.asarray(times)
        return Solution(self.state.clouds, indices, times, stacked, status, self.state)

    def _arrays(self) -> dict[str, np.ndarray]:
        """What a checkpoint holds; the key is the caller's, and given again."""
        state = jax.tree.leaves(jax.device_get(self.state._replace(key=None)))
        saved = zip(*map(jax.tree.leaves, self.saved), strict=True)
        arrays = {f"state.{i}": leaf for i, leaf in enumerate(state)}
        arrays |= {f"saved.{i}": np.stack(leaves) for i, leaves in enumerate(saved)}
        return arrays | {"steps": np.asarray(self.steps), "energies": np.asarray(self.energies)}

    def restore(self, found: checkpoints.Found, num_steps: int, save_every: int) -> None:
        """Go back to where a checkpoint was written."""
        if found.count > num_steps or (found.count % save_every and found.count != num_steps):
            raise ValueError(
                f"num_steps must be >= {found.count}, the steps done, and those a multiple of save_every to "
                f"go further, got num_steps = {num_steps} and save_every = {save_every}"
            )
        leaves, tree = jax.tree.flatten(self.state._replace(key=None))
        arrays = [found.arrays[f"state.{i}"] for i in range(len(leaves))]
        # Only what was put on a place of its own goes there: the rest follows the clouds over a mesh.
        put = (
            jax.device_put(array, leaf.sharding) if leaf.committed else jnp.asarray(array)
            for array, leaf in zip(arrays, leaves, strict=True)
        )
        self.state = jax.tree.unflatten(tree, put)._replace(key=self.state.key)
        self.steps = found.arrays["steps"].tolist()
        self.energies = found.arrays["energies"].tolist()
        shapes, tree = jax.tree.flatten(jax.eval_shape(self._save, self.state.clouds))
        columns = [found.arrays[f"saved.{i}"] for i in range(len(shapes))]
        self.saved = [jax.tree.unflatten(tree, row) for row in zip(*columns, strict=True)]

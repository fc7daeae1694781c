"""`solve`: a loop on the host over the jitted steps of a flow, which saves, checks, reports and resumes."""

import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from ctflow._base.checks import check_numbers
from ctflow._base.pytree import named_leaves
from ctflow._base.resources import check_fits, seconds_in_words, tree_bytes
from ctflow.clouds import Clouds
from ctflow.energy import as_energy, check_energy, report
from ctflow.flows import Flow, State
from ctflow.partition.staged import proven
from ctflow.running import checks as run_checks
from ctflow.running.divergence import advice, has_diverged, is_late
from ctflow.running.evolve import prepared, shard
from ctflow.running.programs import programs_of
from ctflow.running.solution import Solution, Status, failure
from ctflow.storage import checkpoints
from ctflow.storage.identity import identity
from ctflow.storage.interrupts import Interrupted
from ctflow.storage.resuming import Session, resumable

_energy = partial(proven, jax.jit(lambda energy, clouds: energy(clouds)))


def solve(
    energy: Any,
    start: Clouds | State,
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

    On one device the result is the same bit for bit whatever `save_every` is, and however often the run was
    killed and resumed.

    Args:
        energy: an energy of `ct.energies`.
        start: a cloud [n, d], a `ct.Pair`, or a tuple of clouds; `ct.WeightedCloud` for unequal weights.
            The points' dtype is the run's. Or a `ct.State`, such as `sol.state`, to continue from; steps are
            then counted from its own.
        flow: a flow of `ct.flows`.
        num_steps: steps to take, >= 1.
        key: a JAX random key; only stochastic flows need one. A State brings its own.
        save_every: steps between two saves; a hundredth of the run by default.
        save: a jittable function of the clouds; the energy and its terms by default. `lambda clouds:
            clouds` saves everything.
        stop: a rule of `ct.stopping`, or any function from the energies at the saves so far, [k], to a
            bool; the run ends once it is true.
        checkpoint: a folder for this run's checkpoints, which no other run shares. One is written at every
            save unless writing would take more than a fortieth of the run's time. Ctrl-C and SIGTERM always
            leave one.
        resume: continue from the newest checkpoint in the folder, from the start if there is none. If
            `save_every` is given, `num_steps` may be larger than before.
        progress: show the expected memory and time, and a progress bar, on stderr.
        raise_on_failure: raise NonFiniteError or DivergedError instead of returning a Solution with that
            status.
        force: run even if the expected memory or disk space is more than there is.
        mesh: a `jax.sharding.Mesh` of one axis: every cloud and all sums over pairs are divided among its
            devices. Each cloud's size must be a multiple of the number of devices.

    Raises:
        ValueError: bad clouds, energy, flow, key, save or counts; an energy or velocity that is not finite at
            the start; a checkpoint that is damaged, in use, or of another run. Nothing has been run.
        MemoryError: the run does not fit into memory, or its checkpoints on the disk. Nothing has been run.
        NonFiniteError: a step came out NaN or infinite; the error's `solution` keeps the last good state.
        DivergedError: the step size is too large to settle where the clouds are or are going, or for a
            stochastic flow to reach its law; the message names a step size that would work.
        Interrupted: with a checkpoint, Ctrl-C or SIGTERM came. The steps up to the next save were finished
            and saved; they are the error's `solution`.
        KeyboardInterrupt: without a checkpoint, Ctrl-C came. The error's `solution` holds everything up to
            the last save.

    Examples:
        >>> import jax
        >>> import ctflow as ct
        >>> up = ct.potentials.Linear([0.0, 0.0, 1.0])
        >>> energy = ct.energies.unimodal(up, temperature=0.5)
        >>> start = ct.sphere.uniform(jax.random.key(0), n=100, d=3)
        >>> flow = ct.flows.GradientFlow(step_size=0.1)
        >>> sol = ct.solve(energy, start, flow, num_steps=200)
        >>> print(sol.status, sol.steps[-1])
        finished 200
        >>> bool(energy(sol.cloud) < energy(start))
        True
    """
    run_checks.check_host(energy, start, flow, key)
    energy = as_energy(energy)
    continued = run_checks.check_start(start, key)
    clouds = check_energy(energy, start if continued is None else continued.clouds)
    run_checks.check_flow(flow)
    check_numbers(flow)
    run_checks.check_steps("num_steps", num_steps)
    save_every = max(1, num_steps // 100) if save_every is None else save_every
    run_checks.check_steps("save_every", save_every)
    if stop is not None and not callable(stop):
        raise ValueError(f"stop must be a rule of ct.stopping or a function of energies, got {stop!r}")
    checkpoints.check_resume(checkpoint, resume)
    if checkpoint is not None and jax.process_count() > 1:
        raise ValueError("checkpoint is for runs of one process, this one has several")
    parts = {"energy": energy, "flow": flow, "start": clouds, "key": key, "save": save, "stop": stop}
    if continued is not None:
        parts |= {"start": (clouds, continued.step, continued.memory), "key": continued.key}
    if mesh is not None:
        clouds = shard(clouds, mesh)
    given = flow
    energy, flow = prepared(energy, flow, clouds, mesh, num_steps)
    state = flow.init(clouds, key if continued is None else continued.key)
    if continued is not None:
        state = run_checks.check_continued(flow, state, continued)
    if save is not None:
        run_checks.check_save(save, state.clouds)
    run = _Run(energy, flow, state, num_steps, save_every, save, stop, given.time)
    run.check_memory(force=force, told=progress)
    made_of = None
    if checkpoint is not None:
        made_of = identity(roots=(__name__,), save_every=save_every, **parts)
        made_of |= {"devices of the mesh": str(1 if mesh is None else mesh.size)}
    with resumable(checkpoint, made_of, resume=resume, unit="steps") as session:
        if session.found is not None:
            run.restore(session.found)
        else:
            run.begin()
        if run.left > 0:
            session.check_room(run.state_bytes() + run.history_bytes(), force=force, told=progress)
        try:
            solution = run.solution(run.go(session, progress))
        except (KeyboardInterrupt, Interrupted) as stopped:
            stopped.__dict__["solution"] = run.solution(Status.INTERRUPTED)
            raise
    if solution.status in (Status.NON_FINITE, Status.DIVERGED) and raise_on_failure:
        raise failure(solution, run.end, advice(run.programs, state.clouds, solution.clouds))
    return solution


class _Run:
    """A run under way: the state, and everything seen of it at the saves so far."""

    def __init__(
        self,
        energy: Any,
        flow: Flow,
        state: State,
        num_steps: int,
        save_every: int,
        save: Any,
        stop: Any,
        time: Any,
    ):
        self.energy, self.flow, self.state, self.stop, self.time = energy, flow, state, stop, time
        self.num_steps, self.save_every = num_steps, save_every
        self.first = int(state.step)
        self.end = self.first + num_steps
        self._reports = save is None
        self.programs = programs_of(energy, flow, state, reports=self._reports)
        self._save = self.programs.report if save is None else jax.jit(save)
        clouds = state.clouds
        self._shape = jax.eval_shape(report, energy, clouds) if save is None else jax.eval_shape(save, clouds)
        self.steps: list[int] = []
        self.saved: list[Any] = []
        self.energies: list[float] = []

    @property
    def left(self) -> int:
        """Steps that are still to be taken."""
        return self.end - self.steps[-1]

    def check_memory(self, *, force: bool, told: bool) -> None:
        """Predict the run's memory from its compiled program; raise MemoryError if there is not enough."""
        needed = self.programs.needed_bytes(self.state) + 2 * self.history_bytes()
        check_fits(f"this run of {self.num_steps} steps", needed, force=force, told=told)

    def history_bytes(self) -> int:
        """The size of all saves together."""
        return (self.num_steps // self.save_every + 2) * tree_bytes(self._shape)

    def state_bytes(self) -> int:
        """The size of the state; the key is not saved."""
        return tree_bytes(self.state._replace(key=None))

    def begin(self) -> None:
        """Save the start, and refuse one whose energy is not finite."""
        self.look()
        clouds = self.state.clouds
        report = self.saved[0] if self._reports else {"energy": _energy(self.energy, clouds)}
        run_checks.check_finite_start(self.energy, clouds, report=jax.device_get(report))
        if self._reports:
            run_checks.check_terms(self.energy, clouds, report)

    def look(self) -> None:
        """Take a save of the state."""
        report = jax.device_get(self._save(self.state.clouds))
        if self._reports:
            self.energies.append(float(report["energy"]))
        elif self.stop is not None:
            self.energies.append(float(_energy(self.energy, self.state.clouds)))
        self.saved.append(report)
        self.steps.append(int(self.state.step))  # last: Ctrl-C may come between any two lines

    def go(self, session: Session, progress: bool) -> Status:
        """Take steps until something ends the run."""
        done = self.steps[-1] - self.first
        with tqdm(total=self.num_steps, initial=done, disable=not progress, unit="step") as bar:
            if (status := self._verdict()) is None and progress and done == 0:
                self._tell_time()
            while status is None:
                target = min(self.steps[-1] + self.save_every, self.end)
                if not self._advance(target):
                    return Status.NON_FINITE
                self.look()
                bar.update(target - self.first - bar.n)
                status = self._verdict()
                session.save(target, self._arrays, last=status is not None)
                if status is None:
                    session.stop_if_asked(target, self.end)
        return status

    def _advance(self, target: int) -> bool:
        """Take the steps to `target`; False if one came out non-finite."""
        here = self.steps[-1]
        state = self.programs.advance(self.state, target - int(self.state.step))
        self.state = jax.block_until_ready(state)
        if not state.finite:
            if int(state.step) == self.first:  # perhaps the start itself has no finite velocity
                run_checks.check_finite_start(self.energy, state.clouds)
            return False
        if int(state.step) != target:
            raise ValueError(
                f"{type(self.flow).__name__}.step must count its steps, but they went from {here} to "
                f"{int(state.step)} instead of {target}; return "
                "state._replace(clouds=..., step=state.step + 1)"
            )
        return True

    def _tell_time(self) -> None:
        """Take the first step alone, and print how long all of them will take."""
        started = time.perf_counter()
        self.state = jax.block_until_ready(self.programs.advance(self.state, 1))
        seconds = self.num_steps * (time.perf_counter() - started)
        tqdm.write(f"{self.num_steps} steps, about {seconds_in_words(seconds)}", file=sys.stderr)

    def _verdict(self) -> Status | None:
        """How the run ends here, or None if it does not."""
        rule = self.stop is not None and bool(self.stop(np.asarray(self.energies)))
        ended = rule or self.left <= 0
        late = is_late(self.flow, self.state.clouds, self.left, self.save_every, self.num_steps)
        if has_diverged(self.programs, self.state, self.energies, ended=ended, late=late):
            return Status.DIVERGED
        if rule:
            return Status.CONVERGED
        return Status.FINISHED if ended else None

    def solution(self, status: Status) -> Solution:
        """Everything seen so far."""
        indices, times = np.asarray(self.steps), self.time(np.asarray(self.steps))
        stacked = jax.tree.map(lambda *values: np.stack(values), *self.saved[: len(self.steps)])
        times = None if times is None else np.asarray(times)
        return Solution(self.state.clouds, indices, times, stacked, status, self.state)

    def _arrays(self, _: int) -> dict[str, np.ndarray]:
        """What a checkpoint holds; the key is the caller's, and given again."""
        state = jax.tree.leaves(jax.device_get(self.state._replace(key=None)))
        saved = zip(*map(jax.tree.leaves, self.saved), strict=True)
        arrays = {f"state.{i}": leaf for i, leaf in enumerate(state)}
        arrays |= {f"saved.{i}": np.stack(leaves) for i, leaves in enumerate(saved)}
        # For those who look at the checkpoint; the run does not read it.
        names = {"saved": [name for name, _ in named_leaves(self._shape)]}
        arrays["names"] = np.frombuffer(json.dumps(names).encode(), np.uint8)
        return arrays | {"steps": np.asarray(self.steps), "energies": np.asarray(self.energies)}

    def restore(self, found: checkpoints.Found) -> None:
        """Go back to where a checkpoint was written."""
        done = found.count - self.first
        if done > self.num_steps or (done % self.save_every and done != self.num_steps):
            raise ValueError(
                f"num_steps must be >= {done}, the steps done before, which must be a multiple of save_every "
                f"to continue, got num_steps = {self.num_steps} and save_every = {self.save_every}"
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
        shapes, tree = jax.tree.flatten(self._shape)
        columns = [found.arrays[f"saved.{i}"] for i in range(len(shapes))]
        self.saved = [jax.tree.unflatten(tree, row) for row in zip(*columns, strict=True)]

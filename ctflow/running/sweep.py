"""Many runs as one program: seeds × temperatures × anything that is a leaf, traced once."""

import os
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from ctflow._base.checks import check_count
from ctflow._base.resources import check_fits, processors, program_bytes, seconds_in_words, tree_bytes
from ctflow.running.evolve import runs_of_sweep
from ctflow.storage import checkpoints
from ctflow.storage.identity import identity
from ctflow.storage.resuming import in_order, resumable


def sweep(
    run: Callable[[Any], Any],
    inputs: Any,
    *,
    batch_size: int | None = None,
    progress: str | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    force: bool = False,
) -> Any:
    """Apply a pure function to every run of a stack of inputs; traced and compiled once.

    A CPU runs one batch per core, and the runs of a batch one after the other (`lax.map`), so that their
    arrays stay in cache. An accelerator runs a whole batch together (`vmap`). On a CPU the result does not
    depend on the batch size.

    Args:
        run: a pure function of one run's inputs, e.g. around `ct.evolve`.
        inputs: a pytree of arrays that share a leading axis [runs].
        batch_size: runs per batch; 4 by default on a CPU, 256 elsewhere.
        progress: title of a progress bar on stderr, which also shows the expected memory and time; or None.
        checkpoint: a folder for the finished runs of this sweep alone, as in `ct.solve`.
        resume: take the finished runs from there, and run what is missing.
        force: run even if the expected memory or disk space is more than there is.

    Returns:
        What `run` returns, as NumPy arrays stacked along a leading axis [runs].

    Raises:
        ValueError: inputs without a common leading axis; a checkpoint that is damaged, in use, or of another
            sweep.
        MemoryError: the sweep does not fit into memory, or its checkpoints on the disk. Nothing has been run.
        Interrupted: with a checkpoint, Ctrl-C or SIGTERM came; batches that had begun were saved.
        KeyboardInterrupt: without a checkpoint, Ctrl-C came; no further batch was started.

    Examples:
        >>> import jax
        >>> import ctflow as ct
        >>> flow = ct.flows.GradientFlow(step_size=0.1)
        >>> start = flow.init(ct.sphere.uniform(jax.random.key(0), n=50, d=3))
        >>> up = ct.potentials.Linear([0.0, 0.0, 1.0])
        >>> def height_at_end(temperature):
        ...     energy = ct.energies.Potential(up, temperature=temperature)
        ...     return ct.evolve(energy, flow, start, num_steps=10).clouds[:, 2].mean()
        >>> ct.sweep(height_at_end, jax.numpy.array([0.5, 1.0, 2.0])).round(2)
        array([0.83, 0.48, 0.23], dtype=float32)
    """
    checkpoints.check_resume(checkpoint, resume)
    sizes = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(inputs)}
    if len(sizes) != 1 or sizes & {(), (0,)}:
        raise ValueError(f"inputs must share a leading axis of >= 1 runs, got leading shapes {sorted(sizes)}")
    ((runs,),) = sizes
    on_cpu = jax.default_backend() == "cpu"
    batch_size = (4 if on_cpu else 256) if batch_size is None else batch_size
    check_count("batch_size", batch_size)
    batch_size = min(batch_size, runs)
    workers = min(processors(), -(-runs // batch_size)) if on_cpu else 1

    def batch(first: int) -> Any:
        # The last batch repeats its last run, so that its shape, and so the program, is the same.
        index = np.minimum(np.arange(first, first + batch_size), runs - 1)
        return jax.tree.map(lambda leaf: jnp.asarray(leaf[index]), inputs)

    # Compiled here, since a thread does not inherit a precision set by a context manager.
    program = jax.jit((lambda stack: jax.lax.map(run, stack)) if on_cpu else jax.vmap(run))
    token = runs_of_sweep.set(runs)
    try:
        lowered = program.lower(batch(0))
    finally:
        runs_of_sweep.reset(token)
    tree = jax.tree.structure(lowered.out_info)
    made_of = None if checkpoint is None else identity(run=run, inputs=inputs)
    with resumable(checkpoint, made_of, resume=resume, unit="runs") as session:
        done, results = 0, []
        if session.found is not None:
            done = session.found.count
            results = [[session.found.arrays[f"result.{i}"] for i in range(tree.num_leaves)]]
        jobs = []
        if done < runs:
            compiled = lowered.compile()
            title = f"{progress}: {runs} runs" if progress else f"this sweep of {runs} runs"
            told = progress is not None
            check_fits(title, workers * program_bytes(compiled), force=force, told=told)
            size = tree_bytes(lowered.out_info) * runs // batch_size
            session.check_room(size, force=force, told=told)
            jobs = [
                (min(first + batch_size, runs), partial(_called, compiled, batch(first)))
                for first in range(done, runs, batch_size)
            ]
        started = time.perf_counter()
        with tqdm(total=runs, initial=done, desc=progress, disable=progress is None, unit="run") as bar:
            options = {"workers": workers, "ahead": workers + 1 if workers > 1 else 1}
            for leaves in in_order(jobs, session, lambda count: _named(results, count), **options):
                if progress and bar.n == bar.initial:
                    _tell(progress, time.perf_counter() - started, -(-len(jobs) // workers))
                results.append(leaves)
                done = min(done + batch_size, runs)
                bar.update(done - bar.n)
    return jax.tree.unflatten(tree, _named(results, runs).values())


def _called(compiled: Any, stack: Any) -> list[np.ndarray]:
    return jax.tree.leaves(jax.device_get(compiled(stack)))


def _named(results: list[list[np.ndarray]], count: int) -> dict[str, np.ndarray]:
    """The leaves of all batches' results, joined and cut to `count` runs."""
    columns = zip(*results, strict=True)
    return {f"result.{i}": np.concatenate(parts)[:count] for i, parts in enumerate(columns)}


def _tell(title: str, seconds: float, rounds: int) -> None:
    """Print how long the sweep will take, estimated from its first batch."""
    tqdm.write(f"{title}: about {seconds_in_words(seconds * rounds)}", file=sys.stderr)

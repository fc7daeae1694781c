"""Many runs as one program: seeds × temperatures × anything that is a leaf, traced once."""

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from ctflow.checks import check_count


def sweep(
    run: Callable[[Any], Any], inputs: Any, *, batch_size: int | None = None, progress: str | None = None
) -> Any:
    """Apply a pure function to every run of a stack of inputs; traced and compiled once.

    A CPU takes the runs of a batch one after the other (`lax.map`: their arrays stay in cache) and a
    batch a core at a time; an accelerator takes all runs of a batch together (`vmap`). On a CPU the
    result does not depend on the batch size.

    Args:
        run: a pure function of one run's inputs, e.g. around `ct.evolve`.
        inputs: a pytree of arrays that share a leading axis [runs].
        batch_size: runs a call, between two moves of the progress bar; 4 on a CPU, 256 elsewhere.
        progress: title of a progress bar, or None.

    Returns:
        What `run` returns, as NumPy arrays stacked along a leading axis [runs].
    """
    sizes = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(inputs)}
    if len(sizes) != 1 or sizes & {(), (0,)}:
        raise ValueError(f"inputs must share a leading axis of >= 1 runs, got leading shapes {sorted(sizes)}")
    ((runs,),) = sizes
    on_cpu = jax.default_backend() == "cpu"
    batch_size = (4 if on_cpu else 256) if batch_size is None else batch_size
    check_count("batch_size", batch_size)
    batch_size = min(batch_size, runs)
    workers = min(os.cpu_count() or 1, -(-runs // batch_size)) if on_cpu else 1

    def batch(first: int) -> Any:
        # The last batch repeats its last run, so that its shape, and so the program, is the same.
        index = np.minimum(np.arange(first, first + batch_size), runs - 1)
        return jax.tree.map(lambda leaf: jnp.asarray(leaf[index]), inputs)

    # Compiled here, since a thread does not inherit a precision set by a context manager.
    program = jax.jit((lambda stack: jax.lax.map(run, stack)) if on_cpu else jax.vmap(run))
    compiled = program.lower(batch(0)).compile()

    results: list[Any] = []
    waiting: deque[Future[Any]] = deque()
    with (
        tqdm(total=runs, desc=progress, disable=progress is None, unit="run") as bar,
        ThreadPoolExecutor(workers) as pool,
    ):
        for first in [*range(0, runs, batch_size), *[None] * workers]:
            if first is not None:
                waiting.append(pool.submit(lambda stack: jax.device_get(compiled(stack)), batch(first)))
            if waiting and (first is None or len(waiting) > workers):
                results.append(waiting.popleft().result())
                bar.update(min(batch_size, runs - bar.n))
    return jax.tree.map(lambda *parts: np.concatenate(parts)[:runs], *results)

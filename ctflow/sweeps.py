"""Many runs as one program: seeds × temperatures × anything that is a leaf, traced once."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from ctflow._pytree import check_count


def sweep(
    run: Callable[[Any], Any], inputs: Any, *, batch_size: int | None = None, progress: str | None = None
) -> Any:
    """Apply a pure function to every run of a stack of inputs; traced and compiled once.

    A CPU takes the runs of a batch one after the other (`lax.map`: their arrays stay in cache); an
    accelerator takes them together (`vmap`). The result does not depend on the batch size.

    Args:
        run: a pure function of one run's inputs, e.g. around `ct.evolve`.
        inputs: a pytree of arrays that share a leading axis [runs].
        batch_size: runs a call, between two looks of the progress bar; 8 on a CPU, 256 elsewhere.
        progress: title of a progress bar, or None.

    Returns:
        What `run` returns, as NumPy arrays stacked along a leading axis [runs].
    """
    sizes = {leaf.shape[0] for leaf in jax.tree.leaves(inputs)}
    if len(sizes) != 1 or 0 in sizes:
        raise ValueError(f"inputs must share a leading axis of >= 1 runs, got lengths {sorted(sizes)}")
    (runs,) = sizes
    on_cpu = jax.default_backend() == "cpu"
    batch_size = (8 if on_cpu else 256) if batch_size is None else batch_size
    check_count("batch_size", batch_size)
    batch_size = min(batch_size, runs)
    batched = jax.jit((lambda batch: jax.lax.map(run, batch)) if on_cpu else jax.vmap(run))

    results = []
    with tqdm(total=runs, desc=progress, disable=progress is None, unit="run") as bar:
        for first in range(0, runs, batch_size):
            # The last batch repeats its last run, so that its shape, and so the program, is the same.
            index = np.minimum(np.arange(first, first + batch_size), runs - 1)
            batch = jax.tree.map(lambda leaf, index=index: jnp.asarray(leaf[index]), inputs)
            results.append(jax.device_get(batched(batch)))
            bar.update(min(batch_size, runs - first))
    return jax.tree.map(lambda *parts: np.concatenate(parts)[:runs], *results)

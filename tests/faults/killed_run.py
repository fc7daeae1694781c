"""A run that is saved after every step, so that whoever kills it may hit a save: `killed_run.py FOLDER`."""

import sys
from pathlib import Path

import jax
import numpy as np

import ctflow as ct
from ctflow.storage import checkpoints


def run(folder: Path | None) -> ct.Solution:
    start = ct.sphere.uniform(jax.random.key(0), 400, 3, np.float64)
    energy = ct.energies.Potential(ct.potentials.Linear(np.eye(3)[0]), temperature=0.3)
    options = {} if folder is None else {"checkpoint": folder, "resume": True}
    return ct.solve(
        energy,
        start,
        ct.flows.Langevin(0.01),
        num_steps=300,
        key=jax.random.key(1),
        save_every=1,
        save=lambda cloud: cloud,
        force=True,  # on a disk that is too small, too
        **options,
    )


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    checkpoints._SHARE = float("inf")
    print("ready", flush=True)
    run(Path(sys.argv[1]))
    print("finished", flush=True)

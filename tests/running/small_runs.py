"""A small run of every flow, for the tests of resuming, identity, stopping and memory."""

import jax
import numpy as np
import optax

import ctflow as ct

KEY = jax.random.key(1)


START = ct.sphere.uniform(jax.random.key(0), 12, 3)


ENERGY = ct.energies.unimodal(ct.potentials.Linear(np.eye(3)[0]), temperature=0.3)


FLOWS = {
    "gradient": ct.flows.GradientFlow(0.02),
    "order 4": ct.flows.GradientFlow(0.02, order=4),
    "langevin": ct.flows.Langevin(0.02),
    "wfr": ct.flows.WassersteinFisherRao(0.02, ct.kernels.Exponential(0.3)),
    "adam": ct.flows.Descent(optax.adam(0.02)),
}


def solve(flow=FLOWS["gradient"], **options):
    return ct.solve(ENERGY, START, flow, **{"num_steps": 20, "save_every": 5, "key": KEY, **options})


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, (a.clouds, a.saved, a.steps), (b.clouds, b.saved, b.steps))

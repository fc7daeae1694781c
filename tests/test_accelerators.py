"""Every sum, energy and flow is lowered for accelerators, from whatever machine the tests run on."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import ctflow as ct
from ctflow import kernels
from tests.draws import uniform

PLATFORMS = ("cuda", "rocm", "tpu")
N = 24
PAIRED = ct.couplings.paired(N)
KERNEL = kernels.Exponential(np.float32(0.3))
PLANNED = ct.partition.Planned(KERNEL, degrees=(16, 24))
ENERGIES = {
    "unimodal": (
        1,
        ct.energies.unimodal(ct.potentials.Linear(jnp.eye(3)[0]), temperature=0.3, kernel=PLANNED),
    ),
    "cross entropy": (2, ct.energies.CrossEntropy(PLANNED)),
    "symmetric": (2, ct.energies.symmetric(PAIRED, temperature=0.3)),
    "divergence": (2, ct.energies.SymmetricDivergence(kernels.GeodesicGaussian(0.6))),
    "batch": (2, ct.energies.InBatch(temperature=0.3, negatives="all")),
    "sigmoid": (2, ct.energies.Sigmoid(PAIRED, temperature=0.3, bias=-2.0, negatives=7.0)),
    "distance": (2, ct.energies.EnergyDistance(softening=0.1)),
    "volume": (2, ct.energies.LogVolume(KERNEL)),
    "in harmonics": (2, ct.energies.CrossEntropy(PLANNED, direction="both", method="spectral")),
}
FLOWS = {
    "gradient": ct.flows.GradientFlow(0.01),
    "order 4": ct.flows.GradientFlow(0.01, order=4),
    "langevin": ct.flows.Langevin(0.01),
    "birth and death": ct.flows.WassersteinFisherRao(0.01, kernel=kernels.Exponential(0.2)),
    "descent": ct.flows.Descent(optax.adam(1e-2)),
}


def lowered(function, *arguments):
    """The module for all accelerators; a function of the host inside would be a call of Python."""
    text = jax.export.export(jax.jit(function), platforms=PLATFORMS)(*arguments).mlir_module()
    assert "callback" not in text
    return text


def cloud(seed):
    return uniform(seed, N, 3, np.float32)


@pytest.mark.parametrize("method", ["dense", "tiled", "spectral"])
def test_sums_their_gradients_and_second_derivatives(method):
    kernel = PLANNED if method == "spectral" else KERNEL

    def total(x, y):
        both = ct.partition.log_partitions(x, y, kernel, method=method, block_size=8)
        return sum(map(jnp.sum, both)) + jnp.sum(ct.log_partition(x, x, kernel, method=method, block_size=8))

    def derivatives(x, y):
        slope = jax.grad(total, (0, 1))
        return total(x, y), slope(x, y), jax.jvp(slope, (x, y), (y, x))

    assert "f32" in lowered(derivatives, cloud(0), cloud(1))


@pytest.mark.parametrize("name", ENERGIES)
def test_energies_and_their_velocities(name):
    count, energy = ENERGIES[name]
    clouds = cloud(0) if count == 1 else ct.Pair(cloud(0), cloud(1))
    lowered(lambda clouds: (energy(clouds), energy.terms(clouds), ct.velocity(energy, clouds)), clouds)


@pytest.mark.parametrize("name", FLOWS)
def test_evolve(name):
    energy = ct.energies.Potential(ct.potentials.Linear(jnp.eye(3)[0]), temperature=0.3)

    def run(start, seed):
        flow = FLOWS[name]
        state = flow.init(start, jax.random.key(seed))
        return ct.evolve(energy, flow, state, num_steps=4, save_every=2, save=energy)[0].clouds

    lowered(run, cloud(0), 0)


def test_a_function_of_the_host_is_found():
    def on_host(x):
        return jax.pure_callback(np.asarray, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    with pytest.raises((AssertionError, NotImplementedError)):  # the latter for several platforms at once
        lowered(on_host, cloud(0))

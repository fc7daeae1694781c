"""Sums and flows over several devices, and over several processes, against one device."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

import ctflow as ct

CASE = Path(__file__).with_name("sharded_case.py")
ROOT = CASE.parents[2]


def start(*arguments, devices=1):
    flags = f"--xla_force_host_platform_device_count={devices}"
    environment = os.environ | {"XLA_FLAGS": flags, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(
        [sys.executable, str(CASE), *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(*processes):
    outputs = [process.communicate(timeout=900)[0] for process in processes]
    assert all(process.returncode == 0 for process in processes), "\n".join(outputs)
    return outputs


@pytest.mark.long
@pytest.mark.parametrize("case", ["part", pytest.param("whole", marks=pytest.mark.slow)])
def test_eight_devices_give_what_one_gives(case):
    (output,) = finish(start(case, devices=8))
    assert "ok on 8 devices, 1 processes" in output


@pytest.mark.slow
def test_two_processes_give_what_one_gives():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    outputs = finish(*(start("whole", rank, 2, port) for rank in range(2)))
    assert all("ok on 2 devices, 2 processes" in output for output in outputs)


def test_each_of_eight_devices_has_at_most_a_seventh_of_the_pairs():
    for n in (1000, 1003, 65_536):
        kernel = ct.kernels.Exponential(0.1)
        plan = ct.partition.explain(n, n, 5, kernel, devices=8)
        assert plan.method == "ring"
        assert plan.pairs <= n * n / 7


def mesh_of(*shape):
    devices = np.array(jax.devices()[:1]).reshape(shape)
    return Mesh(devices, tuple("ab"[: len(shape)]))


def test_a_mesh_of_one_device_changes_nothing():
    x = ct.sphere.uniform(jax.random.key(0), 30, 4)
    kernel = ct.kernels.Exponential(0.3)
    ring = ct.partition.value_and_gradient(x, x, kernel, mesh=mesh_of(1))
    dense = ct.partition.value_and_gradient(x, x, kernel, method="dense")
    for a, b in zip(ring, dense, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)


def test_misuse_of_a_mesh_is_refused():
    x = ct.sphere.uniform(jax.random.key(0), 8, 3)
    kernel = ct.kernels.Exponential(0.3)
    with pytest.raises(ValueError, match="needs mesh="):
        ct.log_partition(x, x, kernel, method="ring")
    with pytest.raises(ValueError, match="mesh must have one axis"):
        ct.log_partition(x, x, kernel, mesh=mesh_of(1, 1))
    with pytest.raises(ValueError, match="one device; with a mesh use"):
        ct.log_partition(x, x, kernel, method="dense", mesh=mesh_of(1))
    energy = ct.energies.SmoothedEntropy(kernel)
    with pytest.raises(ValueError, match="mesh must have one axis"):
        ct.solve(energy, x, ct.flows.GradientFlow(0.1), num_steps=1, mesh=mesh_of(1, 1))

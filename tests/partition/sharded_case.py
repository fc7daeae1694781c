"""Run on every device and process there is: sharded sums against one device's. Not a test by itself.

Usage: python sharded_case.py whole|part [process_id num_processes port]
"""

import sys
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

if len(sys.argv) > 2:
    rank, count, port = map(int, sys.argv[2:])
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"localhost:{port}", count, rank)

import ctflow as ct
from ctflow.partition.exact import Settings

mesh = Mesh(np.array(jax.devices()), ("points",))
devices = mesh.size
cut = NamedSharding(mesh, PartitionSpec("points"))
whole = NamedSharding(mesh, PartitionSpec())


def compare(name, n, d, kernel, *, exclude_self=False, rtol=None, **one_device):
    """Value and every gradient, by the mesh and by one device, to 1e-6.

    Of the largest number; of a gradient in points, of the kernel's slope 1/√τ times the cotangent.
    """
    x = ct.sphere.uniform(jax.random.key(1), n, d, jnp.float32)
    y = x if exclude_self else ct.sphere.uniform(jax.random.key(2), n, d, jnp.float32)
    w = jax.random.uniform(jax.random.key(3), (n,), jnp.float32, 0.5, 1.5)
    arguments = jax.tree.map(np.asarray, (x, y, w / w.sum()))
    probe = np.linspace(-1, 2, n, dtype=np.float32)

    def total(x, y, w, kernel, probe, method, mesh):
        options = {
            "exclude_self": exclude_self,
            "rtol": rtol,
            "method": method,
            "mesh": mesh,
            "block_size": 64,
        }
        value = ct.log_partition(x, y, kernel, weights=w, **options)
        return jnp.sum(probe * value), value

    def run(method, mesh, place):
        kernels = ct.partition.Planned(kernel, degrees=one_device.get("degrees"))
        function = jax.jit(
            jax.value_and_grad(total, argnums=(0, 1, 2, 3), has_aux=True),
            static_argnums=(5, 6),
            out_shardings=whole if mesh is not None else None,
        )
        place = whole if n % devices and place is not None else place
        put = [jax.device_put(a, place) if place is not None else a for a in (*arguments, probe)]
        out = function(*put[:3], kernels, put[3], method, mesh)
        return [np.asarray(leaf.addressable_data(0)) for leaf in jax.tree.leaves(out)]

    exact = name == "ring" or rtol is not None  # a tolerance that nothing can prove
    sharded, single = run(name, mesh, cut), run("tiled" if exact else name, None, None)
    for a, b in zip(sharded, single, strict=True):
        slope = np.abs(probe).max() / np.sqrt(kernel.temperature) if a.ndim == 2 else 1
        off, scale = np.abs(a - b).max(), max(np.abs(b).max(), slope)
        assert off <= 1e-6 * scale, (name, d, exclude_self, a.shape, off, scale)


def compare_both(n, d, method, **options):
    """Both fields of two clouds, their gradients, and these along a direction, to 1e-5 of the largest."""
    keys = map(jax.random.key, range(4))
    x, y, u, v = (np.asarray(ct.sphere.uniform(key, n, d, jnp.float32)) for key in keys)

    def total(x, y, mesh):
        method_here = method if mesh is not None else "tiled" if method == "ring" else method
        options_here = {"mesh": mesh, "method": method_here, "block_size": 16, **options}
        a, b = ct.partition.log_partitions(x, y, kernel, **options_here)
        return jnp.mean(jnp.sin(a)) + jnp.mean(b)

    def run(mesh):
        def slopes(x, y):
            return jax.grad(total, (0, 1))(x, y, mesh)

        def curvatures(x, y, u, v):
            return jax.jvp(slopes, (x, y), (u, v))[1]

        placed = [a if mesh is None else jax.device_put(a, whole) for a in (x, y, u, v)]
        shardings = {"out_shardings": None if mesh is None else whole}
        found = jax.jit(slopes, **shardings)(*placed[:2]), jax.jit(curvatures, **shardings)(*placed)
        return [np.asarray(leaf.addressable_data(0)) for leaf in jax.tree.leaves(found)]

    for a, b in zip(run(mesh), run(None), strict=True):
        assert np.abs(a - b).max() <= 1e-5 * np.abs(b).max(), (method, n, d, a.shape)


kernel = ct.kernels.Exponential(jnp.float32(0.2))
compare_both(16 * devices + 3, 5, "ring")
compare("ring", 16 * devices + 3, 5, kernel, exclude_self=True)  # the last device's share is padded
compare("spectral", 80 * devices + 3, 3, kernel, exclude_self=True, degrees=(16, 24))
if sys.argv[1] == "whole":
    compare("ring", 16 * devices, 3, kernel)
    compare("spectral", 80 * devices, 2, kernel, degrees=(16, 24))
# Every device falls back to the ring.
compare("spectral", 80 * devices, 3, kernel, degrees=(16, 24), rtol=1e-30)

# A whole flow, sharded, against one device.
start = ct.Pair(
    *(np.asarray(ct.sphere.uniform(jax.random.key(i), 32 * devices, 3, jnp.float32)) for i in (5, 6))
)
energy = ct.energies.symmetric(ct.couplings.paired(32 * devices), temperature=0.5)


def flow(mesh, num_steps=4, **options):
    options |= {"num_steps": num_steps, "save_every": 2, "mesh": mesh}
    return ct.solve(energy, start, ct.flows.GradientFlow(0.05), **options)


sharded = flow(mesh)
np.testing.assert_allclose(sharded.saved["energy"], flow(None).saved["energy"], rtol=1e-5, atol=1e-5)
if sys.argv[1] == "whole":  # in harmonics: what is not proven shows in arrays that no process has whole
    ends = []
    for over, degrees in ((mesh, (16, 24)), (None, None)):
        smoothed = ct.partition.Planned(ct.kernels.Exponential(0.5), degrees=degrees, mesh=over)
        alone = ct.energies.SmoothedEntropy(smoothed)
        run = ct.solve(alone, start.x, ct.flows.GradientFlow(0.05), num_steps=3, save_every=1, mesh=over)
        ends.append(run.saved["energy"])
    np.testing.assert_allclose(*ends, rtol=1e-4, atol=1e-5)
if jax.process_count() == 1:  # one process's checkpoints: gone on with, the same bytes and places
    with tempfile.TemporaryDirectory() as folder:
        flow(mesh, 2, checkpoint=folder)
        resumed = flow(mesh, checkpoint=folder, resume=True)
    for a, b in zip(resumed.clouds, sharded.clouds, strict=True):
        assert a.sharding == b.sharding
        np.testing.assert_array_equal(a, b)
assert Settings(False, False, 8, mesh).axis == "points"
print(f"ok on {devices} devices, {jax.process_count()} processes")

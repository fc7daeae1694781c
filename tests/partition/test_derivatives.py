"""Derivatives of the sums beyond the gradient, the two fields of two clouds, and a cloud with itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ctflow as ct
from ctflow import kernels
from tests.draws import uniform

KERNELS = {
    "exponential": kernels.Exponential(0.3),
    "geodesic": kernels.GeodesicGaussian(0.5),
    "with a corner": kernels.as_kernel(lambda cosine: -jnp.arccos(cosine) / 0.5),
}
MIB = 2**20


def weights(n):
    w = np.linspace(1, 2, n)
    return jnp.asarray(w / w.sum())


def fields(which, kernel, **options):
    """A number made of the sums at x over y, at both, or at x over x, with unequal weights."""

    def mixed(value):
        return jnp.vdot(jnp.cos(jnp.arange(len(value), dtype=value.dtype)), value)

    def total(x, y):
        p, q = weights(len(x)), weights(len(y))
        if which == "both":
            return sum(map(mixed, ct.partition.log_partitions(x, y, kernel, weights=(p, q), **options)))
        y, q = (x, p) if which == "itself" else (y, q)
        return mixed(ct.log_partition(x, y, kernel, weights=q, **options))

    return total


def directions(x, y):
    return tuple(ct.sphere.project_tangent(z, uniform(i, *z.shape)) for i, z in ((7, x), (8, y)))


def along_a_path(slope, points, moves, step=1e-4):
    """The derivative of a function along geodesics, by differences of fourth order."""

    def at(k):
        return slope(*(ct.sphere.exp_map(z, k * step * v) for z, v in zip(points, moves, strict=True)))

    ends = [at(k) for k in (-2, -1, 1, 2)]
    return jax.tree.map(lambda a, b, c, d: (a - 8 * b + 8 * c - d) / (12 * step), *ends)


@pytest.mark.parametrize(
    ("method", "kernel", "which"),
    [
        ("dense", "exponential", "both"),
        ("tiled", "geodesic", "itself"),
        ("tiled", "with a corner", "both"),  # there rounding decides the slope between a point and itself
        *(
            pytest.param(*case, marks=pytest.mark.long)
            for case in (
                *(("dense", "exponential", which) for which in ("one", "itself")),
                *(("tiled", "geodesic", which) for which in ("one", "both")),
                ("spectral", "exponential", "one"),
            )
        ),
    ],
)
def test_second_derivatives_are_differences_of_first_ones(method, kernel, which):
    x, y = uniform(0, 37, 3), uniform(1, 26, 3)
    planned = ct.partition.Planned(KERNELS[kernel], degrees=(32, 32), only=0)  # without the fallbacks
    kernel = planned if method == "spectral" else KERNELS[kernel]
    total = fields(which, kernel, method=method, block_size=16)
    slope, moves = jax.jit(jax.grad(total, (0, 1))), directions(x, y)
    value, along = jax.jit(lambda *a: jax.jvp(total, a[:2], a[2:]))(x, y, *moves)
    found = jax.jit(lambda *a: jax.jvp(slope, a[:2], a[2:])[1])(x, y, *moves)
    for a, b in zip(found, along_a_path(slope, (x, y), moves), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * max(np.abs(b).max(), 1e-3))
    np.testing.assert_allclose(along, sum(map(jnp.vdot, slope(x, y), moves)), rtol=1e-9)
    np.testing.assert_allclose(value, total(x, y), rtol=1e-9)


@pytest.mark.parametrize(
    ("which", "exclude_self"),
    [
        ("both", True),
        ("itself", False),
        *(pytest.param(which, True, marks=pytest.mark.long) for which in ("one", "itself")),
        *(pytest.param(which, False, marks=pytest.mark.long) for which in ("one", "both")),
    ],
)
def test_reverse_over_reverse_agrees_with_the_matrix_in_every_argument(which, exclude_self):
    """In points, weights and temperature together: the gradient of the squared gradient."""
    x, y = uniform(0, 11, 3), uniform(1, 11, 3)

    def slopes(method):
        options = {"method": method, "exclude_self": exclude_self, "block_size": 4}

        def total(x, y, p, tau):
            kernel = kernels.Exponential(tau)
            if which == "both":
                a, b = ct.partition.log_partitions(x, y, kernel, weights=(p, p[::-1]), **options)
                return jnp.vdot(p, jnp.sin(a)) + jnp.mean(b)
            of_y = x if which == "itself" else y
            return jnp.vdot(p, jnp.sin(ct.log_partition(x, of_y, kernel, weights=p, **options)))

        def squared(*arguments):
            found = jax.grad(total, (0, 1, 2, 3))(*arguments)
            return sum(jnp.sum(leaf**2) for leaf in found)

        return jax.jit(jax.value_and_grad(squared, (0, 1, 2, 3)))(x, y, weights(11), 0.4)

    for a, b in zip(*map(jax.tree.leaves, (slopes("tiled"), slopes("dense"))), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9 * max(1, np.abs(b).max()))


@pytest.mark.parametrize("exclude_self", [False, True])
@pytest.mark.parametrize("method", ["dense", "tiled", "spectral"])
def test_both_fields_are_those_of_two_sums(method, exclude_self):
    n = 300  # above the size at which `dense` takes two matrices
    x, y, p, q = uniform(0, n, 3), uniform(1, n, 3), weights(n), weights(n)[::-1]
    kernel, options = kernels.Exponential(0.2), {"exclude_self": exclude_self, "method": method}
    found = ct.partition.log_partitions(x, y, kernel, weights=(p, q), block_size=64, **options)
    for a, (z, other, w) in zip(found, ((x, y, q), (y, x, p)), strict=True):
        np.testing.assert_allclose(a, ct.log_partition(z, other, kernel, weights=w, **options), rtol=1e-9)


@pytest.mark.long
def test_a_cloud_with_itself_is_a_cloud_with_its_copy_at_every_number_of_blocks():
    kernel, cotangent = kernels.Exponential(0.2), np.cos(np.arange(13))
    x = uniform(0, 13, 3)

    def total(copied, block_size):
        def of(x, z, w):
            y = x if copied is False else z
            value = ct.log_partition(x, y, kernel, weights=w, method="tiled", block_size=block_size)
            return jnp.vdot(cotangent, value)

        d_x, d_y, d_w = jax.grad(of, (0, 1, 2))(x, x, weights(13))
        return d_x + d_y, d_w

    wanted = total(True, 13)
    for block_size in (1, 2, 5, 7, 20):
        for a, b in zip(total(False, block_size), wanted, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-12)


PAIRED = ct.couplings.paired(9)
ENERGIES = {
    "unimodal": (1, ct.energies.unimodal(lambda z: z[0] ** 2, temperature=0.3)),
    "without the point itself": (1, ct.energies.SmoothedEntropy(kernels.Exponential(0.3), exclude_self=True)),
    "symmetric": (2, ct.energies.symmetric(PAIRED, temperature=0.3)),
    "directional": (2, ct.energies.directional(PAIRED, temperature=0.3, direction="21")),
    "divergence": (2, ct.energies.SymmetricDivergence(kernels.GeodesicGaussian(0.6))),
}


@pytest.mark.parametrize("name", ENERGIES)
def test_the_hessian_of_every_energy_is_the_derivative_of_its_gradient(name):
    count, energy = ENERGIES[name]
    z = tuple(uniform(i, 9, 3) for i in range(count))
    moves = tuple(ct.sphere.project_tangent(a, uniform(i + 5, 9, 3)) for i, a in enumerate(z))

    def value(*z):
        return energy(ct.Pair(*z) if count == 2 else z[0])

    slope = jax.jit(jax.grad(value, tuple(range(count))))
    columns = jax.jit(jax.hessian(value, tuple(range(count))))(*z)
    product = [
        sum(jnp.tensordot(block, v, 2) for block, v in zip(row, moves, strict=True)) for row in columns
    ]
    for a, b in zip(product, along_a_path(slope, z, moves), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * max(np.abs(b).max(), 1e-3))


def test_a_hessian_vector_product_needs_no_matrix():
    """At n = 16,384 in d = 8 the matrix alone would be 1 GiB."""
    z = jax.ShapeDtypeStruct((16_384, 8), jnp.float32)
    for energy in (
        ENERGIES["unimodal"][1],
        ct.energies.SmoothedEntropy(kernels.Exponential(jnp.float32(0.1))),
    ):
        program = jax.jit(lambda z, v, energy=energy: jax.jvp(jax.grad(energy), (z,), (v,))[1])
        memory = program.lower(z, z).compile().memory_analysis()
        assert memory.temp_size_in_bytes < 40 * MIB


def test_a_flow_is_differentiated_in_both_modes():
    """`evolve` with harmonics: the derivative in the step size, forwards, backwards and by differences."""
    start, kernel = uniform(0, 40, 3), ct.partition.Planned(kernels.Exponential(0.3), degrees=(24, 24))
    energy = ct.energies.unimodal(lambda z: z[0], temperature=0.3, kernel=kernel)

    def end(step_size, start):
        flow = ct.flows.GradientFlow(step_size)
        return energy(ct.evolve(energy, flow, flow.init(start), num_steps=3).clouds)

    forwards = jax.jit(lambda h: jax.jvp(lambda h: end(h, start), (h,), (jnp.ones_like(h),)))
    backwards = jax.jit(jax.value_and_grad(end))
    value, rate = forwards(jnp.asarray(0.05))
    np.testing.assert_allclose(backwards(0.05, start), (value, rate), rtol=1e-9)
    ends = [backwards(0.05 + h, start)[0] for h in (-1e-4, 1e-4)]
    np.testing.assert_allclose(rate, (ends[1] - ends[0]) / 2e-4, rtol=1e-5)


@pytest.mark.parametrize("method", ["tiled", pytest.param("spectral", marks=pytest.mark.long)])
def test_jacobians_forwards_and_backwards_agree(method):
    """The reverse one batches the transpose of the sum over the rows of its value."""
    x, y = uniform(0, 5, 3), uniform(1, 12, 3)
    planned = ct.partition.Planned(kernels.Exponential(0.3), degrees=(24, 24), only=0)

    def value(y):
        kernel = planned if method == "spectral" else KERNELS["exponential"]
        return ct.log_partition(x, y, kernel, method=method, block_size=4)

    forwards, backwards = jax.jit(jax.jacfwd(value))(y), jax.jit(jax.jacrev(value))(y)
    np.testing.assert_allclose(forwards, backwards, atol=1e-8)

import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy.special import logsumexp

import ctflow as ct
from ctflow import kernels
from ctflow.partition.scaling import is_bounded
from tests.draws import uniform

KERNELS = [kernels.Exponential(0.1), kernels.GeodesicGaussian(0.3), kernels.ChordalGaussian(0.2)]
MIB = 2**20


def clouds(n, m, d, dtype=jnp.float64):
    w = np.random.default_rng(3).random(m)
    return uniform(1, n, d, dtype), uniform(2, m, d, dtype), jnp.asarray(w / w.sum(), dtype)


@pytest.mark.parametrize("method", ["dense", "tiled"])
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: type(k).__name__)
def test_value_is_the_sum_it_says(method, kernel):
    x, y, w = clouds(40, 23, 4)
    scores = np.asarray(kernel.log_kernel(jnp.asarray(np.asarray(x) @ np.asarray(y).T)))
    got = ct.log_partition(x, y, kernel, weights=w, method=method, block_size=7)
    np.testing.assert_allclose(got, logsumexp(scores, b=np.asarray(w)[None], axis=1), rtol=1e-12, atol=1e-12)
    equal = ct.log_partition(x, y, kernel, method=method, block_size=7)
    np.testing.assert_allclose(equal, logsumexp(scores, axis=1) - np.log(23), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: type(k).__name__)
@pytest.mark.parametrize(
    ("n", "block", "d", "exclude_self"),
    [(2, 1, 2, True), (13, 5, 3, False), (13, 5, 3, True), (16, 16, 6, False), (30, 50, 4, True)],
)
def test_tiled_equals_dense_in_value_and_every_gradient(kernel, exclude_self, n, block, d):
    x, y, w = clouds(n, n, d)
    w = w.at[0].set(0.0)
    w = w / w.sum()
    probe = jnp.linspace(-1, 2, n)

    def f(x, y, w, kernel, method):
        options = {"exclude_self": exclude_self, "method": method, "block_size": block}
        return probe @ ct.log_partition(x, y, kernel, weights=w, **options)

    if exclude_self and n == 2:  # the other point has all the weight, nothing is left
        w = jnp.array([0.5, 0.5])
    both = jax.jit(jax.value_and_grad(f, argnums=(0, 1, 2, 3)), static_argnums=4)
    dense, tiled = (both(x, y, w, kernel, method) for method in ("dense", "tiled"))
    for a, b in zip(jax.tree.leaves(dense), jax.tree.leaves(tiled), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


def test_exclude_self_averages_over_the_others():
    x, _, _ = clouds(9, 9, 3)
    kernel = kernels.Exponential(0.5)
    scores = np.asarray(x @ x.T) / 0.5
    np.fill_diagonal(scores, -np.inf)
    for method in ("dense", "tiled"):
        got = ct.log_partition(x, x, kernel, exclude_self=True, method=method, block_size=4)
        np.testing.assert_allclose(got, logsumexp(scores, axis=1) - np.log(8), rtol=1e-12)


@pytest.mark.parametrize("method", ["dense", "tiled"])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_a_point_far_from_all_others_at_tiny_temperature(method, dtype):
    x = jnp.array([[1.0, 0, 0]], dtype)
    y = jnp.array([[-1.0, 0, 0], [0, 1, 0]], dtype)
    kernel = kernels.Exponential(1e-3)
    value = ct.log_partition(x, y, kernel, method=method)
    np.testing.assert_allclose(value, np.log(0.5), rtol=1e-5)
    assert value.dtype == dtype
    # Alone with its antipode, far below what a fixed shift could represent:
    np.testing.assert_allclose(ct.log_partition(x, y[:1], kernel, method=method), -1000, rtol=1e-6)


@pytest.mark.parametrize("method", ["dense", "tiled"])
def test_works_under_jit_vmap_scan_and_map(method):
    x, y, _ = clouds(6, 5, 3)
    taus = jnp.array([0.1, 0.5, 2.0])

    def f(tau):
        total = ct.log_partition(x, y, kernels.Exponential(tau), method=method, block_size=4).sum()
        return total

    loop = jnp.stack([jax.grad(f)(tau) for tau in taus])
    np.testing.assert_allclose(jax.jit(jax.vmap(jax.grad(f)))(taus), loop, rtol=1e-12)
    np.testing.assert_allclose(jax.lax.map(jax.grad(f), taus), loop, rtol=1e-12)


def test_gradient_matches_finite_differences():
    x, y, w = clouds(5, 6, 3)
    for method in ("dense", "tiled"):
        check_grads(
            jax.jit(  # gradients are tangential: steps off the sphere are brought back to it
                lambda x, y, w, tau, method=method: ct.log_partition(
                    ct.sphere.normalize(x),
                    ct.sphere.normalize(y),
                    kernels.Exponential(tau),
                    weights=w,
                    method=method,
                    block_size=4,
                )
            ),
            (x, y, w, 0.3),
            order=1,
            modes=["rev"],
            atol=1e-6,
            rtol=1e-6,
            eps=1e-6,
        )


def test_tiled_gradient_fits_in_150_mib_at_65536_points():
    points = jax.ShapeDtypeStruct((65_536, 3), jnp.float32)

    def total(x, y):
        return ct.log_partition(x, y, kernels.Exponential(jnp.float32(0.1)), method="tiled").sum()

    compiled = jax.jit(jax.grad(total, argnums=(0, 1))).lower(points, points).compile()
    memory = compiled.memory_analysis()
    assert memory.temp_size_in_bytes + memory.output_size_in_bytes < 150 * MIB


@pytest.mark.slow
def test_tiled_gradient_peaks_under_150_mib_when_run():
    script = """
        import resource, jax, jax.numpy as jnp, ctflow as ct
        def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        def total(x): return ct.log_partition(x, x, ct.kernels.Exponential(0.1), method="tiled").sum()
        gradient = jax.jit(jax.grad(total))
        gradient(ct.sphere.uniform(jax.random.key(0), 2048, 3)).block_until_ready()
        x = ct.sphere.uniform(jax.random.key(0), 65_536, 3).block_until_ready()
        before = peak()
        assert bool(jnp.isfinite(gradient(x)).all())
        print(peak() - before)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) * 1024 < 150 * MIB


def test_auto_takes_dense_for_small_sums_and_tiles_for_large():
    kernel = kernels.Exponential(0.1)
    for n, d, method in (
        (400, 3, "dense"),
        (1000, 512, "dense"),
        (10_000, 512, "tiled"),
        (65_536, 4, "tiled"),
        (10**5, 512, "tiled"),
    ):
        assert ct.partition.explain(n, n, d, kernel).method == method


@pytest.mark.parametrize("method", ["dense", "tiled"])
def test_a_weightless_point_far_above_the_others_changes_nothing(method):
    z = jnp.array([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0]], jnp.float32)
    w = jnp.array([0.0, 0.5, 0.5], jnp.float32)
    kernel = kernels.Exponential(0.01)

    def total(z):
        return ct.log_partition(z, z, kernel, weights=w, method=method)

    np.testing.assert_allclose(total(z), [np.log(0.5), 100 + np.log(0.5), 100 + np.log(0.5)], rtol=1e-5)
    assert jnp.isfinite(jax.jacrev(total)(z)).all()


@pytest.mark.parametrize("parameter", [1, np.float64(0.5), np.float32(0.5), jnp.float64(0.5)])
@pytest.mark.parametrize("method", ["dense", "tiled"])
def test_parameters_and_weights_of_any_precision_leave_the_points_alone(method, parameter):
    x, y, w = clouds(6, 5, 3, jnp.float32)

    def total(x):
        options = {"weights": np.asarray(w, np.float64) / float(w.sum()), "method": method}
        return ct.log_partition(x, y, kernels.Exponential(parameter), **options).sum()

    value, gradient = jax.value_and_grad(total)(x)
    assert value.dtype == gradient.dtype == jnp.float32


def both_fields(x, y, kernel, **options):
    at_x, at_y = ct.partition.log_partitions(x, y, kernel, **options)
    return jnp.linspace(-1, 2, len(at_x)) @ at_x + jnp.linspace(3, 1, len(at_y)) @ at_y


@pytest.mark.parametrize(
    ("kernel", "method", "d", "weighted"),
    [
        (KERNELS[0], "dense", 3, True),
        (KERNELS[1], "dense", 6, True),  # points of d = 6 are stored in another way
        (KERNELS[2], "dense", 6, False),
        (KERNELS[0], "tiled", 3, True),
        (KERNELS[1], "tiled", 3, False),
    ],
)
def test_one_exponential_per_pair_gives_the_same_sums_and_gradients(kernel, method, d, weighted):
    """Against the sums of a kernel whose range is not known, which subtract the largest score of each row."""
    options = {"method": method, "block_size": 16}
    x, y, q = clouds(40, 23, d)
    weights = (jnp.full(40, 1 / 40), q.at[0].set(0.0) / (1 - q[0])) if weighted else (None, None)
    found = [
        jax.value_and_grad(
            lambda x, y, k, b=bounded: both_fields(
                x, y, ct.partition.Planned(k, bounded=b), weights=weights, **options
            ),
            argnums=(0, 1, 2),
        )(x, y, kernel)
        for bounded in (True, False)
    ]
    for a, b in zip(*map(jax.tree.leaves, found), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(
    ("exclude_self", "method"),
    [
        (True, "dense"),
        *(pytest.param(False, method, marks=pytest.mark.long) for method in ("dense", "tiled")),
    ],
)
def test_sums_just_within_the_range_keep_their_digits_to_the_third_derivative(exclude_self, method):
    """In float32 at the lowest temperature that counts as bounded, for a point far from all others."""
    kernel = kernels.Exponential(0.0251)
    z = jnp.concatenate([ct.sphere.normalize(jnp.array([[0.0, 0.01, -1.0]])), near_the_pole(30)])

    def third(dtype, bounded):
        planned = ct.partition.Planned(kernels.Exponential(dtype(0.0251)), bounded=bounded)
        x, move = z.astype(dtype), jnp.roll(z, 1, axis=0).astype(dtype)

        def value(t):
            moved = ct.sphere.normalize(x + t * move)
            options = {"method": method, "block_size": 8, "exclude_self": exclude_self}
            return ct.log_partition(moved, moved, planned, **options)

        along = [value]
        for _ in range(3):
            along.append(lambda t, f=along[-1]: jax.jvp(f, (t,), (jnp.ones_like(t),))[1])
        return [f(jnp.zeros((), dtype)) for f in along]

    assert is_bounded(kernel, jnp.float32)
    assert not is_bounded(kernels.Exponential(0.0249), jnp.float32)
    for found, exact in zip(third(jnp.float32, True), third(jnp.float64, False), strict=True):
        np.testing.assert_allclose(found, exact, rtol=2e-4, atol=2e-4 * float(jnp.abs(exact).max()))


def near_the_pole(n):
    return ct.sphere.normalize(jnp.array([[0.0, 0.0, 1.0]]) + 0.1 * uniform(4, n, 3))


def test_a_temperature_below_the_planned_range_gives_nan():
    x, y, _ = clouds(9, 8, 3, jnp.float32)

    @jax.jit
    def at(tau):
        return ct.log_partition(x, y, ct.partition.Planned(kernels.Exponential(tau), bounded=True))

    assert jnp.isfinite(at(jnp.float32(0.03))).all()
    assert jnp.isnan(at(jnp.float32(0.02))).all()


def test_only_kernels_known_to_be_monotone_are_bounded():
    assert is_bounded(kernels.GeodesicGaussian(0.5), jnp.float32)
    assert not is_bounded(kernels.Function(lambda cosine: cosine), jnp.float32)
    assert not jax.jit(lambda tau: jnp.asarray(is_bounded(kernels.Exponential(tau), float)))(0.5)

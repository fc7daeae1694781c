"""What is decided before a sum runs: method, degree, memory, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import special

import ctflow as ct
from ctflow import kernels
from ctflow._base.resources import in_words
from ctflow.partition import plan, staged
from ctflow.partition.plan import SPECTRAL_POINTS, is_curved
from ctflow.partition.scaling import is_bounded
from ctflow.running import evolve, programs
from tests.draws import uniform

KERNEL = kernels.Exponential(0.05)
MIB = 2**20


@pytest.mark.parametrize(
    ("n", "d", "kernel", "dtype", "method"),
    [
        (10_000, 3, KERNEL, "float32", "spectral"),
        (10_000, 2, KERNEL, "float64", "spectral"),
        (SPECTRAL_POINTS - 1, 3, KERNEL, "float32", "dense"),
        (10_000, 3, kernels.Exponential(1e-3), "float32", "tiled"),
        (10_000, 3, kernels.GeodesicGaussian(0.3), "float32", "spectral"),
        (10_000, 3, kernels.GeodesicGaussian(1.5), "float64", "tiled"),
        (10_000, 4, KERNEL, "float32", "tiled"),
        (1024, 64, KERNEL, "float32", "dense"),
        (1025, 64, KERNEL, "float32", "tiled"),  # on a CPU
        (100_000, 64, KERNEL, "float32", "tiled"),
        ((100_000, 500), 4, KERNEL, "float32", "tiled"),  # three times as fast as dense on a CPU
    ],
)
def test_auto_takes_what_is_fastest_and_fits(n, d, kernel, dtype, method):
    n, m = n if isinstance(n, tuple) else (n, n)
    assert ct.partition.explain(n, m, d, kernel, dtype).method == method


def test_harmonics_are_taken_where_they_are_worth_their_compilation():
    def methods(n, evaluations):
        return [ct.partition.explain(n, n, 3, KERNEL, evaluations=k).method for k in evaluations]

    assert methods(510, (200, 100_000)) == ["dense", "spectral"]
    assert methods(5000, (1, 200)) == ["tiled", "spectral"]
    assert methods(100_000, (1,)) == ["spectral"]
    # What JAX traces will be called often.
    z = jax.ShapeDtypeStruct((800, 3), jnp.float32)
    traced = jax.make_jaxpr(lambda x, y: ct.log_partition(x, y, KERNEL))(z, z)
    assert max(np.prod(shape, dtype=int) for shape in shapes(traced.jaxpr)) < 800 * 800  # no matrix
    # A run counts its steps, and a sweep those of all its runs.
    kernels_of = []

    class Seen(ct.flows.GradientFlow):
        def step(self, energy, state):
            kernels_of.append(energy.kernel)
            return super().step(energy, state)

    energy, flow = ct.energies.SmoothedEntropy(kernels.Exponential(0.1)), Seen(0.01)
    start = flow.init(ct.sphere.uniform(jax.random.key(0), 1000, 3))
    for num_steps, runs, spectral in ((10, None, False), (100_000, None, True), (10, 10_000, True)):
        jax.clear_caches()
        token = evolve.runs_of_sweep.set(runs or 1)
        jax.eval_shape(lambda s, k=num_steps: ct.evolve(energy, flow, s, num_steps=k), start)
        evolve.runs_of_sweep.reset(token)
        assert (kernels_of[-1].degrees is not None) is spectral


def test_degrees_grow_as_the_kernel_sharpens():
    degrees = [
        ct.partition.explain(10_000, 10_000, 3, kernels.Exponential(t)).degree for t in (1, 0.1, 0.05, 0.01)
    ]
    assert degrees == sorted(degrees)
    assert degrees[0] == 8
    assert degrees[-1] <= 80
    plans = [ct.partition.explain(10_000, 10_000, 3, kernels.Exponential(t)) for t in (1, 0.1, 0.01)]
    errors = [explained.error_bound for explained in plans]
    assert max(errors) <= 1e-5


def test_what_is_explained_can_be_read():
    text = str(ct.partition.explain(10**6, 10**6, 3, KERNEL))
    for words in ("spectral", "1e+12", "MiB", "degree        32", "float64 harmonics, then tiled"):
        assert words in text
    assert "degree" not in str(ct.partition.explain(100, 100, 5, KERNEL))


def test_a_request_that_cannot_fit_is_refused_with_the_numbers():
    z = jax.ShapeDtypeStruct((3_000_000, 8), jnp.float32)
    with pytest.raises(MemoryError, match=r"needs about .* TiB for 3000000 x 3000000 pairs"):
        jax.eval_shape(lambda z: ct.log_partition(z, z, KERNEL, method="dense"), z)


@pytest.mark.parametrize("kernel", [kernels.Exponential(0.01), kernels.GeodesicGaussian(0.5)])
@pytest.mark.parametrize("which", ["one", "both"])
def test_predicted_memory_of_a_matrix_knows_the_kernel(which, kernel):
    """One whose range needs two exponentials per pair, and one with several steps from cosine to log κ."""
    z = jax.ShapeDtypeStruct((3000, 3), jnp.float32)

    def total(x, y):
        if which == "both":
            return sum(map(jnp.sum, ct.partition.log_partitions(x, y, kernel, method="dense")))
        return ct.log_partition(x, y, kernel, method="dense").sum()

    known = {"bounded": is_bounded(kernel, jnp.float32), "curved": is_curved(kernel, jnp.float32)}
    assert set(known.values()) == {isinstance(kernel, kernels.GeodesicGaussian)}
    assert 1 / 1.5 <= taken(total, z) / foretold("dense", 3000, 3, which, **known) <= 1.5


@pytest.mark.parametrize("which", ["one", "both", "itself"])
@pytest.mark.parametrize(
    ("method", "n", "d"), [("dense", 3000, 3), ("tiled", 100_000, 3), ("tiled", 50_000, 512)]
)
def test_predicted_memory_is_what_the_compiler_takes(method, n, d, which):
    """Within a factor of 1.5, for one field, both, and a cloud with itself."""
    z = jax.ShapeDtypeStruct((n, d), jnp.float32)

    def total(x, y):
        if which == "both":
            return sum(map(jnp.sum, ct.partition.log_partitions(x, y, KERNEL, method=method)))
        return ct.log_partition(x, x if which == "itself" else y, KERNEL, method=method).sum()

    bounded = method == "dense"
    assert 1 / 1.5 <= taken(total, z) / foretold(method, n, d, which, bounded=bounded) <= 1.5


@pytest.mark.long
@pytest.mark.parametrize(("d", "degree"), [(2, 64), (3, 32)])
def test_predicted_memory_of_harmonics_is_what_the_compiler_takes(d, degree):
    z, planned = (
        jax.ShapeDtypeStruct((10**6, d), jnp.float32),
        ct.partition.Planned(KERNEL, degrees=(degree,) * 2),
    )
    field = taken(lambda x, y: ct.log_partition(x, y, planned, method="spectral").sum(), z)
    assert 1 / 1.5 <= field / foretold("spectral", 10**6, d, "one") <= 1.5
    means = taken(lambda x, y: sum(ct.partition.mean_log_partitions(x, y, planned, method="spectral")), z)
    assert 1 / 1.5 <= means / foretold("spectral", 10**6, d, "both") <= 1.5


def taken(total, z):
    """Bytes of the compiled value and gradients, besides the clouds."""
    compiled = jax.jit(jax.value_and_grad(total, argnums=(0, 1))).lower(z, z).compile()
    memory = compiled.memory_analysis()
    return memory.temp_size_in_bytes + memory.output_size_in_bytes


def foretold(method, n, d, which, **options):
    options |= {"block_size": plan.BLOCK_SIZE, "degree": 64, "devices": 1}
    return plan.needed_bytes(
        method, n, n, d, jnp.float32, columns=which == "both", itself=which == "itself", **options
    )


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "n must be an integer >= 1, got 0"),
        ({"d": 1}, "d must be an integer >= 2, got 1"),
        ({"method": "fast"}, "method must be one of"),
        ({"dtype": "float16"}, "dtype must be one of float32, float64; got 'float16'"),
        ({"method": "spectral", "d": 5}, "for the circle and S², d = 2 or 3, got d = 5"),
        ({"devices": 0}, "devices must be an integer >= 1"),
        ({"kernel": 0.5}, "kernel must be a kernel of ct.kernels, got float"),
    ],
)
def test_bad_questions_are_refused(options, message):
    arguments = {"n": 10, "m": 10, "d": 3, "kernel": KERNEL} | options
    with pytest.raises(ValueError, match=message):
        ct.partition.explain(**arguments)


def test_a_traced_temperature_needs_a_plan_for_harmonics():
    x = ct.sphere.uniform(jax.random.key(0), 600, 3)
    with pytest.raises(ValueError, match="wrap it as"):
        jax.jit(lambda t: ct.log_partition(x, x, kernels.Exponential(t), method="spectral"))(0.5)
    with pytest.raises(ValueError, match="degrees must be multiples of 8"):
        ct.partition.Planned(KERNEL, degrees=(10, 20))
    with pytest.raises(ValueError, match="only must be an integer >= 0, got -1"):
        ct.partition.Planned(KERNEL, degrees=(8, 16), only=-1)
    with pytest.raises(ValueError, match="rtol must be finite and > 0"):
        ct.log_partition(x, x, KERNEL, rtol=-1.0)


def test_solve_plans_its_sums_and_a_planned_energy_is_the_same_energy():
    x = ct.sphere.uniform(jax.random.key(0), 600, 3)
    energy = ct.energies.unimodal(ct.potentials.Linear(np.eye(3)[0]), temperature=0.3)
    planned = ct.partition.planned(energy, 600, 3, x.dtype, evaluations=10**6)
    np.testing.assert_allclose(jax.jit(lambda e: e(x))(planned), energy(x), rtol=1e-9)
    text = jax.jit(lambda e: e(x)).lower(planned).as_text()
    assert "600x600" not in text


def test_a_step_without_a_proof_is_taken_again_and_the_run_goes_on(monkeypatch):
    """As the points gather, float32 is not proven from the second step on for a while; float64 is."""
    x = uniform(0, 80, 3, np.float32)
    taken, advance = [], programs._advance

    def recorded(energy, flow, state, count):
        after = advance(energy, flow, state, count)
        taken.append((energy.part.kernel.only, int(after.step) - int(state.step)))
        return after

    recorded.lower = advance.lower
    monkeypatch.setattr(programs, "_advance", recorded)

    def run(method, save_every):
        kernel = ct.partition.Planned(kernels.Exponential(np.float32(0.3)), degrees=(16, 24), rtol=3e-6)
        smoothed = ct.energies.SmoothedEntropy(kernel, method=method)
        flow = ct.flows.Descent(optax.sgd(-0.4))
        taken.clear()
        return ct.solve(80.0 * smoothed, x, flow, num_steps=24, save_every=save_every, save=jnp.mean)

    found = run("spectral", 8)
    assert taken[0][0] == 0
    assert 0 < taken[0][1] < 24
    assert sum(count for only, count in taken if only == 1) > 0
    assert sum(count for _, count in taken) == 24 == found.step
    np.testing.assert_array_equal(run("spectral", 5).clouds, found.clouds)
    np.testing.assert_allclose(found.clouds, run("tiled", 8).clouds, atol=1e-4)


def test_only_sums_without_a_choice_of_attempt_are_staged():
    chosen, free, exact = (
        ct.partition.Planned(KERNEL, degrees=degrees, only=only)
        for degrees, only in (((8, 16), 1), ((8, 16), None), (None, None))
    )
    found = staged.stages((chosen, free, exact), np.dtype(np.float32))
    assert [[kernel.only for kernel in kernels] for kernels in found] == [
        [1, number, None] for number in (0, 1, 2)
    ]
    assert staged.stages((chosen, exact), np.dtype(np.float32)) == [(chosen, exact)]


def test_bytes_in_words():
    assert [in_words(b) for b in (12, 2048, 3 * 2**30, 2**41)] == ["12 B", "2 KiB", "3 GiB", "2 TiB"]


ENERGIES = {
    "smoothed entropy": (1, lambda k, pi: ct.energies.SmoothedEntropy(k)),
    "unimodal": (
        1,
        lambda k, pi: ct.energies.unimodal(lambda z: z[0], temperature=0.1, kernel=k),
    ),
    "cross entropy": (2, lambda k, pi: ct.energies.CrossEntropy(k)),
    "divergence": (2, lambda k, pi: ct.energies.SymmetricDivergence(k)),
    "directional": (2, lambda k, pi: ct.energies.directional(pi, temperature=0.1, kernel=k)),
    "symmetric": (2, lambda k, pi: ct.energies.symmetric(pi, temperature=0.1, kernel=k)),
}


def shapes(jaxpr):
    """Shapes of every value in a jaxpr and in those inside it."""
    for equation in jaxpr.eqns:
        for variable in equation.outvars:
            yield getattr(variable.aval, "shape", ())
        for value in jax.tree.leaves(tuple(equation.params.values()), is_leaf=lambda p: hasattr(p, "eqns")):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from shapes(inner)


@pytest.mark.parametrize("d", [2, 3, 5])
@pytest.mark.parametrize("name", list(ENERGIES))
def test_no_public_energys_gradient_builds_an_n_by_n_array(name, d):
    n = 3001
    count, make = ENERGIES[name]
    cloud = ct.sphere.uniform(jax.random.key(0), n, d)
    clouds = cloud if count == 1 else ct.Pair(cloud, cloud)
    energy = make(kernels.Exponential(0.1), ct.couplings.paired(n))
    for jaxpr in (
        jax.make_jaxpr(jax.grad(energy))(clouds).jaxpr,
        jax.make_jaxpr(lambda z: ct.diagnostics.energy_distance(z, cloud))(cloud).jaxpr,
    ):
        largest = max(np.prod(shape, dtype=int) for shape in shapes(jaxpr))
        assert largest < n * n / 4, largest


def test_the_search_for_n_by_n_arrays_finds_one():
    n = 300
    cloud = ct.sphere.uniform(jax.random.key(0), n, 3)

    def dense(z):
        return ct.log_partition(z, z, KERNEL, method="dense").sum()

    jaxpr = jax.make_jaxpr(jax.jit(jax.grad(dense)))(cloud).jaxpr
    assert max(np.prod(shape, dtype=int) for shape in shapes(jaxpr)) >= n * n


def test_a_function_of_the_cosine_is_explained_like_its_kernel():
    told = [
        str(ct.partition.explain(5000, 5000, 3, kernel)) for kernel in (_wide, ct.kernels.Exponential(0.5))
    ]
    assert told[0] == told[1]


def _wide(cosine):
    return cosine / 0.5


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("d", "tau"), [(2, 1.0), (2, 0.1), (2, 0.02), (3, 0.3), (3, 0.05), (3, 0.03)])
def test_the_degree_is_the_lowest_whose_rest_is_within_half_the_tolerance(d, tau, dtype):
    """Of a fourth of a uniform cloud's field; in float64 of one point's among m too, if that is smaller."""
    most, m = 400, 2000
    order, eigenvalues = np.arange(most + 1), kernels.Exponential(tau).degree_coefficients(d, most)
    angle = np.pi * np.arange(2001) / 2000
    if d == 2:
        values, slopes = np.cos(np.outer(order, angle)), -order[:, None] * np.sin(np.outer(order, angle))
    else:
        values, slopes = special.legendre_p_all(most, np.cos(angle), diff_n=1)
        slopes = -np.sin(angle) * slopes
    times = np.where(order == 0, 1, 2) if d == 2 else 2 * order + 1

    def left_out(degree):
        """Of the value and a tenth of the slope, as a share of a uniform cloud's field."""
        rest = np.where(order > degree, times * eigenvalues, 0)
        return max(np.abs(rest @ values).max(), np.abs(rest @ slopes).max() / 10)

    alone = np.exp(1 / tau - float(kernels.Exponential(tau).log_volume(d))) / m
    allowed = 1e-5 / 8 if dtype == "float32" else 1e-9 / 2 * min(1 / 4, alone)
    found = plan.choose_degrees(kernels.Exponential(tau), m, m, d, dtype, None).narrow
    assert found == next(degree for degree in plan.DEGREES[d] if left_out(degree) <= allowed)

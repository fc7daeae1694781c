"""The spectral sum is the exact one within its own bound, or it is not taken."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ctflow as ct
from ctflow import kernels
from ctflow.partition.bounds import GRADIENT_FACTOR
from ctflow.partition.harmonics import harmonics, zonal_rule
from ctflow.partition.plan import RTOL, choose_degrees
from ctflow.partition.spectral import spectral_sum
from tests.draws import uniform

N = 600


def weights(m, dtype=jnp.float64):
    w = np.random.default_rng(3).uniform(0.2, 1.0, m)
    return jnp.asarray(w / w.sum(), dtype)


def around(axis, concentration, n=N, seed=5):
    axis = np.asarray(axis, float) / np.linalg.norm(axis)
    axis, key = jnp.asarray(axis), jax.random.key(seed)
    return np.asarray(ct.sphere.von_mises_fisher(key, axis, concentration, N))[:n]


def clouds():
    """Clouds that are hard for harmonics in coordinates: at poles, in clusters, ordered, with an outlier."""
    everywhere = np.asarray(uniform(1, N, 3))
    angle = np.linspace(0, 2 * np.pi, N, endpoint=False)
    flat = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
    return {
        "uniform": everywhere,
        "ordered": everywhere[np.argsort(everywhere[:, 2])],
        "north": around([0, 0, 1], 1000.0),
        "oblique": around([1, 1, 1], 10_000.0),
        "wide cap": around([1, 0, 0], 10.0),
        "antipodal caps": np.concatenate(
            [around([0, 1, 0], 200.0, N // 2), -around([0, 1, 0], 200.0, N // 2)]
        ),
        "equator": flat,
        "meridian through the poles": flat[:, [0, 2, 1]],
        "one isolated": np.concatenate([around([0, 0, 1], 100.0, N - 1), [[0, 0, -1.0]]]),
        "one point": np.tile([[0.0, 0, -1]], (N, 1)),
        "half in one point": np.concatenate([np.tile([[0.6, 0, 0.8]], (N // 2, 1)), everywhere[: N // 2]]),
    }


@pytest.mark.parametrize("exclude_self", [False, pytest.param(True, marks=pytest.mark.long)])
@pytest.mark.parametrize("d", [pytest.param(2, marks=pytest.mark.long), 3])
@pytest.mark.parametrize(
    "kernel",
    [kernels.Exponential(0.3), kernels.GeodesicGaussian(0.3), kernels.ChordalGaussian(0.6)],
    ids=lambda kernel: type(kernel).__name__,
)
def test_equals_the_dense_sum_in_value_and_every_gradient(kernel, d, exclude_self):
    x = uniform(1, 60, d)
    y = x if exclude_self else uniform(2, 70, d)
    probe = jnp.linspace(-1, 2, 60)

    def total(x, y, w, kernel, method):
        options = {"weights": w, "exclude_self": exclude_self, "method": method, "rtol": 1e-12}
        return probe @ ct.log_partition(x, y, kernel, **options)

    both = jax.jit(jax.value_and_grad(total, argnums=(0, 1, 2, 3)), static_argnums=4)
    degrees = choose_degrees(kernel, 60, y.shape[0], d, x.dtype, 1e-12)
    planned = ct.partition.Planned(kernel, degrees=(degrees.narrow, degrees.wide), only=0)  # harmonics alone
    arguments = x, y, weights(y.shape[0])
    dense = jax.tree.leaves(both(*arguments, kernel, "dense"))
    spectral = jax.tree.leaves(both(*arguments, planned, "spectral"))
    for a, b in zip(dense, spectral, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11 * float(jnp.abs(a).max()))


def test_it_was_the_spectral_sum_that_was_compared():
    x = uniform(1, 60, 3)
    certificate = ct.partition.certify(x, x, kernels.Exponential(0.3), rtol=1e-12)
    assert certificate.method == "spectral"
    assert certificate.value < 1e-12


@pytest.mark.parametrize(
    "tau",
    [
        pytest.param(1.0, marks=pytest.mark.slow),
        0.2,
        *(pytest.param(t, marks=pytest.mark.long) for t in (0.05, 0.01)),
    ],
)
def test_float32_never_misses_its_tolerance_on_clouds_made_to_break_it(tau):
    """Value, gradient in x and gradient in y, against float64, from each cloud to itself and to uniform."""
    kernel = kernels.Exponential(float(np.float32(tau)))

    def fields(method):
        def total(x, y):
            value = ct.log_partition(x, y, kernel, method=method)
            return value.mean(), value

        return jax.jit(jax.value_and_grad(total, argnums=(0, 1), has_aux=True))

    spectral, dense = fields("spectral"), fields("dense")
    cases = {name: jnp.asarray(z, jnp.float32) for name, z in clouds().items()}
    rtol = RTOL["float32"]
    for name, x in cases.items():
        for y in (x, cases["uniform"]):
            (_, value), (d_x, d_y) = spectral(x, y)
            exact = [ct.sphere.normalize(z.astype(jnp.float64)) for z in (x, y)]
            (_, value64), (d_x64, d_y64) = dense(*exact)
            rounding = 2 * np.spacing(np.float32(1 / tau))
            assert np.abs(np.float64(value) - value64).max() <= rtol + rounding, name
            for got, wanted in ((d_x, d_x64), (d_y, d_y64)):
                steepest = N * np.linalg.norm(wanted, axis=1).max()
                allowed = GRADIENT_FACTOR * rtol + rtol * steepest
                assert N * np.linalg.norm(np.float64(got) - wanted, axis=1).max() <= allowed, name


@pytest.mark.long
@pytest.mark.parametrize("tau", [0.3, 0.03])
def test_the_bound_holds_where_it_is_too_large_to_be_taken(tau):
    """In float32, before any fallback, the true error is below the bound."""
    kernel = kernels.Exponential(jnp.float32(tau))
    degree = 32 if tau > 0.1 else 48
    options = {"degree": degree, "dtype": "float32", "gradient": True, "exclude_self": False, "axis": None}
    run = jax.jit(partial(spectral_sum, **options))
    w = jnp.full(N, 1 / N, jnp.float32)
    for name, cloud in clouds().items():
        x = jnp.asarray(cloud, jnp.float32)
        value, slope, _, bound, _ = run(x, x, w, kernel)
        z = ct.sphere.normalize(x.astype(jnp.float64))
        exact_kernel = kernels.Exponential(kernel.temperature.astype(jnp.float64))
        exact, exact_slope = ct.partition.value_and_gradient(z, z, exact_kernel, method="dense")
        if np.isfinite(bound.value):
            rounding = np.spacing(np.float32(np.abs(exact).max()))
            assert np.abs(np.float64(value) - exact).max() <= bound.value + float(rounding), name
            rounding = np.spacing(np.float32(np.linalg.norm(exact_slope, axis=1).max()))
            off = np.linalg.norm(np.float64(slope) - exact_slope, axis=1).max()
            assert off <= bound.gradient + 2 * float(rounding), name


@pytest.mark.parametrize("tau", [1.0, 0.1, 0.01])
def test_float64_is_exact_to_1e8_and_its_gradient_to_1e7_on_any_cloud(tau):
    kernel = kernels.Exponential(tau)
    for name, cloud in clouds().items():
        x = jnp.asarray(cloud)
        value, slope = ct.partition.value_and_gradient(x, x, kernel, method="spectral")
        exact, exact_slope = ct.partition.value_and_gradient(x, x, kernel, method="dense")
        np.testing.assert_allclose(value, exact, rtol=0, atol=1e-8, err_msg=name)
        np.testing.assert_allclose(slope, exact_slope, rtol=1e-8, atol=1e-7, err_msg=name)


@pytest.mark.long
def test_falls_back_to_float64_and_then_to_tiles():
    outlier = jnp.asarray(clouds()["one isolated"], jnp.float32)
    kernel = kernels.Exponential(0.05)
    assert ct.partition.certify(outlier, outlier, kernel).dtype == "float64"
    apart = jnp.asarray(around([0, 0, 1], 500.0), jnp.float32)
    certificate = ct.partition.certify(apart, -apart, kernel)  # a field of e^{-40}, which no series shows
    assert certificate.method == "tiled"
    value = ct.log_partition(apart, -apart, kernel, method="spectral")
    np.testing.assert_allclose(value, ct.log_partition(apart, -apart, kernel, method="dense"), rtol=1e-5)
    assert ct.partition.certify(clouds()["uniform"], clouds()["uniform"], kernel).dtype == "float64"


def test_too_sharp_a_kernel_is_summed_exactly_and_refused_by_name():
    x = uniform(0, N, 3)
    sharp = kernels.Exponential(0.001)
    assert ct.partition.explain(N, N, 3, sharp, "float64").method == "dense"
    np.testing.assert_array_equal(
        ct.log_partition(x, x, sharp), ct.log_partition(x, x, sharp, method="dense")
    )
    with pytest.raises(ValueError, match="too sharp or too rough for harmonics"):
        ct.log_partition(x, x, sharp, method="spectral")
    with pytest.raises(ValueError, match="too sharp or too rough"):
        ct.partition.certify(x, x, kernels.GeodesicGaussian(2.0))  # its kink at the antipode


@pytest.mark.parametrize("d", [2, 3])
def test_small_counts_and_single_points(d):
    kernel = kernels.Exponential(0.5)
    for n, m in ((1, 1), (1, 9), (9, 1)):
        x = uniform(n, n, d)
        y = uniform(m + 50, m, d)
        got = ct.partition.value_and_gradient(x, y, kernel, method="spectral")
        wanted = ct.partition.value_and_gradient(x, y, kernel, method="dense")
        for a, b in zip(got, wanted, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-8)


@pytest.mark.long
def test_chunks_of_points_change_nothing(monkeypatch):
    x = uniform(0, 1000, 3)

    def run():
        jax.clear_caches()
        kernel = ct.partition.Planned(kernels.Exponential(0.5), degrees=(24, 24), only=0)
        options = {"kernel": kernel, "method": "spectral"}
        mean = jax.grad(lambda x: ct.partition.mean_log_partition(x, x, **options))(x)
        return *ct.partition.value_and_gradient(x, x, **options), mean

    whole = run()
    monkeypatch.setattr("ctflow.partition.series.CHUNK", 96)  # 11 chunks of 91, the last one padded
    for a, b in zip(run(), whole, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("under", ["vmap", pytest.param("map and scan", marks=pytest.mark.slow)])
def test_under_jit_vmap_scan_and_map_with_a_planned_kernel(under):
    x = uniform(0, 80, 3)
    taus = jnp.array([0.5, 0.3, 0.01])  # the last needs more degrees than planned, and falls back

    def total(tau, method="spectral"):
        kernel = kernels.Exponential(tau)
        if method == "spectral":
            kernel = ct.partition.Planned(kernel, degrees=(24, 24))
        return ct.log_partition(x, x, kernel, method=method).sum()

    wanted = jnp.stack([jax.grad(partial(total, method="dense"))(tau) for tau in taus])
    ways = {
        "vmap": [jax.vmap(jax.grad(total)), jax.grad(lambda taus: jax.vmap(total)(taus).sum())],
        "map and scan": [
            lambda taus: jax.lax.map(jax.grad(total), taus),
            lambda taus: jax.lax.map(jax.grad(total), taus, batch_size=2),
            lambda taus: jax.lax.scan(lambda c, tau: (c, jax.grad(total)(tau)), 0.0, taus)[1],
        ],
    }
    for got in (jax.jit(way)(taus) for way in ways[under]):
        np.testing.assert_allclose(got, wanted, rtol=1e-7)


def test_a_new_temperature_of_the_same_degree_does_not_trace_anew():
    from ctflow.partition.sums import take

    x = uniform(0, 90, 3)
    before = take._cache_size()
    for tau in (1.0, 0.99, 0.98):
        ct.log_partition(x, x, kernels.Exponential(tau), method="spectral")
    assert take._cache_size() == before + 1


@pytest.mark.parametrize("method", ["dense", "tiled", "spectral"])
def test_only_what_is_asked_for_is_computed(method):
    """A gradient in x alone comes with the value: no second pass over the pairs."""
    x = uniform(0, 64, 3)
    y = uniform(1, 64, 3)

    def flops(argnums):
        def total(x, y):
            return ct.log_partition(x, y, kernels.Exponential(0.5), method=method, block_size=16).sum()

        return jax.jit(jax.grad(total, argnums)).lower(x, y).as_text().count("exponential")

    assert flops(0) < flops((0, 1)) or method == "dense"


@pytest.mark.parametrize("d", [2, 3])
def test_harmonics_obey_the_addition_theorem(d):
    """Σ_m Y_ℓm(x)·Y_ℓm(y) = Z_ℓ(⟨x, y⟩) at every degree, at the poles too."""
    h = harmonics(d, 64)
    x = uniform(0, 5, d).at[0].set(jnp.eye(d)[-1]).at[1].set(-jnp.eye(d)[-1])

    def each(z):
        return jax.vmap(lambda z: h.analyse(h.moments(h.waves(z[None]), jnp.ones(1)), jnp.ones(())))(z)

    a, b = each(x), each(x[::-1])
    got = jnp.sum(a * b, axis=(1, 3))
    cosine = jnp.sum(x * x[::-1], axis=1)
    if d == 2:
        wanted = np.cos(np.arange(65) * np.arccos(np.clip(cosine, -1, 1))[:, None])
    else:
        from scipy.special import eval_legendre

        wanted = eval_legendre(np.arange(65), np.asarray(cosine)[:, None])
    np.testing.assert_allclose(got, wanted, atol=1e-12)
    np.testing.assert_allclose(jnp.sum(a**2, axis=(1, 3)), 1, rtol=1e-12)


@pytest.mark.parametrize("d", [2, 3])
def test_the_zonal_rule_is_orthogonal(d):
    rule = zonal_rule(d, 40)
    product = (rule.values * rule.weights) @ rule.values.T
    np.testing.assert_allclose(product * rule.multiplicity, np.eye(41), atol=1e-13)


@pytest.mark.parametrize("d", [2, 3])
def test_gradients_are_of_the_field_itself(d):
    h = harmonics(d, 16)
    z = uniform(0, 7, d).at[0].set(jnp.eye(d)[-1])
    raw = h.moments(h.waves(uniform(1, 3, d)), jnp.array([0.5, 0.3, 0.2]))
    series = h.synthesise(h.analyse(raw, jnp.ones(())) / (1 + jnp.arange(17.0))[None, :, None] ** 2)
    value, slope = h.field_and_gradient(h.waves(z), series)
    np.testing.assert_allclose(value, h.field(h.waves(z), series), rtol=1e-12)
    direction = ct.sphere.project_tangent(z, jax.random.normal(jax.random.key(2), z.shape))
    ahead, behind = (h.field(h.waves(ct.sphere.exp_map(z, s * direction)), series) for s in (1e-5, -1e-5))
    np.testing.assert_allclose(jnp.sum(slope * direction, axis=1), (ahead - behind) / 2e-5, rtol=1e-6)

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from ctflow import sphere
from tests.draws import uniform, unit

DIMS = st.integers(2, 9)
SEEDS = st.integers(0, 2**31 - 1)


def two_points(seed, d):
    return uniform(seed, 2, d)


@given(SEEDS, DIMS)
def test_exp_and_log_are_inverse(seed, d):
    z, w = two_points(seed, d)
    v = sphere.log_map(z, w)
    np.testing.assert_allclose(sphere.exp_map(z, v), w, atol=1e-12)
    np.testing.assert_allclose(jnp.linalg.norm(v), sphere.geodesic_distance(z, w), atol=1e-12)
    np.testing.assert_allclose(jnp.dot(z, v), 0, atol=1e-12)


@given(SEEDS, DIMS)
def test_tangent_projection_is_idempotent_and_orthogonal(seed, d):
    z, v = two_points(seed, d)
    p = sphere.project_tangent(z, v)
    np.testing.assert_allclose(sphere.project_tangent(z, p), p, atol=1e-14)
    np.testing.assert_allclose(jnp.dot(z, p), 0, atol=1e-14)


@pytest.mark.parametrize("angle", [0.0, 1e-12, 1e-6, 0.5, np.pi - 1e-6, np.pi])
def test_geodesic_distance_keeps_its_digits_at_both_ends(angle):
    z, w = jnp.array([1.0, 0.0]), jnp.array([np.cos(angle), np.sin(angle)])
    np.testing.assert_allclose(sphere.geodesic_distance(z, w), angle, rtol=1e-9, atol=2e-16)


@pytest.mark.parametrize("w", [[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])
def test_gradients_are_finite_at_coincident_and_antipodal_points(w):
    z = jnp.array([1.0, 0.0, 0.0])
    assert jnp.isfinite(jax.grad(sphere.geodesic_distance)(z, jnp.array(w))).all()
    assert jnp.isfinite(jax.jacobian(sphere.log_map)(z, jnp.array(w))).all()
    assert jnp.isfinite(jax.jacobian(sphere.exp_map)(z, jnp.zeros(3))).all()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_long_walks_stay_on_the_sphere(key, dtype):
    z = sphere.uniform(key, 5, 3, dtype)
    for i in range(200):
        v = jax.random.normal(jax.random.fold_in(key, i), z.shape, dtype)
        z = sphere.exp_map(z, sphere.project_tangent(z, v))
    assert z.dtype == dtype
    np.testing.assert_allclose(jnp.linalg.norm(z, axis=1), 1, atol=4 * float(jnp.finfo(dtype).eps))


def test_normalize_survives_extreme_scales_and_refuses_zero_rows():
    x = jnp.array([[3e-200, 4e-200], [3e200, 4e200]])
    np.testing.assert_allclose(sphere.normalize(x), [[0.6, 0.8]] * 2, rtol=1e-15)
    with pytest.raises(ValueError, match="non-zero rows"):
        sphere.normalize(jnp.array([[0.0, 0.0]]))


@pytest.mark.parametrize("d", [2, 3, 16])
@pytest.mark.parametrize("kappa", [pytest.param(0.3, marks=pytest.mark.long), 4.0, 300.0])
def test_von_mises_fisher_has_the_right_law(d, kappa):
    n = 20_000
    m = sphere.uniform(jax.random.key(d), 1, d)[0]
    z = sphere.von_mises_fisher(jax.random.key(7), m, kappa, n)
    cosine = np.asarray(z @ m)
    exact = special.ive(d / 2, kappa) / special.ive(d / 2 - 1, kappa)
    variance = 1 - exact**2 - (d - 1) / kappa * exact
    assert abs(cosine.mean() - exact) < 4 * np.sqrt(variance / n)
    # The direction around m is uniform: its mean square along any axis is 1/(d-1).
    tangent = np.asarray(sphere.project_tangent(m[None], z))
    along = tangent @ np.asarray(sphere.project_tangent(m, jnp.eye(d)[0]))
    assert abs(along.mean()) < 4 * along.std() / np.sqrt(n)


def test_a_draw_that_cannot_fit_is_refused_not_tried(key):
    with pytest.raises(MemoryError, match=r"1000000000000 points in 3 dimensions need about .* TiB"):
        sphere.uniform(key, 10**12, 3)
    with pytest.raises(MemoryError, match="1000000000000 points in 3 dimensions"):
        sphere.von_mises_fisher(key, jnp.eye(3)[0], 2.0, 10**12)


def test_uniform_has_uniform_heights_on_the_two_sphere(key):
    height = np.asarray(sphere.uniform(key, 20_000, 3)[:, 0])
    assert stats.kstest(height, "uniform", args=(-1, 2)).pvalue > 1e-3


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("d", [2, 3, 8, 512])
def test_log_map_at_and_near_antipodes(d, dtype):
    rng, eps = np.random.default_rng(d), float(jnp.finfo(dtype).eps)
    z = unit(rng.standard_normal((200, d)))
    t = rng.standard_normal((200, d))
    t = unit(t - np.sum(t * z, axis=1, keepdims=True) * z)
    base = jnp.asarray(z, dtype)

    @jax.jit
    def look(z, w):
        slopes = jax.grad(lambda z, w: sphere.log_map(z, w).sum(), argnums=(0, 1))(z, w)
        return (v := sphere.log_map(z, w)), sphere.exp_map(z, v), slopes

    for w in (-base, jnp.asarray(-unit(2.7 * np.asarray(base, np.float64)), dtype)):
        v, _, slopes = look(base, w)
        assert not np.asarray(v).any()
        assert not np.asarray(slopes).any()
    for off in (100 * eps, 1e-4, 1e-3, 0.1, 2.0, np.pi - 1e-3, np.pi - 100 * eps):
        w = jnp.asarray(-np.cos(off) * z + np.sin(off) * t, dtype)
        v, back, slopes = look(base, w)
        np.testing.assert_allclose(np.linalg.norm(v, axis=1), np.pi - off, atol=8 * eps)
        np.testing.assert_allclose(back, w, atol=16 * eps)
        assert np.isfinite(slopes[0]).all()
        assert np.abs(slopes[1]).max() < 10 * np.pi * d**0.5 / np.sin(off)


def test_the_derivative_of_log_map_where_the_points_coincide_is_the_tangent_projection():
    z = uniform(5, 1, 4)[0]
    slope = jax.jit(jax.jacobian(sphere.log_map, argnums=1))(z, z)
    np.testing.assert_allclose(slope, np.eye(4) - np.outer(z, z), atol=1e-14)


@pytest.mark.parametrize(("dtype", "kappa"), [(jnp.float32, 5e5), (jnp.float64, 1e14)])
def test_von_mises_fisher_keeps_its_digits_at_high_concentration(dtype, kappa):
    # On S², κ(1 - ⟨z, m⟩) has the exponential law; it is read off the distance to the axis.
    z = sphere.von_mises_fisher(jax.random.key(1), jnp.eye(3, dtype=dtype)[0], kappa, 50_000)
    off = np.sum(np.asarray(z, np.float64)[:, 1:] ** 2, axis=1)
    fall = off / (1 + np.sqrt(1 - off))
    assert stats.kstest(kappa * fall, "expon").pvalue > 1e-3
    assert len(np.unique(fall)) > 49_000


def test_twenty_thousand_small_steps_in_float32_stay_on_the_sphere():
    z = sphere.uniform(jax.random.key(0), 8, 3, jnp.float32)
    axis = jnp.array([0.0, 0.0, 1.0], jnp.float32)

    def step(_, z):
        return sphere.exp_map(z, jnp.float32(1e-2) * jnp.cross(axis[None], z))

    z = jax.lax.fori_loop(0, 20_000, step, z)
    np.testing.assert_allclose(jnp.linalg.norm(z, axis=1), 1, atol=3e-7)

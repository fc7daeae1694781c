import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from ctflow import kernels, sphere

KERNELS = [
    kernels.Exponential(0.1),
    kernels.GeodesicGaussian(0.3),
    kernels.ChordalGaussian(0.3),
    kernels.ChordalDistance(0.1),
    kernels.Softplus(0.1, -3.0),
]


def test_every_kernel_is_among_them():
    classes = {value for name in kernels.__all__ if isinstance(value := getattr(kernels, name), type)}
    assert {type(kernel) for kernel in KERNELS} == classes - {kernels.Kernel, kernels.Function}


@pytest.mark.parametrize("d", [2, 3, 4, 8, 64])
@pytest.mark.parametrize("tau", [10.0, 1.0, 0.07, 0.01, 1e-3])
def test_exponential_volume_is_the_bessel_formula(d, tau):
    exact = (
        special.gammaln(d / 2)
        + (d / 2 - 1) * np.log(2 * tau)
        + np.log(special.ive(d / 2 - 1, 1 / tau))
        + 1 / tau
    )
    np.testing.assert_allclose(kernels.Exponential(tau).log_volume(d), exact, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("d", [2, 3, 8])
@pytest.mark.parametrize("tau", [1.0, 0.1, 0.02])
def test_quadrature_and_bessel_agree_on_the_degrees(d, tau):
    kernel = kernels.Exponential(tau)
    by_quadrature = kernels.Kernel.degree_coefficients(kernel, d, 12)
    np.testing.assert_allclose(kernel.degree_coefficients(d, 12), by_quadrature, atol=1e-12)


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: type(k).__name__)
@pytest.mark.parametrize("d", [2, 3, 8])
def test_volume_is_the_mean_over_uniform_points(kernel, d, key):
    n = 200_000
    cosine = sphere.uniform(key, n, d)[:, 0]
    values = np.exp(np.asarray(kernel.log_kernel(cosine)))
    assert abs(values.mean() - np.exp(kernel.log_volume(d))) < 4 * values.std() / np.sqrt(n)


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: type(k).__name__)
def test_degree_coefficients_are_the_kernels_eigenvalues(kernel, key):
    # ∫κ(z, w) w dμ(w) / V = λ_1 z, by Monte Carlo.
    n = 400_000
    w = sphere.uniform(key, n, 3)
    values = np.asarray(jnp.exp(kernel.log_kernel(w[:, 0]) - kernel.log_volume(3)) * w[:, 0])
    assert abs(values.mean() - kernel.degree_coefficients(3, 1)[1]) < 4 * values.std() / np.sqrt(n)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softplus_keeps_its_digits_far_below_and_above_zero(dtype):
    kernel = kernels.Softplus(dtype(0.02), dtype(-30.0))
    cosine = np.linspace(-1, 1, 101)
    exact = np.log(np.log1p(np.exp(cosine / 0.02 - 30)))
    exact = np.where(cosine / 0.02 < 10, cosine / 0.02 - 30 - np.exp(cosine / 0.02 - 30) / 2, exact)
    eps = np.finfo(dtype).eps
    found = kernel.log_kernel(cosine.astype(dtype))
    np.testing.assert_allclose(found, exact, atol=max(2e-9, 100 * eps), rtol=4 * eps)
    slope = jax.vmap(jax.grad(kernel.log_kernel))(cosine.astype(dtype))
    assert np.isfinite(slope).all()
    assert np.all(slope > 0)


def test_chordal_gaussian_is_the_exponential_up_to_its_factor():
    cosine = jnp.linspace(-1, 1, 7)
    chordal, exponential = kernels.ChordalGaussian(0.3), kernels.Exponential(0.09)
    np.testing.assert_allclose(
        chordal.log_kernel(cosine) + 1 / 0.09, exponential.log_kernel(cosine), atol=1e-14
    )


def test_squared_angle_and_its_gradient_are_right_and_finite():
    angle = jnp.array([0.0, 1e-9, 1e-4, 0.3, 2.0, 3.0, np.pi])
    value, slope = jax.vmap(jax.value_and_grad(kernels.squared_angle))(jnp.cos(angle))
    np.testing.assert_allclose(value, angle**2, atol=1e-15, rtol=1e-7)
    assert jnp.isfinite(slope).all()
    np.testing.assert_allclose(slope[:3], -2, rtol=1e-6)
    np.testing.assert_allclose(slope[3:6], -2 * angle[3:6] / jnp.sin(angle[3:6]), rtol=1e-12)


def test_log_volume_differentiates_in_the_temperature():
    def log_volume(tau):
        return kernels.Exponential(tau).log_volume(3)

    # On S², V = τ sinh(1/τ).
    tau = 0.4
    exact = 1 / tau - 1 / (tau**2 * np.tanh(1 / tau))
    np.testing.assert_allclose(jax.grad(log_volume)(tau), exact, rtol=1e-12)


@pytest.mark.parametrize("make", [kernels.Exponential, kernels.GeodesicGaussian, kernels.ChordalGaussian])
def test_a_sweep_over_the_parameter_traces_once(make):
    traces = []

    @jax.jit
    def volume(kernel):
        traces.append(1)
        return kernel.log_volume(3)

    values = [float(volume(make(parameter))) for parameter in (0.1, 0.2, 0.5)]
    assert len(traces) == 1
    assert len(set(values)) == 3


def test_degrees_where_the_bessel_function_underflows():
    tau, d = 10.0, 512
    assert special.ive(d / 2 - 1, 1 / tau) == 0
    found = kernels.Exponential(tau).degree_coefficients(d, 4)
    assert np.isfinite(found).all()
    # The leading order in 1/τ: λ_ℓ = Π_{k<ℓ} 1/(τ(d + 2k)).
    leading = np.cumprod([1.0, *(1 / (tau * (d + 2 * k)) for k in range(4))])
    np.testing.assert_allclose(found, leading, rtol=1e-3)

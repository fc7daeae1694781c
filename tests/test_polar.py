import numpy as np
import pytest
from scipy import stats

from ctflow import polar


@pytest.mark.parametrize("d", [2, 3])
def test_quadrature_integrates_polynomials_exactly(d):
    axis = np.ones(d) / np.sqrt(d)
    z, w = polar.polar_quadrature(axis, np.pi, 32, zonal=False)
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, atol=1e-14)
    np.testing.assert_allclose(w.sum(), 1, rtol=1e-13)
    np.testing.assert_allclose(w @ z, 0, atol=1e-14)
    np.testing.assert_allclose((z * w[:, None]).T @ z, np.eye(d) / d, atol=1e-13)
    np.testing.assert_allclose(w @ z[:, 0] ** 4, 3 / (d * (d + 2)), rtol=1e-12)


@pytest.mark.parametrize("radius", [0.1, 0.5, 2.0])
def test_caps_have_their_area_on_the_two_sphere(radius):
    _, w = polar.polar_quadrature(np.eye(3)[0], radius, 32, zonal=False)
    np.testing.assert_allclose(w.sum(), (1 - np.cos(radius)) / 2, rtol=1e-12)


@pytest.mark.parametrize("d", [2, 3, 10, 200])
def test_zonal_rule_has_total_mass_one_and_the_right_spread(d):
    theta, log_weight = polar.polar_rule(d, np.pi, 256)
    w = np.exp(log_weight)
    np.testing.assert_allclose(w.sum(), 1, rtol=1e-12)
    np.testing.assert_allclose(w @ np.cos(theta) ** 2, 1 / d, rtol=1e-11)


@pytest.mark.parametrize("d", [2, 3])
def test_sampler_draws_a_density_that_is_not_zonal(d):
    axis = np.eye(d)[-1]
    target = np.eye(d)[0]
    sampler = polar.PolarSampler(axis, lambda z: 3 * z @ target, zonal=False)
    z = sampler(np.random.default_rng(0), 40_000)
    # Around `target` the law is von Mises-Fisher with κ = 3.
    theta, log_weight = polar.polar_rule(d, np.pi, 512)
    mass = np.exp(log_weight + 3 * np.cos(theta))
    order = np.argsort(np.cos(theta))
    cdf = np.cumsum(mass[order]) / mass.sum()
    test = stats.kstest(z @ target, lambda u: np.interp(u, np.cos(theta)[order], cdf))
    assert test.pvalue > 1e-3
    assert abs(z[:, 1].mean()) < 4 * z[:, 1].std() / 200

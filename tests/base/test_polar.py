import numpy as np
import pytest
from scipy import special, stats

from ctflow._base import adaptive, polar


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


@pytest.mark.parametrize("d", [2, 3, 7])
def test_polar_coordinates_are_inverse(d):
    axis = np.arange(1.0, d + 1) / np.linalg.norm(np.arange(1.0, d + 1))
    theta, phi = np.array([0.3, 1.0, 2.9]), np.array([0.0, 2.0, -3.0]) * (d > 2)
    np.testing.assert_allclose(polar.to_polar(axis, polar.from_polar(axis, theta, phi))[0], theta, atol=1e-14)
    np.testing.assert_allclose(polar.to_polar(axis, polar.from_polar(axis, theta, phi))[1], phi, atol=1e-14)


@pytest.mark.parametrize("kappa", [1e3, 1e7])
@pytest.mark.parametrize("d", [2, 3])
def test_sampler_is_exact_for_sharp_densities(d, kappa):
    target = np.array([0.48, 0.6, 0.64])[-d:] / np.linalg.norm(np.array([0.48, 0.6, 0.64])[-d:])
    axis = np.eye(d)[0]
    z = polar.PolarSampler(axis, lambda z: kappa * (z @ target), zonal=False)(
        np.random.default_rng(1), 20_000
    )
    # 2κ(1 - cos θ) is nearly χ² with d - 1 degrees of freedom, exactly so on S².
    off = np.sum((z - target) ** 2, axis=1) * kappa
    assert stats.kstest(off, stats.chi2(d - 1).cdf).pvalue > 1e-3
    # and the direction about the target is uniform
    side = (z - target) @ polar.from_polar(target, np.array([np.pi / 2]), np.zeros(1))[0] * np.sqrt(kappa)
    assert stats.kstest(side, "norm").pvalue > 1e-3


def test_sampler_refuses_what_it_would_draw_wrongly():
    axis = np.eye(2)[0]
    with pytest.raises(
        ValueError, match="log_density is too sharp or too rough for 2097152 quadrature nodes"
    ):
        polar.PolarSampler(axis, lambda z: np.sin(1e6 * z[:, 1]), zonal=False)
    sampler = polar.PolarSampler(axis, lambda z: z[:, 1], zonal=False)
    sampler.log_density = lambda z: z[:, 1] + np.exp(-(((z[:, 0] - 0.5) / 1e-3) ** 2))  # a peak not told of
    with pytest.raises(
        ValueError, match=r"log_density must be smooth to be drawn from: .* above the cell's bound"
    ):
        sampler(np.random.default_rng(0), 20_000)


@pytest.mark.parametrize("kappa", [1.0, 1e4, 1e7])
def test_boxes_find_a_peak_wherever_it_is(kappa):
    rng = np.random.default_rng(0)
    for d in (2, 3):
        for _ in range(3):
            target = rng.standard_normal(d)
            target /= np.linalg.norm(target)
            boxes = adaptive.resolve(
                lambda z, t=target: kappa * (z @ t - 1),
                polar.whole(np.eye(d)[0], zonal=False),
                spacing=0.4,
                subject="",
                noise=1e-8,
            )
            exact = np.log(special.ive(0, kappa) if d == 2 else -np.expm1(-2 * kappa) / (2 * kappa))
            assert abs(boxes.log_mass - exact) < 1e-9 + 1e-15 * kappa
            np.testing.assert_allclose(np.exp(boxes.log_weight).sum(), 1, rtol=1e-13)

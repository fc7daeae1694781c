from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special, stats

import ctflow as ct
from ctflow.gibbs import GibbsMeasure, cap_fraction, potential_values

# Two wells on S² at κ = 12, caps of 0.5 rad: quadrature in another program, six digits.
EXACT = {
    # τ: cap mass, mean potential, log Z, entropy
    10.0: (0.128633, -0.392917, 0.038584, -0.000707),
    1.0: (0.189346, -0.507106, 0.445512, -0.061594),
    0.2: (0.467528, -0.756332, 3.080684, -0.700979),
    0.1: (0.706385, -0.842757, 7.119247, -1.308324),
}


@pytest.mark.parametrize("tau", EXACT)
def test_two_wells_match_the_reference_to_its_six_digits(tau, two_wells):
    g = GibbsMeasure(two_wells, temperature=tau, d=3)
    got = (
        g.cap_mass(two_wells.means, radius=0.5),
        g.mean_potential,
        g.log_partition_function,
        g.entropy,
    )
    np.testing.assert_allclose(got, EXACT[tau], atol=6e-7)
    np.testing.assert_allclose(g.free_energy, g.mean_potential / tau - g.entropy, rtol=1e-12)


@pytest.mark.parametrize("d", [2, 3, 8, 64])
@pytest.mark.parametrize("kappa", [0.5, 20.0])
def test_linear_potential_is_von_mises_fisher_in_every_dimension(d, kappa):
    g = GibbsMeasure(ct.potentials.Linear(np.eye(d)[0]), temperature=1 / kappa, d=d)
    order = d / 2 - 1
    log_z = special.gammaln(d / 2) - order * np.log(kappa / 2) + np.log(special.ive(order, kappa)) + kappa
    mean = special.ive(order + 1, kappa) / special.ive(order, kappa)
    np.testing.assert_allclose(g.log_partition_function, log_z, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(g.mean_potential, -mean, rtol=1e-10)
    z = g.sample(jax.random.key(0), 10_000)
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, atol=1e-14)
    assert stats.kstest(-z[:, 0], g.potential_cdf).pvalue > 1e-3
    assert abs(z[:, 1].mean()) < 4 * z[:, 1].std() / 100


def test_float32_sessions_get_float32_digits(two_wells):
    with jax.enable_x64(False):
        for tau, exact in EXACT.items():
            g = GibbsMeasure(two_wells, temperature=tau, d=3)
            got = (g.mean_potential, g.log_partition_function, g.entropy)
            np.testing.assert_allclose(got, exact[1:], atol=1e-5)
        far = GibbsMeasure(ct.potentials.Linear(np.eye(64)[0]), temperature=0.05, d=64)
    log_z = special.gammaln(32) - 31 * np.log(10) + np.log(special.ive(31, 20.0)) + 20
    np.testing.assert_allclose(far.log_partition_function, log_z, atol=1e-5)


@pytest.mark.parametrize("d", [2, 3, 8])
def test_a_ring_has_its_law_though_u_falls_and_rises_along_the_axis(d):
    ring = ct.potentials.Ring(np.eye(d)[0], level=0.5, stiffness=50.0)
    g = GibbsMeasure(ring, temperature=0.3, d=d)
    u = np.asarray(ring(jnp.asarray(g.sample(jax.random.key(0), 20_000))))
    assert stats.kstest(u, g.potential_cdf).pvalue > 1e-3


def test_samples_have_the_exact_law(two_wells):
    g = GibbsMeasure(two_wells, temperature=0.1, d=3)
    n = 40_000
    z = g.sample(jax.random.key(1), n)
    mass = g.cap_mass(two_wells.means, radius=0.5)
    share = float(cap_fraction(jnp.asarray(z), two_wells.means, radius=0.5))
    assert abs(share - mass) < 4 * np.sqrt(mass * (1 - mass) / n)
    assert stats.kstest(np.asarray(two_wells(jnp.asarray(z))), g.potential_cdf).pvalue > 1e-3


def test_caps_may_overlap_and_cover_the_sphere(two_wells):
    g = GibbsMeasure(two_wells, temperature=0.5, d=3)
    np.testing.assert_allclose(g.cap_mass(two_wells.means, radius=np.pi), 1, rtol=1e-9)
    one = g.cap_mass(two_wells.means[:1], radius=0.5)
    np.testing.assert_allclose(g.cap_mass(np.repeat(two_wells.means[:1], 2, axis=0), radius=0.5), one)


def test_kl_of_a_density_is_its_free_energy_above_the_minimum(two_wells):
    # F(ρ) - F(ρ*) = KL(ρ‖ρ*) for the uniform law: F = ∫U dμ/τ, entropy 0.
    tau = 0.5
    g = GibbsMeasure(two_wells, temperature=tau, d=3)
    free_energy = g.node_weights @ np.asarray(two_wells(jnp.asarray(g.nodes))) / tau
    kl = -(g.node_weights @ np.log(g.density))
    np.testing.assert_allclose(free_energy - g.free_energy, kl, rtol=1e-10)


@pytest.mark.long
def test_the_smoothed_kl_of_a_cloud_tends_to_it_from_below_as_the_kernel_sharpens(two_wells):
    g = GibbsMeasure(two_wells, temperature=0.5, d=3)
    kl = -(g.node_weights @ np.log(g.density))
    uniform = ct.WeightedCloud(jnp.asarray(g.nodes), jnp.asarray(g.node_weights / g.node_weights.sum()))
    smoothed = [g.kl(uniform, bandwidth=h) for h in (0.3, 0.1)]
    assert smoothed == sorted(smoothed)
    assert 0.9 * kl < smoothed[-1] < kl


def test_kl_of_exact_samples_is_small_and_of_the_wrong_law_is_not(two_wells):
    g = GibbsMeasure(two_wells, temperature=0.2, d=3)
    cloud = g.sample(jax.random.key(0), 4000)
    assert 0 <= g.kl(cloud) < 0.05
    assert g.kl(ct.sphere.uniform(jax.random.key(0), 4000, 3)) > 0.5


def test_any_smooth_function_has_a_gibbs_measure():
    g = GibbsMeasure(lambda z: z[0] * z[1] + z[2] ** 3, temperature=0.3, d=3)
    np.testing.assert_allclose(g.node_weights @ g.density, 1, rtol=1e-9)


def vmf_log_z(d, tau):
    """Log Z + min U/τ of U = -⟨z, a⟩, and 1 - E⟨z, a⟩, for d = 2 and 3."""
    if d == 2:
        ratio = special.ive(1, 1 / tau) / special.ive(0, 1 / tau)
        return np.log(special.ive(0, 1 / tau)), 1 - ratio
    return np.log(tau / 2), tau


@pytest.mark.parametrize("x64", [True, False])
@pytest.mark.parametrize("zonal", [True, False])
@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("tau", [1e-3, 2e-5, 1e-8])
def test_low_temperatures_are_right_or_refused(x64, zonal, d, tau):
    a = np.arange(1.0, d + 1) / np.linalg.norm(np.arange(1.0, d + 1))
    size = 1 + 3 * zonal  # a tilted axis in one case, U given as a function in the other
    potential = (
        ct.potentials.Linear(size * a)
        if zonal
        else ct.potentials.VonMisesFisherMixture(np.stack([a, a]), concentration=1.0)
    )
    with jax.enable_x64(x64):
        a = np.asarray(potential.direction if zonal else potential.means[0], np.float64)  # as it is stored
        g = GibbsMeasure(potential, temperature=size * tau, d=d)
        rounding = 1e-8 if tau > 1e-7 else 4e-7
        height = np.linalg.norm(a) / size
        log_z, gap = vmf_log_z(d, tau / height)
        assert abs(g.log_partition_function - height / tau - log_z) < rounding
        assert abs(g.mean_potential / size + height - gap * height) < 3e-8 * tau + 4e-16
        radius = 1.5 * np.sqrt(tau)
        exact = special.erf(1.5 / np.sqrt(2)) if d == 2 else -np.expm1(-(1 - np.cos(radius)) * height / tau)
        assert abs(g.cap_mass(a / np.linalg.norm(a), radius=radius) - exact) < max(
            rounding, 0.4 * tau * (d == 2)
        )
        whole = g.cap_mass(np.stack([a, a]) / np.linalg.norm(a), radius=0.5)
        assert abs(whole - 1) < rounding
        assert whole <= 1


@pytest.mark.parametrize("d", [8, 512])
def test_high_dimensions_at_low_temperature(d):
    tau = 1e-6
    g = GibbsMeasure(ct.potentials.Linear(np.eye(d)[0]), temperature=tau, d=d)
    # 1 - ⟨z, a⟩ is gamma distributed with shape (d - 1)/2 and scale τ, up to relative corrections of τ·d; its
    # mean is I_{d/2}/I_{d/2-1} for large arguments.
    mean = (d - 1) / 2 * tau - (d - 1) * (d - 3) / 8 * tau**2
    assert abs(g.mean_potential + 1 - mean) < (d * tau) ** 3 + 1e-15
    median = tau * special.gammaincinv((d - 1) / 2, 0.5)
    assert abs(g.cap_mass(np.eye(d)[0], radius=np.arccos(1 - median)) - 0.5) < 3 * d * tau
    assert np.isfinite([g.entropy, g.free_energy]).all()
    z = g.sample(jax.random.key(0), 2000)
    assert stats.kstest(-z[:, 0], g.potential_cdf).pvalue > 1e-3
    assert stats.kstest(-z[:, 0] + 1, stats.gamma((d - 1) / 2, scale=tau).cdf).pvalue > 1e-3


def two_well_masses(means, kappa, weights, tau):
    """Masses of two hemispheres, by a product rule in coordinates about each well, zoomed to its width."""
    t, w = np.polynomial.legendre.leggauss(400)
    theta = 12 * np.sqrt(tau) * (t + 1) / 2
    phi = 2 * np.pi * np.arange(64) / 64
    fields = []
    for m in means:
        q = np.linalg.qr(np.column_stack([m, np.eye(3)]))[0]
        ring = np.cos(phi)[:, None] * q[:, 1] + np.sin(phi)[:, None] * q[:, 2]
        z = np.cos(theta)[:, None, None] * m + np.sin(theta)[:, None, None] * ring
        fields.append(-special.logsumexp(kappa * z @ means.T, b=weights, axis=-1) / kappa)
    low = min(u.min() for u in fields)
    masses = [np.sum((w * np.sin(theta))[:, None] * np.exp((low - u) / tau)) for u in fields]
    return np.array(masses) / sum(masses)


@pytest.mark.parametrize("tau", [1e-4, 1e-5])
def test_unequal_wells_at_low_temperature_share_the_mass_as_an_independent_rule_says(tau):
    means = np.array([[0.6, 0.0, 0.8], [-0.8, 0.6, 0.0]])
    weights = np.array([0.5, 0.5]) + 6 * tau * np.array([1, -1])
    mixture = ct.potentials.VonMisesFisherMixture(means, concentration=12.0, weights=weights)
    g = GibbsMeasure(mixture, temperature=tau, d=3)
    exact = two_well_masses(means, 12.0, weights, tau)
    for m, mass in zip(means, exact, strict=True):
        assert abs(g.cap_mass(m, radius=0.7) - mass) < 1e-8
    assert abs(g.mean(lambda z: z @ (means[0] - means[1]) > 0) - exact[0]) < 1e-8
    z = g.sample(jax.random.key(2), 4000)
    share = np.mean(z @ (means[0] - means[1]) > 0)
    assert abs(share - exact[0]) < 4 * np.sqrt(exact[0] * exact[1] / 4000)
    assert stats.kstest(potential_values(mixture, z), g.potential_cdf).pvalue > 1e-3


def test_kl_sees_a_measure_that_is_sharper_than_the_kernel():
    means = np.array([[0.6, 0.8], [-0.96, 0.28]])
    g = GibbsMeasure(ct.potentials.VonMisesFisherMixture(means, concentration=12.0), temperature=1e-5, d=2)
    for m in means:  # one of two equal points
        assert abs(g.kl(m[None], bandwidth=0.25) - np.log(2)) < 1e-3


def test_what_cannot_be_resolved_is_refused():
    ring = ct.potentials.Ring(np.eye(3)[2], stiffness=4.0, narrowing=np.array([0.5, 0.2, 0.0]))
    linear = ct.potentials.Linear(np.eye(3)[2])
    narrow = lambda z: -z[0].astype(jnp.float32)  # noqa: E731
    for potential, tau, message in (
        (ring, 1e-6, "temperature 1e-06 is too low, or the potential too rough for 2097152 quadrature nodes"),
        (linear, 1e-12, r"temperature must be >= 8.\de-11 for a potential of size \d"),
        (narrow, 1e-3, r"temperature must be >= 4.\de-02 for a potential of size"),
        (lambda z: jnp.log(z[0]), 1.0, "potential must be finite on the whole sphere, got nan at"),
    ):
        with pytest.raises(ValueError, match=message):
            GibbsMeasure(potential, temperature=tau, d=3)


def two_caps(distance, radius):
    """Share of the sphere that two caps cover, by Gauss-Bonnet on the lens, radius <= π/2."""
    c = np.cos(radius)
    half = np.arccos(np.tan(distance / 2) / np.tan(radius))
    inner = np.arccos((np.cos(distance) - c * c) / np.sin(radius) ** 2)
    lens = 2 * (np.pi - inner - 2 * half * c)
    return (1 - c) - lens / (4 * np.pi)


@pytest.mark.parametrize("radius", [0.3, 0.5, 1.2])
def test_caps_of_a_uniform_law_have_their_areas(radius):
    g = GibbsMeasure(ct.potentials.Linear(np.zeros(3)), temperature=1.0, d=3)
    for distance in (0.05, 0.55, 0.599):
        pair = np.array([[0, 0, 1.0], [0.6 * np.sin(distance), 0.8 * np.sin(distance), np.cos(distance)]])
        assert abs(g.cap_mass(pair, radius=radius) - two_caps(distance, radius)) < 1e-12
    assert abs(g.cap_mass(np.repeat(pair[:1], 3, axis=0), radius=radius) - (1 - np.cos(radius)) / 2) < 1e-12
    apart = np.concatenate(
        [np.eye(3), -np.eye(3)]
    )  # the octahedron's corners touch at π/4, cover from 0.9553
    assert abs(g.cap_mass(apart, radius=np.pi / 4) - 3 * (1 - np.cos(np.pi / 4))) < 1e-12
    assert abs(g.cap_mass(apart, radius=0.96) - 1) < 1e-12
    assert abs(g.cap_mass(apart[[0, 3]], radius=2.0) - 1) < 1e-12
    assert abs(g.cap_mass(apart[:1], radius=2.0) - (1 - np.cos(2.0)) / 2) < 1e-12
    ring = GibbsMeasure(ct.potentials.Linear(np.zeros(2)), temperature=1.0, d=2)
    angles = np.array([0.1, 0.3, 3.1, -2.9])
    centers = np.column_stack([np.cos(angles), np.sin(angles)])
    exact = min(1.0, (0.2 + 2 * radius + 2 * np.pi - 6.0 + 2 * radius) / (2 * np.pi))
    if radius < 1.2:
        assert abs(ring.cap_mass(centers, radius=radius) - exact) < 1e-12
    up = GibbsMeasure(ct.potentials.Linear(np.zeros(5)), temperature=1.0, d=5)
    for r in (radius, 2.0):  # the axis of a flat law is the last one
        one = special.betainc(2, 2, (1 - np.cos(r)) / 2)
        assert abs(up.cap_mass(np.eye(5)[[4, 4]], radius=r) - one) < 1e-12
        assert abs(up.cap_mass(np.eye(5)[4:] * [[1], [-1]], radius=r) - min(1, 2 * one)) < 1e-12


def covered(theta, centers, radius):
    """Share of the ring at θ about the first coordinate axis that lies in any of the caps."""
    spans = []
    for x, y, z in centers:
        reach = (np.cos(radius) - np.cos(theta) * x) / (np.sin(theta) * np.hypot(y, z))
        half, middle = np.arccos(np.clip(reach, -1, 1)), np.arctan2(z, y)
        spans += [(middle - half + turn, middle + half + turn) for turn in (-2 * np.pi, 0, 2 * np.pi)]
    total, reached = 0.0, -np.pi
    for start, stop in sorted(spans):
        total += max(0.0, min(stop, np.pi) - max(start, reached, -np.pi))
        reached = max(reached, stop)
    return total / (2 * np.pi)


@pytest.mark.parametrize("radius", [0.4, 0.9, 1.7])
@pytest.mark.parametrize("kappa", [2.0, 40.0])
def test_the_mass_of_overlapping_caps_is_that_of_rings_about_another_axis(radius, kappa):
    rng = np.random.default_rng(3)
    centers = rng.standard_normal((4, 3))
    centers[1] = centers[0] + 0.1 * centers[1]
    centers /= np.linalg.norm(centers, axis=1, keepdims=True)
    g = GibbsMeasure(ct.potentials.Linear(np.eye(3)[0]), temperature=1 / kappa, d=3)
    mass = g.cap_mass(centers, radius=radius)
    assert abs(g.cap_mass(centers[[2, 1, 3, 0]], radius=radius) - mass) < 1e-11

    def density(theta):
        return kappa * np.sin(theta) / -np.expm1(-2 * kappa) * np.exp(kappa * (np.cos(theta) - 1))

    away = np.arccos(centers[:, 0])
    kinks = np.unique(
        np.clip(np.concatenate([away - radius, away + radius, radius - away]), 1e-9, np.pi - 1e-9)
    )
    ends = np.concatenate([[0], np.sort(np.concatenate([kinks, np.linspace(0.01, 3.1, 40)])), [np.pi]])
    exact = sum(
        integrate.quad(lambda t: density(t) * covered(t, centers, radius), *pair, epsabs=1e-11, limit=200)[0]
        for pair in pairwise(ends)
    )
    assert abs(mass - exact) < 1e-8


def test_a_weighted_cloud_has_the_kl_of_repeated_points(two_wells):
    g = ct.gibbs.GibbsMeasure(two_wells, temperature=1.0, d=3)
    z = ct.sphere.uniform(jax.random.key(3), 40, 3)
    times = np.random.default_rng(0).integers(1, 6, 40)
    weighted = ct.WeightedCloud(z, jnp.asarray(times / times.sum()))
    repeated = jnp.asarray(np.repeat(np.asarray(z), times, axis=0))
    value = g.kl(weighted, bandwidth=0.3)
    assert value == pytest.approx(g.kl(repeated, bandwidth=0.3), rel=1e-9)
    assert abs(value - g.kl(z, bandwidth=0.3)) > 1e-3
    assert g.kl(z) == pytest.approx(g.kl(z, bandwidth=40 ** (-1 / 6)), rel=1e-12)  # n^{-1/(d+3)}


def test_the_share_in_caps_is_that_of_the_weights():
    cloud = ct.WeightedCloud(jnp.eye(3), jnp.array([0.5, 0.3, 0.2]))
    for centers, share in (([0], 0.5), ([1, 2], 0.5), ([0, 2, 2], 0.7)):
        assert float(cap_fraction(cloud, np.eye(3)[centers], radius=0.5)) == pytest.approx(share)

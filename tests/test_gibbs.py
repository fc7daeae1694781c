import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

import ctflow as ct
from ctflow.gibbs import GibbsMeasure, cap_fraction

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

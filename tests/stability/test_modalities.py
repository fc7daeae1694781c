"""Three and more modalities, one direction, and SimCLR's loss: their curvatures against closed forms."""

import jax.numpy as jnp
import numpy as np
import pytest

import ctflow as ct
from ctflow import energies
from ctflow.claims import ring, ring_losses
from ctflow.stability import chart
from ctflow.stability.parting import parting
from ctflow.stability.shared import repeated
from tests.draws import uniform

N = 18
MODES = np.arange(N // 2)


def pair(sigma, tau):
    return energies.symmetric(ct.couplings.from_matrix(ring.law(N, sigma), dtype=np.float64), temperature=tau)


def flat():
    angle = 2 * np.pi * np.arange(N) / N
    return jnp.asarray(np.stack([np.cos(angle), np.sin(angle), np.zeros(N)], axis=1))


def rates(energy, count, kind):
    """Growth rates of displacements out of plane, and of those along the ring."""
    found = ct.stability.modes(energy, repeated(flat(), count), k=1, kind=kind)
    whole = ct.stability.modes(energy, repeated(flat(), count), k=_size(count, kind), kind=kind)
    assert found.value[0] == pytest.approx(whole.value[0], abs=1e-12)
    out = np.max([np.abs(side[:, :, 2]).max(axis=1) for side in whole.mode], axis=0) > 1e-6
    return -whole.value[out], -whole.value[~out]


def _size(count, kind):
    return 2 * N * (1 if kind == "in phase" else count - 1)


def nearest(found, predicted):
    return [np.abs(found - value).min() for value in predicted]


@pytest.mark.parametrize(("sigma", "tau", "count"), [(0.9, 0.5, 3), (0.6, 0.7, 4)])
def test_rates_of_a_clique_are_a_mean_of_those_of_two_modalities(sigma, tau, count):
    out, beside = ring_losses.in_clique(ring.growth(sigma, tau, MODES), count)
    found = rates(energies.clique(pair(sigma, tau), count), count, "antiphase")
    np.testing.assert_allclose(nearest(found[0], out), 0, atol=1e-6)
    np.testing.assert_allclose(nearest(found[1], beside[:4]), 0, atol=1e-6)


def test_the_same_holds_for_any_coupling_as_matrices():
    """K·A + (K - 2)·B over K(K - 1), with A and B of random balanced pairs at their own shared cloud."""
    rng, count = np.random.default_rng(3), 3
    pi = rng.random((10, 10)) ** 3
    pi = ct.couplings.balance(np.log(pi + pi.T), row_marginal=np.full(10, 0.1), col_marginal=np.full(10, 0.1))
    energy = energies.symmetric(ct.couplings.from_matrix(pi, dtype=np.float64), temperature=0.2)
    shared = ct.stability.shared_equilibrium(energy, 3)
    of = {
        kind: np.asarray(chart.hessian(energy, shared.clouds, kind=kind))
        for kind in ("antiphase", "in phase")
    }
    mixed = (count * of["antiphase"] + (count - 2) * of["in phase"]) / (count * (count - 1))
    clique = ct.stability.modes(energies.clique(energy, count), (shared.cloud,) * count, 40, "antiphase")
    np.testing.assert_allclose(clique.value, np.repeat(np.linalg.eigvalsh(mixed), 2), atol=1e-8)


@pytest.mark.parametrize(("sigma", "tau"), [(0.9, 0.55), (0.9, 0.45)])
def test_a_star_has_the_unstable_directions_of_two_and_those_of_one_cloud_again(sigma, tau):
    def negative(energy, count):
        clouds = repeated(flat(), count)
        return int(np.sum(ct.stability.modes(energy, clouds, 2 * N * count, "all").value < -1e-9))

    two = pair(sigma, tau)
    alone = np.asarray(chart.hessian(two, ct.Pair(flat(), flat()), kind="all"))[: 2 * N, : 2 * N]
    held = int(np.sum(np.linalg.eigvalsh(alone) < -1e-9))
    assert negative(energies.star(two, 4), 4) == negative(two, 2) + 2 * held


def test_the_rotations_of_many_dimensions_do_not_raise_the_number_of_modes_without_bound():
    flat_in_many = jnp.pad(flat(), ((0, 0), (0, 17)))
    found = parting(energies.star(pair(0.9, 0.45), 3), (flat_in_many,) * 3, 4)
    assert found.kind == "all"
    assert len(found.value) == 32
    assert found.value[0] < 0


@pytest.mark.long
def test_the_least_control_of_a_star_is_that_of_two_and_a_clique_needs_less():
    theta = ct.latents.VonMisesMixture().quantiles((np.arange(24) + 0.5) / 24)
    pairs = ct.couplings.from_latents(theta, theta, bandwidth=0.5, dtype=np.float64)
    energy = energies.symmetric(pairs, temperature=0.3)
    control = energies.SymmetricDivergence(ct.kernels.Exponential(0.3))
    shared = ct.stability.shared_equilibrium(energy, 3)

    def least(of, count):
        three = ct.stability.shared_equilibrium(
            of(energy, count), 3, start=shared.cloud, starts=0, modalities=count
        )
        np.testing.assert_allclose(three.value, shared.value, atol=1e-9)
        return ct.stability.least_control(of(energy, count), of(control, count), 3, shared=three).value

    two = least(energies.clique, 2)
    assert least(energies.star, 3) == pytest.approx(two, rel=2e-3)
    assert 0 < least(energies.clique, 3) < 0.95 * two


@pytest.mark.long
def test_a_control_that_moves_the_shared_cloud_of_three_is_followed():
    theta = ct.latents.VonMisesMixture().quantiles((np.arange(16) + 0.5) / 16)
    pairs = ct.couplings.from_latents(theta, theta, bandwidth=0.5, dtype=np.float64)
    energy = energies.clique(energies.symmetric(pairs, temperature=0.3), 3)
    shared = ct.stability.shared_equilibrium(energy, 3, modalities=3)
    control = energies.clique(energies.Uniformity(), 3)
    found = ct.stability.least_control(energy, control, 3, shared=shared, largest=4, rtol=0.05)
    assert not found.stays
    assert 0 < found.value < 4
    whole = energy + 1.1 * found.value * control
    near = ct.stability.shared_equilibrium(whole, 3, modalities=3, start=found.shared.cloud, starts=0)
    assert ct.stability.modes(whole, near.clouds, kind="antiphase").stable


@pytest.mark.parametrize(("sigma", "tau"), [(1.0, 0.5), (0.7, 0.3)])
def test_rates_of_one_direction_and_of_simclr_at_the_flat_ring(sigma, tau):
    two = ring.growth(sigma, tau, MODES)
    for kind, predicted in zip(
        ("antiphase", "in phase"), ring_losses.pooled_growth(sigma, tau, MODES), strict=True
    ):
        energy = energies.pooled(pair(sigma, tau).coupling, temperature=tau)
        np.testing.assert_allclose(nearest(rates(energy, 2, kind)[0], predicted[:7]), 0, atol=1e-5)
    one = energies.directional(pair(sigma, tau).coupling, temperature=tau)
    for kind in ("antiphase", "in_phase"):
        found = rates(one, 2, kind.replace("_", " "))[0]
        np.testing.assert_allclose(nearest(found, getattr(two, kind)[:7]), 0, atol=1e-5)


def test_the_pooled_energy_without_anchors_is_the_loss_of_simclr():
    n, tau, d = 12, 0.2, 5
    clouds = ct.Pair(uniform(0, n, d), uniform(1, n, d))
    energy = energies.pooled(ct.couplings.paired(n), temperature=tau, exclude_self=True)
    loss = ct.infonce.in_batch(clouds, temperature=tau, negatives="all")
    constant = ct.kernels.Exponential(tau).log_volume(d) + np.log(2 * n - 1)
    np.testing.assert_allclose(energy(clouds) + constant, loss, rtol=1e-12)
    weighted = ct.Pair(*(ct.WeightedCloud(z, jnp.full(n, 1 / n)) for z in clouds))
    np.testing.assert_allclose(energy(weighted), energy(clouds), rtol=1e-12)


def test_rings_of_three_modalities_share_one_height():
    """Each two of a clique need (1-a²)(1-b²) = (τ/τ*)², so three heights agree but for their signs."""
    sigma, ratio = 1.0, 0.8
    tau = ratio * ring.critical_temperature(sigma)
    energy = energies.clique(pair(sigma, tau), 3)
    flow = ct.flows.GradientFlow(0.2 * tau)
    angle = 2 * np.pi * np.arange(N) / N
    clouds = tuple(
        jnp.asarray(
            np.stack(
                [np.sqrt(1 - a * a) * np.cos(angle), np.sqrt(1 - a * a) * np.sin(angle), a + 0 * angle], 1
            )
        )
        for a in (0.5, 0.1, -0.3)
    )
    end = ct.evolve(energy, flow, flow.init(clouds), num_steps=4000).clouds
    heights = [float(z[0, 2]) for z in end]
    want = ring_losses.height_in_clique(sigma, tau)
    np.testing.assert_allclose(heights, [want, want, -want], atol=1e-3)


def test_bad_numbers_of_modalities_are_named():
    for build in (energies.clique, energies.star):
        with pytest.raises(ValueError, match="modalities must be an integer >= 2, got 1"):
            build(pair(1.0, 0.5), 1)
    with pytest.raises(ValueError, match="several"):
        energies.clique(pair(1.0, 0.5), 3)(ct.Pair(flat(), flat()))

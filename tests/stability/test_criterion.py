"""Shared clouds, critical temperatures and least controls, against closed forms and particles."""

import jax.numpy as jnp
import numpy as np
import pytest

import ctflow as ct
from ctflow import energies
from ctflow.claims import mixtures, ring

N, SIGMA = 48, 0.5


def clusters(tau, n=N, sigma=SIGMA):
    coupling = ct.couplings.from_matrix(mixtures.law(n, sigma), dtype=np.float64)
    return energies.symmetric(coupling, temperature=tau)


def divergence(tau):
    return energies.SymmetricDivergence(ct.kernels.Exponential(tau))


def mmd(clouds):
    def mean(a, b):
        return jnp.mean(jnp.exp((a @ b.T - 1) / 0.25))

    x, y = clouds
    return mean(x, x) + mean(y, y) - 2 * mean(x, y)


def means(clouds):
    return jnp.sum((clouds[0].mean(axis=0) - clouds[1].mean(axis=0)) ** 2)


@pytest.fixture(scope="module")
def shared():
    return ct.stability.shared_equilibrium(clusters(0.3), 3)


def test_the_shared_cloud_is_at_rest_and_the_lowest_of_its_starts(shared):
    assert shared.symmetric
    assert shared.error < 1e-5
    assert shared.imbalance < 1e-10
    assert shared.value == shared.starts[0] < -2.17205
    assert "the flow leaves the modalities together" in str(shared)
    velocity = ct.velocity(clusters(0.3), shared.clouds)
    np.testing.assert_allclose(velocity.x, 0, atol=1e-5)


@pytest.mark.parametrize(
    ("control", "strength"), [(divergence(0.3), 0.364), (mmd, 0.391)], ids=["divergence", "mmd"]
)
def test_least_controls_are_those_found_before(shared, control, strength):
    found = ct.stability.least_control(clusters(0.3), control, 3, shared=shared)
    np.testing.assert_allclose(found.value, strength, rtol=0.02)
    assert found.stays
    energy = clusters(0.3) + found.value * energies.as_energy(control)
    assert abs(ct.stability.modes(energy, shared.clouds, kind="antiphase").value[0]) < 2e-3
    assert f"least strength: {found.value:.4g}" in str(found)


def test_pulling_the_means_together_is_known_not_to_suffice(shared):
    found = ct.stability.least_control(clusters(0.3), means, 3, shared=shared)
    assert found.value == np.inf
    energy, control = found.resists
    assert energy < -0.1
    assert abs(control) < 1e-6
    assert "no strength suffices: along one mode" in str(found)
    mode = found.mode.x
    np.testing.assert_allclose(mode.mean(axis=0), 0, atol=1e-4)  # a mode that no mean sees


def test_a_stable_overlap_needs_no_control():
    found = ct.stability.least_control(clusters(0.8), divergence(0.8), 3)
    assert found.value == 0
    assert "no control is needed" in str(found)


def test_the_ring_parts_where_the_closed_form_says():
    """At σ = 1 the flat ring is the overlapping state, and its onset is known exactly."""
    coupling = ct.couplings.from_matrix(ring.law(24, 1.0), dtype=np.float64)
    onset, _ = ring.onset(1.0)
    found = ct.stability.critical_temperature(coupling, 3, temperatures=(0.3, 1.0), scan=12)
    np.testing.assert_allclose(found.value, onset, rtol=0.003)
    assert found.error < 0.002 * onset
    assert f"critical temperature: {found.value:.4g}" in str(found)
    above = found.temperatures > found.value + found.error
    assert np.all(found.curvatures[above] > 0)
    assert not found.neutral[above].any()


def test_on_the_ring_overlap_returns_at_low_temperatures_with_one_neutral_direction():
    """Parallel rings on the same side: at rest at every ratio of their heights, which only the start sets."""
    sigma, low = 1.0, 0.4
    coupling = ct.couplings.from_matrix(ring.law(24, sigma), dtype=np.float64)
    found = ct.stability.critical_temperature(coupling, 3, temperatures=(low, 0.8), scan=14)
    ((lowest, highest),) = found.unstable
    assert highest == found.value
    assert 0.5 < lowest < ring.critical_temperature(sigma)
    assert found.neutral[-1] == 1
    assert "the start decides, not the loss" in str(found)
    at_the_end = energies.symmetric(coupling, temperature=low)
    rings = ring.energy(sigma, low) - at_the_end.kernel.log_volume(3)
    shared = ct.stability.shared_equilibrium(at_the_end, 3)
    np.testing.assert_allclose(shared.value, rings, atol=1e-9)  # as the two rings that are parted
    height = (1 - low / ring.critical_temperature(sigma)) ** 0.5
    np.testing.assert_allclose(np.linalg.norm(np.mean(shared.cloud, axis=0)), height, rtol=1e-4)


def test_matched_pairs_have_no_critical_temperature():
    found = ct.stability.critical_temperature(ct.couplings.paired(12), 3, temperatures=(0.2, 1.0), scan=4)
    assert found.value == 0
    assert found.mode is None
    assert "stable at all temperatures looked at" in str(found)


def asymmetric():
    pi = np.random.default_rng(0).random((6, 6))
    pi = ct.couplings.balance(np.log(pi), row_marginal=np.full(6, 1 / 6), col_marginal=np.full(6, 1 / 6))
    return ct.couplings.from_matrix(pi, dtype=np.float64)


def test_a_coupling_that_is_not_symmetric_is_said_to_be():
    energy = energies.symmetric(asymmetric(), temperature=0.3)
    found = ct.stability.shared_equilibrium(energy, 3)
    assert not found.symmetric
    assert found.imbalance > 1e-3
    assert "the flow parts the modalities" in str(found)
    with pytest.raises(ValueError, match="overlap is not at rest"):
        ct.stability.least_control(energy, divergence(0.3), 3)
    with pytest.raises(ValueError, match=r"overlap is not at rest.*the coupling is not symmetric"):
        ct.stability.critical_temperature(asymmetric(), 3)


def test_a_loss_that_treats_the_modalities_differently_has_no_overlap_at_rest():
    coupling = clusters(0.3).coupling
    energy = energies.directional(coupling, temperature=0.3)
    found = ct.stability.shared_equilibrium(energy, 3)
    assert found.symmetric
    assert found.imbalance > 1e-2
    assert "the loss treats the modalities differently" in str(found)
    with pytest.raises(ValueError, match=r"overlap is not at rest.*the loss treats"):
        ct.stability.least_control(energy, divergence(0.3), 3, shared=found)


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        (np.full((2, 3), 1 / 6), "coupling must be square"),
        (np.array([[0.5, 0.2], [0.0, 0.3]]), "two equal marginals"),
        (np.diag([0.5, 0.5, 0.0]), "every point a partner: 1 of 3 have none, the first at index 2"),
    ],
)
def test_couplings_without_a_shared_cloud_are_refused(matrix, words):
    energy = energies.symmetric(ct.couplings.from_matrix(matrix, dtype=np.float64), temperature=0.3)
    with pytest.raises(ValueError, match=words):
        ct.stability.shared_equilibrium(energy, 3)


def test_bad_numbers_are_named():
    energy = clusters(0.3)
    for call, words in [
        (lambda: ct.stability.shared_equilibrium(mmd, 3), "n is required"),
        (lambda: ct.stability.shared_equilibrium(energy, 3, n=47), "n must be the size of the coupling, 48"),
        (lambda: ct.stability.shared_equilibrium(energy, 1), "d must be an integer >= 2"),
        (lambda: ct.stability.shared_equilibrium(energy, 3, starts=0), "starts must be an integer >= 1"),
        (lambda: ct.stability.least_control(energy, mmd, 3, largest=-1), "largest must be"),
        (
            lambda: ct.stability.critical_temperature(energy.coupling, 3, temperatures=(1.0, 0.1)),
            r"temperatures must be \(lowest, highest\)",
        ),
        (
            lambda: ct.stability.critical_temperature(energy.coupling, 3, temperatures=(0.1, 0.2), scan=2),
            "unstable at the highest temperature, 0.2, already",
        ),
    ]:
        with pytest.raises(ValueError, match=words):
            call()

"""Rules that end a run, and step sizes that are too large."""

import numpy as np
import pytest

import ctflow as ct
from tests.running.small_runs import solve


def test_a_rule_stops_the_run_and_says_converged(tmp_path):
    flow = ct.flows.GradientFlow(0.05)
    solution = solve(flow, num_steps=3000, save_every=50, stop=ct.stopping.Plateau(1e-4))
    assert solution.status is ct.Status.CONVERGED
    assert solution.step == solution.steps[-1] < 3000
    assert np.ptp(solution.saved["energy"][-5:]) <= 1e-4
    wanted = float(solution.saved["energy"][2])
    reached = solve(flow, num_steps=3000, save_every=50, stop=ct.stopping.Target(wanted), save=lambda c: c)
    assert reached.step == solution.steps[2]


def test_a_step_that_cannot_settle_is_named_with_one_that_can():
    with pytest.raises(ct.DivergedError, match=r"step_size=2 is too large.*Try step_size=") as caught:
        solve(ct.flows.GradientFlow(2.0), num_steps=200)
    assert caught.value.solution.status is ct.Status.DIVERGED
    advised = float(str(caught.value).rsplit("=", 1)[1].rstrip("."))
    good = solve(ct.flows.GradientFlow(advised), num_steps=200)
    assert (np.diff(good.saved["energy"]) < 1e-9).all()


def test_points_that_jump_to_and_fro_over_a_minimum_have_diverged():
    """On the circle θ ↦ θ - 3 sin θ has a cycle of two, whose energy at the saves no longer changes."""
    energy = ct.energies.Potential(ct.potentials.Linear(3 * np.eye(2)[0]), temperature=1.0)
    start = np.array([[np.cos(2.5), np.sin(2.5)]])
    with pytest.raises(ct.DivergedError, match=r"diverged by step 400 of 400.*Try") as caught:
        ct.solve(energy, start, ct.flows.GradientFlow(1.0), num_steps=400, save_every=200)
    energies = caught.value.solution.saved["energy"]
    assert energies[0] > energies[1] == pytest.approx(energies[2], abs=1e-9)
    fine = ct.solve(energy, start, ct.flows.GradientFlow(0.1), num_steps=200, save_every=50)
    assert fine.status is ct.Status.FINISHED


def test_points_that_drift_in_a_weak_potential_have_not_diverged():
    """Steps of 1e-3 radians, whose 1e-9 nats are within the energy's rounding."""
    energy = ct.energies.Potential(ct.potentials.Linear(1e-6 * np.eye(2)[0]), temperature=1.0)
    start = np.array([[0.0, 1.0]])
    end = ct.solve(energy, start, ct.flows.GradientFlow(1000.0), num_steps=2, save_every=1)
    assert end.status is ct.Status.FINISHED
    np.testing.assert_allclose(end.clouds, [[2e-3, 1.0]], atol=1e-5)


def test_a_plateau_is_as_many_saves_as_asked_for_within_the_tolerance():
    rule = ct.stopping.Plateau(0.5, saves=3)
    for energies, stops in (([1.0, 1.2], False), ([1.0, 1.2, 1.5], True), ([1.0, 1.2, 1.51], False)):
        assert rule(np.array(energies)) == stops
    assert rule(np.array([9.0, 1.0, 1.2, 1.5]))


def test_the_fastest_rate_of_a_quadratic_well_is_its_curvature():
    """U = -k·z₀ at its minimum: every displacement dies at rate k/τ."""
    pole = np.tile(np.eye(3)[0], (4, 1))
    energy = ct.energies.Potential(lambda z: -5.0 * z[0], temperature=0.5)
    np.testing.assert_allclose(ct.stopping.fastest_rate(energy, pole), 10.0, rtol=1e-3)

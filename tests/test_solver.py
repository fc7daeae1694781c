import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import ctflow as ct
from ctflow import energies, flows
from ctflow.solver import _evolve

KEY = jax.random.key(3)


def setup(dtype=jnp.float64):
    wells = ct.potentials.VonMisesFisherMixture(np.eye(3)[:2], concentration=6.0)
    return energies.unimodal(wells, temperature=0.3), ct.sphere.uniform(jax.random.key(0), 20, 3, dtype)


ALL_FLOWS = [flows.GradientFlow(0.02), flows.Langevin(0.02), flows.Descent(optax.adam(0.02))]


@pytest.mark.parametrize("flow", ALL_FLOWS, ids=lambda f: type(f).__name__)
def test_chunk_size_never_changes_a_result(flow):
    energy, start = setup()
    ends = [ct.solve(energy, start, flow, num_steps=30, key=KEY, save_every=k).cloud for k in (1, 7, 30, 100)]
    for end in ends[1:]:
        np.testing.assert_array_equal(end, ends[0])


@pytest.mark.parametrize("flow", ALL_FLOWS, ids=lambda f: type(f).__name__)
def test_going_on_from_a_state_is_the_uninterrupted_run(flow):
    energy, start = setup()
    whole = ct.evolve(energy, flow, flow.init(start, KEY), num_steps=30)
    half = ct.evolve(energy, flow, flow.init(start, KEY), num_steps=13)
    np.testing.assert_array_equal(ct.evolve(energy, flow, half, num_steps=17).clouds, whole.clouds)


def test_saves_the_energy_and_its_terms_with_steps_and_times():
    energy, start = setup()
    solution = ct.solve(energy, start, flows.GradientFlow(0.02), num_steps=25, save_every=10)
    np.testing.assert_array_equal(solution.steps, [0, 10, 20, 25])
    np.testing.assert_allclose(solution.times, [0, 0.2, 0.4, 0.5])
    assert set(solution.saved) == {"energy", "potential", "negative_entropy"}
    added = solution.saved["potential"] + solution.saved["negative_entropy"]
    np.testing.assert_allclose(added, solution.saved["energy"], atol=1e-13)
    np.testing.assert_allclose(solution.saved["energy"][0], energy(start), atol=1e-13)
    assert solution.status is ct.Status.FINISHED
    assert ct.solve(energy, start, flows.Descent(optax.adam(0.1)), num_steps=2).times is None


def test_evolve_saves_what_solve_saves():
    energy, start = setup()
    flow = flows.GradientFlow(0.02)
    state, saved = ct.evolve(
        energy, flow, flow.init(start), num_steps=20, save_every=5, save=lambda cloud: cloud
    )
    solution = ct.solve(energy, start, flow, num_steps=20, save_every=5, save=lambda cloud: cloud)
    np.testing.assert_array_equal(saved, solution.saved)
    np.testing.assert_array_equal(state.clouds, solution.cloud)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("flow", ALL_FLOWS, ids=lambda f: type(f).__name__)
def test_the_run_keeps_the_starts_dtype(dtype, flow):
    energy, start = setup(dtype)
    solution = ct.solve(energy, start, flow, num_steps=3, key=KEY)
    assert solution.cloud.dtype == dtype
    assert solution.saved["energy"].dtype == dtype


def test_numbers_of_another_precision_do_not_change_the_runs():
    _, start = setup(jnp.float32)
    energy = energies.unimodal(ct.potentials.Linear(np.eye(3)[0]), temperature=np.float64(0.3))
    cloud = ct.WeightedCloud(start, np.full(20, 0.05))
    for flow in (
        flows.GradientFlow(np.float64(0.02)),
        flows.Langevin(np.float64(0.02)),
        flows.Descent(optax.adam(np.float64(0.02))),
    ):
        solution = ct.solve(energy, cloud, flow, num_steps=3, key=KEY)
        assert solution.cloud.points.dtype == jnp.float32


def test_a_sweep_over_temperature_and_step_size_traces_evolve_once():
    _, start = setup()
    before = _evolve._cache_size()
    for tau, h in ((0.1, 0.01), (0.3, 0.02), (1.0, 0.05)):
        flow = flows.GradientFlow(h)
        energy = energies.unimodal(ct.potentials.Linear(np.eye(3)[0]), temperature=tau)
        ct.evolve(energy, flow, flow.init(start), num_steps=11)
    assert _evolve._cache_size() == before + 1


def test_a_non_finite_step_stops_the_run_and_keeps_the_state_before_it():
    start = ct.sphere.uniform(jax.random.key(0), 8, 3)
    pole = jnp.eye(3)[2]

    def poisoned(z):  # turns NaN for a point that has come near the pole
        height = z @ pole
        return jnp.where(height > 0.95, jnp.nan * height, -height)

    energy = energies.Potential(poisoned, temperature=0.5)
    flow = flows.GradientFlow(0.02)
    with pytest.raises(ct.NonFiniteError, match=r"step \d+ of 200 came out non-finite") as caught:
        ct.solve(energy, start, flow, num_steps=200, save_every=50)
    solution = caught.value.solution
    assert solution.status is ct.Status.NON_FINITE
    assert jnp.isfinite(solution.cloud).all()
    good = int(solution.state.step)
    assert f"step {good + 1} of" in str(caught.value)
    replay = ct.evolve(energy, flow, flow.init(start), num_steps=good)
    np.testing.assert_array_equal(replay.clouds, solution.cloud)
    assert bool(replay.finite)
    assert not bool(ct.evolve(energy, flow, replay, num_steps=1).finite)
    quiet = ct.solve(energy, start, flow, num_steps=200, raise_on_failure=False)
    assert quiet.status == "non-finite"


def test_progress_goes_to_stderr_and_counts_every_step(capfd):
    energy, start = setup()
    ct.solve(energy, start, flows.GradientFlow(0.02), num_steps=12, save_every=5, progress=True)
    captured = capfd.readouterr()
    assert "12/12" in captured.err
    assert captured.out == ""


def test_evolve_is_differentiable_in_the_temperature():
    _, start = setup()

    def end_height(tau):
        energy = energies.Potential(ct.potentials.Linear(np.eye(3)[0]), temperature=tau)
        flow = flows.GradientFlow(0.05)
        return ct.evolve(energy, flow, flow.init(start), num_steps=10).clouds[:, 0].mean()

    slope = (end_height(0.5 + 1e-6) - end_height(0.5 - 1e-6)) / 2e-6
    np.testing.assert_allclose(jax.grad(end_height)(0.5), slope, rtol=1e-6)

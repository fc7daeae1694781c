"""Steps from the host, where one program gives report and velocity, against steps in one loop."""

import jax.numpy as jnp
import numpy as np
import pytest

import ctflow as ct
from ctflow import energies, flows, kernels
from ctflow.running import programs
from tests.draws import uniform

NARROW = ct.partition.Planned(kernels.Exponential(np.float32(0.3)), degrees=(16, 24), rtol=3e-6)


@pytest.fixture
def from_the_host(monkeypatch):
    """Run of many points: their number is lowered to 80."""
    monkeypatch.setattr(programs, "_HOST_STEP_POINTS", 80)


def run(num_steps=24, flow=None, **options):
    """As the points gather, float32 is not proven for some steps."""
    energy = -energies.SmoothedEntropy(NARROW, method="spectral")
    start = uniform(0, 80, 3, np.float32)
    return ct.solve(energy, start, flow or flows.GradientFlow(0.2), num_steps=num_steps, **options)


def counted(monkeypatch):
    """Calls of the program of steps from the host, as (stage, was it proven)."""
    taken, steps = [], programs.SharedPrograms._steps

    def recorded(self, number, state, count):
        after = steps(self, number, state, count)
        taken.append((number, bool(after.finite)))
        return after

    monkeypatch.setattr(programs.SharedPrograms, "_steps", recorded)
    return taken


def test_steps_from_the_host_are_those_of_the_loop(monkeypatch):
    loop = run(save_every=8)
    monkeypatch.setattr(programs, "_HOST_STEP_POINTS", 80)
    taken = counted(monkeypatch)
    found = run(save_every=8)
    assert (0, False) in taken
    assert (1, True) in taken
    np.testing.assert_allclose(found.clouds, loop.clouds, atol=1e-4)
    for name, values in loop.saved.items():
        np.testing.assert_allclose(found.saved[name], values, rtol=1e-5)
    with np.testing.assert_raises(AssertionError):  # or the comparison shows nothing
        np.testing.assert_allclose(found.clouds, uniform(0, 80, 3, np.float32), atol=1e-2)


def test_saves_and_resumes_change_no_bit(from_the_host, tmp_path):
    whole = run(save_every=8)
    np.testing.assert_array_equal(run(save_every=5).clouds, whole.clouds)
    np.testing.assert_array_equal(run(save_every=24, save=jnp.mean).clouds, whole.clouds)
    run(16, save_every=8, checkpoint=tmp_path)
    resumed = run(save_every=8, checkpoint=tmp_path, resume=True)
    np.testing.assert_array_equal(resumed.clouds, whole.clouds)
    np.testing.assert_array_equal(resumed.saved["energy"], whole.saved["energy"])


@pytest.mark.long
def test_a_flow_with_a_step_of_its_own_takes_it(from_the_host, monkeypatch):
    class Twice(flows.GradientFlow):
        def step(self, energy, state):
            return super().step(energy, super().step(energy, state)._replace(step=state.step))

    taken = counted(monkeypatch)
    twice = run(3, Twice(0.2)).clouds
    assert not taken
    np.testing.assert_allclose(twice, run(6).clouds, atol=1e-5)
    assert taken


@pytest.mark.long
def test_steps_from_the_host_end_where_they_are_not_finite(from_the_host):
    def wall(z):
        return -3 * z[0] + 1e-6 * jnp.sqrt(0.9 - z[0])

    energy = energies.Potential(ct.potentials.as_potential(wall), temperature=1.0)
    energy = energy + 1e-3 * energies.SmoothedEntropy(NARROW, method="spectral")
    start = uniform(1, 200, 3, np.float32)
    start = start[start[:, 0] < 0.5][:80]
    with pytest.raises(ct.NonFiniteError) as caught:
        ct.solve(energy, start, flows.GradientFlow(0.01), num_steps=200)
    last = np.asarray(caught.value.solution.clouds)
    assert np.isfinite(last).all()
    assert 0.9 < last[:, 0].max() < 0.93  # where the first point went, from which no velocity leads on
    assert caught.value.solution.step < 200

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ctflow as ct


def inputs(runs):
    keys = jax.random.split(jax.random.key(0), runs)
    starts = np.stack([ct.sphere.uniform(key, 12, 3) for key in keys])
    return starts, np.linspace(0.1, 1, runs)


def make_run(traces):
    def run(stack):
        start, tau = stack
        traces.append(1)
        energy = ct.energies.unimodal(ct.potentials.Linear(np.eye(3)[0]), temperature=tau)
        flow = ct.flows.GradientFlow(0.05)
        state, saved = ct.evolve(
            energy, flow, flow.init(start), num_steps=6, save_every=2, save=lambda c: {"energy": energy(c)}
        )
        return state.clouds, saved

    return run


@pytest.mark.parametrize("batch_size", [1, 3, 100, None])
def test_a_sweep_is_its_runs_traced_once(batch_size):
    traces = []
    starts, taus = inputs(7)
    clouds, saved = ct.sweep(make_run(traces), (starts, taus), batch_size=batch_size)
    assert len(traces) == 1
    assert saved["energy"].shape == (7, 4)
    for i in (0, 6):
        one, one_saved = make_run([])((jnp.asarray(starts[i]), taus[i]))
        np.testing.assert_allclose(clouds[i], one, atol=1e-12)
        np.testing.assert_allclose(saved["energy"][i], one_saved["energy"], atol=1e-12)


def test_batches_do_not_change_the_numbers():
    results = [ct.sweep(make_run([]), inputs(5), batch_size=size)[0] for size in (1, 2, 5)]
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


def test_unequal_inputs_are_refused():
    with pytest.raises(ValueError, match="share a leading axis"):
        ct.sweep(lambda x: x[0], (np.zeros(3), np.zeros(4)))
    with pytest.raises(ValueError, match="share a leading axis"):
        ct.sweep(lambda x: x, np.zeros(0))

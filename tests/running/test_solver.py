import re
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import ctflow as ct
from ctflow import energies, flows
from ctflow.running import divergence
from ctflow.running.evolve import _evolve

KEY = jax.random.key(3)


def setup(dtype=jnp.float64):
    wells = ct.potentials.VonMisesFisherMixture(np.eye(3)[:2], concentration=6.0)
    return energies.unimodal(wells, temperature=0.3), ct.sphere.uniform(jax.random.key(0), 20, 3, dtype)


ALL_FLOWS = [flows.GradientFlow(0.02), flows.Langevin(0.02), flows.Descent(optax.adam(0.02))]


@pytest.mark.parametrize("flow", ALL_FLOWS, ids=lambda f: type(f).__name__)
def test_chunk_size_never_changes_a_result(flow):
    energy, start = setup()
    ends = [
        ct.solve(energy, start, flow, num_steps=30, key=KEY, save_every=k).clouds for k in (1, 7, 30, 100)
    ]
    for end in ends[1:]:
        np.testing.assert_array_equal(end, ends[0])
    first = ct.solve(energy, start, flow, num_steps=13, key=KEY, save_every=13)
    rest = ct.solve(energy, first.state, flow, num_steps=17, save_every=10)
    np.testing.assert_array_equal(rest.steps, [13, 23, 30])
    jax.tree.map(np.testing.assert_array_equal, rest.clouds, ends[0])


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
    np.testing.assert_array_equal(state.clouds, solution.clouds)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("flow", ALL_FLOWS, ids=lambda f: type(f).__name__)
def test_the_run_keeps_the_starts_dtype(dtype, flow):
    energy, start = setup(dtype)
    solution = ct.solve(energy, start, flow, num_steps=3, key=KEY)
    assert solution.clouds.dtype == dtype
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
        assert solution.clouds.points.dtype == jnp.float32


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
        return height * jnp.where(height > 0.95, jnp.nan, -1.0)

    energy = energies.Potential(poisoned, temperature=0.5)
    flow = flows.GradientFlow(0.02)
    with pytest.raises(ct.NonFiniteError, match=r"step \d+ of 200 came out non-finite") as caught:
        ct.solve(energy, start, flow, num_steps=200, save_every=50)
    solution = caught.value.solution
    assert solution.status is ct.Status.NON_FINITE
    assert jnp.isfinite(solution.clouds).all()
    good = int(solution.state.step)
    assert good > 0
    assert f"step {good + 1} of" in str(caught.value)
    replay = ct.evolve(energy, flow, flow.init(start), num_steps=good)
    np.testing.assert_array_equal(replay.clouds, solution.clouds)
    assert bool(replay.finite)
    assert not bool(ct.evolve(energy, flow, replay, num_steps=1).finite)
    quiet = ct.solve(energy, start, flow, num_steps=200, raise_on_failure=False)
    assert quiet.status == "non-finite"


class Counted(flows.Flow):
    """Counts its steps in its memory, and leaves the sphere for NaN at the fourth."""

    def init(self, clouds, key=None):
        return super().init(clouds, key)._replace(memory=jnp.zeros(()))

    def step(self, energy, state):
        clouds = jnp.where(state.step == 3, jnp.nan, state.clouds)
        return state._replace(clouds=clouds, step=state.step + 1, memory=state.memory + 1)


def test_a_non_finite_step_leaves_the_memory_as_it_was():
    energy, start = setup()
    end = ct.evolve(energy, Counted(), Counted().init(start), num_steps=9)
    assert not bool(end.finite)
    assert (int(end.step), float(end.memory)) == (3, 3.0)
    np.testing.assert_array_equal(end.clouds, start)


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


@pytest.mark.parametrize(
    "flow", [*ALL_FLOWS[:2], flows.WassersteinFisherRao(0.02, ct.kernels.Exponential(0.3))]
)
def test_times_are_those_of_the_step_size_as_given(flow):
    np.testing.assert_array_equal(flow.time([0, 1, 50]), [0, 0.02, 1.0])
    energy = energies.Potential(ct.potentials.Linear(np.eye(3)[0]), temperature=0.3)
    start = ct.sphere.uniform(jax.random.key(0), 6, 3, jnp.float32)
    solution = ct.solve(energy, start, flow, num_steps=50, save_every=25, key=KEY)
    np.testing.assert_array_equal(solution.times, [0, 0.5, 1.0])
    assert solution.times.dtype == np.float64


WELLS = ct.potentials.VonMisesFisherMixture(np.eye(3)[:2], concentration=12.0)
WELL = {3: WELLS, 2: ct.potentials.Linear(np.eye(2)[0]), 8: ct.potentials.Ring(np.eye(8)[0], level=0.3)}
STIFFNESS = {3: 1.0, 2: 1.0, 8: 0.91}  # the largest curvature in the potentials' valleys


def ends(flow, tau, d, n=40):
    """The run from a uniform start of so many points; its energy at the start is looked at, and the end."""
    energy = energies.Potential(WELL[d], temperature=tau)
    start = ct.sphere.uniform(jax.random.key(d), n, d)
    return ct.solve(energy, start, flow, num_steps=300, key=KEY, save_every=300)


@pytest.mark.parametrize("d", WELL)
@pytest.mark.parametrize("tau", [5e-4, 2e-3, 0.02])
def test_a_law_from_steps_too_large_for_its_wells_is_refused(d, tau):
    """The points need not be in the wells at the end: steps that large throw them out."""
    for rate in (2.3, 3.0, 5.0, 20.0):
        with pytest.raises(ct.DivergedError, match="sample a wrong law"):
            ends(flows.Langevin(rate * tau / STIFFNESS[d]), tau, d)
    for rate in (0.1, 1.0, 1.8):
        assert ends(flows.Langevin(rate * tau / STIFFNESS[d]), tau, d).status is ct.Status.FINISHED


def test_the_step_advised_for_a_law_reaches_it():
    tau = 0.002
    with pytest.raises(ct.DivergedError) as caught:
        ends(flows.Langevin(0.01), tau, 3)
    advised = float(str(caught.value).rsplit("=", 1)[1].rstrip("."))
    assert advised * 1.0 / tau < 0.25
    solution = ends(flows.Langevin(advised), tau, 3)
    excess = (np.asarray(WELLS(solution.clouds)) - float(WELLS(np.eye(3)[0]))) / tau
    assert abs(excess.mean() - 1) < 5 / np.sqrt(40)  # half a nat a direction, of deviation 1


def test_every_flow_with_a_step_size_is_looked_at_when_it_ends():
    """Two saves alone, the last energy far below the first: nothing rose, and the steps are too large."""
    for flow in (flows.GradientFlow(0.01), flows.WassersteinFisherRao(0.01, ct.kernels.Exponential(0.3))):
        with pytest.raises(ct.DivergedError):
            ends(flow, 0.004, 3)


def test_a_narrow_well_that_few_points_are_near_is_not_overlooked():
    """Steps this large throw every point out of a well of a fiftieth of the sphere; the law is all in it."""
    well = energies.Potential(lambda z: -jnp.exp((z[0] - 1) / 0.02), temperature=0.002)
    for seed in range(4):
        start = ct.sphere.uniform(jax.random.key(seed), 50, 3)
        with pytest.raises(ct.DivergedError):
            ct.solve(well, start, flows.Langevin(8e-4), num_steps=300, key=jax.random.key(seed + 1))


def test_a_cycle_of_two_is_found_from_its_gentle_state():
    """Of the two states that such steps jump between, one has slow rates, and the energy fell."""
    energy = energies.unimodal(WELLS, temperature=0.05)
    start = ct.sphere.uniform(jax.random.key(0), 40, 3)
    settled = ct.solve(energy, start, flows.GradientFlow(0.02), num_steps=1000, save_every=1000).clouds
    flow = flows.GradientFlow(2.25 / float(ct.stopping.fastest_rate(energy, settled, iterations=64)))
    for num_steps in (26, 27):  # an end in each of the two states
        with pytest.raises(ct.DivergedError):
            ct.solve(energy, start, flow, num_steps=num_steps, save_every=num_steps)


@pytest.mark.parametrize(
    ("order", "below", "above", "limit"), [(1, 0.1993, 0.2007, "0.2"), (4, 0.277, 0.28, "0.2785")]
)
def test_steps_just_below_the_limit_settle(order, below, above, limit):
    energy = energies.Potential(ct.potentials.Linear(np.eye(3)[0]), temperature=0.1)
    start = ct.sphere.uniform(jax.random.key(0), 50, 3)
    settled = ct.solve(energy, start, flows.GradientFlow(below, order), num_steps=4000, save_every=4000)
    np.testing.assert_allclose(settled.cloud[:, 0], 1, atol=1e-3)
    with pytest.raises(
        ct.DivergedError, match=rf"step_size={above}.* is too large.* above {limit} do not settle"
    ):
        ct.solve(energy, start, flows.GradientFlow(above, order), num_steps=4000, save_every=4000)


def test_a_ridge_is_no_reason_to_refuse_a_law():
    """Between sharp wells displacements grow, ten times faster than they die in the wells."""
    wells = ct.potentials.VonMisesFisherMixture(np.eye(3)[:2], concentration=40.0)
    energy = energies.Potential(wells, temperature=0.05)
    ridge = jnp.tile(jnp.asarray([[1.0, 1.0, 0.0]]) / np.sqrt(2), (20, 1))
    flow = flows.Langevin(0.02)
    velocity = partial(flows.jitted_velocity, energy)
    assert divergence.too_fast(velocity, flow, ridge) is None
    assert divergence.too_fast(velocity, flows.Langevin(0.2), ridge) is not None


def test_the_fastest_rate_counts_what_dies_here_and_ahead():
    """U = -z₀ in nats at τ = 0.1: growth at rate 10 at the top, decay at rate 10 in the well."""
    energy = energies.Potential(ct.potentials.Linear(np.eye(3)[0]), temperature=0.1)
    top = ct.sphere.normalize(jnp.array([[-1.0, 0.1, 0.0], [-1.0, 0.0, -0.2]]))
    rates = [float(ct.stopping.fastest_rate(energy, top, ahead)) for ahead in (0.0, 1.0)]
    assert rates[0] == 0
    np.testing.assert_allclose(rates[1], 10, rtol=0.02)
    flat = energies.Potential(ct.potentials.Linear(np.zeros(3)), temperature=0.1)
    assert float(ct.stopping.fastest_rate(flat, top, 1.0)) == 0
    for w in ([1.0, 0.0], [0.0, 1.0], [0.3, 0.7]):
        weighted = ct.WeightedCloud(top, jnp.array(w))
        np.testing.assert_allclose(ct.stopping.fastest_rate(energy, weighted, 1.0), 10, rtol=0.02)


START = ct.sphere.uniform(jax.random.key(0), 9, 3)
AROUND = energies.Potential(lambda z: jnp.where(z[0] > START[4, 0] - 1e-6, jnp.inf, 0.0), temperature=0.5)
CUSP = energies.Potential(lambda z: jnp.sqrt(z[0] - START[4, 0]) ** 2, temperature=0.5)
STEEP = energies.Potential(lambda z: jnp.sqrt(jnp.sum((z - START[4]) ** 2)), temperature=0.5)
ENTROPY = energies.SmoothedEntropy(ct.kernels.Exponential(0.3))


@pytest.mark.parametrize("flow", ALL_FLOWS, ids=lambda f: type(f).__name__)
@pytest.mark.parametrize("save", [None, lambda cloud: cloud[0]], ids=["energy", "own"])
@pytest.mark.parametrize(
    ("energy", "message"),
    [
        (ENTROPY + 2.0 * AROUND, "its term 'potential' is inf"),
        (CUSP, "its term 'potential' is nan and "),
        (
            ENTROPY + STEEP,
            "1 of 9 points have no finite velocity under its term 'potential', the first is row",
        ),
    ],
    ids=["inf", "nan", "velocity"],
)
def test_a_start_that_is_not_finite_is_refused_and_the_term_named(energy, message, save, flow, tmp_path):
    with pytest.raises(ValueError, match="energy must be finite at the start, but") as caught:
        ct.solve(energy, START, flow, num_steps=3, key=KEY, save=save, checkpoint=tmp_path / "run")
    assert message in str(caught.value)
    assert not any((tmp_path / "run").iterdir())
    assert "step size" not in str(caught.value)


class Unregistered(flows.Flow):
    def __init__(self):
        pass

    def step(self, energy, state):
        return state


class Disagreeing(ct.Energy):
    def __call__(self, clouds):
        return jnp.mean(clouds[:, 0])

    def terms(self, clouds):
        return {"height": jnp.mean(clouds[:, 0]), "depth": jnp.mean(clouds[:, 1])}


class Stepless(flows.Flow):
    pass


class ReturnsClouds(flows.Flow):
    def step(self, energy, state):
        return state.clouds


class Uncounted(flows.Flow):
    def step(self, energy, state):
        return state


class UnregisteredEnergy(energies.Energy):
    def __init__(self):
        pass

    def terms(self, clouds):
        return {"zero": jnp.sum(0 * clouds)}


def wrong(flow: Any = ALL_FLOWS[0], energy: Any = CUSP, start: Any = START, **options):
    return ct.solve(energy, start, flow, **{"num_steps": 2, **options})


REFUSED = {
    "terms that do not add up": (
        lambda: wrong(energy=Disagreeing()),
        "the terms of Disagreeing must add up to the energy, got ",
    ),
    "key beside a state": (
        lambda: wrong(start=ALL_FLOWS[0].init(START), key=KEY),
        "key must be left out where start is a State",
    ),
    "state that is not finite": (
        lambda: wrong(start=ALL_FLOWS[0].init(START)._replace(finite=False)),
        "start must be a finite state",
    ),
    "state of another flow": (
        lambda: wrong(start=flows.Descent(optax.adam(0.1)).init(START)),
        "start.memory must be that of a GradientFlow",
    ),
    "solution as start": (
        lambda: wrong(
            start=ct.Solution(START, np.zeros(1), None, None, ct.Status.FINISHED, ALL_FLOWS[0].init(START))
        ),
        "got a Solution; pass sol.state to continue that run, or sol.clouds for a new run",
    ),
    "traced start": (
        lambda: jax.jit(lambda z: wrong(start=z))(START),
        "not tracers of jax.jit, jax.vmap or jax.grad; use ct.evolve inside",
    ),
    "traced temperature": (
        lambda: jax.grad(
            lambda tau: wrong(energy=energies.Potential(ct.potentials.Linear(np.eye(3)[0]), temperature=tau))
        )(0.5),
        "use ct.evolve inside",
    ),
    "traced key": (
        lambda: jax.vmap(lambda key: wrong(key=key))(jax.random.split(KEY)),
        "use ct.evolve inside",
    ),
    "flow not registered": (
        lambda: wrong(flow=Unregistered()),
        "flow must be a number, an array or an object registered with JAX, got an unregistered Unregistered",
    ),
    "energy not registered": (
        lambda: wrong(energy=UnregisteredEnergy()),
        "energy must be a number, an array or an object registered with JAX, got an unregistered",
    ),
    "flow without a step": (
        lambda: wrong(flow=Stepless()),
        "Stepless must define step(energy, state)",
    ),
    "steps that are not counted": (
        lambda: wrong(flow=Uncounted(), energy=ENTROPY),
        "Uncounted.step must count its steps, but they went from 0 to 0 instead of 1; return state._replace(",
    ),
    "a constant of flows as a setting": (
        lambda: type("Noisy", (flows.Flow,), {"__annotations__": {"stochastic": bool}, "stochastic": True}),
        "Noisy.stochastic must be a constant of the class, not a setting; write stochastic = True without",
    ),
    "step that returns clouds": (
        lambda: wrong(flow=ReturnsClouds()),
        "ReturnsClouds.step must return a State, got DynamicJaxprTracer; return state._replace(clouds=",
    ),
    "energy a class": (
        lambda: wrong(energy=energies.Potential),
        "got the class Potential itself; call it with its settings",
    ),
    "flow a class": (
        lambda: wrong(flow=flows.Langevin),
        "flow must be a flow, got the class Langevin itself; call it with its settings",
    ),
    "evolve with a class": (
        lambda: ct.evolve(CUSP, flows.Langevin, ALL_FLOWS[0].init(START), num_steps=1),  # type: ignore
        "got the class Langevin itself",
    ),
    "evolve with a cloud": (
        lambda: ct.evolve(CUSP, ALL_FLOWS[0], START, num_steps=1),  # type: ignore
        "state must be a State, got ArrayImpl; make one by flow.init(clouds, key)",
    ),
    "num_steps a float": (
        lambda: wrong(num_steps=1e3),
        "num_steps must be an integer >= 1, got the float 1000.0; write num_steps=1000",
    ),
    "num_steps of evolve": (
        lambda: ct.evolve(CUSP, ALL_FLOWS[0], ALL_FLOWS[0].init(START), num_steps=1e3),  # type: ignore
        "write num_steps=1000",
    ),
    "save_every a float": (lambda: wrong(save_every=2.0), "write save_every=2"),
    "save no function": (lambda: wrong(save="energy"), "save must be a function of the clouds, got 'energy'"),
    "save nothing": (lambda: wrong(save=lambda cloud: None), "got NoneType None; return numbers only"),
    "save text": (
        lambda: wrong(save=lambda cloud: {"a": cloud, "b": "x"}),
        "got str 'x'; return numbers only",
    ),
    "save not traceable": (
        lambda: wrong(save=lambda cloud: float(cloud[0, 0])),
        "save must be a function of the clouds that JAX can trace, but calling it failed",
    ),
    "save of evolve": (
        lambda: ct.evolve(
            CUSP, ALL_FLOWS[0], ALL_FLOWS[0].init(START), num_steps=2, save_every=1, save=lambda cloud: "x"
        ),
        "save must return an array, or a dict or tuple of arrays, got str 'x'",
    ),
}


@pytest.mark.wrong_types
@pytest.mark.parametrize("name", REFUSED)
def test_what_solve_cannot_run_is_refused_in_a_sentence(name):
    call, message = REFUSED[name]
    with pytest.raises((ValueError, TypeError, NotImplementedError), match=re.escape(message)):
        call()


def test_a_solution_prints_in_ten_lines_without_its_arrays():
    energy = energies.SmoothedEntropy(ct.kernels.Exponential(0.3))
    solution = ct.solve(energy, START, flows.GradientFlow(0.02), num_steps=4)
    first, last = solution.saved["energy"][[0, -1]]
    assert repr(solution).splitlines() == [
        "Solution: finished after 4 steps, time 0.08",
        "  clouds: [9, 3] float64",
        f"  saved['energy']: [5], {first:.6g} to {last:.6g}",
        f"  saved['negative_entropy']: [5], {first:.6g} to {last:.6g}",
    ]
    many = solution._replace(saved={str(i): np.zeros(5) for i in range(30)}, times=None)
    assert len(repr(many).splitlines()) == 10
    assert repr(many).endswith("and 23 more")
    pair = solution._replace(clouds=ct.Pair(START, START), saved=np.zeros((5, 9, 3)))
    assert "clouds.y: [9, 3]" in repr(pair)
    assert "saved: [5, 9, 3]" in str(pair)

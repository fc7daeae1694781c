"""Densities under the flows of J_τ and J^Sym, and the harmonics that carry them."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

import ctflow as ct
from ctflow.meanfield import DensityFlow, HarmonicGrid, rates


def flat(d):
    return ct.potentials.Linear(jnp.zeros(d))


@pytest.mark.parametrize("d", [2, 3])
def test_harmonics_are_orthonormal_and_carry_what_they_can(d):
    grid = HarmonicGrid(d, 6, count=7)
    np.testing.assert_allclose(grid.analyse(grid.basis.T), np.eye(len(grid.degrees)), atol=1e-12)
    values = grid.nodes[:, 0] * grid.nodes[:, -1] ** 3 - 2 * grid.nodes[:, 0]
    np.testing.assert_allclose(grid.synthesise(grid.analyse(values)), values, atol=1e-12)
    assert grid.weights.sum() == pytest.approx(1, abs=1e-14)
    assert len(grid.degrees) == (13 if d == 2 else 49)


@pytest.mark.parametrize("d", [2, 3])
def test_products_of_three_harmonics_are_summed_as_on_a_finer_grid(d):
    flow = DensityFlow(flat(d), temperature=1.0, d=d, max_degree=4)
    coarse, fine = (
        np.einsum("k,ka,kb,kc->abc", grid.weights, grid.basis, grid.basis, grid.basis, optimize=True)
        for grid in (flow.grid, HarmonicGrid(d, 4, count=16))
    )
    np.testing.assert_allclose(coarse, fine, atol=1e-12)


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("tau", [1.0, 0.1])
def test_small_modes_move_at_the_closed_forms(d, tau):
    kernel, degree, time = ct.kernels.Exponential(tau), 2, 0.1
    growth = rates.growth(kernel, d, degree)
    for kind, signs in (("unimodal", (1,)), ("in_phase", (1, 1)), ("antiphase", (1, -1))):
        flow = DensityFlow([flat(d)] * len(signs), temperature=tau, d=d, max_degree=8)
        mode = flow.grid.basis[:, np.flatnonzero(flow.grid.degrees == degree)[0]]
        starts = [lambda z, s=s, mode=mode: 1 + 1e-6 * s * mode for s in signs]
        ends = flow.solve(starts, [0.0, time])[:, 0] @ (flow.grid.weights * mode)
        assert np.log(ends[1] / ends[0]) / time == pytest.approx(getattr(growth, kind)[degree], rel=1e-4)


def test_growth_tends_to_one_and_a_half_laplacians():
    sharp = rates.growth(ct.kernels.Exponential(1e-4), 3, 3)
    np.testing.assert_allclose(sharp.antiphase, 1.5 * np.array([0, 2, 6, 12]), rtol=2e-3)
    np.testing.assert_allclose(sharp.unimodal, -np.array([0, 2, 6, 12]), rtol=2e-3)


def test_energy_falls_mass_stays_and_both_are_the_clouds(key):
    fields = ct.potentials.Linear(jnp.array([0.0, 1.0])), ct.potentials.Linear(jnp.array([0.5, 0.5]))
    flow = DensityFlow(fields, temperature=0.5, d=2, max_degree=24)
    rho = flow.solve([lambda z: 1 - 0.5 * z[:, 1], lambda z: 1 + 0.3 * z[:, 0]], np.linspace(0, 0.3, 7))
    assert (np.diff(flow.energy(rho)) < 0).all()
    np.testing.assert_allclose(rho @ flow.grid.weights, 1, atol=1e-12)
    nodes = jnp.asarray(flow.grid.nodes)
    pair = ct.Pair(*(ct.WeightedCloud(nodes, jnp.asarray(flow.grid.weights * r)) for r in rho[-1]))
    energy = ct.energies.symmetric_in_fields(*fields, temperature=0.5)
    assert float(energy(pair)) == pytest.approx(flow.energy(rho[-1]), rel=1e-10)


def test_says_from_when_on_the_density_is_too_fine():
    wells = ct.potentials.VonMisesFisherMixture(np.eye(2), concentration=12.0)
    flow = DensityFlow(wells, temperature=0.5, d=2, max_degree=12)
    with pytest.raises(ValueError, match=r"max_degree = 12 resolves the densities only until time 0\.\d+"):
        flow.solve(lambda z: np.ones(len(z)), [5.0])


def test_refuses_starts_that_are_no_densities_or_too_fine():
    flow = DensityFlow(flat(2), temperature=1.0, d=2, max_degree=6)
    narrow = lambda z: np.exp(60 * (z[:, 0] - 1)) / special.ive(0, 60)  # noqa: E731
    for start, message in (
        (narrow, "a start must be a density|max_degree = 6 does not resolve the starts; use a larger one"),
        (lambda z: 1 + 2 * z[:, 0], "a start must be a density w.r.t. the uniform law, >= 0 with mass 1"),
        (lambda z: 3 + z[:, 0], r"got values from 2 to 4 with mass 3; divide it by its mass"),
        (lambda z: np.full(len(z), np.nan), "got values from nan to nan"),
    ):
        with pytest.raises(ValueError, match=message):
            flow.solve(start, [0.1])


@pytest.mark.parametrize("order", [1, -1])
def test_a_start_too_fine_is_refused_beside_one_that_is_not(order):
    flow = DensityFlow([flat(2)] * 2, temperature=1.0, d=2, max_degree=6)
    starts = [lambda z: np.ones(len(z)), lambda z: np.exp(10 * (z[:, 0] - 1)) / special.ive(0, 10)]
    with pytest.raises(ValueError, match="max_degree = 6 does not resolve the starts"):
        flow.solve(starts[::order], [0.1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: HarmonicGrid(4, 3, count=9), "d must be 2 or 3, got 4"),
        (lambda: HarmonicGrid(3, 8, count=8), "count must be an integer >= 9, got 8"),
        (lambda: DensityFlow([flat(2)] * 3, temperature=1.0, d=2), "got 3 of them"),
        (lambda: DensityFlow(flat(2), temperature=0.0, d=2), "temperature must be finite and > 0"),
        (lambda: DensityFlow(flat(2), temperature=1.0, d=2).solve([], [1.0]), "one per potential, 1, got 0"),
        (
            lambda: DensityFlow(flat(2), temperature=1.0, d=2).solve(lambda z: z[:, 0] ** 2, [1.0, 0.5]),
            "times must be >= 0 and ascending",
        ),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()

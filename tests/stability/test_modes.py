"""Curvatures and modes against closed forms, by a matrix and by products with vectors."""

import jax.numpy as jnp
import numpy as np
import pytest

import ctflow as ct
from ctflow import energies
from ctflow.claims import ring
from ctflow.stability import spectrum
from tests.draws import uniform

SIGMA, TAU, N = 0.8, 0.48, 24


def flat_ring(n=N):
    angle = 2 * np.pi * np.arange(n) / n
    z = jnp.asarray(np.stack([np.cos(angle), np.sin(angle), np.zeros(n)], axis=1))
    coupling = ct.couplings.from_matrix(ring.law(n, SIGMA), dtype=np.float64)
    return energies.symmetric(coupling, temperature=TAU), ct.Pair(z, z)


def closed_form(kind, count):
    """The largest growth rates of the flat ring; waves m >= 1 come as sine and cosine."""
    modes = np.arange(N // 2)
    rates = ring.growth(SIGMA, TAU, modes)
    out, beside = (
        (rates.antiphase, rates.antiphase_along)
        if kind == "antiphase"
        else (rates.in_phase, rates.in_phase_along)
    )
    every = [
        rate
        for rates in (out, beside)
        for m, rate in zip(modes, rates, strict=True)
        for _ in range(1 + (m > 0))
    ]
    return np.sort(every)[::-1][:count]


@pytest.mark.parametrize("kind", ["antiphase", "in phase"])
@pytest.mark.parametrize("most", [spectrum.DENSE_COORDINATES, 10], ids=["matrix", "Krylov"])
def test_rates_of_the_flat_ring_with_all_copies_of_multiple_ones(monkeypatch, kind, most):
    monkeypatch.setattr(spectrum, "DENSE_COORDINATES", most)
    found = ct.stability.modes(*flat_ring(), k=6, kind=kind)
    np.testing.assert_allclose(-found.value, closed_form(kind, 6), atol=3e-6 * abs(found.fastest))
    assert found.method == ("Krylov" if most == 10 else "matrix")
    assert np.all(found.error < 1e-4 * abs(found.fastest))


def test_a_mode_is_tangent_of_mean_square_one_and_has_its_curvature():
    energy, clouds = flat_ring()
    found = ct.stability.modes(energy, clouds, k=2, kind="antiphase")
    for number in (0, 1):
        u = ct.Pair(*(side[number] for side in found.mode))
        np.testing.assert_allclose(u.x, -u.y, atol=1e-14)
        np.testing.assert_allclose(np.sum(u.x * np.asarray(clouds.x), axis=1), 0, atol=1e-14)
        np.testing.assert_allclose(sum(np.mean(np.sum(side**2, axis=1)) for side in u), 1, rtol=1e-12)

        def at(t, u=u):
            return float(
                energy(ct.Pair(*(ct.sphere.exp_map(z, t * v) for z, v in zip(clouds, u, strict=True))))
            )

        second = (at(1e-3) - 2 * at(0.0) + at(-1e-3)) / 1e-6
        np.testing.assert_allclose(found.value[number], second, atol=1e-5)


def test_a_well_has_its_curvature_in_every_direction_whatever_the_weights():
    energy = energies.Potential(ct.potentials.Linear(np.eye(4)[0]), temperature=0.1)
    w = np.array([0.5, 0.2, 0.3, 0.0])
    at_the_top = jnp.asarray(np.tile(np.eye(4)[0], (4, 1)))
    found = ct.stability.modes(energy, ct.WeightedCloud(at_the_top, jnp.asarray(w)), k=12)
    np.testing.assert_allclose(
        found.value, [0] * 3 + [10] * 9, atol=1e-10
    )  # a point of weight 0 feels nothing
    assert found.neutral == 3
    assert "neutral" in str(found)


def test_three_clouds_part_in_two_ways_for_each_of_a_pairs():
    """Three modalities of one law, each pair attracted: the rates are those of a pair, once more."""
    energy, (z, _) = flat_ring()
    clique = energies.Between(energy, first=0, second=1) + energies.Between(energy, first=1, second=2)
    clique = clique + energies.Between(energy, first=0, second=2)
    found = ct.stability.modes(clique, (z, z, z), k=4, kind="antiphase")
    pair = ct.stability.modes(energy, ct.Pair(z, z), k=2, kind="antiphase")
    assert [side.shape for side in found.mode] == [(4, N, 3)] * 3
    np.testing.assert_allclose(sum(found.mode), 0, atol=1e-13)
    assert found.value[0] < 0 > pair.value[0]
    np.testing.assert_allclose(found.value[::2], found.value[1::2], atol=1e-10)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"k": 0}, "k must be an integer >= 1"),
        ({"k": 10**4}, "k must be <= 96"),
        ({"kind": "apart"}, "kind must be one of"),
        ({"tolerance": 0}, "tolerance must be"),
    ],
)
def test_bad_numbers_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        ct.stability.modes(*flat_ring(), **options)


def test_clouds_that_move_or_differ_are_refused():
    energy, clouds = flat_ring()
    x = uniform(0, N, 3)
    with pytest.raises(ValueError, match="clouds are not at rest: they move at a root mean square speed"):
        ct.stability.modes(energy, ct.Pair(x, x))
    with pytest.raises(ValueError, match="needs clouds of the same points"):
        ct.stability.modes(energy, ct.Pair(x, clouds.y), kind="antiphase")
    with pytest.raises(ValueError, match="is for several clouds, got one"):
        ct.stability.modes(energies.SmoothedEntropy(ct.kernels.Exponential(0.3)), x, kind="in phase")

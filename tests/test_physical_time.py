"""The page on particles at given times: its code gives its table, and follows a closed form."""

import contextlib
import io
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ctflow as ct

pytest.importorskip("diffrax", reason="diffrax is not installed; pip install -e '.[diffrax]'")

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "physical-time.md").read_text()


@pytest.fixture(scope="module")
def page():
    """What the page defines, and what it prints."""
    names, printed = {}, io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec("\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)), names)
    return names, printed.getvalue()


def test_the_page_prints_its_table(page):
    printed = [line.split()[1:] for line in page[1].splitlines()]
    table = re.findall(r"^\| .*? \| (\d+) \| (\S+) \|$", PAGE, re.MULTILINE)
    assert [velocities for velocities, _ in printed] == [velocities for velocities, _ in table]
    for (_, found), (_, told) in zip(printed, table, strict=True):
        assert float(found) == pytest.approx(float(told), rel=0.1)


@pytest.mark.long
def test_adaptive_steps_follow_a_closed_form_and_take_a_pair_where_fine_steps_take_it(page):
    """J^Sym moves two clouds. A third is in U = -⟨z, e⟩ at temperature 1: tan(θ/2) = tan(θ_0/2)·e^{-t}."""
    kx, ky = jax.random.split(jax.random.key(4))
    pi = ct.couplings.misaligned(jax.random.key(0), np.linspace(-2, 2, 16), sigma=0.3)
    pull = ct.energies.Potential(ct.potentials.Linear(np.eye(3)[0]), temperature=1.0)
    symmetric = ct.energies.symmetric(pi, temperature=0.2)
    energy = ct.energies.Between(symmetric, first=0, second=1) + ct.energies.Component(pull, index=2)
    theta = np.array([0.3, 2.0, 3.0])
    third = jnp.asarray(np.stack([np.cos(theta), np.sin(theta), 0 * theta], axis=1))
    weighted = ct.WeightedCloud(third, jnp.array([0.5, 0.3, 0.2]))
    start = (ct.sphere.uniform(kx, 16, 3), ct.sphere.uniform(ky, 16, 3), weighted)
    found, num_steps = page[0]["follow"](energy, start, [0.0, 0.5, 1.0], 1e-8)
    assert 6 * num_steps + 1 < 300  # velocities
    exact = 2 * np.arctan(np.tan(theta / 2) * np.exp(-np.array([[0.0], [0.5], [1.0]])))
    np.testing.assert_allclose(np.arctan2(found[2][..., 1], found[2][..., 0]), exact, atol=1e-9)
    fine = ct.flows.GradientFlow(1 / 1000, order=4)
    end = ct.evolve(energy, fine, fine.init(start), num_steps=1000).clouds
    for z, expected in zip(found, ct.clouds.points(end), strict=True):
        np.testing.assert_allclose(np.linalg.norm(z, axis=-1), 1, atol=1e-15)
        np.testing.assert_allclose(z[-1], expected, atol=3e-8)


def test_adaptive_steps_refuse_a_cloud_off_the_sphere(page):
    energy = ct.energies.Potential(ct.potentials.Linear(np.eye(2)[0]), temperature=0.5)
    with pytest.raises(ValueError, match="must have rows of unit norm"):
        page[0]["follow"](energy, 2 * jnp.eye(2), [0.0, 1.0], 1e-6)

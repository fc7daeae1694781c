"""The page on particles at given times: its code gives its table, and follows a closed form."""

import contextlib
import io
import re
from pathlib import Path

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


def test_adaptive_steps_follow_the_closed_form(page):
    """In U = -⟨z, e⟩ at temperature τ, tan(θ/2) = tan(θ_0/2)·e^{-t/τ}; here for both clouds of a pair."""
    pull = ct.energies.Potential(ct.potentials.Linear(np.eye(2)[0]), temperature=0.5)
    energy = ct.energies.Component(pull, index=0) + 0.5 * ct.energies.Component(pull, index=1)
    theta, times = np.array([0.3, 2.0, 3.0]), np.array([0.0, 0.2, 0.6])
    z = jnp.asarray(np.stack([np.cos(theta), np.sin(theta)], axis=1))
    start = ct.Pair(z, ct.WeightedCloud(z, jnp.array([0.5, 0.3, 0.2])))
    found, num_steps = page[0]["follow"](energy, start, times, 1e-10)
    for cloud, rate in zip(found, (2.0, 1.0), strict=True):
        exact = 2 * np.arctan(np.tan(theta / 2) * np.exp(-rate * times[:, None]))
        np.testing.assert_allclose(np.arctan2(cloud[..., 1], cloud[..., 0]), exact, atol=1e-9)
        np.testing.assert_allclose(np.linalg.norm(cloud, axis=-1), 1, atol=1e-15)
    assert num_steps < 50


def test_adaptive_steps_refuse_a_cloud_off_the_sphere(page):
    energy = ct.energies.Potential(ct.potentials.Linear(np.eye(2)[0]), temperature=0.5)
    with pytest.raises(ValueError, match="must have rows of unit norm"):
        page[0]["follow"](energy, 2 * jnp.eye(2), [0.0, 1.0], 1e-6)

"""The page of two rings: its runs end where the closed form says."""

import jax
import numpy as np
import pytest

from ctflow.claims import ring
from experiments import ring_view


@pytest.mark.long
def test_mirror_images_part_as_far_as_predicted_and_equal_heights_do_not():
    ends = [ring_view.simulate(heights, 48, 600) for heights in ring_view.STARTS.values()]
    gaps = [np.linalg.norm(end.clouds.x.mean(axis=0) - end.clouds.y.mean(axis=0)) for end in ends]
    tau = ring_view.RATIO * ring.critical_temperature(ring_view.SIGMA)
    assert gaps[0] == pytest.approx(ring.gap(ring_view.SIGMA, tau), abs=1e-3)
    assert gaps[1] < 0.05  # the ratio of the heights is conserved, and with it the disturbance of the start
    energies = [float(end.saved["energy"][-1]) for end in ends]
    assert energies[0] == pytest.approx(energies[1], abs=1e-6)


@pytest.mark.long
def test_the_page_is_small_and_a_bad_preset_is_named(tmp_path):
    assert jax.config.jax_enable_x64
    path = ring_view.write(tmp_path, "smoke")
    assert path == tmp_path / "ring" / "view.html"
    assert "the start decides on the gap" in path.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="--preset must be one of"):
        ring_view.write(tmp_path, "huge")

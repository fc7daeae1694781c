"""Runs in folders: checkpoints, arrays, saved clouds; and what has none."""

import jax
import numpy as np
import pytest

import ctflow as ct
from ctflow.cli.viewing_commands import view as command
from ctflow.viewing import open_runs
from tests.viewing.test_pages_of_runs import path_of


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Checkpoints of one run with saved clouds and without, and the run."""
    pull = ct.energies.Potential(ct.potentials.Linear(np.eye(3)[0]), temperature=1.0)
    energy = ct.energies.Component(pull, index=0) + ct.energies.Component(pull, index=1)
    start = ct.Pair(*(ct.sphere.uniform(jax.random.key(i), 5, 3) for i in range(2)))
    root = tmp_path_factory.mktemp("runs")
    options = {"num_steps": 4, "save_every": 2}
    flow = ct.flows.GradientFlow(0.1)
    save = ct.saving.frames(energy, height=lambda c: ct.Pair(c.x[:, 0], c.y[:, 0]))
    solution = ct.solve(energy, start, flow, save=save, checkpoint=root / "full", **options)
    ct.solve(energy, start, flow, checkpoint=root / "numbers", **options)
    return root, solution


def test_a_checkpoint_folder_holds_the_run(folders):
    root, solution = folders
    (run,) = open_runs(root / "full")
    for found, saved in zip(run.clouds, solution.saved["clouds"], strict=True):
        np.testing.assert_array_equal(found, saved)
    assert run.clock.tolist() == [0, 2, 4]
    assert run.unit == "step"
    assert run.label == "full"
    np.testing.assert_array_equal(run.series["energy"], solution.saved["energy"])
    assert {"energy", "centroid_gap"} <= set(run.series)


def test_without_saved_clouds_the_last_step_is_shown_and_said(folders):
    (run,) = open_runs(folders[0] / "numbers")
    assert run.clock.tolist() == [4]
    np.testing.assert_array_equal(run.clouds[0][0], folders[1].clouds.x)
    assert run.series_clock.tolist() == [0, 2, 4]
    assert "Only step 4 is drawn" in run.notes[0]
    assert "Only step 4 is drawn" in ct.view(run).html


def test_arrays_are_found_by_their_names(tmp_path):
    x, y = path_of(3), path_of(3, seed=1)
    arrays = {
        "x_a": x,
        "y_a": y,
        "steps_a": np.arange(4) * 5,
        "gap_a": np.ones(4),
        "clouds_b": x,
        "other": np.ones(2),
    }
    ct.io.write_arrays(tmp_path / "arrays.npz", arrays)
    first, second = open_runs(tmp_path)
    assert (first.label, second.label) == ("a", "b")
    assert (len(first.clouds), len(second.clouds)) == (2, 1)
    assert first.clock.tolist() == [0, 5, 10, 15]
    assert list(first.series) == ["gap"]
    assert second.unit == "frame"


def test_saved_clouds_are_frames_in_the_order_of_their_numbers(tmp_path):
    z = path_of(3)
    for step, cloud in zip((0, 9, 10, 100), z, strict=True):
        ct.io.save_clouds(tmp_path / f"step-{step}.safetensors", cloud)
    (run,) = open_runs(tmp_path)
    np.testing.assert_allclose(run.clouds[0], z)
    assert len(open_runs(tmp_path / "step-9.safetensors")[0].clock) == 1


def test_the_command_writes_a_page_once(folders, tmp_path, capsys):
    command((folders[0] / "full",), out=tmp_path)
    assert capsys.readouterr().out == f"wrote {tmp_path / 'view.html'}\n"
    assert "5 particles" in (tmp_path / "view.html").read_text(encoding="utf-8")
    for given, place, message in (
        ((folders[0] / "full",), tmp_path, "already holds view.html; give --overwrite to replace"),
        ((), tmp_path / "new", "give the folder of a run"),
        ((tmp_path / "none",), tmp_path / "new", "does not exist"),
    ):
        with pytest.raises(SystemExit):
            command(given, out=place)
        assert message in capsys.readouterr().err
    with pytest.raises(SystemExit):
        command((tmp_path,), out=tmp_path / "new")
    assert (
        "holds no clouds that can be shown again, but its page view.html is there" in capsys.readouterr().err
    )


def test_checkpoints_of_a_sweep_are_refused(tmp_path):
    ct.sweep(lambda a: 2 * a, np.arange(3.0), checkpoint=tmp_path / "sweep")
    with pytest.raises(ValueError, match="must hold the saves of one run, got parts of a sweep"):
        open_runs(tmp_path / "sweep")


def test_arrays_that_are_no_clouds_are_named(tmp_path):
    rows = np.ones((4, 5, 3))
    np.savez(tmp_path / "other.npz", image=rows, text=rows)
    with pytest.raises(ValueError, match=r"there are `image` \[4, 5, 3\], `text` \[4, 5, 3\]; it can be"):
        open_runs(tmp_path / "other.npz")
    np.savez(tmp_path / "long.npz", clouds=rows)
    with pytest.raises(ValueError, match=r"`clouds` must have rows of unit norm in all frames; divide"):
        open_runs(tmp_path / "long.npz")

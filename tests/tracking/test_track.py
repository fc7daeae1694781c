"""A series of checkpoints: found in folders, ordered, measured as one by one, and shown."""

import csv
import json

import numpy as np
import pytest

import ctflow as ct
from ctflow.tracking.series import places, steps_of
from ctflow.tracking.track import QUICK, track


def unit(z):
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def rows(shift, n=60, d=8, seed=0):
    rng = np.random.default_rng(seed)
    common = rng.standard_normal((n, d))
    away = shift * np.eye(d)[0]
    return tuple(unit(common + 0.3 * rng.standard_normal((n, d)) + side * away) for side in (1, -1))


def names(paths):
    return [place.name for place in places(paths)]


def test_folders_hold_one_checkpoint_or_one_per_entry(tmp_path):
    x, y = rows(0.0)
    for step in (9, 10, 100):
        np.save(tmp_path / f"step_{step}.npy", np.stack([x, y]))
    (tmp_path / "notes.txt").write_text("not a checkpoint")
    assert names([tmp_path]) == ["step_9", "step_10", "step_100"]
    assert names([tmp_path / "step_100.npy", tmp_path / "step_9.npy"]) == ["step_100", "step_9"]
    two = tmp_path / "two_files"
    for epoch in (1, 2):
        (two / f"epoch{epoch}").mkdir(parents=True)
        for name, z in (("image", x), ("text", y)):
            np.save(two / f"epoch{epoch}" / f"{name}.npy", z)
    found = places([two])
    assert [place.name for place in found] == ["epoch1", "epoch2"]
    assert [path.stem for path in found[0].paths] == ["image", "text"]
    pair = tmp_path / "pair"
    pair.mkdir()
    for k in (1, 2):
        np.save(pair / f"step_{k}.npy", np.stack([x, y]))
    assert names([pair]) == ["step_1", "step_2"]
    retrieval = tmp_path / "run" / "late"
    for name, z in (("img_emb", x), ("text_emb", y)):
        (retrieval / name).mkdir(parents=True)
        np.save(retrieval / name / f"{name}_0.npy", z)
    assert names([retrieval]) == names([tmp_path / "run"]) == ["late"]


def test_steps_are_the_numbers_in_names_if_these_increase():
    assert steps_of(["step_5", "step_70"]) == [5, 70]
    assert steps_of(["epoch1_step_5", "epoch1_step_70"]) == [5, 70]
    assert steps_of(["b2", "a1"]) == [0, 1]
    assert steps_of(["first", "last"]) == [0, 1]


def test_each_checkpoint_is_measured_as_by_a_diagnosis(tmp_path):
    shifts = (0.0, 0.3, 0.9)
    for k, shift in enumerate(shifts):
        np.save(tmp_path / f"step_{10 * k}.npy", np.stack(rows(shift)))
    found = track([tmp_path], temperature=0.1, names=("image", "text"))
    assert found.step.tolist() == [0, 10, 20]
    assert found.table["gap"].tolist() == [False, True, True]
    for k, shift in enumerate(shifts):
        alone = ct.diagnose(*rows(shift), temperature=0.1, **QUICK)
        for name in ("centroid_gap", "in_batch_loss", "recall@1_x_to_y", "cone_y"):
            assert found.table[name][k] == pytest.approx(alone[name].value, rel=1e-12)
        chance = alone["centroid_gap"].null_mean
        assert found.table["centroid_gap_null"][k] == pytest.approx(chance, rel=1e-12)
    assert "first at step 10" in str(found)
    for ending in ("csv", "json", "png"):
        found.save(tmp_path / f"track.{ending}")
    with open(tmp_path / "track.csv") as file:
        written = list(csv.DictReader(file))
    assert [float(row["centroid_gap"]) for row in written] == pytest.approx(found.table["centroid_gap"])
    assert json.loads((tmp_path / "track.json").read_text())["step"] == [0, 10, 20]
    figure = found.plot().figure
    assert sum(ax.has_data() for ax in figure.axes) == 6
    assert "image to text" in [text.get_text() for text in figure.axes[3].get_legend().get_texts()]


def test_many_rows_are_sampled_alike_and_quickly():
    checkpoints = [rows(shift, n=2500, d=4) for shift in (0.1, 0.1)]
    found = track(checkpoints, steps=[1, 2])
    assert found.reports[0].settings["rows"] == (2000, 2000)
    for values in found.table.values():
        assert values[0] == values[1]
    whole = ct.diagnose(*checkpoints[0], **QUICK)["centroid_gap"].value
    assert found.table["centroid_gap"][0] == pytest.approx(whole, abs=5 * 2 / np.sqrt(2000))


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        ([], {}, "checkpoints must hold at least one path or pair"),
        ([np.zeros((3, 2))], {}, r"must be paths, or pairs \(x, y\) of rows, got ndarray at 0"),
        (
            [rows(0.0), rows(0.0, n=50)],
            {},
            "checkpoint 1 must have the rows of checkpoint 0, 60 and 60, got 50",
        ),
        ([rows(0.0)], {"steps": [1, 2]}, "one increasing number for each of 1 checkpoints"),
        ([rows(0.0)] * 2, {"steps": [2, 1]}, "one increasing number for each of 2 checkpoints"),
        ([rows(0.0)], {"temperature": 0}, "temperature must be finite and > 0, got 0"),
        (["absent"], {}, "absent does not exist"),
    ],
)
def test_bad_series_are_refused(given, options, message):
    with pytest.raises(ValueError, match=message):
        track(given, **options)


def test_a_folder_without_checkpoints_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(ValueError, match="must hold checkpoints"):
        track([tmp_path])

"""The summary page, and that finished settings are recognised."""

import dataclasses
from pathlib import Path

import pytest

from ctflow import experiment, io
from experiments import multimodal_toy, reproduce

ROOT = Path(__file__).resolve().parents[2]


def test_finished_settings_are_recognised_and_others_are_not(tmp_path):
    config = multimodal_toy.PRESETS["smoke"]
    assert not experiment.is_done(tmp_path, config)
    io.write_json(tmp_path / "run.json", {"config": dataclasses.asdict(config)})
    assert experiment.is_done(tmp_path, config)
    assert not experiment.is_done(tmp_path, dataclasses.replace(config, seed=1))


def test_every_experiment_has_claims_and_both_presets():
    for name in reproduce.EXPERIMENTS:
        assert set(reproduce.module_of(name).PRESETS) >= set(reproduce.PRESETS)
        assert callable(reproduce.CLAIMS[name])


def test_bad_preset_is_named(capsys):
    with pytest.raises(SystemExit, match="2"):
        reproduce.main(["--preset", "huge"])
    assert "--preset must be one of paper, smoke; got 'huge'" in capsys.readouterr().err


def test_headlines_agree_with_themselves_and_a_shifted_one_is_named(tmp_path, capsys):
    """The committed numbers against the committed results, and against a table with one number moved."""
    headlines = reproduce.module_of("headlines")
    compared = headlines.compare(ROOT / "figures")
    assert len(compared) == len(headlines.CELLS)
    assert all(of.agrees for of in compared), headlines.page(compared)
    assert all(of.tolerance > 0 for of in compared)
    lines = headlines.COMMITTED.read_text().splitlines()
    experiment, name, value, error = lines[1].split(",")
    moved = f"{experiment},{name},{float(value) + 8 * float(error)},{error}"
    (tmp_path / "headlines.csv").write_text("\n".join([lines[0], moved, *lines[2:]]) + "\n")
    again = headlines.compare(ROOT / "figures", tmp_path / "headlines.csv")
    assert [of.agrees for of in again].count(False) == 1
    assert "**differs**" in headlines.page(again).splitlines()[2]
    assert f"{len(compared) - 1} of {len(compared)} headlines agree" in headlines.page(again)
    assert not any(of.agrees for of in headlines.compare(tmp_path))  # nothing is there
    reproduce.main(["--check", "--out", str(ROOT / "figures")])
    assert "headlines agree with the committed ones" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="1"):
        reproduce.main(["--check", "--out", str(tmp_path)])

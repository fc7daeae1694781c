"""The summary page, and that finished settings are recognised."""

import dataclasses

import pytest

from ctflow import experiment, io
from experiments import multimodal_toy, reproduce


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

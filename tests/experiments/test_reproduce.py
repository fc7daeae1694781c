"""The summary page, and that finished settings are recognised."""

import dataclasses
import sys
from pathlib import Path

import pytest

from ctflow import claims, experiment, io
from experiments import multimodal_toy, reproduce, summary
from experiments.plots.theory import DRAWN
from experiments.together import run_together
from tests.experiments import test_scripts
from tests.faults import bad_words

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
        assert callable(summary.CLAIMS[name])


def test_every_experiment_is_run_by_the_tests_and_every_claim_is_drawn():
    others = {"theory"}  # tests/experiments/test_theory.py
    assert set(test_scripts.FIGURES) | others == set(reproduce.EXPERIMENTS)
    assert set(test_scripts.CLAIMS) | others == set(reproduce.EXPERIMENTS)
    assert set(bad_words.SCRIPTS) == set(reproduce.EXPERIMENTS)
    assert set(DRAWN) == set(claims.CLAIMS)


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


def test_time_left_is_that_of_the_rest_at_the_pace_of_what_is_done():
    expected = {"a": 10.0, "b": 30.0, "c": 60.0}
    assert reproduce.time_left(expected, [], 0.0) == 100
    assert reproduce.time_left(expected, ["a"], 20.0) == 180  # half as fast as expected
    assert reproduce.time_left(expected, ["a", "b", "c"], 50.0) == 0
    for of in reproduce.SECONDS.values():
        assert set(of) == set(reproduce.EXPERIMENTS)


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_processes_run_together_and_each_leaves_a_log(tmp_path):
    """The first waits for a file that the second writes, so they run at once; the third begins after."""
    first = "import pathlib, time\nwhile not pathlib.Path('go').exists(): time.sleep(0.01)\nprint('went')"
    commands = {"a": first, "b": "open('go', 'w'); print('told')", "c": "print('last')"}
    commands = {
        name: python(f"import os; os.chdir({str(tmp_path)!r})\n{code}") for name, code in commands.items()
    }
    assert sorted(run_together(commands, tmp_path, 2)) == ["a", "b", "c"]
    logs = {name: (tmp_path / f"{name}.log").read_text() for name in commands}
    assert logs == {"a": "went\n", "b": "told\n", "c": "last\n"}


def test_a_process_that_fails_is_named_and_the_others_are_told_to_stop(tmp_path):
    waits = "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit('saved'))\n"
    waits += "open(sys.argv[1], 'w')\ntime.sleep(60)"
    fails = "import pathlib, sys, time\nwhile not pathlib.Path(sys.argv[1]).exists(): time.sleep(0.01)\n"
    fails += "sys.exit('error: no room')"
    ready = str(tmp_path / "ready")
    commands = {
        "long": [*python(waits), ready],
        "bad": [*python(fails), ready],
        "never": python("open('never', 'w')"),
    }
    with pytest.raises(ValueError, match=r"bad ended with exit code 1: error: no room; see .*bad\.log"):
        list(run_together(commands, tmp_path, 2))
    assert (tmp_path / "long.log").read_text() == "saved\n"
    assert not (tmp_path / "never.log").exists()

import json
import os
import signal
from dataclasses import dataclass

import numpy as np
import pytest

import ctflow as ct
from ctflow import experiment
from ctflow.storage import checkpoints


@dataclass(frozen=True)
class Config:
    n: int = 3
    scale: float = 1.0


PRESETS = {"paper": Config(n=100), "smoke": Config()}


class Note:
    """Stands for a figure: saves what it was given."""

    def __init__(self, text):
        self.text = text

    def save(self, path):
        path.write_text(self.text)


def run(config, checkpoint=None):
    values = config.scale * np.arange(config.n)
    return experiment.Result({"table": {"x": values}}, {"a": values}, {"sum": float(values.sum())})


def plot(result):
    return {"note.txt": Note(f"{result.facts['sum']} {len(result.tables['table']['x'])}")}


def main(*argv, run=run):
    return experiment.main(
        name="toy", presets=PRESETS, run=run, plot=plot, description="A toy.", argv=[str(a) for a in argv]
    )


def test_a_preset_is_run_saved_and_drawn(tmp_path, capsys):
    main("--preset", "smoke", "--scale", "2", "--out", tmp_path)
    folder = tmp_path / "toy"
    assert {p.name for p in folder.iterdir()} == {"table.csv", "arrays.npz", "run.json", "note.txt"}
    record = json.loads((folder / "run.json").read_text())
    assert record["preset"] == "smoke"
    assert record["config"] == {"n": 3, "scale": 2.0}
    assert record["facts"] == {"sum": 6.0}
    assert (folder / "note.txt").read_text() == "6.0 3"
    assert "wrote" in capsys.readouterr().out


def test_saved_results_are_drawn_again_without_a_run(tmp_path):
    main("--preset=smoke", "--out", tmp_path)
    (tmp_path / "toy" / "note.txt").unlink()

    def never(config, checkpoint=None):
        raise AssertionError("ran again")

    main("--preset", "smoke", "--out", tmp_path, "--replot", run=never)
    assert (tmp_path / "toy" / "note.txt").exists()


def test_numbers_are_saved_even_if_drawing_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(Note, "save", lambda self, path: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main("--preset", "smoke", "--out", tmp_path)
    assert (tmp_path / "toy" / "run.json").exists()


def test_the_first_preset_is_the_default(tmp_path):
    assert len(main("--out", tmp_path).tables["table"]["x"]) == 100


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--preset", "huge"], "error: --preset must be one of paper, smoke; got 'huge'"),
        (["--out", "/dev/null/x"], "error: --out must be a folder that can be written to, got '/dev/null/x'"),
        (["--replot", "--out", "EMPTY"], "holds no result to draw"),
    ],
)
def test_bad_words_get_one_line_and_run_nothing(words, message, tmp_path, capsys):
    def never(config, checkpoint=None):
        raise AssertionError("ran")

    words = [str(tmp_path) if word == "EMPTY" else word for word in words]
    with pytest.raises(SystemExit) as stop:
        main(*words, run=never)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_unknown_flags_exit_with_code_two(capsys):
    with pytest.raises(SystemExit) as stop:
        main("--colour", "red")
    assert stop.value.code == 2


def stopped(config, checkpoint):
    """Two sweeps; the second is interrupted at its first call."""
    first = ct.sweep(square, np.arange(config.n) * config.scale, **experiment.resumed_in(checkpoint, "first"))
    if not (checkpoint / "second").exists():
        (checkpoint / "second").mkdir()
        os.kill(os.getpid(), signal.SIGTERM)
    return experiment.Result({"table": {"x": first}}, {}, {"sum": float(first.sum())})


def square(x):
    return x * x


def test_an_interrupted_experiment_names_the_command_and_goes_on(tmp_path, capsys):
    words = ("--preset", "smoke", "--out", tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(*words, run=stopped)
    assert stop.value.code == 143
    assert "interrupted; to continue: python " in (said := capsys.readouterr().err)
    assert said.strip().endswith(f"--preset smoke --out {tmp_path} --resume")
    for more, message in (
        ((), "holds an interrupted run; continue with --resume"),
        (("--resume", "--scale", "3"), "belongs to a different run: config.scale was 1.0, is 3.0"),
    ):
        with pytest.raises(SystemExit) as stop:
            main(*words, *more, run=stopped)
        assert stop.value.code == 2
        assert message in capsys.readouterr().err
    main(*words, "--resume", run=stopped)
    assert {path.name for path in (tmp_path / "toy").iterdir()} == {
        "table.csv",
        "arrays.npz",
        "run.json",
        "note.txt",
    }
    assert experiment.load(tmp_path / "toy").facts == {"sum": 5.0}


def test_a_finished_experiment_is_only_drawn_again(tmp_path):
    main("--preset", "smoke", "--out", tmp_path)

    def never(config, checkpoint):
        raise AssertionError("ran again")

    main("--preset", "smoke", "--out", tmp_path, "--resume", run=never)


def test_a_folder_in_use_is_refused(tmp_path, capsys):
    (tmp_path / "toy").mkdir()
    with checkpoints.locked(tmp_path / "toy"), pytest.raises(SystemExit):
        main("--preset", "smoke", "--out", tmp_path)
    assert "is in use by another run" in capsys.readouterr().err

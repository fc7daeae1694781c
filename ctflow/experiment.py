"""The frame of an experiment script: presets, a folder of results, figures that can be drawn again.

A script gives a frozen dataclass of settings, `run(config) → Result` and `plot(result) → figures`. The
tables and arrays are on disk before anything is drawn, so that a figure's fault never costs a run.
"""

import dataclasses
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, NamedTuple

import numpy as np
from tqdm import tqdm

from ctflow import io
from ctflow.checks import check_choice


class Result(NamedTuple):
    """What a run found.

    Attributes:
        tables: tidy tables by name, each a dict of equally long columns; written as CSV.
        arrays: arrays for pictures, by name; written as one .npz.
        facts: single figures and remarks; written into run.json.
    """

    tables: dict[str, dict[str, np.ndarray]]
    arrays: dict[str, np.ndarray]
    facts: dict[str, Any]


def columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """A table of a Result from its rows, which share their names."""
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def plot_of(script: str) -> Callable[[Result], Mapping[str, Any]]:
    """The function `plot` of `plots/NAME.py` beside the script NAME.py.

    It is loaded by its path, so that a script works both run and imported, from anywhere.
    """
    path = Path(script).resolve()
    module = ModuleType(f"experiments.plots.{path.stem}")
    SourceFileLoader(module.__name__, str(path.parent / "plots" / path.name)).exec_module(module)
    return module.plot


def save(folder: Path, result: Result, record: Mapping[str, Any]) -> None:
    """Write a result's tables and arrays into a folder, and last its facts with the run's record."""
    for name, table in result.tables.items():
        io.write_csv(folder / f"{name}.csv", table)
    io.write_arrays(folder / "arrays.npz", result.arrays)
    io.write_json(folder / "run.json", {**record, "facts": result.facts})


def load(folder: Path) -> Result:
    """Read what `save` wrote.

    Raises:
        ValueError: the folder holds no complete result.
    """
    try:
        tables = {path.stem: io.read_csv(path) for path in sorted(folder.glob("*.csv"))}
        facts = json.loads((folder / "run.json").read_text())["facts"]
        return Result(tables, io.read_arrays(folder / "arrays.npz"), facts)
    except FileNotFoundError as error:
        raise ValueError(f"{str(folder)!r} holds no result to draw ({error.filename} is missing)") from None


def main(
    *,
    name: str,
    presets: Mapping[str, Any],
    run: Callable[[Any], Result],
    plot: Callable[[Result], Mapping[str, Any]],
    description: str,
    argv: Sequence[str] | None = None,
) -> Result:
    """Run an experiment from the command line.

    Args:
        name: of the experiment and of its folder under --out.
        presets: settings by name, the first the default; every field can be overridden by a flag.
        run: from settings to a Result.
        plot: from a Result to things to save by file name (figures, animations).
        description: shown by --help.
        argv: the command line; `sys.argv[1:]` by default.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        options = _parse(name, presets, description, argv)
        folder = io.prepare_folder(options.out) / name
        io.prepare_folder(folder)
        if options.replot:
            result = load(folder)
        else:
            result = run_and_save(folder, run, options.config, preset=options.preset)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    for file in draw(folder, plot, result):
        print(f"wrote {file}")
    return result


def draw(folder: Path, plot: Callable[[Result], Mapping[str, Any]], result: Result) -> list[Path]:
    """Draw a result's figures into a folder; returns their paths."""
    figures = plot(result)
    for file, figure in figures.items():
        figure.save(folder / file)
    return [folder / file for file in figures]


def run_and_save(folder: Path, run: Callable[[Any], Result], config: Any, *, preset: str) -> Result:
    """Run an experiment and write its tables, arrays and record, with the time it took.

    Returns:
        The result as it stands on disk, so that a figure drawn now is one drawn again later.
    """
    started, cpu_started = time.perf_counter(), time.process_time()
    result = run(config)
    record = {
        "preset": preset,
        "config": dataclasses.asdict(config),
        "seconds": round(time.perf_counter() - started, 1),
        "cpu_seconds": round(time.process_time() - cpu_started, 1),
        **io.provenance(),
    }
    save(folder, result, record)
    tqdm.write(f"wrote {len(result.tables)} tables to {folder} in {record['seconds']} s")
    return load(folder)


def _parse(name: str, presets: Mapping[str, Any], description: str, argv: list[str]) -> Any:
    """Read --preset first, then every other flag over that preset's settings."""
    import tyro

    chosen = next(iter(presets))
    for i, word in enumerate(argv):
        if word == "--preset" and i + 1 < len(argv):
            chosen = argv[i + 1]
        elif word.startswith("--preset="):
            chosen = word.partition("=")[2]
    check_choice("--preset", chosen, tuple(presets))
    options = dataclasses.make_dataclass(
        "Options",
        [
            ("preset", Annotated[str, tyro.conf.arg(help=f"one of {', '.join(presets)}")], chosen),
            ("out", Annotated[Path, tyro.conf.arg(help=f"results go to OUT/{name}")], Path("runs")),
            ("replot", Annotated[bool, tyro.conf.arg(help="draw the saved result again")], False),
            ("config", tyro.conf.OmitArgPrefixes[type(presets[chosen])], presets[chosen]),
        ],
        frozen=True,
    )
    return tyro.cli(options, args=argv, description=description, prog=f"{name}.py")

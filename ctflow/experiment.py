"""The frame of an experiment script: presets, a folder of results, figures that can be drawn again.

A script gives a frozen dataclass of settings, `run(config) → Result` and `plot(result) → figures`. The
tables and arrays are on disk before anything is drawn, so that an error in a figure never costs a run.
"""

import dataclasses
import json
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from tqdm import tqdm

from ctflow import io
from ctflow._base.checks import check_choice
from ctflow._base.refusals import refusals
from ctflow._base.resources import allowed, cores_in_words, seconds_in_words
from ctflow.storage import checkpoints
from ctflow.storage.identity import differences, identity
from ctflow.storage.interrupts import Interrupted, raised
from ctflow.storage.reading import readable
from ctflow.storage.resuming import as_json, from_json, in_order, resumable
from ctflow.storage.tables import columns

__all__ = [
    "Result",
    "columns",
    "draw",
    "guarded",
    "is_done",
    "load",
    "main",
    "results_of",
    "resumed_in",
    "run_and_save",
    "save",
]

_MOST_SEEDS = 10_000


class Result(NamedTuple):
    """The result of a run.

    Attributes:
        tables: tidy tables by name, each a dict of equally long columns; written as CSV.
        arrays: arrays for pictures, by name; written as one .npz.
        facts: single numbers and remarks; written into run.json.
    """

    tables: dict[str, dict[str, np.ndarray]]
    arrays: dict[str, np.ndarray]
    facts: dict[str, Any]


def resumed_in(checkpoint: Path | None, name: str) -> dict[str, Any]:
    """The arguments by which a sweep or a solve of an experiment keeps its checkpoints in its own folder."""
    return {} if checkpoint is None else {"checkpoint": checkpoint / name, "resume": True}


def results_of(jobs: Sequence[Callable[[], Any]], checkpoint: Path | None, *made_of: Any) -> Iterator[Any]:
    """What the jobs return, one after the other; with a checkpoint, finished jobs are not run again.

    Args:
        jobs: functions whose results JSON can hold.
        checkpoint: the folder of the experiment's checkpoints, or None.
        made_of: everything that decides the results, including the number and order of the jobs.
    """
    made = None if checkpoint is None else identity(jobs=len(jobs), made_of=made_of)
    with resumable(checkpoint and checkpoint / "jobs", made, unit="jobs") as session:
        results = from_json(session.found)
        yield from results
        left = list(enumerate(jobs, start=1))[len(results) :]
        for result in in_order(left, session, lambda _: as_json(results, io.plain)):
            results.append(json.loads(json.dumps(result, default=io.plain)))
            yield results[-1]


def save(folder: Path, result: Result, record: Mapping[str, Any]) -> None:
    """Write a result's tables and arrays into a folder, and last its facts with the run's record."""
    for name, table in result.tables.items():
        io.write_csv(io.inside(folder, f"{name}.csv"), table)
    io.write_arrays(folder / "arrays.npz", result.arrays)
    io.write_json(folder / "run.json", {**record, "facts": result.facts})


def load(folder: Path) -> Result:
    """Read what `save` wrote.

    Raises:
        ValueError: the folder holds no complete result.
    """
    record = folder / "run.json"
    if not record.is_file():
        raise ValueError(f"{str(folder)!r} holds no result to draw ({record} is missing)")
    with readable(str(folder), "folder of results"):
        tables = {path.stem: io.read_csv(path) for path in sorted(folder.glob("*.csv"))}
        written = json.loads(record.read_text())
        if not isinstance(written, dict) or "facts" not in written:
            raise ValueError(f"{record.name} holds no facts")
        return Result(tables, io.read_arrays(folder / "arrays.npz"), written["facts"])


def is_done(folder: Path, config: Any) -> bool:
    """Whether a folder holds a complete result of exactly these settings."""
    try:
        return json.loads((folder / "run.json").read_text())["config"] == _settings(config)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def _settings(config: Any) -> Any:
    """The settings as they come back from JSON, without those of one machine, `metadata={"local": True}`."""
    kept = [field.name for field in dataclasses.fields(config) if not field.metadata.get("local")]
    content = dataclasses.asdict(config)
    return json.loads(json.dumps({name: content[name] for name in kept}))


def main(
    *,
    name: str,
    presets: Mapping[str, Any],
    run: Callable[..., Result],
    plot: Callable[[Result], Mapping[str, Any]],
    description: str,
    argv: Sequence[str] | None = None,
) -> Result:
    """Run an experiment from the command line.

    Args:
        name: name of the experiment and of its folder under --out.
        presets: settings by name; the first is the default, and a flag can override each field.
        run: a function of the settings and the checkpoint folder (or None) that returns a Result.
        plot: a function of a Result that returns figures and animations by file name.
        description: shown by --help.
        argv: the command line; `sys.argv[1:]` by default.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    with guarded(shlex.join(["python", sys.argv[0], *argv])):
        options = _parse(name, presets, description, argv)
        folder = options.out / name
        if options.replot:
            result = load(folder)
        else:
            io.prepare_folder(options.out)
            io.prepare_folder(folder)
            result = run_and_save(
                folder, run, options.config, preset=options.preset, resume=options.resume, force=options.force
            )
    for file in draw(folder, plot, result):
        print(f"wrote {file}")
    return result


@contextmanager
def guarded(command: str) -> Iterator[None]:
    """Report an error in one line and exit with code 2; exit with 130 or 143 after an interruption.

    After an interruption, the command that continues the run is printed.
    """
    again = command if "--resume" in command else f"{command} --resume"
    try:
        # A full disk is the likeliest OSError: what the checkpoints hold is not lost.
        with raised(), refusals("error", f"; to continue: {again}"):
            yield
    except (KeyboardInterrupt, Interrupted) as stop:
        print(f"interrupted; to continue: {again}", file=sys.stderr)
        sys.exit(stop.code if isinstance(stop, Interrupted) else 130)


def draw(folder: Path, plot: Callable[[Result], Mapping[str, Any]], result: Result) -> list[Path]:
    """Draw a result's figures into a folder; returns their paths."""
    figures = plot(result)
    for file, figure in figures.items():
        figure.save(io.inside(folder, file))
    return [folder / file for file in figures]


def run_and_save(
    folder: Path,
    run: Callable[..., Result],
    config: Any,
    *,
    preset: str,
    resume: bool = False,
    force: bool = False,
) -> Result:
    """Run an experiment and write its tables, arrays and record, with the time it took.

    With `resume`, a finished result with the same settings is read instead, and an interrupted run with the
    same settings continues. With `force`, a run starts even if it may not fit into memory.

    Returns:
        The result as read from the disk, so that figures drawn now and later are the same.

    Raises:
        ValueError: another process writes into the folder, or it holds an interrupted run with other
            settings; more than 10,000 seeds.
        MemoryError: the run does not fit into memory.
    """
    scratch = folder / "checkpoints"
    _check_seeds(config)
    with checkpoints.locked(folder), allowed(force):
        if resume and is_done(folder, config):
            tqdm.write(f"{folder}: these settings are there already; only drawn again")
            shutil.rmtree(scratch, ignore_errors=True)  # of a process killed between its last two writes
            return load(folder)
        before = _begin(scratch, config, run, resume)
        _tell_earlier(folder, config)
        started, cpu_started = time.perf_counter(), time.process_time()
        try:
            result = run(config, scratch)
        finally:
            seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
            before["seconds"] += seconds
            before["cpu_seconds"] += cpu_seconds
            with suppress(OSError):
                io.write_json(scratch / "run.json", before)
        record = {
            "preset": preset,
            "config": _settings(config),
            "seconds": round(before["seconds"], 1),
            "cpu_seconds": round(before["cpu_seconds"], 1),
            **io.provenance(),
        }
        save(folder, result, record)
        shutil.rmtree(scratch)
    tqdm.write(f"wrote {len(result.tables)} tables to {folder} in {record['seconds']} s")
    return load(folder)


def _check_seeds(config: Any) -> None:
    """Raise ValueError for too many seeds: a table has a row for each."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name.endswith("seeds") and value > _MOST_SEEDS:
            raise ValueError(f"{field.name} must be <= {_MOST_SEEDS}, got {value}")


def _tell_earlier(folder: Path, config: Any) -> None:
    """Print how long an earlier run with these settings took, if the folder holds its result."""
    if is_done(folder, config):
        record = json.loads((folder / "run.json").read_text())
        seconds, cores = record.get("seconds"), record.get("cores")
        if isinstance(seconds, int | float) and isinstance(cores, int):
            took = f"took {seconds_in_words(seconds)} before, on {cores_in_words(cores)}"
            tqdm.write(f"{folder}: {took}", file=sys.stderr)


def _before(record: Any) -> dict[str, Any]:
    """Return the record of an interrupted run, or raise ValueError if it is not one."""
    match record:
        case {"identity": dict(), "seconds": int() | float(), "cpu_seconds": int() | float()}:
            return record
    raise ValueError("it lacks the run's identity or its times")


def _begin(scratch: Path, config: Any, run: Any, resume: bool) -> dict[str, Any]:
    """Prepare the checkpoint folder, empty unless the run continues; return the content of its run.json."""
    now = {"identity": identity(config=config, run=run), "seconds": 0.0, "cpu_seconds": 0.0}
    if resume and (scratch / "run.json").is_file():
        with readable(str(scratch / "run.json"), "record of an interrupted run"):
            before = _before(json.loads((scratch / "run.json").read_text()))
            text = differences(before["identity"], now["identity"])
            now |= {key: float(before[key]) for key in ("seconds", "cpu_seconds")}
        if text:
            raise ValueError(
                f"{str(scratch)!r} belongs to a different run: {text}; restore its settings, or start again "
                "without --resume"
            )
        return now
    if any(scratch.rglob("*.safetensors")):
        raise ValueError(
            f"{str(scratch)!r} holds an interrupted run; continue with --resume, or remove the folder to "
            "start again"
        )
    if scratch.exists():
        shutil.rmtree(scratch)
    io.prepare_folder(scratch)
    io.write_json(scratch / "run.json", now)
    return now


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
            ("resume", Annotated[bool, tyro.conf.arg(help="go on with a run that was interrupted")], False),
            ("force", Annotated[bool, tyro.conf.arg(help="run even if memory may not do")], False),
            ("config", tyro.conf.OmitArgPrefixes[type(presets[chosen])], presets[chosen]),
        ],
        frozen=True,
    )
    return tyro.cli(options, args=argv, description=description, prog=f"{name}.py")

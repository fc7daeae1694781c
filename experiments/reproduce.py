"""The whole numerical section: every experiment, every figure, and one table of claims.

Runs the experiments, two at a time, each into its own folder, and writes README.md beside them: claim,
published number, number found here, exact value where one is known, seconds. With `--resume` an experiment
that has these settings already is only drawn again, and an interrupted one continues.
At the end the headline numbers are compared with the committed ones (`headlines.py`); `--check` does that
alone.

    python experiments/reproduce.py --preset paper --out figures
"""

import shlex
import sys
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import tyro
from tqdm import tqdm

from ctflow import io
from ctflow._base.checks import check_choice, check_count
from ctflow._base.resources import processors, seconds_in_words
from ctflow.experiment import draw, guarded, is_done, run_and_save
from experiments import headlines, ring_view, summary
from experiments.together import run_together

EXPERIMENTS = tuple(summary.CLAIMS)
PRESETS = ("paper", "smoke")
SECONDS = {
    "paper": dict(zip(EXPERIMENTS, (25, 150, 80, 130, 155, 120, 150, 650), strict=True)),
    "smoke": dict(zip(EXPERIMENTS, (13, 19, 12, 8, 9, 8, 10, 3), strict=True)),
}
"""CPU seconds of each experiment: the first estimate of the time left, until a run says better."""


@dataclass(frozen=True)
class Options:
    """What to run, and where to."""

    preset: Annotated[str, tyro.conf.arg(help="paper or smoke")] = "paper"
    out: Annotated[Path, tyro.conf.arg(help="folders and README.md go here")] = Path("runs")
    resume: Annotated[bool, tyro.conf.arg(help="go on where an earlier call was interrupted")] = False
    force: Annotated[bool, tyro.conf.arg(help="run even if memory may not do")] = False
    jobs: Annotated[int, tyro.conf.arg(help="experiments at a time; above 1, each in its own process")] = 2
    check: Annotated[bool, tyro.conf.arg(help="run nothing: compare the results in --out")] = False
    accept: Annotated[bool, tyro.conf.arg(help="run nothing: commit the headlines of --out")] = False


def module_of(name: str) -> Any:
    """The experiment script of that name, as a module."""
    return import_module(f"experiments.{name}")


def time_left(expected: dict[str, float], done: Collection[str], elapsed: float) -> float:
    """Seconds that the experiments not in `done` need, at the pace of those that are."""
    finished = sum(expected[name] for name in done)
    return (sum(expected.values()) - finished) * (elapsed / finished if finished else 1.0)


def reproduce(options: Options) -> None:
    """Run, draw and sum up everything."""
    check_choice("--preset", options.preset, PRESETS)
    check_count("--jobs", options.jobs)
    io.prepare_folder(options.out)
    expected = {
        name: seconds / processors()
        for name, seconds in SECONDS[options.preset].items()
        if not (options.resume and is_done(options.out / name, module_of(name).PRESETS[options.preset]))
    }
    done, started = [], time.perf_counter()
    print(f"{len(EXPERIMENTS)} experiments: about {seconds_in_words(time_left(expected, done, 0))} in all")
    with tqdm(total=len(EXPERIMENTS), unit="experiment", position=0) as bar:
        for name in run_one_by_one(options, bar) if options.jobs == 1 else run_several(options):
            if name in expected:
                done.append(name)
            left = seconds_in_words(time_left(expected, done, time.perf_counter() - started))
            bar.update()
            tqdm.write(
                f"{bar.n} of {len(EXPERIMENTS)} experiments done, {name} last: about {left} left in all"
            )
    print(f"wrote {ring_view.write(options.out, options.preset)}")
    with io.atomic(options.out / "README.md") as file:
        file.write(summary.page(options.out, options.preset).encode())
    print(f"wrote {options.out / 'README.md'}")
    if options.preset == "paper":
        compare(options.out)


def run_one_by_one(options: Options, bar: Any) -> Iterator[str]:
    """Run and draw the experiments in this process; yield the name of each one that is done."""
    for name in EXPERIMENTS:
        bar.set_description(name)
        module, folder = module_of(name), options.out / name
        io.prepare_folder(folder)
        result = run_and_save(
            folder,
            module.run,
            module.PRESETS[options.preset],
            preset=options.preset,
            resume=options.resume,
            force=options.force,
        )
        draw(folder, module.plot, result)
        yield name


def run_several(options: Options) -> Iterator[str]:
    """The same in processes of their own, the longest first."""
    flags = [f"--{flag}" for flag in ("resume", "force") if getattr(options, flag)]
    shared = ["--preset", options.preset, "--out", str(options.out), *flags]
    names = sorted(EXPERIMENTS, key=lambda name: -SECONDS[options.preset][name])
    here = Path(__file__).parent
    commands = {name: [sys.executable, str(here / f"{name}.py"), *shared] for name in names}
    return run_together(commands, options.out, options.jobs)


def compare(folder: Path) -> bool:
    """Print the headlines of a folder beside the committed ones; whether all agree."""
    compared = headlines.compare(folder)
    print(headlines.page(compared), end="")
    return all(of.agrees for of in compared)


def main(argv: list[str] | None = None) -> None:
    """Run from the command line."""
    words = sys.argv[1:] if argv is None else argv
    with guarded(shlex.join(["python", sys.argv[0], *words])):
        options = tyro.cli(Options, args=argv, description=__doc__, prog="reproduce.py")
        if options.accept:
            headlines.accept(options.out)
        elif options.check:
            if not compare(options.out):
                raise SystemExit(1)
        else:
            reproduce(options)


if __name__ == "__main__":
    main()

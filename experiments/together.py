"""Several experiments at a time, each in a process of its own."""

import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ctflow._base.resources import processors


def run_together(commands: Mapping[str, Sequence[str]], folder: Path, jobs: int) -> Iterator[str]:
    """Run commands by name, `jobs` at a time and in this order; yield each name when its process has ended.

    Each process writes to FOLDER/NAME.log, and uses its share of the cores. After an interruption or a
    failure no further process begins, and those that run are told to stop and waited for: they save what
    they have.

    Raises:
        ValueError: a process failed; the message has the last line of its log.
    """
    waiting, running = list(commands.items()), {}
    # Processes that each use all cores take more CPU time for the same work, since they share the caches.
    environment = {**os.environ, "NPROC": str(max(1, processors() // jobs))}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                name, command = waiting.pop(0)
                with (folder / f"{name}.log").open("w") as log:
                    # In a session of its own, so that Ctrl-C comes to it once, and from here.
                    running[name] = subprocess.Popen(
                        command,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                        env=environment,
                    )
            time.sleep(0.05)
            for name in [name for name, process in running.items() if process.poll() is not None]:
                if code := running.pop(name).returncode:
                    lines = (folder / f"{name}.log").read_text(errors="replace").split("\n")
                    last = next((line for line in reversed(lines) if line.strip()), "no output")
                    raise ValueError(f"{name} ended with exit code {code}: {last}; see {folder / name}.log")
                yield name
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.wait()

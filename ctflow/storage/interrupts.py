"""Ctrl-C and SIGTERM in a run with a checkpoint: a chunk is finished and saved before the process goes.

A run without a checkpoint has nothing to save: Ctrl-C raises KeyboardInterrupt and SIGTERM ends the process,
as everywhere in Python.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(SystemExit):
    """A run with a checkpoint was asked to stop, by Ctrl-C or SIGTERM, and did so after a whole chunk.

    Uncaught, it ends the process with exit code 130 or 143.

    Attributes:
        signum: of the signal.
        solution: of `solve`, everything up to the end of that chunk; None from a sweep.
    """

    def __init__(self, signum: int, solution: Any = None):
        super().__init__(128 + signum)
        self.signum, self.solution = signum, solution


class Note:
    """Which signal has come, or None."""

    signum: int | None = None


@contextmanager
def deferred(wanted: bool = True) -> Iterator[Note]:
    """Within, the first SIGINT or SIGTERM is only noted; a second one acts at once.

    With `wanted` false both act at once. Only the main thread can do this: elsewhere nothing is ever noted. A
    signal that is ignored, as a job under nohup does, stays ignored.
    """
    note, previous = Note(), {}

    def take_note(signum: int, frame: Any) -> None:
        if note.signum is not None:
            restore()
            signal.raise_signal(signum)
        note.signum = signum

    def restore() -> None:
        for signum, handler in previous.items():
            signal.signal(signum, handler)

    if wanted and threading.current_thread() is threading.main_thread():
        for signum in SIGNALS:
            handler = signal.getsignal(signum)
            if handler not in (signal.SIG_IGN, None):
                previous[signum] = handler
                signal.signal(signum, take_note)
    try:
        yield note
    finally:
        restore()


@contextmanager
def raised() -> Iterator[None]:
    """Within, SIGTERM raises Interrupted at once, as Ctrl-C raises KeyboardInterrupt."""

    def stop(signum: int, frame: Any) -> None:
        raise Interrupted(signum)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)

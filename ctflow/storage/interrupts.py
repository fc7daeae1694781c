"""Ctrl-C and SIGTERM in a run with a checkpoint: the chunk is finished and saved before the process ends.

A run without a checkpoint has nothing to save. There, as usual in Python, Ctrl-C raises KeyboardInterrupt and
SIGTERM ends the process.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(SystemExit):
    """Ctrl-C or SIGTERM stopped a run with a checkpoint, after the current chunk was finished and saved.

    If it is not caught, the process ends with exit code 130 (Ctrl-C) or 143 (SIGTERM).

    Attributes:
        signum: number of the signal.
        solution: the solution of `solve` up to the end of that chunk; None from a sweep.
    """

    def __init__(self, signum: int, solution: Any = None):
        super().__init__(128 + signum)
        self.signum, self.solution = signum, solution


class Note:
    """The signal that was received, or None."""

    signum: int | None = None


@contextmanager
def deferred(wanted: bool = True) -> Iterator[Note]:
    """Inside this context, the first SIGINT or SIGTERM is only noted; a second signal acts at once.

    If `wanted` is false, both act at once. This works only in the main thread; in other threads no signal is
    noted. A signal that the process ignores, such as SIGINT in a background job, stays ignored.
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
    """Inside this context, SIGTERM raises Interrupted at once, as Ctrl-C raises KeyboardInterrupt."""

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

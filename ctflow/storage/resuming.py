"""Runs that can be interrupted and resumed: one mechanism for `solve`, sweeps, experiments and claims.

`resumable` opens a run's checkpoint folder, if it has one, and notes signals; `in_order` is the loop over
jobs that do not depend on each other.
"""

import json
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from threading import Lock
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from ctflow.storage import checkpoints
from ctflow.storage.interrupts import Interrupted, Note, deferred

_Arrays = Callable[[int], Mapping[str, np.ndarray]]


class Session:
    """A run under way.

    Attributes:
        found: the checkpoint that it continues from, or None.
    """

    def __init__(self, store: checkpoints.Store | None, note: Note, unit: str):
        self._store, self._note, self._unit = store, note, unit
        self.found = None if store is None else store.load()

    @property
    def is_asked_to_stop(self) -> bool:
        """Whether Ctrl-C or SIGTERM has come; never true of a run without checkpoints."""
        return self._note.signum is not None

    def check_room(self, size: int, *, force: bool, told: bool) -> None:
        """Raise MemoryError if the disk has no room for checkpoints of `size` bytes, unless forced."""
        if self._store is not None:
            self._store.check_room(size, force=force, told=told)

    def save(self, count: int, arrays: _Arrays, *, last: bool) -> None:
        """Write a checkpoint at `count`, or leave it out for a while if it is not the last and would be slow.

        Args:
            count: how much of the run is done, in its units.
            arrays: from `count` to what the checkpoint holds; called only if the run leaves checkpoints.
            last: whether the run ends here.
        """
        if self._store is not None:
            self._store.write(count, arrays(count), now=last or self.is_asked_to_stop)

    def stop_if_asked(self, count: int, total: int) -> None:
        """Raise Interrupted, and print what was saved, if Ctrl-C or SIGTERM has come and work is left."""
        if self._store is not None and self._note.signum is not None and count < total:
            folder = str(self._store.folder)
            print(f"interrupted after {count} of {total} {self._unit}, saved in {folder!r}", file=sys.stderr)
            raise Interrupted(self._note.signum)


@contextmanager
def resumable(
    checkpoint: str | os.PathLike[str] | None,
    identity: Mapping[str, str] | None,
    *,
    unit: str,
    resume: bool = True,
) -> Iterator[Session]:
    """The session of a run in its own folder; without a folder, signals act at once and nothing is saved.

    Args:
        checkpoint: the folder, or None.
        identity: what the run is made of, by `ctflow.storage.identity`; None without a folder.
        unit: what the run counts, in the plural; used in messages.
        resume: continue from the newest checkpoint in the folder.

    Raises:
        ValueError: the folder cannot be written to, is in use, holds a run and `resume` is false, or holds
            a different or damaged run.
    """
    with (
        checkpoints.opened(checkpoint, identity, resume=resume) as store,
        deferred(store is not None) as note,
    ):
        yield Session(store, note, unit)


class _InTurn(NamedTuple):
    """A job that runs in this thread when its result is asked for."""

    result: Callable[[], Any]


@contextmanager
def _executor(workers: int) -> Iterator[Any]:
    """Threads, or this one alone; once Ctrl-C or a job's error has come, no further job begins."""
    if workers == 1:
        yield SimpleNamespace(submit=_InTurn)
        return
    with ThreadPoolExecutor(workers) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def in_order(
    jobs: Sequence[tuple[int, Callable[[], Any]]],
    session: Session,
    arrays: _Arrays,
    *,
    workers: int = 1,
    ahead: int = 1,
) -> Iterator[Any]:
    """Yield what jobs return, in their order, and save a checkpoint after each.

    Args:
        jobs: pairs of a count and a function; the count is what the session has done once the job is.
        session: of the run.
        arrays: from a count to what a checkpoint of everything yielded by then holds.
        workers: threads; with 1, the jobs run in this thread.
        ahead: jobs that may begin before the result of an earlier one has been taken.

    Raises:
        Interrupted: Ctrl-C or SIGTERM came; the jobs that had begun were finished and saved.
    """
    waiting, left, gate = deque[tuple[int, Any]](), deque(jobs), _Gate(session)
    done = 0 if session.found is None else session.found.count
    with _executor(workers) as pool:
        while left or waiting:
            while left and len(waiting) < ahead and not session.is_asked_to_stop:
                count, job = left.popleft()
                waiting.append((count, pool.submit(partial(gate.pass_through, count, job))))
            if not waiting:
                break
            count, future = waiting.popleft()
            result = future.result()
            if result is _NOT_BEGUN:
                break
            yield result
            done = count
            session.save(done, arrays, last=not left and not waiting)
    session.stop_if_asked(done, jobs[-1][0] if jobs else 0)


_NOT_BEGUN = object()


class _Gate:
    """Lets no job begin after an interrupt but those before one that has begun: its result needs theirs."""

    def __init__(self, session: Session):
        self._session, self._lock, self._furthest = session, Lock(), 0

    def pass_through(self, count: int, job: Callable[[], Any]) -> Any:
        """What the job returns, or `_NOT_BEGUN`."""
        with self._lock:
            if self._session.is_asked_to_stop and count > self._furthest:
                return _NOT_BEGUN
            self._furthest = max(self._furthest, count)
        return job()


def as_json(content: Any, default: Callable[[Any], Any]) -> dict[str, np.ndarray]:
    """Anything that JSON can hold, as the arrays of a checkpoint."""
    return {"json": np.frombuffer(json.dumps(content, default=default).encode(), np.uint8)}


def from_json(
    found: checkpoints.Found | None, object_hook: Callable[[dict[str, Any]], Any] | None = None
) -> list:
    """The list that `as_json` stored; an empty one where there is no checkpoint."""
    return [] if found is None else json.loads(found.arrays["json"].tobytes(), object_hook=object_hook)

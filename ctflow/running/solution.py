"""What a run returns, and the errors that carry it."""

from enum import StrEnum
from typing import Any, NamedTuple

import jax
import numpy as np

from ctflow.flows import State


class Status(StrEnum):
    """How a run ended."""

    CONVERGED = "converged"
    """Its stopping rule said so, and its steps are small enough to settle."""
    FINISHED = "finished"
    """It took all of its steps."""
    INTERRUPTED = "interrupted"
    """Ctrl-C or SIGTERM stopped it."""
    NON_FINITE = "non-finite"
    """A step came out NaN or infinite."""
    DIVERGED = "diverged"
    """The step size is too large for the energy's fastest rate, where the clouds are or are going."""


class Solution(NamedTuple):
    """The result of `solve`.

    Attributes:
        clouds: the clouds at the end, shaped like the start; `cloud` is the same.
        steps: the steps at which something was saved, [k], beginning with 0.
        times: the physical times of those steps, or None for a flow without time.
        saved: what `save` returned there, stacked along a leading axis [k].
        status: how the run ended.
        state: the flow's last state; pass it as `start` to continue.
    """

    clouds: Any
    steps: np.ndarray
    times: np.ndarray | None
    saved: Any
    status: Status
    state: State

    @property
    def cloud(self) -> Any:
        """The clouds at the end."""
        return self.clouds

    @property
    def step(self) -> int:
        """The step at which the run ended."""
        return int(self.state.step)

    def __repr__(self) -> str:
        """How the run ended, its clouds, and the first and last value of what was saved, in ten lines."""
        time = "" if self.times is None else f", time {self.times[-1]:.6g}"
        lines = [f"Solution: {self.status} after {self.step} steps{time}"]
        for path, leaf in jax.tree_util.tree_leaves_with_path(self.clouds):
            name = f"clouds{jax.tree_util.keystr(path)}"
            lines.append(f"  {name}: {list(leaf.shape)} {leaf.dtype}")
        for path, leaf in jax.tree_util.tree_leaves_with_path(self.saved):
            name, shape = f"saved{jax.tree_util.keystr(path)}", list(np.shape(leaf))
            ends = f", {leaf[0]:.6g} to {leaf[-1]:.6g}" if len(shape) == 1 and shape[0] else ""
            lines.append(f"  {name}: {shape}{ends}")
        more = [f"  and {len(lines) - 9} more"] if len(lines) > 10 else []
        return "\n".join(lines[: 10 - len(more)] + more)


class RunError(FloatingPointError):
    """A run that failed. `solution` holds everything up to the last good state."""

    def __init__(self, message: str, solution: Solution):
        super().__init__(message)
        self.solution = solution


class NonFiniteError(RunError):
    """A step came out NaN or infinite."""


class DivergedError(RunError):
    """The step size is too large for the flow to settle."""


def failure(solution: Solution, num_steps: int, advice: str) -> RunError:
    """The error for a failed run: what went wrong and what to do."""
    step = solution.step
    if solution.status is Status.DIVERGED:
        return DivergedError(f"the run diverged by step {step} of {num_steps}: {advice}", solution)
    return NonFiniteError(
        f"step {step + 1} of {num_steps} came out non-finite; the state before it is in this error's "
        f"`.solution`. {advice}",
        solution,
    )

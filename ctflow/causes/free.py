"""What free rows would do: particles set out from a user's rows and descend the loss without any encoder."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import optax

from ctflow.causes.batch import Batch, centroids
from ctflow.diagnostics import energy_distance
from ctflow.energies import SymmetricDivergence
from ctflow.flows import Descent, Flow, GradientFlow
from ctflow.kernels import Exponential
from ctflow.running.solution import Status
from ctflow.running.solver import solve

ADAM_RATE = 1e-2
"""Learning rate of Adam, in radians."""
ADAM_STEPS = 150
STAGES = ((1e-2, 100), (1e-1, 200))
"""Steps of the gradient flow as shares of the temperature, and how many are taken at most."""
MOST_STEPS = sum(steps for _, steps in STAGES) + 2 * ADAM_STEPS
"""Largest number of steps in all."""
NOTHING = 1e-3
"""A loss that counts as nothing, in nats: rows so near to the lowest loss have nothing to lose."""
EVERY = 5
DONE = 0.99
"""Share of the loss that can be lost, after which the gap of the gradient flow is read off."""
ENOUGH = 0.95
"""Share after which it is read off at the end of the flow's steps, where the last hundredths take long."""


class Path(NamedTuple):
    """One descent from the user's rows.

    Attributes:
        step: steps at which something was saved, [k].
        gap: centroid gap, [k].
        loss: in-batch loss, in nats, [k]; without the control.
        energy_distance: at the start and at the end (V-statistic).
        recall: recall@1 at the end, the mean of both directions.
    """

    step: np.ndarray
    gap: np.ndarray
    loss: np.ndarray
    energy_distance: tuple[float, float]
    recall: float


class FreeRows(NamedTuple):
    """Free rows on three paths from the user's rows.

    Attributes:
        rows: number of rows of either modality.
        flow: the gradient flow, until it has lost `DONE` of the loss that can be lost.
        adam: Adam, as encoders are trained.
        controlled: Adam with a control of strength `strength`.
        strength: λ of the control, the divergence between the clouds at the user's temperature.
        least_loss: the loss below which no placement of the rows can go.
        kept: share of the gap that is left when the gradient flow has lost `DONE` of the loss that can be
            lost, or at the end of its steps if at least `ENOUGH` is lost; else NaN. It is 1 if the rows have
            nothing to lose.
    """

    rows: tuple[int, int]
    flow: Path
    adam: Path
    controlled: Path
    strength: float
    least_loss: float
    kept: float

    def paths(self) -> dict[str, Path]:
        """The paths by the names that tables and figures show."""
        return {
            "gradient flow": self.flow,
            "Adam": self.adam,
            f"Adam, penalty {self.strength:.3g}": self.controlled,
        }

    @property
    def reached(self) -> float:
        """The lowest loss on the paths without control, in nats."""
        return float(min(self.adam.loss.min(), self.flow.loss.min()))

    @property
    def price(self) -> float:
        """Loss at the end of the controlled path minus that at the end of Adam's, in nats."""
        return float(self.controlled.loss[-1] - self.adam.loss[-1])


def free_rows(batch: Batch, strength: float, tick: Any = lambda steps: None) -> FreeRows:
    """Let the rows of a batch go and follow them down the loss of their pairs.

    Adam runs first, without and with the control, since it finds the lowest loss fast. The gradient flow then
    runs until only 1 - `DONE` of the difference to that loss is left. Its first steps are τ/100: the pull of
    a partner is at most 1/τ, so that no row moves further than about 0.02 radians in a step. Later steps are
    ten times as long.

    Args:
        batch: the rows, their pairs and their energy.
        strength: λ > 0 of the control.
        tick: called with numbers of steps, at most `MOST_STEPS` in all.
    """
    energy = batch.energy
    tau = float(energy.temperature)

    def save(clouds: Any) -> dict[str, Any]:
        x, y = centroids(clouds)
        return {"gap": jnp.linalg.norm(x - y), "energy": energy(clouds)}

    def path(descended: Any, stages: Sequence[tuple[Flow, int]], target: float = -np.inf) -> Path:
        return _path(batch, descended, stages, save, target, tick)

    control = SymmetricDivergence(Exponential(energy.temperature), method="tiled")
    adam = [(Descent(optax.adam(ADAM_RATE)), ADAM_STEPS)]
    found = path(energy, adam)
    controlled = path(energy + strength * control, adam)
    lowest = float(found.loss.min())
    stages = [(GradientFlow(share * tau), steps) for share, steps in STAGES]
    target = max(lowest + (1 - DONE) * (found.loss[0] - lowest), lowest + NOTHING)
    flow = path(energy, stages, target)
    kept = _kept(flow, target)
    return FreeRows(batch.shape, flow, found, controlled, strength, batch.least_loss, kept)


def _path(
    batch: Batch, energy: Any, stages: Sequence[tuple[Flow, int]], save: Any, target: float, tick: Any
) -> Path:
    """Descend `energy` from the rows of the batch, by one flow after another.

    It ends early once the loss is below the target, or where a flow diverges.
    """

    def stop(energies: np.ndarray) -> bool:
        tick(EVERY if len(energies) > 1 else 0)
        return bool(batch.loss_of(energies[-1]) <= target)

    clouds, step, gap, loss = batch.clouds, [], [], []
    for flow, steps in stages:
        options = {"num_steps": steps, "save_every": EVERY, "save": save, "stop": stop}
        solution = solve(energy, clouds, flow, raise_on_failure=False, **options)
        first, clouds = (1 if step else 0), solution.clouds
        step += [solution.steps[first:] + (step[-1][-1] if step else 0)]
        gap += [np.asarray(solution.saved["gap"], float)[first:]]
        loss += [batch.loss_of(solution.saved["energy"])[first:]]
        if solution.status != Status.FINISHED:
            break
    return Path(
        np.concatenate(step),
        np.concatenate(gap),
        np.concatenate(loss),
        (_apart(batch.clouds), _apart(clouds)),
        batch.recall(clouds),
    )


def _apart(clouds: Any) -> float:
    """Energy distance of two clouds (V-statistic)."""
    x, y = clouds
    return float(energy_distance(x, y, estimator="v"))


def _kept(flow: Path, target: float) -> float:
    """The gap where the loss crosses the target, or ends near it, as a share of the gap at the start."""
    below = np.flatnonzero(flow.loss <= target)
    if flow.gap[0] == 0:
        return np.nan
    if not below.size:
        lowest = (target - (1 - DONE) * flow.loss[0]) / DONE
        enough = flow.loss[0] - flow.loss[-1] >= ENOUGH * (flow.loss[0] - lowest)
        return float(flow.gap[-1] / flow.gap[0]) if enough else np.nan
    k = int(below[0])
    gap = flow.gap[k]
    if k > 0:
        share = (flow.loss[k - 1] - target) / (flow.loss[k - 1] - flow.loss[k])
        gap = flow.gap[k - 1] + share * (flow.gap[k] - flow.gap[k - 1])
    return float(gap / flow.gap[0])

"""Checks of the arguments of `solve` and `evolve`, before anything runs."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ctflow._base.checks import check_count, is_concrete
from ctflow.clouds import check_clouds, points
from ctflow.energy import Energy, Scaled, Sum
from ctflow.flows import Flow, State, jitted_velocity
from ctflow.running.solution import Solution


def check_host(*arguments: Any) -> None:
    """Raise ValueError if there is a tracer among the arguments of `solve`."""
    if not is_concrete(*arguments):
        raise ValueError(
            "solve runs its loop on the host, so its arguments must be numbers and not tracers of jax.jit, "
            "jax.vmap or jax.grad; use ct.evolve inside a transformed function"
        )


def check_start(start: Any, key: Any) -> State | None:
    """The state that a run continues from, or None where `start` is clouds.

    Raises:
        ValueError: a Solution; a State with a key beside it, or one that is not finite.
    """
    if isinstance(start, Solution):
        raise ValueError(
            "start must be a cloud, a Pair, a tuple of clouds or a State, got a Solution; pass sol.state to "
            "continue that run, or sol.clouds for a new run from there"
        )
    if not isinstance(start, State):
        return None
    if key is not None:
        raise ValueError("key must be left out where start is a State, which has its own key")
    state = check_state(start)
    if not bool(state.finite):
        raise ValueError(
            "start must be a finite state, but its last step came out non-finite; pass start=state.clouds "
            "and a smaller step size"
        )
    return state


def check_state(state: Any) -> State:
    """The state with its clouds as JAX arrays; ValueError unless it is the state of a flow."""
    if not isinstance(state, State):
        raise ValueError(
            f"state must be a State, got {type(state).__name__}; make one by flow.init(clouds, key), or pass "
            "sol.state to continue a run"
        )
    return state._replace(clouds=check_clouds("state.clouds", state.clouds))


def check_continued(flow: Flow, fresh: State, continued: State) -> State:
    """The state to continue from, its clouds placed as those of a fresh one.

    Raises:
        ValueError: its memory is not that of this flow.
    """
    kinds = [
        jax.tree.map(lambda leaf: (jnp.shape(leaf), jnp.result_type(leaf)), s.memory)
        for s in (fresh, continued)
    ]
    if kinds[0] != kinds[1]:
        raise ValueError(
            f"start.memory must be that of a {type(flow).__name__} with these settings; continue with the "
            "flow that the state came from, or pass start=state.clouds"
        )
    return continued._replace(clouds=fresh.clouds, step=jnp.asarray(continued.step, jnp.int32))


def check_flow(flow: Any) -> None:
    """Raise ValueError unless `flow` is an instance of a flow that JAX can take apart."""
    if isinstance(flow, type) and issubclass(flow, Flow):
        raise ValueError(
            f"flow must be a flow, got the class {flow.__name__} itself; call it with its settings, such as "
            "ct.flows.GradientFlow(step_size=0.01)"
        )
    if not isinstance(flow, Flow):
        raise ValueError(f"flow must be a flow of ct.flows, got {type(flow).__name__}")


def check_steps(name: str, value: Any, minimum: int = 1) -> None:
    """Like `check_count`; for a float that is a whole number the message says how to write it."""
    if isinstance(value, float | np.floating) and value >= minimum and value == int(value):
        raise ValueError(
            f"{name} must be an integer >= {minimum}, got the float {value!r}; write {name}={int(value)}"
        )
    check_count(name, value, minimum)


def check_save(save: Callable[[Any], Any], clouds: Any) -> None:
    """Raise ValueError unless `save` can be traced and returns at least one array."""
    if not callable(save):
        raise ValueError(f"save must be a function of the clouds, got {save!r}")
    returned: list[Any] = []

    def called(clouds: Any) -> list[Any]:
        returned.append(save(clouds))
        return [leaf for leaf in jax.tree.leaves(returned[-1]) if _is_array(leaf)]

    try:
        arrays = jax.eval_shape(called, clouds)
    except Exception as error:
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"save must be a function of the clouds that JAX can trace, but calling it failed: {text}. Use "
            "jnp instead of np in it, and float(), int() and print() only on what solve returns"
        ) from error
    leaves = jax.tree.leaves(returned[-1])
    if len(leaves) != len(arrays) or not leaves:
        bad = next((leaf for leaf in leaves if not _is_array(leaf)), returned[-1])
        raise ValueError(
            f"save must return an array, or a dict or tuple of arrays, got {type(bad).__name__} {bad!r}; "
            "return numbers only, such as lambda cloud: cloud.mean(axis=0)"
        )


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, bool | int | float | complex | np.generic | jax.Array) or (
        isinstance(leaf, np.ndarray) and leaf.dtype.kind in "biufc"
    )


def check_finite_start(energy: Any, clouds: Any, *, report: dict[str, Any] | None = None) -> None:
    """Raise ValueError if the energy or the velocity is not finite at the start.

    Args:
        energy: the energy of the run.
        clouds: the start.
        report: energy and terms at the start, if known; if all of them are finite, nothing else is checked.
    """
    if report is not None and all(np.isfinite(value).all() for value in report.values()):
        return
    for part in _parts(energy):
        terms = {name: float(value) for name, value in part.terms(clouds).items()}
        said = [f"its term {name!r} is {value}" for name, value in terms.items() if not np.isfinite(value)]
        where, count, n = _not_finite(part, clouds)
        if count:
            of = "" if said else f" under its term {', '.join(map(repr, terms))}"
            said.append(f"{count} of {n} points have no finite velocity{of}, the first is {where}")
        if said:
            raise ValueError(
                f"energy must be finite at the start, but {' and '.join(said)}; change the start or this term"
            )
    if report is not None:
        raise ValueError(f"energy must be finite at the start, got {report}; change the start or the energy")


def check_terms(energy: Any, clouds: Any, report: dict[str, Any]) -> None:
    """Raise ValueError unless the terms in a report of the energy add up to it, as far as rounding allows."""
    value, terms = float(report["energy"]), [float(v) for name, v in report.items() if name != "energy"]
    eps = float(jnp.finfo(jax.tree.leaves(points(clouds))[0].dtype).eps)
    if abs(sum(terms) - value) > 1e4 * eps * (abs(value) + sum(map(abs, terms))):
        raise ValueError(
            f"the terms of {type(energy).__name__} must add up to the energy, got {sum(terms):.9g} and "
            f"{value:.9g} at the start; correct terms or __call__, or define only one of them"
        )


def _parts(energy: Any) -> Iterator[Energy]:
    """The energies whose multiples add up to this one."""
    if isinstance(energy, Sum):
        for part in energy.parts:
            yield from _parts(part)
    elif isinstance(energy, Scaled):
        yield from _parts(energy.part)
    else:
        yield energy


def _not_finite(part: Energy, clouds: Any) -> tuple[str, int, int]:
    """Place of the first point without a finite velocity, number of such points, number of all points."""
    speeds = jax.tree.leaves(jitted_velocity(part, clouds))
    names = getattr(points(clouds), "_fields", None) or [str(i) for i in range(len(speeds))]
    bad = [np.flatnonzero(~np.asarray(jnp.isfinite(v).all(axis=1))) for v in speeds]
    count, n = sum(map(len, bad)), sum(v.shape[0] for v in speeds)
    first = next((i for i, rows in enumerate(bad) if len(rows)), None)
    if first is None:
        return "", 0, n
    return f"row {bad[first][0]}" + (f" of {names[first]}" if len(speeds) > 1 else ""), count, n

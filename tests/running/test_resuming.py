"""Runs, sweeps, jobs and claims that were stopped continue to the same bytes."""

import os
import signal
from contextlib import nullcontext
from functools import cache, partial
from types import SimpleNamespace

import jax
import numpy as np
import pytest

import ctflow as ct
from ctflow import claims
from ctflow.claims.evidence import Check, Evidence
from ctflow.experiment import results_of
from ctflow.storage import checkpoints, resuming
from ctflow.storage.identity import identity
from tests.running.small_runs import FLOWS, same, solve

RULE = ct.stopping.Target(-9.0)  # never reached


def interrupt(monkeypatch, step, signum=signal.SIGTERM):
    """Send this process a signal once the stopping rule is asked at a step."""

    def then(rule, energies):
        if 5 * (len(energies) - 1) == step:
            os.kill(os.getpid(), signum)
        return False

    monkeypatch.setattr(ct.stopping.Target, "__call__", then)


@pytest.mark.parametrize("name", FLOWS)
def test_a_run_stopped_by_a_signal_goes_on_to_the_same_bytes(name, tmp_path, monkeypatch, capsys):
    flow, folder = FLOWS[name], tmp_path / "run"
    whole = solve(flow, stop=RULE)
    with monkeypatch.context() as patch:
        interrupt(patch, 10)
        with pytest.raises(ct.Interrupted) as stop:
            solve(flow, stop=RULE, checkpoint=folder)
    assert stop.value.code == 128 + signal.SIGTERM
    assert (stop.value.solution.status, stop.value.solution.step) == (ct.Status.INTERRUPTED, 10)
    assert "interrupted after 10 of 20 steps, saved in" in capsys.readouterr().err
    same(solve(flow, stop=RULE, checkpoint=folder, resume=True), whole)
    same(solve(flow, stop=RULE, checkpoint=folder, resume=True), whole)  # a finished one is read
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize("step", [0, 5])
def test_ctrl_c_without_a_checkpoint_is_pythons_own(step, monkeypatch):
    """In a notebook SystemExit would end the cell without a word; what there is hangs on the exception."""
    interrupt(monkeypatch, step, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt) as stop:
        solve(stop=RULE)
    solution = stop.value.solution
    assert solution.status is ct.Status.INTERRUPTED
    np.testing.assert_array_equal(solution.steps, np.arange(0, step + 1, 5))
    assert len(solution.saved["energy"]) == len(solution.steps)


def test_signals_are_left_alone_without_a_checkpoint():
    handlers = []
    solve(num_steps=5, stop=lambda energies: handlers.append(signal.getsignal(signal.SIGTERM)))
    assert set(handlers) == {signal.getsignal(signal.SIGTERM)}


def test_ctrl_c_in_a_sweep_without_a_checkpoint_starts_no_further_run():
    begun = []

    def note(x):
        begun.append(float(x))
        if x == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return x

    def run(x):
        return jax.pure_callback(note, jax.ShapeDtypeStruct((), x.dtype), x)

    with pytest.raises(KeyboardInterrupt):
        ct.sweep(run, np.arange(400.0), batch_size=1)
    assert len(begun) < 100


def test_a_finished_run_can_be_lengthened(tmp_path):
    solve(num_steps=10, checkpoint=tmp_path / "run")
    same(solve(num_steps=20, checkpoint=tmp_path / "run", resume=True), solve())
    with pytest.raises(ValueError, match="num_steps must be >= 20"):
        solve(num_steps=15, checkpoint=tmp_path / "run", resume=True)


def test_a_run_that_ended_between_two_saves_cannot_be_lengthened(tmp_path):
    """Twelve steps saved at 0, 5, 10 and 12: the saves of a longer run would not be at its multiples of 5."""
    solve(num_steps=12, checkpoint=tmp_path / "run")
    with pytest.raises(ValueError, match="must be a multiple of save_every to continue"):
        solve(num_steps=20, checkpoint=tmp_path / "run", resume=True)
    same(solve(num_steps=12, checkpoint=tmp_path / "run", resume=True), solve(num_steps=12))


RAN = []  # a global list, which a function is not compared by


def test_a_sweep_resumes_at_its_missing_runs(tmp_path):
    calls = np.arange(7.0)

    def run(x):
        jax.debug.callback(lambda x: RAN.append(float(x)), x)
        return {"square": x * x}

    whole = ct.sweep(run, calls)
    made_of = identity(run=run, inputs=calls)
    with checkpoints.opened(tmp_path / "sweep", made_of, resume=True) as kept:
        kept.write(5, {"result.0": whole["square"][:5]})
    jax.effects_barrier()
    RAN.clear()
    again = ct.sweep(run, calls, checkpoint=tmp_path / "sweep", resume=True)
    jax.effects_barrier()
    np.testing.assert_array_equal(again["square"], whole["square"])
    assert set(RAN) == {5.0, 6.0}
    with pytest.raises(ValueError, match=r"inputs was float64\[7\]"):
        ct.sweep(run, calls + 1, checkpoint=tmp_path / "sweep", resume=True)


def test_a_sweep_stopped_by_a_signal_keeps_its_runs(tmp_path):
    def run(x):
        return x + 1

    def signalled(x):  # what the run needs to go on, so that the signal comes before its end
        if x == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return x

    def interrupted(x):
        return jax.pure_callback(signalled, jax.ShapeDtypeStruct((), x.dtype), x) + 1

    inputs = np.arange(40.0)
    with pytest.raises(ct.Interrupted) as stop:
        ct.sweep(interrupted, inputs, batch_size=1, checkpoint=tmp_path / "sweep")
    assert stop.value.code == 130
    (name,) = {path.name for path in sorted((tmp_path / "sweep").iterdir())[-1:]}
    assert 3 < int(name[:12]) < 40
    again = ct.sweep(interrupted, inputs, checkpoint=tmp_path / "sweep", resume=True)
    np.testing.assert_array_equal(again, run(inputs))


def test_jobs_that_are_done_are_not_run_again(tmp_path):
    ran = []

    def job(i):
        return lambda: ran.append(i) or {"row": np.float64(i) / 3}

    jobs = [job(i) for i in range(4)]

    def stopped():
        os.kill(os.getpid(), signal.SIGTERM)
        return {"row": 2 / 3}

    with pytest.raises(ct.Interrupted):
        list(results_of([*jobs[:2], stopped, jobs[3]], tmp_path))
    ran.clear()
    assert [row["row"] for row in results_of(jobs, tmp_path)] == [i / 3 for i in range(4)]
    assert ran == [3]


def test_findings_survive_bit_for_bit(tmp_path, monkeypatch):
    """A claim that was run is read back: its checks, and every column with its dtype."""
    curves = {"c": {"x": np.array([1 / 3, np.nan, np.inf]), "n": np.array([1, 2]), "name": np.array(["a"])}}
    evidence = Evidence([Check("q", 1 / 3, 0.5, 0.1, 0.0, "r", True)], curves)
    monkeypatch.setattr("ctflow.claims.convexity.run", lambda **options: evidence)
    (ran,) = claims.verify(["convexity"], checkpoint=tmp_path)
    monkeypatch.delattr("ctflow.claims.convexity.run")
    (back,) = claims.verify(["convexity"], checkpoint=tmp_path)
    assert back[:3] == ran[:3]
    assert (back.seconds, back.evidence.checks) == (ran.seconds, evidence.checks)
    for name, column in curves["c"].items():
        np.testing.assert_array_equal(back.evidence.curves["c"][name], column)
        assert back.evidence.curves["c"][name].dtype == column.dtype


@pytest.mark.wrong_types
def test_jobs_before_one_that_has_begun_are_finished_too(monkeypatch):
    """The second job begins first, the interrupt comes in it, and the first is not left out."""
    begun, saved = [], []

    class Stopping:
        found, is_asked_to_stop = None, False

        def save(self, count, arrays, last):
            saved.append(count)

        def stop_if_asked(self, count, total):
            assert (count, total) == (2, 3)

    session = Stopping()

    def job(number):
        begun.append(number)
        session.is_asked_to_stop = number == 2 or session.is_asked_to_stop
        return number

    waiting = []

    @cache
    def all_results():
        first, second, third = waiting
        later = second()
        return first(), later, third()

    def submit(function):
        waiting.append(function)
        number = len(waiting) - 1
        return SimpleNamespace(result=lambda: all_results()[number])

    pool = nullcontext(SimpleNamespace(submit=submit))
    monkeypatch.setattr(resuming, "_executor", lambda workers: pool)
    jobs = [(number, partial(job, number)) for number in (1, 2, 3)]
    assert list(resuming.in_order(jobs, session, dict, workers=2, ahead=3)) == [1, 2]
    assert begun == [2, 1]
    assert saved == [1, 2]

"""A run that was stopped, by whatever, goes on to the same bytes; what is not the same run is refused."""

import importlib
import json
import os
import shutil
import signal
import sys
import warnings
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ctflow as ct
from ctflow import claims
from ctflow.claims.evidence import Check, Evidence
from ctflow.experiment import each
from ctflow.io import versions
from ctflow.running import solver
from ctflow.storage import checkpoints
from ctflow.storage import identity as identities
from ctflow.storage.identity import differences, identity

KEY = jax.random.key(1)
START = ct.sphere.uniform(jax.random.key(0), 12, 3)
ENERGY = ct.energies.unimodal(ct.potentials.Linear(np.eye(3)[0]), temperature=0.3)
FLOWS = {
    "gradient": ct.flows.GradientFlow(0.02),
    "langevin": ct.flows.Langevin(0.02),
    "wfr": ct.flows.WassersteinFisherRao(0.02, ct.kernels.Exponential(0.3)),
    "adam": ct.flows.Descent(optax.adam(0.02)),
}


def solve(flow=FLOWS["gradient"], **options):
    return ct.solve(ENERGY, START, flow, **{"num_steps": 20, "save_every": 5, "key": KEY, **options})


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, (a.cloud, a.saved, a.steps), (b.cloud, b.saved, b.steps))


def interrupt(monkeypatch, step, signum=signal.SIGTERM):
    """Send this process a signal once a run has come to a step."""
    look = solver._Run.look

    def then(run):
        look(run)
        if run.steps[-1] == step:
            os.kill(os.getpid(), signum)

    monkeypatch.setattr(solver._Run, "look", then)


@pytest.mark.parametrize("name", FLOWS)
def test_a_run_stopped_by_a_signal_goes_on_to_the_same_bytes(name, tmp_path, monkeypatch, capsys):
    flow, folder = FLOWS[name], tmp_path / "run"
    whole = solve(flow)
    with monkeypatch.context() as patch:
        interrupt(patch, 10)
        with pytest.raises(ct.Interrupted) as stop:
            solve(flow, checkpoint=folder)
    assert stop.value.code == 128 + signal.SIGTERM
    assert (stop.value.solution.status, stop.value.solution.step) == (ct.Status.INTERRUPTED, 10)
    assert "interrupted at step 10 of 20, saved in" in capsys.readouterr().err
    same(solve(flow, checkpoint=folder, resume=True), whole)
    same(solve(flow, checkpoint=folder, resume=True), whole)  # a finished one is read
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize("step", [0, 5])
def test_ctrl_c_without_a_checkpoint_is_pythons_own(step, monkeypatch):
    """In a notebook SystemExit would end the cell without a word; what there is hangs on the exception."""
    interrupt(monkeypatch, step, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt) as stop:
        solve()
    if step:
        solution = stop.value.solution
        assert solution.status is ct.Status.INTERRUPTED
        np.testing.assert_array_equal(solution.steps, [0, 5])
        assert solution.saved["energy"].shape == (2,)


def test_signals_are_left_alone_without_a_checkpoint(monkeypatch):
    handlers = []
    look = solver._Run.look
    monkeypatch.setattr(
        solver._Run, "look", lambda run: (handlers.append(signal.getsignal(signal.SIGTERM)), look(run))
    )
    solve(num_steps=5)
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


CHANGES = {
    "step size": ({"flow": ct.flows.GradientFlow(0.03)}, "flow.step_size was 0.02, is 0.03"),
    "key": ({"key": jax.random.key(2)}, "key was key<fry>"),
    "save_every": ({"save_every": 2}, "save_every was 5, is 2"),
    "what is saved": ({"save": lambda cloud: cloud.mean()}, "save was None, is "),
    "rule": ({"stop": ct.stopping.Target(-9.0)}, "stop was None, is Target"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_another_run_is_refused_with_what_differs(name, tmp_path):
    change, message = CHANGES[name]
    solve(checkpoint=tmp_path / "run")
    with pytest.raises(ValueError, match="belongs to a different run: ") as caught:
        solve(**change, checkpoint=tmp_path / "run", resume=True)
    assert message in str(caught.value)


def test_dtype_start_and_energy_are_compared_too(tmp_path):
    options = {"num_steps": 2, "checkpoint": tmp_path / "run"}
    ct.solve(ENERGY, START, FLOWS["gradient"], **options)
    narrow = START.astype(np.float32)
    colder = ct.energies.unimodal(ct.potentials.Linear(np.eye(3)[0]), temperature=0.2)
    for energy, start, message in (
        (ENERGY, narrow, r"start was float64\[12, 3\] \w+, is float32"),
        (ENERGY, START[::-1], r"start was float64\[12, 3\] \w+, is float64"),
        (colder, START, r"temperature was 0\.3, is 0\.2"),
    ):
        with pytest.raises(ValueError, match=message):
            ct.solve(energy, start, FLOWS["gradient"], **options, resume=True)


def test_another_version_is_refused(tmp_path, monkeypatch):
    solve(checkpoint=tmp_path / "run")
    monkeypatch.setattr("ctflow.storage.identity.versions", lambda: {"jax": "0.0.0"})
    with pytest.raises(ValueError, match=r"jax was .*, is 0\.0\.0"):
        solve(checkpoint=tmp_path / "run", resume=True)


def test_what_cannot_change_the_numbers_is_told_and_the_run_continues(tmp_path, monkeypatch):
    solve(num_steps=10, checkpoint=tmp_path / "run")
    now = versions()
    monkeypatch.setattr("ctflow.storage.identity.sources", lambda: "0123")
    monkeypatch.setattr("ctflow.storage.identity.versions", lambda: {**now, "ctflow": "9.9", "optax": "9.8"})
    message = r"continues.*: ctflow was .*, is 9\.9; optax was .*, is 9\.8; ctflow's sources was .*, is 0123"
    with pytest.warns(RuntimeWarning, match=message):
        same(solve(checkpoint=tmp_path / "run", resume=True), solve())


def test_the_optimizers_version_counts_where_one_is_used(tmp_path, monkeypatch):
    solve(FLOWS["adam"], checkpoint=tmp_path / "run")
    now = versions()
    monkeypatch.setattr("ctflow.storage.identity.versions", lambda: {**now, "optax": "9.8"})
    with pytest.raises(ValueError, match=r"belongs to a different run: optax was .*, is 9\.8"):
        solve(FLOWS["adam"], checkpoint=tmp_path / "run", resume=True)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package's files to edit, and a function that gives the identity of a run under them."""
    copy = tmp_path / "ctflow"
    shutil.copytree(Path(ct.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(identities, "_PACKAGE", copy)

    def forget():
        for cached in (identities._modules, identities._digest):
            cached.cache_clear()

    def of(name=None, old="", new="", roots=("ctflow.running.solver",)):
        path = copy / (name or "flows.py")
        before = path.read_text()
        assert old in before
        path.write_text(before.replace(old, new, 1))
        forget()
        made = identity(roots=roots, energy=ENERGY, flow=FLOWS["gradient"])
        path.write_text(before)
        return made

    yield of
    forget()


EDITS = {
    "a comment": ("flows.py", "import optax\n", "import optax  # why\n", False, False),
    "a docstring": ("flows.py", "One step down the energy.", "A step.", False, False),
    "the layout": ("kernels.py", "\n\n\n", "\n\n\n\n\n", False, False),
    "a message": ("flows.py", "moves one cloud [n, d], got several", "moves one cloud", False, False),
    "how it is drawn": ("plotting.py", "\nimport ", "\nimport math\nimport ", False, False),
    "the command line": ("cli/__init__.py", "\nimport ", "\nimport math\nimport ", False, False),
    "how it is kept": ("storage/checkpoints.py", "\nimport ", "\nimport math\nimport ", False, False),
    "what a solution is": ("running/solution.py", "\nimport ", "\nimport math\nimport ", False, False),
    "the loop": ("running/solver.py", "\nimport ", "\nimport math\nimport ", True, True),
    "a rule": ("stopping.py", "\nimport ", "\nimport math\nimport ", True, True),
    "the quadrature": ("_base/polar.py", "\nimport ", "\nimport math\nimport ", True, True),
    "diagnostics": ("embeddings/diagnosis/diagnose.py", "\nimport ", "\nimport math\nimport ", False, True),
    "a flow": ("flows.py", "half = self.step_size / 2", "half = self.step_size / 3", True, True),
    "a kernel": ("kernels.py", "\nimport ", "\nimport math\nimport ", True, True),
    "the geometry": ("sphere.py", "\nimport ", "\nimport math\nimport ", True, True),
    "the sums": ("partition/tiled.py", "\nimport ", "\nimport math\nimport ", True, True),
}


@pytest.mark.parametrize("name", EDITS)
def test_only_edits_of_code_that_computes_make_another_run(name, package):
    file, old, new, of_a_run, of_a_sweep = EDITS[name]
    for roots, other in (({"roots": ("ctflow.running.solver",)}, of_a_run), ({"roots": ()}, of_a_sweep)):
        text = differences(package(**roots), package(file, old, new, **roots))
        assert bool(text) == other
        assert not other or text.startswith("ctflow's code was ")


def test_methods_of_ones_own_classes_are_compared():
    def own(factor):
        class Well(ct.energies.Energy):
            def terms(self, clouds):
                return {"well": clouds.sum()} if factor else {"well": -clouds.sum()}

        class Deeper(ct.energies.Energy):
            def terms(self, clouds):
                return {"well": 2 * clouds.sum()}

        return Well() if factor else Deeper()

    assert identity(e=own(True)) == identity(e=own(True))
    there, now = identity(e=own(True)), identity(e=own(False))
    assert there["e"].split("code ")[1] != now["e"].split("code ")[1]


@pytest.fixture
def script(tmp_path, monkeypatch):
    """A function that gives the identity of an energy from a user's own module, written with such a text."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def of(text):
        (tmp_path / "helpers_of_mine.py").write_text("def scale(z):\n    return 3 * z\n")
        (tmp_path / "script_of_mine.py").write_text(text)
        for name in ("helpers_of_mine", "script_of_mine"):
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        return identity(of=importlib.import_module("script_of_mine").well)

    yield of
    for name in ("helpers_of_mine", "script_of_mine"):
        sys.modules.pop(name, None)


SCRIPT = """
import jax.numpy as jnp
import helpers_of_mine
DEPTH = 2.0
PLACES = jnp.arange(3.0)
WORDS = {"height": 1.0}
LOG = []
def helper(z):
    return deeper(z) + WORDS["height"] + PLACES[0]
def deeper(z):
    return DEPTH * helpers_of_mine.scale(z[0])
def unused(z):
    return 0
def well(z):
    "A well."
    LOG.append(1)
    inner = lambda z: -helper(z)
    return inner(z)
"""


@pytest.mark.parametrize(
    ("old", "new", "other"),
    [
        ("DEPTH = 2.0", "DEPTH = 3.0", True),
        ("arange(3.0)", "arange(4.0)", True),
        ('"height": 1.0', '"height": 1.5', True),
        ("z[0]", "z[1]", True),
        ("helpers_of_mine.scale(z[0])", "helpers_of_mine.scale(z[0] + 1)", True),
        ("-helper(z)", "-2 * helper(z)", True),
        ('"A well."', '"Another word for it."', False),
        ('    "A well."\n', "", False),
        ("    return 0", "    return 1", False),
        ("LOG = []", "LOG = [1]", False),
        ("def helper", "# Why.\ndef helper", False),
    ],
)
def test_what_a_users_function_names_outside_of_itself_counts(script, old, new, other):
    assert old in SCRIPT
    assert bool(differences(script(SCRIPT), script(SCRIPT.replace(old, new)))) == other


def test_a_folder_in_use_or_with_a_run_is_refused(tmp_path):
    with checkpoints.held(tmp_path), pytest.raises(ValueError, match="is in use by another run"):
        solve(checkpoint=tmp_path)
    solve(checkpoint=tmp_path)
    with pytest.raises(ValueError, match="already holds a run; continue it with resume=True"):
        solve(checkpoint=tmp_path)
    with pytest.raises(ValueError, match="resume=True needs checkpoint=PATH"):
        solve(resume=True)


RAN = []  # a global list, which a function is not compared by


def store(folder, **made_of):
    return checkpoints.opened(folder, {"who": "test", **made_of}, resume=True)


ARRAYS = {"a": np.arange(6.0).reshape(2, 3), "b": np.array(True), "c": np.uint32([1, 2])}


@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), cut=st.booleans())
@settings(max_examples=100)
def test_damage_anywhere_leads_to_the_checkpoint_before(where, bit, cut, tmp_path_factory):
    """A bit flipped or the end cut off, anywhere: a warning and the one before, never wrong numbers."""
    folder = tmp_path_factory.mktemp("damaged")
    with store(folder) as kept:
        for count in (5, 10):
            kept.write(count, {**ARRAYS, "count": np.array(count)})
    path = kept.files()[-1]
    content = bytearray(path.read_bytes())
    place = int(where * len(content))
    if cut:
        del content[place:]
    else:
        content[place] ^= 1 << bit
    path.write_bytes(content)
    with store(folder) as kept, pytest.warns(RuntimeWarning, match="is damaged"):
        found = kept.load()
    assert found.count == found.arrays["count"] == 5
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found.arrays[name], array)


def test_nothing_whole_is_one_clear_error(tmp_path):
    solve(checkpoint=tmp_path)
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.warns(RuntimeWarning), pytest.raises(ValueError, match="only damaged checkpoints; delete it"):
        solve(checkpoint=tmp_path, resume=True)


def test_the_last_two_are_kept_and_litter_is_cleared(tmp_path):
    (tmp_path / ".000000000001-0.safetensors.abc").touch()
    with store(tmp_path) as kept:
        for count in range(4):
            assert kept.write(count, ARRAYS)
    assert [int(path.name[:12]) for path in sorted(tmp_path.iterdir())] == [2, 3]


def test_a_write_that_fails_is_said_and_tried_again(tmp_path, monkeypatch):
    with store(tmp_path) as kept:
        kept.write(1, ARRAYS)
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", lambda *paths: (_ for _ in ()).throw(OSError(28, "No space left")))
            with pytest.warns(RuntimeWarning, match="the one at 1 is kept"):
                assert not kept.write(2, ARRAYS)
        assert [path.name[:12] for path in tmp_path.iterdir()] == ["000000000001"]
        assert kept.write(3, ARRAYS)


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
        list(each([*jobs[:2], stopped, jobs[3]], tmp_path))
    ran.clear()
    assert [row["row"] for row in each(jobs, tmp_path)] == [i / 3 for i in range(4)]
    assert ran == [3]


def test_findings_survive_bit_for_bit():
    curves = {"c": {"x": np.array([1 / 3, np.nan, np.inf]), "n": np.array([1, 2]), "name": np.array(["a"])}}
    finding = claims.Finding(
        "n", "t", "s", Evidence([Check("q", 1 / 3, 0.5, 0.1, 0.0, "r", True)], curves), 1.5
    )
    (back,) = claims._unpacked(claims._packed([finding]))
    assert (back.name, back.seconds, back.evidence.checks) == ("n", 1.5, finding.evidence.checks)
    for name, column in curves["c"].items():
        np.testing.assert_array_equal(back.evidence.curves["c"][name], column)
        assert back.evidence.curves["c"][name].dtype == column.dtype


def test_identities_tell_functions_and_optimizers_apart():
    def potential(height):
        return lambda z: height * z[0]

    def of(**parts):
        return identity(**parts)

    assert of(f=potential(1.0)) == of(f=potential(1.0))
    assert "height was 1.0, is 2.0" in differences(of(f=potential(1.0)), of(f=potential(2.0)))
    assert differences(of(f=lambda z: z[0]), of(f=lambda z: z[1]))
    assert of(o=optax.adam(0.1)) == of(o=optax.adam(0.1))
    assert differences(of(o=optax.adam(0.1)), of(o=optax.adam(0.2)))
    assert not any("0x" in text for text in of(o=optax.adam(0.1), f=potential(1.0)).values())
    json.dumps(of(e=ENERGY, k=KEY))


def test_a_rule_stops_the_run_and_says_converged(tmp_path):
    flow = ct.flows.GradientFlow(0.05)
    solution = solve(flow, num_steps=3000, save_every=50, stop=ct.stopping.Plateau(1e-4))
    assert solution.status is ct.Status.CONVERGED
    assert solution.step == solution.steps[-1] < 3000
    assert np.ptp(solution.saved["energy"][-5:]) <= 1e-4
    wanted = float(solution.saved["energy"][2])
    reached = solve(flow, num_steps=3000, save_every=50, stop=ct.stopping.Target(wanted), save=lambda c: c)
    assert reached.step == solution.steps[2]


def test_a_step_that_cannot_settle_is_named_with_one_that_can():
    with pytest.raises(ct.DivergedError, match=r"step_size=2 is too large.*Try step_size=") as caught:
        solve(ct.flows.GradientFlow(2.0), num_steps=200)
    assert caught.value.solution.status is ct.Status.DIVERGED
    advised = float(str(caught.value).rsplit("=", 1)[1].rstrip("."))
    good = solve(ct.flows.GradientFlow(advised), num_steps=200)
    assert (np.diff(good.saved["energy"]) < 1e-9).all()


def test_points_that_jump_to_and_fro_over_a_minimum_have_diverged():
    """On the circle θ ↦ θ - 3 sin θ has a cycle of two, whose energy at the saves no longer changes."""
    energy = ct.energies.Potential(ct.potentials.Linear(3 * np.eye(2)[0]), temperature=1.0)
    start = np.array([[np.cos(2.5), np.sin(2.5)]])
    with pytest.raises(ct.DivergedError, match=r"diverged by step 400 of 400.*Try") as caught:
        ct.solve(energy, start, ct.flows.GradientFlow(1.0), num_steps=400, save_every=200)
    energies = caught.value.solution.saved["energy"]
    assert energies[0] > energies[1] == pytest.approx(energies[2], abs=1e-9)
    fine = ct.solve(energy, start, ct.flows.GradientFlow(0.1), num_steps=200, save_every=50)
    assert fine.status is ct.Status.FINISHED


def test_the_fastest_rate_of_a_quadratic_well_is_its_curvature():
    """U = -k·z₀ at its minimum: every displacement dies at rate k/τ."""
    pole = np.tile(np.eye(3)[0], (4, 1))
    energy = ct.energies.Potential(lambda z: -5.0 * z[0], temperature=0.5)
    np.testing.assert_allclose(ct.stopping.fastest_rate(energy, pole), 10.0, rtol=1e-3)


def test_a_run_that_cannot_fit_is_refused_with_the_numbers(monkeypatch, capsys):
    monkeypatch.setattr("ctflow._base.memory.total_bytes", lambda: 1000)
    with pytest.raises(MemoryError, match=r"needs about .* KiB of memory, but there is only 1e\+03 B"):
        solve()
    assert solve(force=True, progress=True).status is ct.Status.FINISHED
    assert "of memory" in capsys.readouterr().err


def test_checkpoints_that_the_disk_cannot_hold_are_refused_before_the_run(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage._replace(free=1000))
    for call in (solve, lambda **options: ct.sweep(lambda x: x**2, np.arange(200.0), **options)):
        with pytest.raises(MemoryError, match=r"checkpoints .* KiB of disk, but there is only 1e\+03 B"):
            call(checkpoint=tmp_path / "run")
        assert not any((tmp_path / "run").iterdir())
    assert solve(checkpoint=tmp_path / "run", force=True).status is ct.Status.FINISHED


def test_whole_runs_leave_no_warning(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solve(checkpoint=tmp_path)


def test_default_arguments_of_a_function_are_part_of_a_run():
    def with_keyword(factor):
        def save(z, *, scale=factor):
            return scale * z

        return save

    for make in (lambda a: lambda z, scale=a: scale * z, with_keyword):
        assert identity(save=make(1.0)) == identity(save=make(1.0))
        assert identity(save=make(1.0)) != identity(save=make(2.0))


def test_a_run_that_ended_between_two_saves_is_not_gone_on_with(tmp_path):
    solve(num_steps=12, checkpoint=tmp_path / "run")
    with pytest.raises(ValueError, match="num_steps must be >= 12"):
        solve(num_steps=20, checkpoint=tmp_path / "run", resume=True)

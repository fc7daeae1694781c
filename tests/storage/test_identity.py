"""What makes two runs the same: everything that decides their numbers, and nothing else."""

import importlib
import json
import shutil
import sys
from functools import partial
from pathlib import Path

import jax
import numpy as np
import optax
import pytest

import ctflow as ct
from ctflow.io import versions
from ctflow.storage import identity as identities
from ctflow.storage.identity import differences, identity
from tests.running.small_runs import ENERGY, FLOWS, KEY, START, same, solve

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
    "how it is drawn": ("plotting/pictures.py", "\nimport ", "\nimport math\nimport ", False, False),
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


def test_arguments_bound_beforehand_are_part_of_a_run():
    def scaled(factor, z, *, shift=0.0):
        return factor * z + shift

    base = identity(save=partial(scaled, 2.0, shift=1.0))
    assert base == identity(save=partial(scaled, 2.0, shift=1.0))
    for other in (partial(scaled, 3.0, shift=1.0), partial(scaled, 2.0, shift=0.0), partial(scaled, 2.0)):
        assert differences(base, identity(save=other))


def test_default_arguments_of_a_function_are_part_of_a_run():
    def with_keyword(factor):
        def save(z, *, scale=factor):
            return scale * z

        return save

    for make in (lambda a: lambda z, scale=a: scale * z, with_keyword):
        assert identity(save=make(1.0)) == identity(save=make(1.0))
        assert identity(save=make(1.0)) != identity(save=make(2.0))


@pytest.mark.parametrize(
    "setting",
    [
        lambda: jax.enable_x64(False),
        lambda: jax.default_matmul_precision("highest"),
        lambda: jax.default_prng_impl("rbg"),
        lambda: jax.threefry_partitionable(False),
    ],
    ids=["x64", "matmul precision", "generator", "partitionable"],
)
def test_settings_of_jax_that_change_numbers_make_another_run(setting):
    there = identity(scale=2.0)
    with setting():
        assert differences(there, identity(scale=2.0))
    assert there == identity(scale=2.0)

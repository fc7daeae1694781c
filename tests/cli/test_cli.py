import os
import re
import subprocess
import sys

import pytest


def run(*words):
    code = "from ctflow.cli import main; main()"
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)


def test_help_lists_the_commands_without_importing_jax():
    code = "import sys; from ctflow import cli\ntry: cli.main()\nfinally: assert 'jax' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "doctor" in done.stdout


def test_doctor_reports_and_exits_zero():
    done = run("doctor")
    assert done.returncode == 0, done.stderr
    assert "sums correctly" in done.stdout


def test_version_is_the_packages():
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", run("version").stdout)


@pytest.mark.parametrize("words", [["nonsense"], ["doctor", "--nonsense"]])
def test_unknown_words_exit_two_without_a_traceback(words):
    done = run(*words)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_reader_that_goes_away_and_a_terminal_without_greek_are_no_errors():
    code = "from ctflow.cli import main; main()"
    command = [sys.executable, "-c", code, "explain", "100000", "--temperature", "0.1"]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=ascii_only)
    assert (done.returncode, done.stderr) == (0, "")
    assert "harmonics on the circle and S?" in done.stdout


def test_import_loads_no_numerics_and_every_public_name_is_there():
    code = (
        "import sys, ctflow as ct\n"
        "assert not {'jax', 'numpy', 'scipy', 'matplotlib'} & set(sys.modules)  # they load when used\n"
        "for name in ct.__all__: assert getattr(ct, name) is not None and name in dir(ct)\n"
        "assert callable(ct.solve) and callable(ct.evolve)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

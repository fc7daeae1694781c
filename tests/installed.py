"""Use the wheel and the sdist as a stranger would: in an empty environment, outside of the clone.

The wheel must hold every file of the package and run the README's Python blocks and `ctflow` commands. The
sdist must hold every committed file except pictures, and run an experiment and its tests. Part of
`make test-install`; takes the folder of both as its argument.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PICTURES = (".png", ".gif")
VERIFY = "ctflow verify"  # takes minutes, and `make verify` runs every claim
EXTRAS = ("html", "parquet", "hdf5")
TESTS = ("tests/experiments/test_reproduce.py", "tests/test_public_names.py")
WRITE_FILES = """
import numpy as np
from pathlib import Path

rng = np.random.default_rng(0)
common = rng.standard_normal((200, 16))
unit = lambda z: (z / np.linalg.norm(z, axis=1, keepdims=True)).astype(np.float32)
side = lambda noise, shift: unit(common + noise * rng.standard_normal(common.shape) + shift)
np.save("image.npy", side(0.5, 0.0))
np.save("text.npy", side(0.5, 0.7))
np.savez("both.npz", image=np.load("image.npy"), text=np.load("text.npy"))
Path("checkpoints").mkdir()
for step in (100, 200, 300):
    np.savez(f"checkpoints/step_{step}.npz", image=side(50 / step, 0.0), text=side(50 / step, 0.7))
"""
VIEW = """
import numpy as np, ctflow as ct

if hasattr(ct, "view"):
    moving = np.random.default_rng(0).standard_normal((3, 50, 3))
    ct.view(moving / np.linalg.norm(moving, axis=-1, keepdims=True)).save("view.html")
    assert "<script" in open("view.html").read()
"""


class Environment:
    """An empty virtual environment, and commands that see nothing else of Python's."""

    def __init__(self, folder: Path, cwd: Path):
        venv.create(folder, with_pip=True)
        self.bin, self.cwd = folder / "bin", cwd
        cwd.mkdir()
        hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
        self.variables = {name: value for name, value in os.environ.items() if name not in hidden}
        self.variables["PATH"] = f"{self.bin}{os.pathsep}{os.environ['PATH']}"
        self.pip("install", "--quiet", "--upgrade", "pip>=25.1")

    def run(self, *command: str, name: str | None = None) -> str:
        """Run a command; end with its output if it fails."""
        started = time.perf_counter()
        words = [str(self.bin / command[0]), *command[1:]]
        options = {"cwd": self.cwd, "env": self.variables, "capture_output": True, "text": True}
        done = subprocess.run(words, check=False, stdin=subprocess.DEVNULL, timeout=1800, **options)
        shown = name or shlex.join(command)
        print(f"{time.perf_counter() - started:6.1f} s  {shown}", flush=True)
        if done.returncode != 0:
            sys.exit(f"{shown} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def pip(self, *arguments: str) -> None:
        """Run pip in the environment."""
        self.run("python", "-m", "pip", *arguments, name="pip " + shlex.join(arguments))


def committed() -> set[str] | None:
    """The committed files of the clone but pictures, or None where there is no clone."""
    if shutil.which("git") is None:
        return None
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    return {name for name in listing.stdout.split("\0") if name and not name.endswith(PICTURES)} or None


def check_contents(wheel: Path, source: Path) -> None:
    """The sdist is what is committed, and the wheel is all of its package."""
    held = {str(path.relative_to(source)) for path in source.rglob("*") if path.is_file()} - {"PKG-INFO"}
    wanted = committed()
    if wanted is not None and held != wanted:
        sys.exit(f"the sdist lacks {sorted(wanted - held)} and has besides {sorted(held - wanted)}")
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("ctflow/")}
    package = {name for name in held if name.startswith("ctflow/")}
    if inside != package:
        sys.exit(f"the wheel lacks {sorted(package - inside)} and has besides {sorted(inside - package)}")
    print(f"wheel: {len(inside)} files, {wheel.stat().st_size / 1e6:.2g} MB; sdist: {len(held)} files")


def commands(page: str) -> list[str]:
    """The `ctflow` commands in the shell blocks of a page."""
    blocks = re.findall(r"```(?:sh|bash|shell|console)\n(.*?)```", page, re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    found = [shlex.join(shlex.split(line, comments=True)) for line in lines]
    return [line.removeprefix("'$' ") for line in found if line.removeprefix("'$' ").startswith("ctflow ")]


def can_run(command: str, folder: Path) -> bool:
    """Whether the files that a command names are there, and it takes less than minutes."""
    words = shlex.split(command)[2:]
    files = [word for word in words if not word.startswith("-") and re.search(r"\.[a-z]+\w*$|/", word)]
    return not command.startswith(VERIFY) and all((folder / word).exists() for word in files)


def use_the_wheel(wheel: Path, page: str, env: Environment) -> None:
    """What the README shows to somebody who ran `pip install ctflow`."""
    env.pip("install", "--quiet", str(wheel))
    place = Path(
        env.run("python", "-c", "import ctflow; print(ctflow.__file__)", name="import ctflow").strip()
    )
    assert place.is_relative_to(env.bin.parent), place
    version = env.run("ctflow", "version").strip()
    assert wheel.name.startswith(f"ctflow-{version}-"), version
    said = env.run("ctflow", "doctor")
    assert version in said
    assert "sums correctly" in said
    env.run("python", "-c", WRITE_FILES, name="write image.npy, text.npy, both.npz, checkpoints/")
    said = env.run("ctflow", "diagnose", "image.npy", "text.npy", "--temperature", "0.05")
    assert "gap" in said
    env.pip("install", "--quiet", f"{wheel}[{','.join(EXTRAS)}]")
    env.run("ctflow", "diagnose", "image.npy", "text.npy", "--temperature", "0.05", "--out", "diagnosis")
    report = (env.cwd / "diagnosis" / "report.html").read_text()
    for data in ("page.css", "page.js"):
        first = (place.parent / "pages" / data).read_text().strip().splitlines()[0]
        assert first in report, f"report.html lacks {data}"
    for command in dict.fromkeys(commands(page)):
        if can_run(command, env.cwd):
            env.run(*shlex.split(command))
        else:
            print(f"  not run  {command}")
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", page, re.DOTALL), start=1):
        env.run("python", "-c", block, name=f"Python block {number} of README.md")
    listed = env.run("ctflow", "--help")
    assert "diagnose" in listed
    if re.search(r"\bview\b", listed):
        env.run("ctflow", "view", "--help")
    env.run("python", "-c", VIEW, name="ct.view, where there is one")


def use_the_sdist(source: Path, env: Environment) -> None:
    """An experiment and some tests from the unpacked sdist, installed as CONTRIBUTING.md says."""
    env.cwd = source
    env.pip("install", "--quiet", "--editable", ".", "--group", "test")
    experiment = "experiments/gap_formation.py"
    env.run("python", experiment, "--preset", "smoke", "--out", "runs")
    env.run("python", "experiments/reproduce.py", "--check", "--out", "figures")
    env.run("python", "-m", "pytest", "-q", "-n", "0", *TESTS)


def main(folder: Path) -> None:
    """Check the one wheel and the one sdist in the folder."""
    (wheel,), (archive,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    with tempfile.TemporaryDirectory() as scratch:
        with tarfile.open(archive) as tar:
            tar.extractall(scratch, filter="data")
        (source,) = Path(scratch).iterdir()
        check_contents(wheel, source)
        print(f"sdist: {archive.stat().st_size / 1e6:.2g} MB")
        env = Environment(Path(scratch) / "venv", Path(scratch) / "elsewhere")
        use_the_wheel(wheel, (source / "README.md").read_text(), env)
        use_the_sdist(source, env)
    print("the wheel and the sdist work outside of the clone")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())

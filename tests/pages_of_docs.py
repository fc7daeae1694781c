"""The pages that users read: README.md and docs/*.md, their code blocks, and what they print."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))


def text(name):
    """The text of a page, such as README.md or docs/start.md."""
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(name, language="python"):
    """The blocks of code of one language on a page, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", text(name), re.DOTALL | re.MULTILINE)


def run(code, folder):
    """What a program prints, by lines. It runs in JAX's default precision, with warnings as errors."""
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()

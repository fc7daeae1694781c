"""The `ctflow` command; the modules of commands add theirs to `app` when they are imported."""

import os
import sys
from io import TextIOWrapper

from ctflow.cli import embedding_commands, theory_commands, viewing_commands
from ctflow.cli.app import app

__all__ = ["app", "embedding_commands", "main", "theory_commands", "viewing_commands"]


def main() -> None:
    """Run the console script; the exit code is 130 after Ctrl-C and 141 after a closed output pipe."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that cannot show τ shows ?
    try:
        app.cli(
            prog="ctflow",
            description="Simulate what contrastive learning does to distributions on the sphere.",
        )
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("ctflow: interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)

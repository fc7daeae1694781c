"""The `ctflow` command. Heavy imports stay inside the commands, so that --help is quick."""

import sys

import tyro

app = tyro.extras.SubcommandApp()


@app.command
def doctor() -> None:
    """Print versions, devices and dtype, and check that this jaxlib sums correctly."""
    import jax

    jax.config.update("jax_enable_x64", True)
    from ctflow.doctor import report

    text, healthy = report()
    print(text)
    if not healthy:
        sys.exit(1)


@app.command
def version() -> None:
    """Print ctflow's version."""
    import ctflow

    print(ctflow.__version__)


def main() -> None:
    """Entry point of the console script."""
    app.cli(
        prog="ctflow",
        description="Simulate what contrastive learning does to distributions on the sphere.",
    )

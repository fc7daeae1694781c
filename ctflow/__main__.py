"""`python -m ctflow`, the same as the command `ctflow`."""

from ctflow.cli import main

main()

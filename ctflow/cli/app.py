"""The collection of subcommands to which the command modules add theirs."""

import tyro

app = tyro.extras.SubcommandApp()

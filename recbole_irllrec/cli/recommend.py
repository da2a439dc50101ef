"""``irllrec recommend`` and ``irllrec export``: what a trained model is for."""

import typer


def add_commands(app: typer.Typer) -> None:
    """Add the commands to the top level of ``irllrec``."""

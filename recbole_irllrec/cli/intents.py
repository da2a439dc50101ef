"""``irllrec intents``: texts about users and items, and the tables of their embeddings."""

import typer

from . import generate

app = typer.Typer(help="Texts about users and items, and the tables of their embeddings.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


generate.add_command(app)

"""``irllrec data``: make, split and describe RecBole data sets."""

import typer

app = typer.Typer(help="Make, split and describe RecBole data sets.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass

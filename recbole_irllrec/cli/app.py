"""``irllrec``: from your own files to texts, tables and recommendations. Each group of commands is a module here."""

import sys

import typer

from . import benchmark, data, doctor, explore, intents, recommend, study, tune
from .errors import debug_wanted, in_one_sentence

app = typer.Typer(
    name="irllrec",
    help="Your own data for IRLLRec: data sets, texts, tables of embeddings, recommendations.",
    epilog="Training is `run_recbole --model=IRLLRec`. With --debug anywhere, errors show their traceback.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)
app.add_typer(data.app, name="data")
app.add_typer(intents.app, name="intents")
app.add_typer(benchmark.app, name="benchmark")
study.add_commands(app)
recommend.add_commands(app)
explore.add_commands(app)
tune.add_commands(app)
doctor.add_commands(app)


def main() -> int:
    """Run the command with ``sys.argv``. Returns the exit status."""
    debug = debug_wanted()
    return in_one_sentence("irllrec", app, debug)


if __name__ == "__main__":
    sys.exit(main())

"""``run_recbole``: RecBole's own script as a command, with IRLLRec registered."""

import argparse
import sys

from .errors import debug_wanted, in_one_sentence

EPILOG = """\
Every setting of RecBole and of the model can be given as --key=value, e.g.

  run_recbole --model=IRLLRec --dataset=ml-100k --learning_rate=0.002 --epochs=50
  run_recbole --model=IRLLRec --dataset=ml-100k --preset=published
  run_recbole --model=IRLLRec --dataset=ml-100k --resume=True      # goes on where a run was stopped
  run_recbole --model=LightGCN --dataset=my-data --config_files="my-data.yaml my-model.yaml"
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="run_recbole",
        description="Train and evaluate a RecBole model, IRLLRec among them.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # --epoch=3 is a misspelt setting, not a flag
    )
    parser.add_argument("--model", "-m", default="IRLLRec", help="name of the model (default: IRLLRec)")
    parser.add_argument("--dataset", "-d", default="ml-100k", help="name of the dataset (default: ml-100k)")
    parser.add_argument("--config_files", default=None, help='YAML files with settings, "first.yaml second.yaml"')
    parser.add_argument("--nproc", type=int, default=1, help="processes on this machine, one a GPU (default: 1)")
    parser.add_argument("--ip", default="localhost", help="address of the master node (default: localhost)")
    parser.add_argument("--port", default="5678", help="port of the master node (default: 5678)")
    parser.add_argument("--world_size", type=int, default=-1, help="processes on all machines (default: nproc)")
    parser.add_argument("--group_offset", type=int, default=0, help="rank of this machine's first process (default: 0)")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def main() -> int:
    """Run the command with ``sys.argv``. Returns the exit status."""
    debug = debug_wanted()
    # RecBole's Config reads the settings from sys.argv by itself, and warns of what is no --key=value.
    args, settings = _parser().parse_known_args()
    return in_one_sentence("run_recbole", lambda: _run(args, settings), debug)


def _run(args: argparse.Namespace, settings: list[str]) -> None:
    from ..early import refuse_models, refuse_trackers, refuse_values
    from ..settings.files import paths_in, settings_files

    files = settings_files(paths_in(args.config_files)) if args.config_files else None
    refuse_models([args.model])
    refuse_values(args.model, settings)
    refuse_trackers(settings)

    from recbole.quick_start import run

    result = run(
        args.model,
        args.dataset,
        config_file_list=files,
        nproc=args.nproc,
        world_size=args.world_size,
        ip=args.ip,
        port=args.port,
        group_offset=args.group_offset,
    )
    if result is not None:
        print(_table(result))


def _table(result: dict) -> str:
    """The best validation metrics beside the test metrics, and those of popularity, where there are any."""
    from tabulate import tabulate

    columns = {"valid (best)": "best_valid_result", "test": "test_result", "popularity": "popularity_result"}
    found = {title: result[key] for title, key in columns.items() if result[key] or key != "popularity_result"}
    rows = [(name, *((metrics or {}).get(name) for metrics in found.values())) for name in result["test_result"] or ()]
    return "\n" + tabulate(rows, headers=["metric", *found], floatfmt=".4f")


if __name__ == "__main__":
    sys.exit(main())

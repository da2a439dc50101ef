"""Conducts a benchmark: what is asked for goes in, a folder of results comes out. Studies call it, and the command."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from recbole.config import Config

from recbole_irllrec.dataset_tools.split import PARTS, split

from ..cluster import connected
from ..data.dataset_folder import refuse_missing
from ..data.loading import load_config, setting_in_files
from ..errors import IRLLRecError
from ..runs.folder import alone
from ..runs.pool import Resources
from ..runs.progress import to_stderr
from ..runs.splits import Settings, given_in, load_splits
from ..runs.training import popularity_of
from .execute import execute
from .plan import Options, check_row, continued, referred, rows, shared
from .report import write_report
from .results import SPLIT, Results, begin, read_plan, read_results, write_plan


class Data(NamedTuple):
    """Where a data set is, and its settings; as of `data.loading.load_config`."""

    dataset: str
    data_path: Path | None = None
    config_files: str | None = None

    def config(self, settings: Settings, model: str = "IRLLRec") -> Config:
        """A model's settings on it, with these on top."""
        return load_config(self.dataset, self.data_path, self.config_files, settings, model)


def conduct(
    options: Options,
    data: Data,
    folder: Path,
    *,
    resources: Resources | None = None,
    address: str | None = None,
    command: str = "",
    say: Callable[[str], None] = to_stderr,
    afresh: bool = True,
) -> tuple[Results, list[Path]]:
    """Make the runs of a benchmark that the folder lacks, and its report.

    Every run is kept when it ends. Called again, after a stop at any moment or with more rows, seeds or a larger
    budget, it makes only what is missing.

    Args:
        options: what is asked for.
        data: the data set.
        folder: of results.
        resources: of a run, and of all; None for a CPU each.
        address: of a Ray cluster, as of `cluster.connected`; None for a Ray on this machine.
        command: what asks for it, for the report.
        say: gets a line at the end of each run.
        afresh: whether each run has a process of its own, whose memory is measured; it takes seconds to start.

    Returns:
        All that the folder knows then, and the files of the report.

    Raises:
        IRLLRecError: an option, a setting or the folder is refused, and nothing has run; or no run has ended well.
    """
    resources = resources or Resources()
    before = read_plan(folder)  # refuses a folder of something else
    config, given = settings_of(data)
    asked = rows(options, given)
    referred(before or {"models": {}}, options.reference, asked)  # refuses the reference
    for row in asked:
        check_row(row, options, lambda row, settings: data.config(row.settings(settings), row.model))
    # Ray first: what it refuses leaves nothing behind.
    with connected(address, cpus=resources.cpus, gpus=resources.gpus), alone(folder):
        before = read_plan(folder)
        data, settings, how = _with_one_split(data, config, folder, afresh=before is None)
        splits = load_splits(*data, {**asked[0].common, **settings})
        plan = shared(asked, splits, how)
        if before is not None:
            plan = continued(before, plan, folder)
        plan = referred(plan, options.reference, asked)
        if "popularity" not in plan:
            plan["popularity"] = popularity_of(asked[0].model, splits, asked[0].common)
        begin(folder, plan, splits, command)
        execute(asked, options.seeds, splits, folder, plan, resources, say, afresh)
        results = read_results(folder)
        return results, write_report(results, folder)


def report_again(folder: Path, reference: str | None = None) -> list[Path]:
    """Make the report of a folder anew, with another reference if one is given; returns its files.

    Raises:
        IRLLRecError: there is no benchmark in the folder, no run has ended well, or there is no such row.
    """
    with alone(folder) if reference else nullcontext():
        results = read_results(folder)
        if reference:
            results = replace(results, plan=referred(results.plan, reference))
            write_plan(folder, results.plan)
        return write_report(results, folder)


def settings_of(data: Data) -> tuple[Config, dict[str, Any]]:
    """The settings of a data set, and what of them the files say.

    Raises:
        IRLLRecError: it is not there, or is not evaluated by ranking all items.
    """
    # What the files say of these alone may not go together; the options count, too.
    stand_ins: dict[str, Any] = {"metrics": ["NDCG"], "topk": [10], "valid_metric": "NDCG@10"}
    config = data.config(stand_ins)
    refuse_missing(config, Path(config["data_path"]), data.dataset)  # a split that is there is not drawn anew unasked
    if set(config["eval_args"]["mode"].values()) != {"full"}:
        raise IRLLRecError(
            f"The mode in eval_args is {config['eval_args']['mode']}, but a benchmark ranks all items: set it to full."
        )
    said = {name: setting_in_files(name, *data) for name in stand_ins}
    said |= {name: [said[name]] for name in ("metrics", "topk") if isinstance(said[name], str | int)}  # as RecBole does
    return config, {**given_in(config), **said}


def _with_one_split(data: Data, config: Config, folder: Path, afresh: bool) -> tuple[Data, Settings, str]:
    """The data set where it lies split, what makes runs use that split, and where it is from.

    A data set that comes without one is split into the folder of results, once; ``afresh`` where no run has used what a
    stopped process left there, perhaps with other settings.
    """
    if config["benchmark_filename"]:
        return data, {}, f"that of the data set's files ({', '.join(config['benchmark_filename'])})"
    name = data.dataset
    if afresh or not Path(folder, SPLIT, name, f"{name}.{PARTS[0]}.inter").is_file():
        split(name, folder / SPLIT, name, data.data_path, data.config_files, force=True, any_name=True)
    used = config["eval_args"]
    way = ", ".join(f"{part} {value}" for part, value in used["split"].items())
    drawn = f"order {used['order']}, group_by {used['group_by']}, {way}, seed {config['seed']}"
    made = data._replace(data_path=folder / SPLIT)
    return made, {"benchmark_filename": list(PARTS)}, f"drawn by RecBole ({drawn}) and kept in {SPLIT}/"

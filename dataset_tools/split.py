"""One split of a data set, drawn by RecBole itself and written to files, so that every run sees the same."""

import glob
import re
import shlex
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from recbole.config import Config
from recbole.data.dataset import Dataset
from recbole.utils import FeatureSource, FeatureType
from recbole.utils.argument_list import dataset_arguments

from recbole_irllrec.data.dataset_folder import interaction_files, refuse_missing
from recbole_irllrec.data.loading import DATA_PATH, load_config, seeded_dataset, setting_in_files
from recbole_irllrec.data.text import KINDS
from recbole_irllrec.errors import IRLLRecError
from recbole_irllrec.files import atomic_folder
from recbole_irllrec.settings.files import settings_files
from recbole_irllrec.tables.intents import METADATA_KEY, TableMetadata

from . import cold
from .atomic import check_name, refuse_overwriting, settings_text
from .cold import PARTS

_SIDES = ("user", "item")
_ATOMIC_TABLES = {f".{side}_{kind}" for side in _SIDES for kind in KINDS}
_PLACE = "place in the .inter file"
_MARK = "# The split, written by irllrec data split:"
# They choose interactions, which are chosen now; RecBole leaves them alone with a split that is given.
_FILTERS: tuple[str, ...] = ("rm_dup_inter", "val_interval", "filter_inter_by_user_or_item", "user_inter_num_interval")
_FILTERS += ("item_inter_num_interval", "benchmark_filename")


class _Placed(Dataset):
    """RecBole's data set, of which each interaction knows its place in the file, or in the files after each other."""

    inter_feat: Any  # a DataFrame, an Interaction from `_change_feat_format` on
    set_aside = np.zeros(0, np.int64)  # the places of interactions that RecBole is not to split

    def _load_inter_feat(self, token: str, dataset_path: str) -> None:
        super()._load_inter_feat(token, dataset_path)
        self.benchmark_filename_list = None  # a split that is there is drawn anew
        self.n_read = len(self.inter_feat)
        self.inter_feat[_PLACE] = np.arange(self.n_read)

    def _remap_ID_all(self) -> None:
        super()._remap_ID_all()
        # From here on it is an integer as the ids are, and so exact.
        self.set_field_property(_PLACE, FeatureType.TOKEN, FeatureSource.INTERACTION, 1)

    def _change_feat_format(self) -> None:
        super()._change_feat_format()
        if len(self.set_aside):
            self.inter_feat = self.inter_feat[np.flatnonzero(~np.isin(self.inter_feat[_PLACE].numpy(), self.set_aside))]


def split(
    dataset: str,
    out: Path | None = None,
    name: str | None = None,
    data_path: Path | None = None,
    config_files: str | None = None,
    eval_args: dict[str, Any] | None = None,
    seed: int | None = None,
    force: bool = False,
    any_name: bool = False,
    cold_shares: Mapping[str, float] | None = None,
) -> tuple[Path, dict[str, int]]:
    """Write the split that a run of RecBole with these settings would draw.

    The lines of the ``.inter`` file go to the three files unchanged, in RecBole's order; those of cold items and users
    come after them, in the file's. Where there is no such file, the data set's split is put together and drawn anew.

    Args:
        dataset: the data set's name.
        out: the folder of data sets to write to; there, the folder ``name``. None is that which holds the data set,
            and ``dataset`` for RecBole's own ml-100k.
        name: what the data set is called there; its own name if not given, and ``ml-100k-split`` for ml-100k.
        data_path: the folder that holds the data set's folder; None as RecBole finds it.
        config_files: YAML files with RecBole's settings, parted by spaces; without them ``<dataset>.yaml`` in the data
            set's folder, if it is there.
        eval_args: of RecBole's ``eval_args``, "order", "group_by" and "split", above those of the files.
        seed: RecBole's seed, above that of the files.
        force: replace a split that is there.
        any_name: also take a name that RecBole does not look up, which `load_config` finds with a ``data_path``.
        cold_shares: of "item" and "user", how many of them are kept out of training; see `cold.draw`. RecBole splits
            the interactions of the others.

    Returns:
        The file of settings, and in words the number of interactions in each part, and with ``cold_shares`` that of
        items and users that training does not know.

    Raises:
        IRLLRecError: there is nothing to split, or a split is there already, or a share of cold ones cannot be drawn.
            Nothing was changed.
    """
    name = name or ("ml-100k-split" if dataset == "ml-100k" else dataset)
    if not any_name:
        check_name(name)
    config = _config(dataset, data_path, config_files, eval_args or {}, seed)
    source = Path(config["data_path"])
    if out is None:
        out = DATA_PATH if dataset == "ml-100k" and data_path is None else source.parent
    folder = out / name
    refuse_overwriting([folder / f"{name}.{part}.inter" for part in PARTS], force)
    refuse_missing(config, source, dataset)
    files = interaction_files(config, source, dataset)
    if len(files) > 1 and folder.resolve() == source.resolve():
        raise IRLLRecError(
            f"{source / dataset}.inter is not there, and the new split would take the place of the one that is: give "
            f"another --name or --out."
        )
    header, lines = _lines(files)
    shares = {side: (cold_shares or {}).get(side, 0.0) for side in _SIDES}
    places, counts = _places(config, len(lines), files, shares)
    with atomic_folder(folder) as fresh:
        for part, chosen in places.items():
            (fresh / f"{name}.{part}.inter").write_bytes(b"\n".join([header, *lines[chosen], b""]))
        if folder.resolve() != source.resolve():
            _copy_the_rest(source, dataset, fresh, name)
        there = [folder / f"{name}.yaml", *([source / f"{dataset}.yaml"] if config_files is None else [])]
        named = setting_in_files("load_col", dataset, data_path, config_files) is not None
        before = next(filter(Path.is_file, there), None)
        _write_settings(before, fresh / f"{name}.yaml", config, name, out, named, shares)
    return folder / f"{name}.yaml", counts


def _config(
    dataset: str, data_path: Path | None, config_files: str | None, eval_args: dict, seed: int | None
) -> Config:
    below = load_config(dataset, data_path, config_files, {"benchmark_filename": None})
    stem = Path(below["data_path"], dataset)
    split_alone = not Path(f"{stem}.inter").exists() and all(Path(f"{stem}.{part}.inter").is_file() for part in PARTS)
    parts = list(PARTS) if split_alone else None
    settings: dict[str, Any] = {"benchmark_filename": parts, "eval_args": {**below["eval_args"], **eval_args}}
    if seed is not None:
        settings["seed"] = seed
    if settings["eval_args"]["order"] == "TO" or "TS" in settings["eval_args"]["split"]:
        settings["load_col"] = _with_time(below["load_col"], below["TIME_FIELD"])
    return load_config(dataset, data_path, config_files, settings)


def _with_time(load_col: dict[str, Any] | None, time_field: str) -> dict[str, Any] | None:
    """What RecBole loads, and the time as well."""
    if load_col is None or load_col.get("inter", "*") == "*":
        return load_col
    return {**load_col, "inter": list(dict.fromkeys([*load_col["inter"], time_field]))}


def _lines(files: Sequence[Path]) -> tuple[bytes, np.ndarray]:
    """The first line, which the files share, and the others but for empty ones, which RecBole skips as well."""
    contents = [file.read_bytes().replace(b"\r\n", b"\n").split(b"\n") for file in files]
    header = contents[0][0]
    for file, (first, *_) in zip(files, contents, strict=True):
        if first != header:
            raise IRLLRecError(
                f"{file}, line 1, names other columns than {files[0]}: give both the same columns in the same order."
            )
    lines = [line for _, *rows in contents for line in rows if line.strip()]
    if not lines:
        raise IRLLRecError(f"{_named(files)} holds no interactions: export it again.")
    return header, np.array(lines, dtype=object)


def _named(files: Sequence[Path]) -> str:
    return ", ".join(map(str, files))


def _places(
    config: Config, n_lines: int, files: Sequence[Path], shares: Mapping[str, float]
) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """Which lines go to each part: those that RecBole gives to it, in its order, then those of cold items and users.

    The second is the result of `split`.
    """
    dataset = seeded_dataset(config, _Placed)
    if dataset.n_read != n_lines:
        raise IRLLRecError(
            f"{_named(files)} has {n_lines} lines, in which RecBole reads {dataset.n_read} interactions, because a "
            f"quoted value goes over several lines: take the line breaks or the quotes out."
        )
    rows = dataset.inter_feat
    place = rows[_PLACE].to_numpy(copy=True)
    fields = zip(_SIDES, (dataset.uid_field, dataset.iid_field), strict=True)
    tokens = {side: dataset.field2id_token[field].astype(object)[rows[field].to_numpy()] for side, field in fields}
    drawn = cold.draw(tokens, shares, config["seed"])
    dataset.set_aside = place[drawn.part > 0]
    places = {}
    for number, (part, built) in enumerate(zip(PARTS, dataset.build(), strict=True)):
        cold_ones = place[drawn.part == number] if number else place[:0]
        places[part] = np.concatenate([built.inter_feat[_PLACE].numpy(), cold_ones])
    counts = {f"{part} interactions": len(chosen) for part, chosen in places.items()}
    if any(shares.values()):
        counts |= cold.unknown(tokens, np.isin(place, places["train"]), drawn)
    return places, counts


def _copy_the_rest(source: Path, dataset: str, fresh: Path, name: str) -> None:
    """Copy what else belongs to the data set, without what was made with other training interactions."""
    for path in sorted(source.glob(f"{glob.escape(dataset)}.*")):
        suffix = path.name.removeprefix(dataset)
        if path.is_file() and not suffix.endswith((".inter", ".yaml")) and not _knows_interactions(path):
            shutil.copy2(path, fresh / f"{name}{suffix}")


def _knows_interactions(path: Path) -> bool:
    """Whether it is a text table that was made with interactions, or one that does not say, or a model's answers."""
    if ".answers.sqlite" in path.name:
        return True
    if path.suffix in _ATOMIC_TABLES:  # which say nothing; the table of which one was written may
        table = path.with_name(f"{path.name}.parquet")
        return not table.is_file() or _knows_interactions(table)
    if path.suffix != ".parquet" or path.name.endswith(".reviews.parquet"):
        return False
    try:
        stored = (pq.read_schema(path).metadata or {})[METADATA_KEY]
        return TableMetadata.model_validate_json(stored).source != "features"
    except (KeyError, ValueError, pa.ArrowException):
        return True


def _write_settings(
    before: Path | None,
    path: Path,
    config: Config,
    name: str,
    out: Path,
    columns_named: bool,
    shares: Mapping[str, float],
) -> None:
    """Write the settings that were there, and below them what the split needs and they do not say.

    Columns that they load beside the split's stay, unless the user has named the split's (``columns_named``).
    """
    if before is not None:
        settings_files([before])  # refuses what holds none
    kept = "" if before is None else _kept(before.read_text(encoding="utf-8"))
    default = load_config(name, out, config_files="")
    arguments = [argument for argument in dataset_arguments if argument not in _FILTERS]
    known = {argument: default[argument] for argument in arguments} | (yaml.load(kept, yaml.FullLoader) or {})
    needed = {"data_path": str(out), **{argument: config[argument] for argument in arguments}}
    if not columns_named and _loads(known["load_col"], needed["load_col"]):
        del needed["load_col"]
    if shares["item"] > 0:
        needed |= {"item_boards": True, "unseen_items": "text"}
    block = {key: value for key, value in needed.items() if key not in known or known[key] != value}
    block["benchmark_filename"] = list(PARTS)
    used = config["eval_args"]
    how: Sequence[str] = [f"order {used['order']}", f"group_by {used['group_by']}", f"split {used['split']}"]
    how = [*how, *(f"cold {side}s {share:g}" for side, share in shares.items() if share > 0)]
    comment = f"{_MARK} {shlex.quote(config['dataset'])}, {', '.join(how)}, seed {config['seed']}"
    path.write_text(f"{_without(kept, block)}{comment}\n{settings_text(block)}", encoding="utf-8")


def _loads(known: dict[str, Any] | None, needed: dict[str, Any] | None) -> bool:
    """Whether one ``load_col`` loads all columns of interactions that another does."""
    here, there = ("*" if load_col is None else load_col.get("inter", ()) for load_col in (known, needed))
    return here == "*" or (there != "*" and set(there) <= set(here))


def _kept(text: str) -> str:
    """The settings of a file, without what an earlier split wrote; what stands below that is the user's again."""
    if text.startswith("{"):  # to which no line can be added
        text = settings_text(yaml.safe_load(text))
    above, _, below = text.partition(_MARK)
    _, _, written = f"{below}\n".partition("\n")  # without the rest of the comment
    parts = (above, _without(written, ("data_path", "item_boards", "unseen_items", *dataset_arguments)))
    return "".join(f"{part.rstrip()}\n" for part in parts if part.strip())


def _without(text: str, names: Collection[str]) -> str:
    """Lines of settings without the settings of these names."""
    lines = text.splitlines(keepends=True)
    settings = yaml.compose(text)
    for key, value in reversed(settings.value if settings else []):
        if key.value in names:
            end = value.end_mark.line + (value.end_mark.column > 0)
            while end > key.start_mark.line + 1 and re.match(r"#|\s*$", lines[end - 1]):
                end -= 1  # a comment in the first column is about what follows
            del lines[key.start_mark.line : end]
    return "".join(lines)

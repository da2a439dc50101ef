"""Which files and columns the settings ask for in a data set's folder; what is not there is said in one sentence."""

import os
from pathlib import Path
from typing import Any

from ..errors import IRLLRecError
from ..tables import atomic_file

# The settings that name the columns of ids, by a file's suffix.
IDS = {
    "inter": ("USER_ID_FIELD", "ITEM_ID_FIELD"),
    "user": ("USER_ID_FIELD",),
    "item": ("ITEM_ID_FIELD",),
    "link": ("ITEM_ID_FIELD", "ENTITY_ID_FIELD"),
    "kg": ("HEAD_ENTITY_ID_FIELD", "RELATION_ID_FIELD", "TAIL_ENTITY_ID_FIELD"),
}


def absent(folder: str | os.PathLike[str]) -> IRLLRecError:
    """What is said of a data set whose folder is not there."""
    return IRLLRecError(
        f"{folder} is {'no folder' if os.path.lexists(folder) else 'not there'}: correct the data set's name, or name "
        f"the folder that holds its folder (--data-path, or the setting data_path)."
    )


def interaction_files(config: Any, folder: Path, name: str) -> list[Path]:
    """The files of interactions that the settings ask for.

    Raises:
        IRLLRecError: ``benchmark_filename`` is no list.
    """
    parts = config["benchmark_filename"]
    if parts is None:
        return [folder / f"{name}.inter"]
    if not isinstance(parts, list | tuple):
        raise IRLLRecError(
            f"The setting benchmark_filename is {parts!r}: give the list of the parts, such as [train, valid, test]."
        )
    return [folder / f"{name}.{part}.inter" for part in parts]


def missing_file(config: Any, folder: Path, name: str, path: Path) -> IRLLRecError:
    """What is said of a file of interactions that is not there."""
    what = f"{path} is {'no file' if os.path.exists(path) else 'not there'}"
    there = sorted(other.name for other in folder.glob(f"{name}*.inter") if other.is_file())
    split = [f"{name}.{part}.inter" for part in ("train", "valid", "test")]
    if config["benchmark_filename"]:
        how = f"correct `benchmark_filename` ({', '.join(map(str, config['benchmark_filename']))})"
    elif set(split) <= set(there):
        how = "set `benchmark_filename: [train, valid, test]`"
    else:
        how = "correct the data set's name"
    found = f"there {'is' if len(there) == 1 else 'are'} {', '.join(there)}" if there else "no file of interactions is"
    return IRLLRecError(f"{what} ({found}): {how}, or put it there.")


def refuse_missing(config: Any, folder: Path, name: str) -> None:
    """Refuse a data set without a file that the settings ask for.

    Raises:
        IRLLRecError: that is so.
    """
    if not folder.is_dir():
        raise absent(folder)
    for path in interaction_files(config, folder, name):
        if not path.is_file():
            raise missing_file(config, folder, name, path)
    for suffix in ("user", "item"):  # RecBole passes over what is no file
        if (folder / f"{name}.{suffix}").is_dir():
            atomic_file.read_text(folder / f"{name}.{suffix}")
    for suffix in config["additional_feat_suffix"] or []:
        path = folder / f"{name}.{suffix}"
        if not path.is_file():
            raise IRLLRecError(f"{path} is not there: correct `additional_feat_suffix` ({suffix}), or put it there.")


def refuse_columns(config: Any, path: Any, suffix: str, columns: dict[str, str], loaded: dict[str, str]) -> None:
    """Refuse a file without the columns that the settings name.

    Args:
        config: the settings.
        path: the file.
        suffix: which kind it is, such as "inter".
        columns: all that it has, with their types.
        loaded: those among them that RecBole is to load.

    Raises:
        IRLLRecError: that is so.
    """
    for setting in IDS.get(suffix, ()):
        if (field := config[setting]) is not None:
            _refuse_column(path, columns, loaded, field, ("token",), f"rename one, or set {setting}")
    order = config["eval_args"]["order"], *(config["eval_args"]["split"] or ())
    if suffix == "inter" and config["benchmark_filename"] is None and {"TO", "TS"} & {*order}:
        how = f"by which order {order[0]} sorts: take order RO, or set TIME_FIELD"
        if "TO" not in order:
            how = "by which the split TS parts: take another split, or set TIME_FIELD"
        _refuse_column(path, columns, loaded, config["TIME_FIELD"], ("float", "token"), how)
    named = (getattr(config, "external_config_dict", {}).get("load_col") or {}).get(
        suffix
    )  # RecBole's own names more than many have
    for field in named if isinstance(named, list | tuple | set) else ():
        if field not in columns:
            raise _lacking(path, field, columns, "which load_col names: correct it, or leave it out of `load_col`")


def _refuse_column(
    path: Any, columns: dict[str, str], loaded: dict[str, str], field: str, kinds: tuple[str, ...], how: str
) -> None:
    if field not in columns:
        raise _lacking(path, field, columns, how)
    if columns[field] not in kinds:
        raise IRLLRecError(
            f"{path}, line 1: the column {field} has the type {columns[field]}, where {' or '.join(kinds)} is "
            f"expected: write {field}:{kinds[0]}."
        )
    if field not in loaded:
        raise IRLLRecError(f"{path} has a column {field}, which is not loaded: name it in `load_col`.")


def _lacking(path: Any, field: str, columns: dict[str, str], how: str) -> IRLLRecError:
    there = f"(there {'is' if len(columns) == 1 else 'are'} {', '.join(columns)})"
    return IRLLRecError(f"{path} has no column {field} {there}, {how}.")

"""What runs are told apart by: their settings and texts."""

import hashlib
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from recbole.config import Config

from .. import tracking, zoo
from ..compat.baselines import MENDED
from ..data.text import KINDS, default_recipes, locate
from ..data.training import SIDES
from ..settings.schemas import LinearSettings
from ..settings.sources import read_settings
from ..text.default import TFIDF_SVD, made_of
from .splits import Splits

# Settings that leave a run's results as they are.
_FREE = {"seed", "resume", "device", "gpu_id", "use_gpu", "worker", "state", "data_path", "checkpoint_dir"}
_FREE |= {f"{side}_{kind}_table" for side in SIDES for kind in KINDS}  # their files' contents count, not the places
_FREE |= {"show_progress", "local_rank", "single_spec", "dataset_save_path", *tracking.SETTINGS}


def fingerprint(config: Config, splits: Splits) -> str:
    """The same for runs that differ in nothing but their seed: 12 hexadecimal digits of a SHA-256.

    It is of all settings, defaults included, of the text tables' files, and of what is mended in the model.
    """
    settings = {name: value for name, value in config.final_config_dict.items() if name not in _FREE}
    mended = [MENDED[config["model"]]] if config["model"] in MENDED else _mended_in_ours(config, splits)
    content = json.dumps([settings, text_sources(config, splits), *mended], sort_keys=True, default=str)
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def _mended_in_ours(config: Config, splits: Splits) -> list[str]:
    """What is mended of our models' runs since version 0.1.0, of those that it changes."""
    if not zoo.text_sides(config["model"]):
        return []
    s, n_nodes = read_settings(config), splits.train.user_num + splits.train.item_num - 2
    # with weights such as the default, 1e-7, the term has no part in what float32 tells of a loss
    contrasted = n_nodes * (getattr(s, "translation_weight", 0) > 1e-6)
    if getattr(s, "reconstruction_weight", 0) > 0:
        contrasted = max(contrasted, int(n_nodes * s.mask_ratio))
    is_sampled = contrasted and s.contrast_nodes != "all" and s.contrast_nodes < contrasted
    mended = ["a sampled node counts once among all"] if is_sampled else []
    has_linear = isinstance(s, LinearSettings) and s.reads_texts(splits.train.item_num - 1)
    if has_linear and getattr(s, "unseen_items", None) == "text":
        mended.append("a linear part's scores of unseen items are scaled")
    return mended


def text_sources(config: Config, splits: Splits) -> list[str]:
    """Where the texts that a run reads come from: a SHA-256 of each table's file, or what stands in its place."""
    sides = zoo.text_sides(config["model"])
    if not sides:
        return []
    found = [locate(config, splits.train, side, kind) for kind in read_settings(config).text_kinds for side in sides]
    return [_digest(path, path.stat().st_mtime_ns) if isinstance(path, Path) else str(path) for path in found]


def default_tables(configs: Iterable[Config], splits: Splits) -> dict[str, str]:
    """What the text tables are made of that runs with these settings read where none is named or found.

    A SHA-256 by recipe and encoder. `fingerprint` is without it, or runs of older folders would not be found.
    """
    found: dict[str, str] = {}
    for config in configs:
        kinds = read_settings(config).text_kinds if zoo.text_sides(config["model"]) else ()
        for recipe in default_recipes(config, splits.train, kinds) if kinds else ():
            name = f"{recipe}, {config['default_encoder'] or TFIDF_SVD}"
            if name not in found:
                found[name] = hashlib.sha256(json.dumps(made_of(config, recipe)).encode()).hexdigest()
    return found


@cache
def _digest(path: Path, _changed: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

"""What a data set holds, as RecBole sees it with given settings."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from recbole.config import Config

from recbole_irllrec.data.features import train_fingerprint
from recbole_irllrec.data.loading import load_config, refuse_absent, split_datasets
from recbole_irllrec.data.text import KINDS, SIDES
from recbole_irllrec.errors import IRLLRecError
from recbole_irllrec.tables.atomic_file import read_fields
from recbole_irllrec.tables.features import read_features
from recbole_irllrec.tables.intents import IntentTable

from .split import PARTS

_QUANTILES = {"min": 0, "25 %": 0.25, "median": 0.5, "75 %": 0.75, "95 %": 0.95, "max": 1}
_FEW = 5  # interactions


def describe(dataset: str, data_path: Path | None = None, config_files: str | None = None) -> dict[str, Any]:
    """Describe a data set after RecBole's filters and split.

    Args:
        dataset: the data set's name.
        data_path: the folder that holds its folder; None as RecBole finds it.
        config_files: YAML files with RecBole's settings, parted by spaces; without them ``<dataset>.yaml`` in the data
            set's folder, if it is there.

    Returns:
        Plain numbers and strings under ``users``, ``items``, ``interactions``, ``density``, ``per_user``, ``per_item``
        (quantiles and ``counts``: how many have so many interactions), ``split``, ``cold``, ``texts`` and ``warnings``.

    Raises:
        IRLLRecError: the data set is not there, or a text of it cannot be read.
    """
    config = load_config(dataset, data_path, config_files)
    refuse_absent(config)
    parts = dict(zip(PARTS, split_datasets(config), strict=True))
    train = parts["train"]
    fields = dict(zip(SIDES, (train.uid_field, train.iid_field), strict=True))
    codes = {part: {s: built.inter_feat[f].numpy() for s, f in fields.items()} for part, built in parts.items()}
    tokens = {side: train.field2id_token[field].astype(object) for side, field in fields.items()}
    together = {side: np.concatenate([codes[part][side] for part in PARTS]) for side in SIDES}
    n = {side: len(np.unique(together[side])) for side in SIDES}
    interactions = len(together["user"])
    features = {
        side: read_features(
            Path(config["data_path"], f"{dataset}.{side}"), field, config["field_separator"], config["encoding"]
        )
        for side, field in fields.items()
    }
    found: dict[str, Any] = {
        "data set": dataset,
        "users": n["user"],
        "items": n["item"],
        "interactions": interactions,
        "density": interactions / (n["user"] * n["item"]),
        **{f"per_{side}": _distribution(together[side]) for side in SIDES},
        "split": _split(config, codes),
        "cold": {**_held_out_alone(codes), **_in_features_alone(features, tokens, together)},
        "texts": _texts(config, features, tokens, codes["train"]),
    }
    found["warnings"] = _warnings(config, found, codes, train.time_field)
    return found


def _distribution(ids: np.ndarray) -> dict[str, Any]:
    """How many interactions each has that has any."""
    counts = np.unique(ids, return_counts=True)[1]
    values = np.quantile(counts, list(_QUANTILES.values()))
    sizes, numbers = np.unique(counts, return_counts=True)
    return {
        "mean": float(counts.mean()),
        **dict(zip(_QUANTILES, values.tolist(), strict=True)),
        "counts": dict(zip(sizes.tolist(), numbers.tolist(), strict=True)),
    }


def histogram(counts: dict[int, int]) -> dict[str, int]:
    """Numbers of interactions, grouped by powers of two: "1", "2-3", "4-7" and so on, with how many have them."""
    powers = np.log2(np.array(list(counts), dtype=float)).astype(int)
    numbers = np.bincount(powers, weights=list(counts.values())).astype(int)
    names = [f"{2**p}-{2 ** (p + 1) - 1}" if p else "1" for p in range(len(numbers))]
    return dict(zip(names, numbers.tolist(), strict=True))


def _split(config: Config, codes: dict) -> dict[str, Any]:
    sizes = {part: len(codes[part]["user"]) for part in PARTS}
    if config["benchmark_filename"]:
        return {**sizes, "fixed": True, "how": f"files {', '.join(config['benchmark_filename'])}"}
    used = config["eval_args"]
    how = f"order {used['order']}, group_by {used['group_by']}, {used['split']}, seed {config['seed']}"
    return {**sizes, "fixed": False, "how": how}


def _held_out_alone(codes: dict) -> dict[str, int]:
    """Users and items that are to be predicted and that training does not know."""
    cold = {}
    for side in SIDES:
        held_out = np.concatenate([codes["valid"][side], codes["test"][side]])
        cold[f"{side}s held out and not in training"] = len(np.setdiff1d(held_out, codes["train"][side]))
    return cold


def _in_features_alone(features: dict[str, pd.DataFrame], tokens: dict, together: dict) -> dict[str, int]:
    cold = {}
    for side in SIDES:
        occurring = pd.Index(tokens[side][np.unique(together[side])])
        cold[f"{side}s in the .{side} file alone"] = len(features[side].index.difference(occurring))
    return cold


def _texts(config: Config, features: dict[str, pd.DataFrame], tokens: dict, train: dict) -> list[dict[str, Any]]:
    """What there is in words: the fields of the feature files, the reviews, the tables of embeddings."""
    folder, dataset = Path(config["data_path"]), config["dataset"]
    texts = []
    for side in SIDES:
        for name, values in features[side].reindex(tokens[side][1:]).fillna("").items():
            texts.append(_text(f".{side}, {name}", values, len(values)))
    reviews = folder / f"{dataset}.reviews.parquet"
    if reviews.is_file():
        texts.append(_reviews(reviews))
    for side in SIDES:
        for kind in KINDS:
            path = folder / f"{dataset}.{side}_{kind}.parquet"
            if path.is_file():
                texts.append(_table(path, tokens, side, train))
    return texts


def _text(what: str, values: pd.Series, n: int) -> dict[str, Any]:
    words = values[values != ""].str.count(r"\S+")
    return {
        "what": what,
        "with text": len(words),
        "of": n,
        "words, mean": float(words.mean()) if len(words) else 0.0,
        "words, max": int(words.max()) if len(words) else 0,
    }


def _reviews(path: Path) -> dict[str, Any]:
    """Read in pieces: the texts of reviews are the largest thing that a data set holds."""
    n = worded = total = longest = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(columns=["text"]):
                words = pc.count_substring_regex(batch["text"], r"\S+")
                n += len(words)
                worded += pc.sum(pc.greater(words, 0)).as_py() or 0
                total += pc.sum(words).as_py() or 0
                longest = max(longest, pc.max(words).as_py() or 0)
    except (pa.ArrowException, KeyError) as error:
        raise IRLLRecError(f"{path} cannot be read as reviews ({str(error).splitlines()[0]}): make it again.") from None
    mean = total / worded if worded else 0.0
    return {"what": "reviews", "with text": worded, "of": n, "words, mean": mean, "words, max": longest}


def _table(path: Path, tokens: dict, side: str, train: dict) -> dict[str, Any]:
    table = IntentTable.read(path)
    rows = table.rows_for(tokens[side][1:])
    made = table.metadata
    described = _text(path.name, pd.Series(table.texts), len(tokens[side]) - 1)
    described |= {
        "with embedding": int(rows.present.sum()),
        "encoder": made.encoder,
        "dim": made.dim,
        "source": made.source,
    }
    if made.source == "interactions":
        here = train_fingerprint(*(tokens[s][train[s]] for s in SIDES))
        described["made with these training interactions"] = made.train_fingerprint and made.train_fingerprint == here
    return described


def _warnings(config: Config, found: dict[str, Any], codes: dict, time_field: str) -> list[str]:
    said = []
    width = 1 + max(codes[part]["item"].max(initial=0) for part in PARTS)
    pairs = {part: codes[part]["user"] * width + codes[part]["item"] for part in PARTS}
    different = {part: np.unique(pairs[part]) for part in PARTS}
    repeated = sum(len(pairs[part]) - len(different[part]) for part in PARTS)
    if repeated:
        said.append(f"{repeated} interactions repeat a user and item within a part: set rm_dup_inter, or convert anew.")
    shared = len(np.intersect1d(different["train"], np.union1d(different["valid"], different["test"])))
    if shared:
        said.append(f"{shared} user-item pairs are both in training and held out: what is to be predicted is known.")
    few = sum(number for count, number in found["per_user"]["counts"].items() if count < _FEW)
    if few:
        said.append(f"{few} users have fewer than {_FEW} interactions: their metrics are mostly noise; see --k-core.")
    if not found["split"]["fixed"]:
        said.append("The split is drawn anew from each run's seed: fix it with irllrec data split.")
        if config["eval_args"]["order"] == "RO" and _has_column(config, time_field):
            said.append("The split is random though there are times: training sees what came after; see order TO.")
    for side in SIDES:
        cold = found["cold"][f"{side}s held out and not in training"]
        if cold:
            said.append(f"{cold} {side}s are held out and not in training: no collaborative model can know them.")
    for text in found["texts"]:
        same = text.get("made with these training interactions", True)
        if same is None:
            said.append(f"{text['what']} was made with interactions and does not say which: it may know held-out ones.")
        elif not same:
            said.append(f"{text['what']} was made with other training interactions: IRLLRec will refuse it.")
    return said


def _has_column(config: Config, field: str) -> bool:
    path = Path(config["data_path"], f"{config['dataset']}.inter")
    return field in read_fields(path, config["field_separator"], config["encoding"])


def plot(found: dict[str, Any], path: Path) -> None:
    """Write the interactions per user and per item as an interactive page, which needs no network."""
    from plotly.graph_objects import Figure, Scatter

    from recbole_irllrec.files import atomic_write

    figure = Figure(
        layout={"title": found["data set"], "xaxis_title": "interactions", "yaxis_title": "how many have them"}
    )
    for side in SIDES:
        counts = found[f"per_{side}"]["counts"]
        figure.add_trace(Scatter(x=list(counts), y=list(counts.values()), name=f"{side}s", mode="markers"))
    figure.update_xaxes(type="log")
    figure.update_yaxes(type="log")
    with atomic_write(path) as file:
        file.write(figure.to_html(include_plotlyjs=True).encode())

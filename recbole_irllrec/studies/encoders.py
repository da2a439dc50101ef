"""What texts are embedded with, and which: the same texts through several encoders, and several fields through one."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recbole_irllrec.dataset_tools import embed

from ..benchmark import plots, tables
from ..benchmark.conductor import settings_of
from ..benchmark.plan import Variant
from ..benchmark.results import TEXTS, Results
from ..data.text import KINDS, table_path
from ..data.training import SIDES
from ..errors import IRLLRecError
from ..runs.splits import Settings
from ..tables.features import read_features
from ..text.default import VERSIONS
from ..text.encoders import Encoder, embed_texts
from ..text.profiles import item_texts
from . import words
from .study import Asked, Study, Told

if TYPE_CHECKING:
    from recbole.config import Config

_TFIDF = "tfidf-svd"


def plan(asked: Asked) -> Study:
    """The study; it embeds what has not been embedded before.

    Raises:
        IRLLRecError: the model reads no texts; an encoder, a field or the texts are not there; or there is but one row.
    """
    model = asked.model
    asked.settings_with_text(model)
    encoders = [_encoder(text) for text in asked.encoders]
    if len(set(asked.encoders)) < len(encoders) or not encoders:
        raise IRLLRecError(f"The encoders are {', '.join(asked.encoders) or 'none'}: name at least one, and each once.")
    config, _ = settings_of(asked.data)
    there = [table_path(config, side, kind) for side in SIDES for kind in KINDS]
    there = [path for path in there if path.is_file()]
    if there and asked.fields is not None:
        raise IRLLRecError(
            f"Fields are of the texts that are made from features, and {there[0]} is a table of others: leave --fields "
            f"out, or move the tables away."
        )
    sources = of_tables(config) if there else of_features(config, asked.fields)
    whole, *parts = sources
    wanted = [(whole, one) for one in encoders] + [(part, encoders[0]) for part in parts]
    if len(wanted) < 2:
        raise IRLLRecError("There is nothing to compare: name several encoders, or several fields of texts.")
    rows = []
    for source, (encoder, options) in wanted:
        told = ", ".join([options.get("encoder_model", encoder), *([source] if len(sources) > 1 else [])])
        own = embedded(asked.folder, config, sources[source], encoder, options)
        own |= {} if there else {"user_text": "mean_of_items"}
        rows.append(Variant(f"{model.name}, {told}", model.model, {**model.settings, **own}))
    question = f"What are the texts of {model.name} best embedded with?"
    tell = partial(_tell, first=rows[0].name, others=[row.name for row in rows[1:]])
    return Study("encoders", question, rows, tell, [_OF_TABLES if there else _OF_FEATURES])


_LEADS = ("Better than it is", "Worse than it is", "No difference is found to")
_SAME = "The settings are the same in all rows, and were not tuned anew."
_OF_TABLES = f"The texts are those of the tables in the data set's folder. {_SAME}"
_OF_FEATURES = (
    "Items' texts are made from their features, profile and intent being one; users have the mean embedding of their "
    f"training items. {_SAME}"
)


def _encoder(text: str) -> tuple[str, dict[str, Any]]:
    """An encoder by its name, and its options: tfidf-svd, sentence-transformers:MODEL, openai:MODEL."""
    name, colon, model = text.partition(":")
    options = {"encoder_model": model} if colon else {}
    embed.check_options(name, options)
    return name, options


def of_tables(config: "Config") -> dict[str, list[embed.Texts]]:
    """The texts of the tables in the data set's folder."""
    return {"tables": embed.texts_of_tables(config, SIDES, KINDS)}


def of_features(config: "Config", fields: Sequence[str] | None) -> dict[str, list[embed.Texts]]:
    """The items' texts: of all fields together, and of some of them each; by how they are called.

    Args:
        config: RecBole's settings.
        fields: names of fields, several with + between them; None for each alone.

    Raises:
        IRLLRecError: there is no such field.
    """
    path = Path(config["data_path"]) / f"{config['dataset']}.item"
    features = read_features(path, config["ITEM_ID_FIELD"], config["field_separator"], config["encoding"])
    known = list(features.columns)
    if not known:
        raise IRLLRecError(
            f"{path} has no field of words about the items, and there are no tables of texts: give some."
        )
    asked = known if fields is None else fields
    chosen = {name: name.split("+") for name in asked}
    for name in (name for names in chosen.values() for name in names):
        if name not in known:
            raise IRLLRecError(f"{path} has no field of words {name}: take some of {', '.join(known)}.")
    sets = {"all fields": known} | {name: of for name, of in chosen.items() if set(of) != set(known)}
    tokens = features.index.to_numpy()
    return {
        name: [embed.Texts("item", KINDS, tokens, texts, "features", None, VERSIONS["features"], f"The items' {name}")]
        for name, of in sets.items()
        for texts in [item_texts(features[of]).to_numpy()]
    }


def embedded(
    folder: Path, config: "Config", texts: Sequence[embed.Texts], name: str, options: Mapping[str, Any]
) -> Settings:
    """The settings that name the tables of texts, embedded; a table that is there already is taken as it is."""
    files = {_table(folder, some, name, options, texts): some for some in texts}
    if missing := {file: some for file, some in files.items() if not file.is_file()}:
        with embed.open_encoder(name, options, config, texts) as encoder:
            for file, some in missing.items():
                _write(encoder, some, file)
    return {f"{some.side}_{kind}_table": str(file.resolve()) for file, some in files.items() for kind in some.kinds}


def _table(
    folder: Path, some: embed.Texts, name: str, options: Mapping[str, Any], learnt: Sequence[embed.Texts]
) -> Path:
    """Where a table is kept, by all that it depends on; TF-IDF learns from all texts that go together."""
    digest = hashlib.sha256(repr([name, options, some.train_fingerprint, some.source]).encode())
    for texts in (some, *(learnt if name == _TFIDF else ())):
        for value in _values(texts):
            digest.update(value.encode() + b"\0")
    return folder / TEXTS / f"{some.side}-{'-'.join(some.kinds)}-{digest.hexdigest()[:16]}.parquet"


def _values(texts: embed.Texts) -> Iterator[str]:
    yield from map(str, texts.tokens)
    yield from map(str, texts.texts)


def _write(encoder: Encoder, some: embed.Texts, file: Path) -> None:
    made = {"source": some.source, "train_fingerprint": some.train_fingerprint, "prompt_version": some.prompt_version}
    table = embed_texts(encoder, some.tokens, some.texts, dtype=np.float32, origin=some.origin, **made)
    file.parent.mkdir(parents=True, exist_ok=True)
    table.write(file)


def _tell(results: Results, first: str, others: list[str]) -> Told:
    found = words.differences(results, [(other, first) for other in others])
    paragraph = " ".join(
        [
            f"{first} reaches {words.written(results)} {words.mean(results, first):.4f} on the test set.",
            *words.by_verdict(found, {other: other for other in others}, _LEADS),
            *words.failed(results),
            words.how(results, "these comparisons"),
        ]
    )
    return Told(
        paragraph,
        [words.with_differences(results, found)],
        {"Test metrics by what the texts are embedded with": plots.bars(results, tables.metric_names(results))},
        words.numbers(results, found),
    )

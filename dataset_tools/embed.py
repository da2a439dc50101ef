"""From texts to tables: where the texts come from, and which encoder embeds them."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from recbole_irllrec.data.loading import split_datasets
from recbole_irllrec.data.text import table_path
from recbole_irllrec.data.training import TrainingTokens
from recbole_irllrec.errors import IRLLRecError
from recbole_irllrec.tables.intents import IntentTable
from recbole_irllrec.tables.table_file import TableFile
from recbole_irllrec.text.default import RECIPES, TFIDF_SVD, VERSIONS, made_texts
from recbole_irllrec.text.encoders import Encoder, TfidfSvdEncoder, embed_texts

from . import generate
from .generation.store import open_store
from .import_embeddings import read_texts
from .tables import write_tables

if TYPE_CHECKING:
    from recbole.config import Config

    from recbole_irllrec.text.local_encoder import SentenceTransformerEncoder
    from recbole_irllrec.text.remote_encoder import OpenAIEncoder

Source = Literal["features", "interactions"]


class Texts(NamedTuple):
    """Texts of one side, for one or both kinds."""

    side: str
    kinds: Sequence[str]
    tokens: np.ndarray  # [n] str
    texts: np.ndarray  # [n] str
    source: Source | None
    train_fingerprint: str | None
    prompt_version: str | None
    origin: str  # what messages call them
    features_alone: np.ndarray | None = None  # [m] what no interaction went into, if that is another text

    @property
    def of_recipe(self) -> bool:
        """Whether they were made as the embedded default makes them."""
        return self.prompt_version in VERSIONS.values()

    @property
    def learnable(self) -> np.ndarray:
        """What an encoder may learn from without learning of interactions, [m] str."""
        if self.features_alone is not None:
            return self.features_alone
        return self.texts if self.source == "features" else self.texts[:0]


def find_texts(
    config: "Config",
    where: str,
    sides: Sequence[str],
    kinds: Sequence[str],
    source: Source | None = None,
    store: Path | None = None,
) -> list[Texts]:
    """Texts to embed.

    Args:
        config: RecBole's settings.
        where: "features", "intents", "all", "generated", "tables" or a file; see `texts_of_recipes` and its neighbours.
        sides: whose texts.
        kinds: which.
        source: what the texts of a file were made from.
        store: the file of answers; see `generate.store_path`.

    Raises:
        IRLLRecError: there are none, or they cannot be read; or a file is given without ``source`` or for both sides,
            or a store where no texts of one are asked for.
    """
    if store is not None and where != "generated":
        raise IRLLRecError(f"The texts of {where} are in no store: leave --store out, or give --texts generated.")
    places: dict[str, Callable[..., list[Texts]]] = {
        **{name: partial(texts_of_recipes, default_texts=name) for name in RECIPES},
        "generated": partial(texts_of_store, store=store),
        "tables": texts_of_tables,
    }
    if where in places:
        if source is not None:
            raise IRLLRecError(f"It is known what the texts of {where} were made from: leave --source out.")
        return places[where](config, sides, kinds)
    if not Path(where).is_file():
        raise IRLLRecError(f"{where} is no file: give {', '.join(places)} or the path of a file in --texts.")
    if source is None or len(sides) != 1:
        raise IRLLRecError(
            f"{where} holds the texts of one side, and does not say what they were made from: give --side and --source."
        )
    return [texts_of_file(config, Path(where), sides[0], kinds, source)]


def texts_of_recipes(config: "Config", sides: Sequence[str], kinds: Sequence[str], default_texts: str) -> list[Texts]:
    """The texts of the embedded default under a value of the setting ``default_texts``.

    Raises:
        IRLLRecError: there are no words about the data set's items.
    """
    train = TrainingTokens(split_datasets(config)[0])
    users, items = np.sort(train.tokens["user"]), np.sort(train.tokens["item"])
    recipes = RECIPES[default_texts]
    found = []
    for recipe in dict.fromkeys(recipes[kind] for kind in kinds):
        made = made_texts(config, recipe, users, items, train.judged)
        its = [kind for kind in kinds if recipes[kind] == recipe]
        of_users, of_items, of_users_alone = (texts.to_numpy() for texts in made)
        how = (train.fingerprint, VERSIONS[recipe])
        texts = {
            "user": Texts("user", its, users, of_users, "interactions", *how, f"The users' {recipe}", of_users_alone),
            "item": Texts("item", its, items, of_items, "features", None, how[1], f"The items' {recipe}"),
        }
        found += [texts[side] for side in sides]
    return found


def texts_of_store(config: "Config", sides: Sequence[str], kinds: Sequence[str], store: Path | None) -> list[Texts]:
    """What a language model wrote, from a store of answers; None is the data set's own.

    Raises:
        IRLLRecError: there is no store, or nothing of a side in it.
    """
    with open_store(generate.store_path(config, store)) as answers:
        return [
            Texts(side, [kind], *generate.texts(answers, side, kind), origin=f"{answers.path}, {side}s,")
            for side in sides
            for kind in kinds
        ]


def texts_of_tables(config: "Config", sides: Sequence[str], kinds: Sequence[str]) -> list[Texts]:
    """The texts of the tables in the data set's folder, of those that are there.

    Raises:
        IRLLRecError: there is no table, or one is damaged.
    """
    found = []
    for side in sides:
        for kind in kinds:
            path = table_path(config, side, kind)
            if path.is_file():
                file = TableFile(path)
                tokens, texts = (column.to_numpy(zero_copy_only=False) for column in (file.tokens, file.texts()))
                made = file.metadata
                how = (made.source, made.train_fingerprint, made.prompt_version)
                found.append(Texts(side, [kind], tokens, texts, *how, str(path)))
    if not found:
        raise IRLLRecError(
            f"There is no table of {' or '.join(sides)} {' or '.join(kinds)} texts in {config['data_path']}: make one, "
            f"or take the texts from features or from a file (--texts)."
        )
    return found


def texts_of_file(config: "Config", path: Path, side: str, kinds: Sequence[str], source: Source) -> Texts:
    """The texts of a Parquet or CSV file with the columns token and text.

    With ``source`` interactions they are said to be made from the data set's training interactions.

    Raises:
        IRLLRecError: it is no such file.
    """
    tokens, texts = read_texts(path)
    return Texts(side, kinds, tokens, texts, source, fingerprint_for(config, source), None, str(path))


def fingerprint_for(config: "Config", source: Source | None) -> str | None:
    """The fingerprint of the data set's training interactions, for texts that were made with them."""
    return TrainingTokens(split_datasets(config)[0]).fingerprint if source == "interactions" else None


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Refuse an encoder that there is not, and options that do not fit it.

    Args:
        name: tfidf-svd, sentence-transformers or openai.
        options: those that were given, by the names of the encoder's arguments.

    Raises:
        IRLLRecError: that is so.
    """
    known: Mapping[str, Any] = {}
    if name in ("sentence-transformers", "openai"):
        known = inspect.signature(_local() if name == "sentence-transformers" else _remote()).parameters
    elif name != "tfidf-svd":
        raise IRLLRecError(f"There is no encoder {name}: name tfidf-svd, sentence-transformers or openai.")
    for option in options:
        if option not in known:
            raise IRLLRecError(f"The encoder {name} has no option --{option.replace('_', '-')}: leave it out.")
    if "encoder_model" in known and "encoder_model" not in options:
        raise IRLLRecError(f"The encoder {name} needs a model: name it with --encoder-model.")


def together(name: str, texts: Sequence[Texts]) -> list[tuple[list[Texts], bool]]:
    """The texts that each encoder is for, and whether they are recipes'.

    TF-IDF learns a space for each of the default's recipes, as the embedded default does; so it can be learnt again.
    """
    of_recipes = all(some.of_recipe for some in texts)
    if name != TFIDF_SVD or not of_recipes:
        return [([*texts], of_recipes)]
    by_kinds: dict[tuple[str, ...], list[Texts]] = {}
    for some in texts:
        by_kinds.setdefault(tuple(some.kinds), []).append(some)
    return [(some, True) for some in by_kinds.values()]


@contextmanager
def open_encoder(
    name: str, options: Mapping[str, Any], config: "Config", texts: Sequence[Texts], each: Callable[..., Iterable] = map
) -> Iterator[Encoder]:
    """Make an encoder whose options were checked.

    Args:
        name: tfidf-svd, sentence-transformers or openai.
        options: those that were given, by the names of the encoder's arguments.
        config: RecBole's settings; what an endpoint answers is kept in the data set's folder.
        texts: what is to be embedded, see `together`. TF-IDF learns its space from what of it no interaction went
            into, if there is any.
        each: calls an encoder that runs here for many blocks of texts; ``cluster.in_order`` does so on a cluster.

    Raises:
        IRLLRecError: the encoder's.
    """
    if name == "sentence-transformers":
        yield _local()(**options, each=each)
    elif name == "openai":
        cache = Path(config["data_path"]) / f"{config['dataset']}.embeddings.sqlite"
        with closing(_remote()(cache=cache, **options)) as encoder:
            yield encoder
    else:
        ordered = sorted(texts, key=lambda some: some.side)  # as the embedded default
        learnable = np.concatenate([some.learnable for some in ordered])
        learnt = learnable if len(learnable) else np.concatenate([some.texts for some in ordered])
        yield TfidfSvdEncoder(learnt, each, fields_named=all(some.of_recipe for some in texts))


def _local() -> "type[SentenceTransformerEncoder]":
    from recbole_irllrec.text.local_encoder import SentenceTransformerEncoder

    return SentenceTransformerEncoder


def _remote() -> "type[OpenAIEncoder]":
    from recbole_irllrec.text.remote_encoder import OpenAIEncoder

    return OpenAIEncoder


def embed(
    config: "Config",
    encoder: Encoder,
    texts: Sequence[Texts],
    dtype: type[np.floating],
    atomic: bool,
    encoding: dict[str, str | int | float] | None = None,
) -> Iterator[tuple[IntentTable, list[Path]]]:
    """Embed texts and write their tables into the data set's folder, each as soon as all of them are embedded.

    Args:
        config: RecBole's settings.
        encoder: see `open_encoder`.
        texts: see `find_texts`.
        dtype: what embeddings are kept in.
        atomic: also write RecBole's atomic files.
        encoding: what the encoder was made with, see `data.alike.encoding_of`.

    Raises:
        IRLLRecError: see `text.encoders.embed_texts`.
    """
    tables = [
        embed_texts(
            encoder,
            some.tokens,
            some.texts,
            source=some.source,
            train_fingerprint=some.train_fingerprint,
            prompt_version=some.prompt_version,
            dtype=dtype,
            encoding=encoding,
            origin=some.origin,
        )
        for some in texts
    ]
    for some, table in zip(texts, tables, strict=True):
        yield table, write_tables(config, table, some.side, some.kinds, atomic)

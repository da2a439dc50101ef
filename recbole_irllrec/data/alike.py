"""Further texts, embedded as those of a table were."""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..errors import IRLLRecError
from ..tables.table_file import TableMetadata
from ..text.default import TFIDF_SVD, VERSIONS, Recipe, made_texts
from ..text.encoders import Encoder, TfidfSvdEncoder, embed_texts
from .training import TrainingTokens

if TYPE_CHECKING:
    from recbole.config import Config
    from recbole.data.dataset import Dataset

# What of an encoder's options changes its embeddings, and so is told by a table, and taken from it. Not the endpoint's
# address: texts and key must not go where a stranger's table says.
_TOLD = ("encoder_model", "encoder_name", "prompt", "max_length", "compute_dtype", "dimensions")


def encoding_of(name: str, options: Mapping[str, Any], of_recipe: bool) -> dict[str, str | int | float]:
    """What a table says of how it was embedded: by which encoder, with which of the options that it was given.

    TF-IDF also says if it was learnt from other texts than a recipe's, which nothing but the tables has.
    """
    learnt = {"learnt_from": "texts"} if name == TFIDF_SVD and not of_recipe else {}
    return {"encoder": name, **learnt, **{option: options[option] for option in _TOLD if option in options}}


def embed_alike(
    config: "Config", train: "Dataset", made: TableMetadata, origin: str, tokens: np.ndarray, texts: np.ndarray
) -> np.ndarray:
    """Embed further texts of items.

    Args:
        config: RecBole's settings of the training.
        train: the training data set.
        made: how the table was made.
        origin: what messages call the table.
        tokens: [m] str, whose texts they are.
        texts: [m] str.

    Returns:
        [m, dim] float32; zeros for a text in which there is nothing to embed.

    Raises:
        IRLLRecError: the table does not say how, or its encoder cannot be had now.
    """
    with _encoder(config, train, made, origin) as encoder:
        table = embed_texts(encoder, tokens, texts, source=None, origin="The new items")
    found = table.metadata
    if (found.encoder, found.dim) != (made.encoder, made.dim):
        raise IRLLRecError(
            f"The texts of {origin} were embedded with {made.encoder}, {made.dim} wide, and the new items' with "
            f"{found.encoder}, {found.dim} wide: embed the new items with the first, and give the table."
        )
    return table.embeddings


@contextmanager
def _encoder(config: "Config", train: "Dataset", made: TableMetadata, origin: str) -> Iterator[Encoder]:
    told = made.encoding or {}
    name = told.get("encoder", TFIDF_SVD if (made.encoder or "").startswith(f"{TFIDF_SVD} ") else None)
    asked: dict[str, Any] = {option: told[option] for option in _TOLD if option in told}
    if name == TFIDF_SVD:
        if "learnt_from" in told or made.prompt_version not in (None, *VERSIONS.values()):
            raise IRLLRecError(
                f"{origin} was embedded with TF-IDF, which has learnt from texts that are not the embedded default's "
                f"and knows no others: give the new items with their embeddings, or make the table with another "
                f"encoder, and the model again."
            )
        yield _of_features(config, train, made, origin)
    elif name == "sentence-transformers" and "encoder_model" in asked:
        from ..text.local_encoder import SentenceTransformerEncoder

        yield SentenceTransformerEncoder(**asked)
    elif name == "openai" and "encoder_model" in asked:
        from ..text.remote_encoder import OpenAIEncoder

        cache = Path(config["data_path"]) / f"{config['dataset']}.embeddings.sqlite"
        with closing(OpenAIEncoder(cache=cache, **asked)) as encoder:
            yield encoder
    else:
        raise IRLLRecError(
            f"{origin} does not say how its texts were embedded ({made.encoder or 'encoder unknown'}): give the new "
            f"items with their embeddings, a Parquet file with the columns token and embedding."
        )


def _of_features(config: "Config", train: "Dataset", made: TableMetadata, origin: str) -> TfidfSvdEncoder:
    """TF-IDF learns its space from what is known without interactions: learnt again, it is the same."""
    tokens = TrainingTokens(train).tokens
    users, items = (np.sort(tokens[side]) for side in ("user", "item"))
    nothing = pd.DataFrame({"user": [], "item": [], "liked": []}, dtype=object)
    recipe: Recipe = next((name for name in VERSIONS if VERSIONS[name] == made.prompt_version), "features")
    of = made_texts(config, recipe, users, items, nothing)
    for texts in ([*of.item, *of.user_alone], [*of.item]):
        encoder = TfidfSvdEncoder(texts)
        if encoder.name == made.encoder:
            return encoder
    raise IRLLRecError(
        f"{origin} was made from other features than those that are there now: restore the .item and .user files of "
        f"the training, or make the table and the model again."
    )

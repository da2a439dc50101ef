"""Which text is used: from the settings and the files of a data set to one embedding a node.

The rules are told in ``docs/text-tables.md``.
"""

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypedDict

import numpy as np
from scipy.sparse import csr_matrix

from .. import zoo
from ..errors import IRLLRecError
from ..tables.intents import IntentTable, open_table
from ..tables.table_file import Rows, TableFile, rows_present
from ..text.default import RECIPES, Recipe, cache_folder, default_tables
from ..text.reduction import Projection, fit_projection
from . import text_change
from .training import SIDES, TrainingTokens

if TYPE_CHECKING:
    from recbole.config import Config
    from recbole.data.dataset import Dataset

Table: TypeAlias = TableFile | IntentTable
KINDS = ("profile", "intent")
_WEIGHTS = {"profile": "profile_weight", "intent": "pairwise_weight, translation_weight and matching_weight"}


class Made(TypedDict):
    """By what embeddings were made; texts of others do not fit a model that was trained with them."""

    encoder: str | None  # its name, where that is known
    dim: int  # its width


def refuse_other_texts(
    path: str | os.PathLike[str], then: Mapping[str, Made | None] | None, now: Mapping[str, Made | None]
) -> None:
    """Refuse texts of another encoder than those of a checkpoint, where both it and their table say so.

    Args:
        path: of the checkpoint.
        then, now: the checkpoint's and those that are there, by kind.

    Raises:
        IRLLRecError: they are of another.
    """
    for kind, new in now.items():
        old = (then or {}).get(kind)
        if old is None or new is None:
            continue
        names = old["encoder"], new["encoder"]
        if old["dim"] != new["dim"] or (None not in names and names[0] != names[1]):
            raise IRLLRecError(
                f"{path} was trained with {kind} texts of {names[0] or 'an unknown encoder'}, {old['dim']} wide, "
                f"and the items' table is now of {names[1] or 'an unknown one'}, {new['dim']} wide: give the table of "
                f"the training, or train again."
            )


class NodeText(NamedTuple):
    """The embedded texts of all N nodes, users first, each side in the order of RecBole's ids without the padding."""

    embedding: np.ndarray  # [N, dim], float32, or float16 where the tables are; zeros where missing
    present: np.ndarray  # bool [N]
    made: Made | None = None  # of the items' table


class SideTables(NamedTuple):
    """The tables of one kind of text."""

    user: Table | None
    item: Table | None


class _Preloaded(NamedTuple):
    """A field of RecBole's `preload_weight`."""

    field: str

    def __str__(self) -> str:
        return f"preload_weight's field {self.field}"


class _Made(NamedTuple):
    """A table that is made because none is named or found."""

    recipe: Recipe
    sides: tuple[str, ...]  # which are made at once, by one encoder

    def __str__(self) -> str:
        return f"the default of {self.recipe}"


Source: TypeAlias = Path | _Preloaded | _Made


class _Sources(NamedTuple):
    """Where the texts of one kind come from."""

    user: Source | None
    item: Source | None


def resolve(
    config: "Config", dataset: "Dataset", kinds: Iterable[str], sides: Sequence[str] = SIDES
) -> dict[str, NodeText]:
    """Find, read and check the texts of a training data set.

    Args:
        config: RecBole's settings with IRLLRec's own.
        dataset: the *training* data set: its interactions may go into texts.
        kinds: which texts are wanted, of "profile" and "intent".
        sides: whose; the items' alone, or those of both. Without the users' the nodes are the items.

    Returns:
        The texts of each kind; kinds that come from the same files share their arrays.

    Raises:
        IRLLRecError: a table is absent or damaged, does not fit the data set or the other side's table, was made with
            other interactions, or covers too little.
    """
    wanted = list(dict.fromkeys(kinds))
    if not wanted:
        return {}
    sources, reader = _open(config, dataset, sides)
    texts: dict[str, NodeText] = {}
    for kind in wanted:
        twin = next((done for done in texts if sources[done] == sources[kind]), None)
        if twin is not None:
            texts[kind] = texts[twin]
            logging.getLogger(__name__).info(f"The {kind} text is the {twin} text: both come from the same tables.")
            continue
        of = reader.node_text if "user" in sides else reader.item_text
        texts[kind] = _changed(config, of(kind, sources[kind]), dataset, sides)
    return texts


def _changed(config: "Config", text: NodeText, dataset: "Dataset", sides: Sequence[str]) -> NodeText:
    """The texts as the settings `text_change` want them."""
    how, share = config["text_change"], config["text_change_share"]
    if how is None:
        return text
    n_users = dataset.user_num - 1 if "user" in sides else 0
    of_sides = [
        text_change.changed(how, share, config["text_change_seed"], *(rows[side] for rows in text[:2]))
        for side in (slice(n_users), slice(n_users, None))
    ]
    logging.getLogger(__name__).warning(f"The texts are not their nodes' own: {share:.0%} of them are {how}.")
    embeddings, present = zip(*of_sides, strict=True)
    return text._replace(embedding=np.concatenate(embeddings), present=np.concatenate(present))


def narrowed(config: "Config", dataset: "Dataset", kind: str, embeddings: np.ndarray) -> np.ndarray:
    """Further embeddings of items, [m, dim], as wide as `resolve` makes those of this kind (`text_dim`).

    Arguments and errors are those of `resolve`.
    """
    sides = zoo.text_sides(config["model"])
    sources, reader = _open(config, dataset, sides)
    return reader.further(kind, sources[kind], sides, embeddings)


def tables(config: "Config", dataset: "Dataset") -> dict[str, SideTables]:
    """The tables behind the texts of a training data set, for who wants to read the texts.

    Returns:
        The tables of each kind of text that items have; kinds that come from the same files are given once.

    Raises:
        IRLLRecError: a table is absent or damaged, or was made with other interactions; or there are no texts at all.
    """
    sources, reader = _open(config, dataset, SIDES)
    found: dict[str, SideTables] = {}
    for kind in KINDS:
        if all(sources[kind] != sources[other] for other in found):
            kind_tables = reader.tables(sources[kind])
            if kind_tables.item is not None:
                found[kind] = kind_tables
    return found


def _open(config: "Config", dataset: "Dataset", sides: Sequence[str]) -> tuple[dict[str, _Sources], "_Reader"]:
    """The sources of both kinds for these sides, and what reads them; without any table, the default's."""
    sources = {
        kind: _Sources(*(locate(config, dataset, side, kind) if side in sides else None for side in SIDES))
        for kind in KINDS
    }
    if not any(any(found) for found in sources.values()):
        has_users = "user" in sides and config["user_text"] != "mean_of_items"
        made = {
            kind: _Made(recipe, ("user", "item") if has_users else ("item",))
            for kind, recipe in RECIPES[config["default_texts"] or "features"].items()
        }
        sources = {kind: _Sources(made[kind] if has_users else None, made[kind]) for kind in KINDS}
    return sources, _Reader(config, dataset)


def default_recipes(config: "Config", dataset: "Dataset", kinds: Iterable[str]) -> set[Recipe]:
    """What the tables of these kinds are made of where none is named or found; empty where one is."""
    sources, _ = _open(config, dataset, zoo.text_sides(config["model"]))
    return {made.recipe for kind in kinds if isinstance(made := sources[kind].item, _Made)}


def table_path(config: "Config", side: str, kind: str) -> Path:
    """Where a table is found without any setting."""
    return Path(config["data_path"]) / f"{config['dataset']}.{side}_{kind}.parquet"


def locate(config: "Config", dataset: "Dataset", side: str, kind: str) -> Path | _Preloaded | None:
    """The named table, else RecBole's `preload_weight`, else the file of the default name, else None."""
    setting = f"{side}_{kind}_table"
    folder = Path(config["data_path"])
    if config[setting]:
        named = Path(config[setting]).expanduser()
        for path in (named, folder / named):
            if path.is_file():
                return path
        raise IRLLRecError(
            f"The setting {setting} names {config[setting]}, which is no file, neither from the current folder nor in "
            f"{folder}: correct the path, or remove the setting."
        )
    fields = [field for field in config["preload_weight"] or {} if field in set(dataset.alias[f"{side}_id"])]
    if len(fields) > 1:
        raise IRLLRecError(
            f"The setting preload_weight has several fields of {side} ids ({', '.join(fields)}): keep one of them, or "
            f"name a table in {setting}."
        )
    if fields:
        return _Preloaded(fields[0])
    found = table_path(config, side, kind)
    return found if found.is_file() else None


class _Reader:
    """Reads the sources of one data set, each once."""

    def __init__(self, config: "Config", dataset: "Dataset"):
        self._config = config
        self._dataset = dataset
        self._log = logging.getLogger(__name__)
        self._tables: dict[tuple[str, Source], Table] = {}
        self._default = cache(self._make_default)
        self._train = TrainingTokens(dataset)

    def node_text(self, kind: str, sources: _Sources) -> NodeText:
        """The texts of one kind."""
        return self._narrow(kind, self._wide(kind, sources), sources)

    def item_text(self, kind: str, sources: _Sources) -> NodeText:
        """The items' texts of one kind."""
        return self._narrow(kind, self._wide_of_items(kind, sources), sources)

    def further(self, kind: str, sources: _Sources, sides: Sequence[str], embeddings: np.ndarray) -> np.ndarray:
        """Further embeddings, [m, dim], no wider than those of this kind."""
        wide = self._wide(kind, sources) if "user" in sides else self._wide_of_items(kind, sources)
        projection = self._projection(kind, wide)
        return embeddings if projection is None else projection.apply(embeddings, rows_present(embeddings))

    def _wide(self, kind: str, sources: _Sources) -> list[Rows]:
        self._refuse_gaps(kind, sources)
        user_table, item_table = self.tables(sources)
        assert item_table is not None  # `_refuse_gaps`
        item_rows = self._rows(kind, "item", item_table)
        if user_table is None:
            user_rows = self._mean_of_items(item_rows)
            self._check_coverage(
                kind, "user", user_rows, f"the mean embedding of the user's items in {item_table.origin}"
            )
        else:
            user_rows = self._rows(kind, "user", user_table)
        return [user_rows, item_rows]

    def _wide_of_items(self, kind: str, sources: _Sources) -> list[Rows]:
        if sources.item is None:
            (other,) = {*KINDS} - {kind}
            raise IRLLRecError(
                f"There is a table of {other} texts of the items and none of {kind} texts: name one in "
                f"item_{kind}_table, or set `text_kind: {other}`."
            )
        table = self.tables(sources).item
        assert table is not None
        return [self._rows(kind, "item", table)]

    def _narrow(self, kind: str, wide: list[Rows], sources: _Sources) -> NodeText:
        """No wider than `text_dim`, the sides one below the other."""
        projection = self._projection(kind, wide)
        narrow = [rows.embeddings if projection is None else projection.apply(*rows[:2]) for rows in wide]
        table = self.tables(sources).item
        assert table is not None  # it was read
        made = Made(encoder=table.metadata.encoder, dim=table.metadata.dim)
        return NodeText(np.concatenate(narrow), np.concatenate([rows.present for rows in wide]), made)

    def _projection(self, kind: str, wide: list[Rows]) -> Projection | None:
        dim = self._config["text_dim"]
        if dim is None or wide[0].embeddings.shape[1] <= dim:
            return None
        stem = cache_folder(self._config) / f"{self._config['dataset']}-{kind}-pca"
        embeddings, present, _ = zip(*wide, strict=True)
        return fit_projection(embeddings, present, dim, stem, f"The {kind} text")

    def tables(self, sources: _Sources) -> SideTables:
        """The tables that the sources of one kind name."""
        found = SideTables(
            None if sources.user is None else self._read("user", sources.user),
            None if sources.item is None else self._read("item", sources.item),
        )
        if found.user is not None and found.item is not None:
            _refuse_two_encoders(found.user, found.item)
        return found

    def _make_default(self, made: _Made) -> dict[str, IntentTable]:
        train = self._train
        return default_tables(self._config, *made, train.tokens, train.judged, train.fingerprint)

    def _refuse_gaps(self, kind: str, sources: _Sources) -> None:
        user_setting, item_setting = (f"{side}_{kind}_table" for side in SIDES)
        if sources.user is None and sources.item is None:
            other = next(name for name in KINDS if name != kind)
            raise IRLLRecError(
                f"There is a table of {other} texts and none of {kind} texts: name the {other} tables in "
                f"{user_setting} and {item_setting} as well, or set {_WEIGHTS[kind]} to 0."
            )
        if sources.item is None:
            raise IRLLRecError(
                f"Users have {kind} texts ({sources.user}) and items have none: name a table in {item_setting}."
            )
        if sources.user is None and self._config["user_text"] != "mean_of_items":
            raise IRLLRecError(
                f"Items have {kind} texts ({sources.item}) and users have none: name a table in {user_setting}, or set "
                f"`user_text: mean_of_items`, which gives each user the mean embedding of its training items."
            )

    def _read(self, side: str, source: Source) -> Table:
        """Read a table and refuse it if other interactions went into it."""
        key = (side, source)
        if key not in self._tables:
            if isinstance(source, _Made):
                table: Table = self._default(source)[side]
            else:
                table = self._preloaded(side, source) if isinstance(source, _Preloaded) else self._read_file(source)
            self._check_leakage(table)
            self._tables[key] = table
        return self._tables[key]

    def _read_file(self, path: Path) -> Table:
        return open_table(
            path, self._config["field_separator"], self._config["seq_separator"], self._config["encoding"]
        )

    def _preloaded(self, side: str, source: _Preloaded) -> IntentTable:
        matrix = self._dataset.get_preload_weight(source.field)
        if matrix.ndim != 2:
            raise IRLLRecError(
                f"{source} holds one number for each token, where embeddings are of type float_seq: change the type in "
                f"the file's first line, or name tables in {side}_profile_table and {side}_intent_table."
            )
        return IntentTable.from_arrays(
            self._train.tokens[side], matrix[1:], encoder=None, source=None, origin=str(source)
        )

    def _check_leakage(self, table: Table) -> None:
        made = table.metadata
        if made.train_fingerprint is not None and made.train_fingerprint != self._train.fingerprint:
            raise IRLLRecError(
                f"{table.origin}, train_fingerprint, says that it was made with other training interactions "
                f"({made.train_fingerprint[:12]}) than those of this run ({self._train.fingerprint[:12]}), so it may "
                f"know what is to be predicted: make it again from this split, or use the split that it was made with."
            )
        if made.train_fingerprint is None and made.source != "features":
            how = "was made with interactions" if made.source else "does not say what it was made from"
            self._log.warning(
                f"{table.origin} {how} and carries no fingerprint of them: whether it was made from the training "
                f"interactions alone cannot be checked."
            )

    def _rows(self, kind: str, side: str, table: Table) -> Rows:
        rows = table.rows_for(self._train.tokens[side])
        made = table.metadata
        what = f"{table.origin} (encoder {made.encoder or 'unknown'}, {made.dim} wide, {rows.unknown} other tokens)"
        self._check_coverage(kind, side, rows, what)
        return rows

    def _check_coverage(self, kind: str, side: str, rows: Rows, what: str) -> None:
        n, of = int(rows.present.sum()), len(rows.present)
        share = n / of
        figures = f"{n} of {of} {side}s ({share:.1%})"
        least = self._config["min_text_coverage"] or 0
        if n == 0:
            raise IRLLRecError(f"The {kind} text covers {figures} in {what}: add embeddings for them.")
        if share < least:
            raise IRLLRecError(
                f"The {kind} text covers {figures}, below min_text_coverage {least:g}, in {what}: add the missing "
                f"embeddings, or lower min_text_coverage."
            )
        self._log.info(f"The {kind} text covers {figures}: {what}.")

    def _mean_of_items(self, items: Rows) -> Rows:
        """Each user's mean embedding over those of its training items that have one."""
        pairs = (self._train.ids["user"], self._train.ids["item"])
        shape = (len(self._train.tokens["user"]), len(self._train.tokens["item"]))
        read = csr_matrix((np.ones(len(pairs[0]), np.float32), pairs), shape)
        read.data[:] = 1  # a repeated interaction counts once
        counts = read @ items.present.astype(np.float32)
        sums = read @ items.embeddings.astype(np.float32)
        means = sums / np.maximum(counts, 1)[:, None]
        return Rows(means.astype(items.embeddings.dtype), counts > 0, 0)


def _refuse_two_encoders(users: Table, items: Table) -> None:
    first, second = users.metadata, items.metadata
    known = first.encoder is not None and second.encoder is not None
    if first.dim != second.dim or (known and first.encoder != second.encoder):
        raise IRLLRecError(
            f"Users and items share the text towers and need one encoder, but {users.origin} comes from "
            f"{first.encoder or 'an unknown one'}, {first.dim} wide, and {items.origin} from "
            f"{second.encoder or 'an unknown one'}, {second.dim} wide: embed both with one encoder."
        )

"""A trained model in Python: what it recommends and why, what is alike in it, how good it is."""

import io
import json
import os
import shutil
import weakref
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import IO, Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml
from recbole.data.interaction import Interaction
from scipy.sparse import issparse

from .. import __version__, export
from ..data.new_rows import id_column, id_names
from ..errors import IRLLRecError
from ..explain import Explainer, most_similar
from ..files import atomic_folder, atomic_write, open_to_read
from ..guest import as_guest
from ..likeness import unit_vectors
from ..model.folding import item_weights
from ..model.wearing import embeddings_of
from ..recommend import ids_of, recommend
from ..runs.splits import Splits, load_splits
from ..runs.training import best_of, popularity_of, read_history, test
from ..scorer import Scorer
from ..serving import Served, read_checkpoint, serve
from ..top_k import top_k
from . import hub
from .frames import Frame, GivenTexts, Ids, frame_of_interactions, frame_of_new_items, names_in, read_interactions

NAME = "frames"  # of the data set
RUN = "run"  # the folder of its training
_FORMAT = 1
_ABOUT = "model.json"
# what comes of reading a file that is none of ours, or is cut short or changed
_DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, EOFError, OSError, KeyError, ValueError, TypeError),
    *(pa.ArrowException, yaml.YAMLError),
)
_CHECKPOINT, _HISTORY = "best.pth", "history.json"
_ALIKE = 1 << 24  # similarities held at once


class Folder:
    """A temporary folder that vanishes with the last object that holds this."""

    def __init__(self) -> None:
        self.path = Path(mkdtemp(prefix="irllrec-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)

    @property
    def checkpoint(self) -> Path:
        """The trained model's."""
        return self.path / RUN / _CHECKPOINT


def read_splits(folder: Path, model: str) -> Splits:
    """The splits of the data set that lies in a model's folder, with which a model of this name is trained."""
    kept_in = {"checkpoint_dir": repr(str(folder / RUN))}  # what is made of texts; RecBole evaluates the string
    return load_splits(NAME, folder, settings=kept_in, model=model)


class Vectors(NamedTuple):
    """The vectors of all users and items; a score is the inner product of two, but for a linear part."""

    user_ids: pd.Index  # [n_users]
    users: np.ndarray  # [n_users, d] float32
    item_ids: pd.Index  # [n_items]
    items: np.ndarray  # [n_items, d] float32
    metric: str  # the one to give to a vector index: cosine or inner_product
    linear_part: bool  # whether scores have one, which is not in the vectors


@dataclass(frozen=True)
class Explanation:
    """Why an item for a user: what of the user's side agrees most with it. To be printed, or read by field."""

    user: Any
    item: Any
    score: float  # the model's
    rank: int  # among all items that the user does not have, from 1; where it stands if the user has it
    because_of: Any = None  # the user's item that agrees most; None for the user's own text, or where nothing is known
    similarity: float | None = None  # the cosine of the two texts or vectors, or the weight between the items
    kind: str | None = None  # what is compared: texts (profile, intent), vectors, or weights of items
    item_text: str | None = None
    user_text: str | None = None  # that of `because_of`, or the user's own

    def __str__(self) -> str:
        lines = [f"{self.item} for {self.user}: rank {self.rank}, score {self.score:.4f}"]
        if self.kind is not None:
            what = f"the user's own {self.kind} text" if self.because_of is None else f"{self.because_of}"
            lines.append(f"  because of {what} (similarity {self.similarity:.4f} of {self.kind})")
        for whose, text in (("item", self.item_text), ("user's side", self.user_text)):
            if text:
                lines.append(f"  text of the {whose}: {text}")
        return "\n".join(lines)


class Recommender:
    """Recommends with a model, for users and items by the ids with which they were given.

    Args:
        name: the model's.
        ids: of "user" and "item".
        folder: what the model needs lies there; it vanishes with the last one that holds it.
        has_texts: whether items have texts.
    """

    def __init__(self, name: str, ids: Mapping[str, Ids], folder: Folder, has_texts: bool):
        self._name, self._ids, self._folder, self._has_texts = name, ids, folder, has_texts

    def __repr__(self) -> str:
        return f"<{self._name} of {len(self._ids['user'].names)} users and {len(self._ids['item'].names)} items>"

    @cached_property
    def _scorer(self) -> Scorer:
        raise NotImplementedError

    @property
    def users(self) -> pd.Index:
        """All users that it knows."""
        return self._ids["user"].given(self._scorer.user_names[1:].to_pylist())

    @property
    def items(self) -> pd.Index:
        """All items that it knows."""
        return self._ids["item"].given(self._scorer.item_names[1:].to_pylist())

    def recommend(
        self,
        users: Any = None,
        k: int = 10,
        items: Any = None,
        explain: bool = False,
        repeat_held_out: bool = False,
        show_progress: bool = False,
    ) -> pd.DataFrame:
        """The k best items of each user, without those it has; fewer where fewer are left.

        Args:
            users: a user or a list of them; None for all.
            k: at least 1.
            items: those that may be recommended; None for all.
            explain: add the columns ``kind``, ``item_text``, ``user_text``, ``because_of`` and ``similarity``: of the
                texts on the user's side the one that agrees most with the item's.
            repeat_held_out: recommend items again that a user has among those held out.
            show_progress: on standard error.

        Returns:
            A row a recommendation: ``user``, ``rank`` from 1, ``item``, ``score``.

        Raises:
            IRLLRecError: a user or an item is not known, or there are no texts to explain with.
        """
        _refuse_k(k)
        if explain and not self._has_texts:
            raise IRLLRecError(
                "The items have no texts to explain with: give item_texts to fit, or leave explain out; "
                "model.explain(user, item) does without."
            )
        whom = self._places("user", users)
        of_what = None if items is None else self._places("item", items)
        found = recommend(self._scorer, whom, k, of_what, repeat_held_out, explain, show_progress)
        rows = pa.Table.from_batches(
            [batch for table in found.tables for batch in table.to_batches()], found.schema
        ).to_pandas()
        sides = {"user": "user", "item": "item", **({"because_of": "item"} if explain else {})}
        return rows.assign(**{column: self._ids[side].given(rows[column]) for column, side in sides.items()})

    def similar_items(self, items: Any, k: int = 10) -> pd.DataFrame:
        """The k items that are most like each item: by the cosine of vectors, or by the model's weights between items.

        Args:
            items: an item or a list of them.
            k: at least 1.

        Returns:
            ``item``, ``rank`` from 1, ``similar``, ``similarity``; weights of zero are left out.

        Raises:
            IRLLRecError: an item is not known, or the model has neither vectors of items nor weights.
        """
        _refuse_k(k)
        if self._similarity is None:
            raise IRLLRecError(
                f"{self._name} has neither embeddings of all items nor weights between them, so nothing says which are "
                f"alike: take a model such as IRLLRec, LightGCN, EASE or ItemKNN."
            )
        similarity, kind = self._similarity
        wanted = self._places("item", items)
        n_items = len(self._scorer.item_tokens)
        tables = []
        for block in np.array_split(wanted, max(1, -(-len(wanted) * n_items // _ALIKE))):
            values = torch.from_numpy(similarity(block, np.arange(n_items)))
            values[:, 0] = values[torch.arange(len(block)), torch.from_numpy(block)] = -torch.inf
            if kind == "weights":
                values[values == 0] = -torch.inf
            highest, best = (found.numpy() for found in top_k(values, min(k, n_items)))
            row, rank = (highest > -np.inf).nonzero()
            tables.append((block[row], rank + 1, best[row, rank], highest[row, rank]))
        item, rank, similar, value = (np.concatenate(parts) for parts in zip(*tables, strict=True))
        return pd.DataFrame(
            {
                "item": self._given("item", item),
                "rank": rank.astype(np.int32),
                "similar": self._given("item", similar),
                "similarity": value,
            }
        )

    def explain(self, user: Any, item: Any) -> Explanation:
        """Why this item for this user: the texts that agree most, or without texts the user's most similar item.

        Raises:
            IRLLRecError: one of them is not known.
        """
        users, items = self._places("user", [user]), self._places("item", [item])
        scorer, of_item = self._scorer, items[0]
        scores = scorer.score(torch.as_tensor(users, device=scorer.config["device"]))[0].float().cpu().numpy()
        others = np.setdiff1d(np.arange(1, len(scores)), scorer.known_items[users[0]].indices)
        return Explanation(
            user=self._given("user", users)[0],
            item=self._given("item", items)[0],
            score=float(scores[of_item]),
            rank=1 + int((scores[others] > scores[of_item]).sum()),
            **(self._by_texts(users, items) or self._by_items(users, items)),
        )

    def _by_texts(self, user: np.ndarray, item: np.ndarray) -> dict[str, Any]:
        if not self._has_texts:
            return {}
        found = zip(Explainer.SCHEMA.names, self._explainer(user, item), strict=True)
        reason = {name: column[0].as_py() for name, column in found}
        if reason["kind"] is None:
            return {}
        return reason | {"because_of": self._ids["item"].given([reason["because_of"]])[0]}

    def _by_items(self, user: np.ndarray, item: np.ndarray) -> dict[str, Any]:
        if self._similarity is None:
            return {}
        similarity, kind = self._similarity
        best, highest = most_similar(  # what the user's items [1, h] say for the one item, as [1, 1, h]
            self._scorer.train_items, user, item, lambda read, found: similarity(read[0, 0], found[0, :, 0]).T[None]
        )
        if best[0] == 0:
            return {}
        return {"because_of": self._given("item", best)[0], "similarity": float(highest[0]), "kind": kind}

    def export(self) -> Vectors:
        """The vectors of all users and items, for an index or for work of one's own.

        Raises:
            IRLLRecError: the model's scores are not known to be products of vectors.
        """
        if self._scorer.embeddings is None:
            raise IRLLRecError(
                f"The scores of {self._name} are not known to be products of vectors: take IRLLRec or another encoder "
                f"of this package."
            )
        made = export.vectors(self._scorer)
        about = made.metadata["metric"], made.metadata["linear_part"]
        return Vectors(self.users, made.values["users"], self.items, made.values["items"], *about)

    @cached_property
    def _explainer(self) -> Explainer:
        return Explainer(self._scorer)

    @cached_property
    @torch.no_grad()
    def _similarity(self) -> tuple[Callable[[np.ndarray, np.ndarray], np.ndarray], str] | None:
        """A function of items [n] and others [m] that gives [n, m] similarities, and what they are of, if known."""
        scorer = self._scorer
        embeddings = scorer.embeddings
        weights = None if embeddings else item_weights(scorer.model)
        if embeddings is None and weights is None:
            embeddings = embeddings_of(scorer.model)
        if embeddings is not None:
            unit = unit_vectors(*embeddings).cpu().numpy()
            return lambda some, others: unit[some] @ unit[others].T, "vectors"
        if weights is None:
            return None

        def between(some: np.ndarray, others: np.ndarray) -> np.ndarray:
            rows = weights[some]
            return (rows.toarray() if issparse(rows) else np.array(rows, np.float32))[:, others]

        return between, "weights"

    def _places(self, side: str, wanted: Any) -> np.ndarray:
        names = getattr(self._scorer, f"{side}_names").to_numpy(zero_copy_only=False)
        if wanted is None:
            return np.arange(1, len(names))
        return ids_of(names, names_in(wanted), side)

    def _given(self, side: str, places: Any) -> pd.Index:
        names = getattr(self._scorer, f"{side}_names")
        return self._ids[side].given(names.take(pa.array(np.asarray(places))).to_pylist())


def _refuse_k(k: Any) -> None:
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise IRLLRecError(f"k is {k!r}: give the number of items that are wanted, at least 1.")


class Extended(Recommender):
    """A model that also knows new items, and users by new or grown histories; see `Model.extend`."""

    def __init__(self, name: str, ids: Mapping[str, Ids], folder: Folder, has_texts: bool, scorer: Scorer):
        super().__init__(name, ids, folder, has_texts)
        vars(self)["_scorer"] = scorer


class Model(Recommender):
    """A trained model; made by `fit`, `load` and `load_from_hub`."""

    @property
    def checkpoint(self) -> Path:
        """The checkpoint, which the commands read as well, and `fit`'s setting ``warm_start``; it is there while this
        model is."""
        return self._folder.checkpoint

    @as_guest()
    def _serve(self, texts: bool = False, histories: bool = False) -> Served:
        return serve(self.checkpoint, data_path=self._folder.path, texts=texts, histories=histories)

    @cached_property
    def _scorer(self) -> Scorer:
        return self._serve()

    @cached_property
    @as_guest()
    def _splits(self) -> Splits:
        return read_splits(self._folder.path, self._name)

    @property
    def settings(self) -> dict[str, Any]:
        """All settings of the run, RecBole's and the model's."""
        return dict(read_checkpoint(self.checkpoint)["config"].final_config_dict)  # serving changes those of its own

    @property
    def history(self) -> pd.DataFrame:
        """What validation saw: a row an evaluation, by epoch from 0, with ``is_best`` where it was the best so far."""
        found = read_history(self._folder.path / RUN)
        rows = [{"epoch": each.epoch, **each.metrics, "is_best": each.is_best} for each in found]
        return pd.DataFrame(rows).set_index("epoch")

    @as_guest()
    def evaluate(self, test_set: Frame = None, **columns: str) -> pd.DataFrame:
        """Metrics on interactions that the training has not seen, beside what popularity reaches on them.

        Args:
            test_set: such interactions, as `fit` takes them; None for those that `fit` has held out. Those of users
                or items that the model does not know, and those that it was fitted with, are left out.
            columns: their ``user`` and ``item`` columns, as in `fit`.

        Returns:
            A row a metric, such as ``recall@10``; the columns are the model's name and ``popularity``.

        Raises:
            IRLLRecError: there are no such interactions.
        """
        splits = self._splits if test_set is None else self._tested_on(test_set, columns)
        if splits.test is None or not len(splits.test.inter_feat):
            raise IRLLRecError("Nothing was held out for a test: give interactions, or fit with test above 0.")
        own = test(self._name, splits, {}, self.checkpoint).metrics
        popular = popularity_of(self._name, splits, {}) or {}
        return pd.DataFrame({self._name: own, "popularity": {name: popular.get(name) for name in own}}, dtype=float)

    def _tested_on(self, given: Frame, columns: Mapping[str, str]) -> Splits:
        """The splits with these interactions for the test set."""
        batch, _ = read_interactions(given, columns, "The interactions of the test")
        users, items = (
            pd.Index(names.to_numpy(zero_copy_only=False)[1:]).get_indexer(pd.Index(batch[side].to_pylist())) + 1
            for side, names in (("user", self._scorer.user_names), ("item", self._scorer.item_names))
        )
        splits, n_items = self._splits, len(self._scorer.item_tokens)
        fitted = [
            np.asarray(part.inter_feat[part.uid_field]) * n_items + np.asarray(part.inter_feat[part.iid_field])
            for part in (splits.train, splits.valid)
        ]
        pairs = users * n_items + items
        kept = np.unique(pairs[(users > 0) & (items > 0) & ~np.isin(pairs, np.concatenate(fitted))])
        if not len(kept):
            raise IRLLRecError(
                f"None of the {len(pairs)} interactions of the test is new and of a user and an item that the model "
                f"knows: give interactions that it was not fitted with."
            )
        train = splits.train
        fields = dict(zip((train.uid_field, train.iid_field), np.divmod(kept, n_items), strict=True))
        feat = Interaction({name: torch.as_tensor(ids) for name, ids in fields.items()})
        return replace(splits, test=train.copy(feat))

    @as_guest()
    def extend(self, items: GivenTexts | None = None, histories: Frame = None) -> Extended:
        """The same model, which also knows new items, and users by new or grown histories, without training.

        Args:
            items: a data frame with a row a new item: its id in a column ``item`` or in the index, and ``text``, the
                columns of `fit`'s ``item_texts``, or ``embedding``; or a mapping from ids to texts.
            histories: a row an interaction, columns ``user`` and ``item``.

        Raises:
            IRLLRecError: a frame is refused, or the model cannot do it.
        """
        new = None if items is None else frame_of_new_items(items)
        histories = None if histories is None else frame_of_interactions(histories, "The frame of histories")
        made = self._serve(new is not None, histories is not None).extend(new, histories)
        config, ids = self._scorer.config, dict(self._ids)
        tried = {"user": [config["USER_ID_FIELD"], "user"], "item": [config["ITEM_ID_FIELD"], "item", "token"]}
        for side, frame in (("item", new), ("item", histories), ("user", histories)):
            if frame is not None:
                column = id_column(frame, tried[side], "The frame")
                ids[side] = ids[side].with_new(column, id_names(column, "The frame"))
        return Extended(self._name, ids, self._folder, self._has_texts or items is not None, made)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model into one file, which `load` reads anywhere, without the frames that it was fitted with.

        The file holds the interactions and the texts. A reader sees the whole file or none of it.
        """
        with atomic_write(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for member, content in self._members().items():
                if isinstance(content, Path):
                    archive.write(content, member)
                else:
                    archive.writestr(member, content)

    def save_folder(self, path: str | os.PathLike[str]) -> None:
        """Write the same as one folder, which `load` reads as well, with a README.md that introduces the model.

        What was held out is looked at for its metrics. Other files of the folder stay. A reader sees the whole model
        or the one before.
        """
        with atomic_folder(path) as folder:
            for member, content in self._members().items():
                target = folder / member
                target.parent.mkdir(exist_ok=True)
                if isinstance(content, Path):
                    shutil.copyfile(content, target)
                else:
                    target.write_bytes(content)
            (folder / hub.CARD).write_text(self._card(), encoding="utf-8")

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Push the folder of `save_folder` to the Hugging Face hub, where `load_from_hub` finds it.

        It holds the interactions and the texts, so a repository that is made for it is private.

        Args:
            repo_id: such as ``"somebody/shop"``.
            options: ``private`` (True), ``token``, ``endpoint``; others as ``HfApi.upload_folder`` takes them, such as
                ``revision`` and ``commit_message``.

        Returns:
            The address of the commit.

        Raises:
            IRLLRecError: huggingface_hub is not installed (``pip install "recbole-irllrec[hub]"``), or refuses.
        """
        with TemporaryDirectory(prefix="irllrec-") as own:
            self.save_folder(Path(own) / "model")
            return hub.push(Path(own) / "model", repo_id, **options)

    def _members(self) -> dict[str, bytes | Path]:
        """What is saved, by its place: contents or files that hold them."""
        files = [self._folder.path / RUN / name for name in (_CHECKPOINT, _HISTORY)]
        files += sorted((self._folder.path / NAME).iterdir())
        members: dict[str, bytes | Path] = {file.relative_to(self._folder.path).as_posix(): file for file in files}
        for side, ids in self._ids.items():
            table = pa.Table.from_pandas(pd.DataFrame({"id": ids.values, "name": ids.names}), preserve_index=False)
            pq.write_table(table, content := io.BytesIO())
            members[_ids_file(side)] = content.getvalue()
        about = {
            "format": _FORMAT,
            "model": self._name,
            "has_texts": self._has_texts,
            "created_with": f"recbole-irllrec {__version__}",
            "members": sorted(members),
        }
        return {_ABOUT: json.dumps(about).encode(), **members}

    def _card(self) -> str:
        splits = self._splits
        parts = {"training": splits.train, "validation": splits.valid, "test": splits.test}
        sizes = {"users": len(self._ids["user"].names), "items": len(self._ids["item"].names)}
        sizes |= {f"{part} interactions": len(each.inter_feat) for part, each in parts.items() if each is not None}
        given = yaml.safe_load((self._folder.path / NAME / f"{NAME}.yaml").read_text(encoding="utf-8"))
        is_held_out = splits.test is not None and len(splits.test.inter_feat)
        tested = self.evaluate() if is_held_out else pd.DataFrame()
        return hub.card(self._name, sizes, given, best_of(read_history(self._folder.path / RUN)).metrics, tested)


def load(path: str | os.PathLike[str]) -> Model:
    """Read a model that `Model.save` or `Model.save_folder` wrote. Nothing in the files is executed.

    Raises:
        IRLLRecError: the file or folder is not there, or is no such one.
    """
    folder = Folder()
    own = folder.path
    try:
        if Path(path).is_dir():
            about = json.loads((Path(path) / _ABOUT).read_bytes())
            for member in map(str, about["members"]):  # other files that lie there are none of its
                _extract(lambda name: open_to_read(Path(path) / name), member, own)
        else:
            with zipfile.ZipFile(path) as archive:
                about = json.loads(archive.read(_ABOUT))
                for member in archive.namelist():
                    _extract(archive.open, member, own)
        if about["format"] != _FORMAT:
            raise ValueError(f"its format is {about['format']}")
        for settings in (own / NAME).glob("*.yaml"):
            yaml.safe_load(settings.read_text(encoding="utf-8"))
        ids = {side: _read_ids(own / _ids_file(side)) for side in ("user", "item")}
        return Model(about["model"], ids, folder, about["has_texts"])
    except FileNotFoundError:
        raise IRLLRecError(f"{path} is not there, or not complete: give what a model's save() wrote.") from None
    except _DAMAGED as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise IRLLRecError(
            f"{path} is no model that save() wrote, or is damaged ({reason}): give such a file or folder, or fit again."
        ) from None


def load_from_hub(repo_id: str, **options: Any) -> Model:
    """Read a model that `Model.push_to_hub` pushed, of the Hugging Face hub. Nothing in its files is executed.

    Args:
        repo_id: such as ``"somebody/shop"``.
        options: as ``huggingface_hub.snapshot_download`` takes them: ``revision``, ``token``, ``cache_dir``, …

    Raises:
        IRLLRecError: huggingface_hub is not installed, there is no such repository, or what it holds is no such model.
    """
    return load(hub.pull(repo_id, **options))


def _ids_file(side: str) -> str:
    return f"{side}s.parquet"


def _extract(opened: Callable[[str], IO[bytes]], member: str, folder: Path) -> None:
    """Write a member of what is loaded into the folder, if it is one that `Model.save` writes."""
    known = {_ABOUT, *map(_ids_file, ("user", "item")), *(f"{RUN}/{name}" for name in (_CHECKPOINT, _HISTORY))}
    parent, _, name = member.rpartition("/")
    if member not in known and not (parent == NAME and name.startswith(f"{NAME}.")):
        raise ValueError(f"it holds {member}")
    target = folder / member
    target.parent.mkdir(exist_ok=True)
    with opened(member) as source, open(target, "xb") as file:
        shutil.copyfileobj(source, file)


def _read_ids(path: Path) -> Ids:
    frame = pq.read_table(path).to_pandas()
    return Ids(pd.Index(frame["id"]), pd.Index(frame["name"]))

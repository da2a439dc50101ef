"""From a stream of reviews to a RecBole data set, within the memory of the ids and numbers.

The texts wait in a Parquet file on disk until it is known which reviews are kept; of each review, memory holds two
integers and two numbers, and each id once.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm import tqdm

from recbole_irllrec.data.tokens import LONGEST, escape_tokens
from recbole_irllrec.errors import IRLLRecError
from recbole_irllrec.files import atomic_folder
from recbole_irllrec.tables.atomic_file import read_fields

from .atomic import check_name, harmless, numbers, refuse_overwriting, settings_text, write_header, write_lines
from .markup import are_source, plain_texts

# The columns of reviews; the last three may be missing.
REVIEWS = pa.schema(
    {"user": pa.string(), "item": pa.string(), "rating": pa.float64(), "timestamp": pa.float64(), "text": pa.string()}
)
SIDES = ("user", "item")
_ROWS = 1 << 16  # reviews written at a time


@dataclass(frozen=True)
class Keep:
    """Which reviews are kept. They are applied in this order, after repeated reviews are dropped."""

    min_rating: float | None = None  # a review without a rating is below every rating
    sample_users: float | None = None  # a share of the users, in (0, 1]
    k_core: int = 1  # until every user and every item has at least so many
    seed: int = 2020  # of the sample
    unseen: bool = False  # also users and items of the features that have no review that is kept


class Reviews(NamedTuple):
    """What a reader of reviews gives."""

    batches: Iterable[pa.RecordBatch]  # columns: those of `REVIEWS`
    counts: Counter[str]  # what it has to say, in words; complete when all batches are read


class Features(NamedTuple):
    """What is known about users or items."""

    fields: dict[str, str]  # the names of the columns after the id, and RecBole's types of them
    batches: Iterable[pa.RecordBatch]  # columns: the id, then the fields, strings; those of texts may be lists of them
    origin: Path
    once: bool = False  # refuse repeated ids, of which otherwise the first row is kept
    separators: Mapping[str, str] = {}  # of the texts in a field's lists, where it is not a comma


def convert(
    out: Path,
    name: str,
    reviews: Reviews,
    features: dict[str, Features],
    keep: Keep,
    force: bool = False,
    count_repeats: bool = False,
) -> dict[str, int]:
    """Write the data set ``out/name/``: ``.inter``, ``.item``, ``.user``, ``.reviews.parquet`` and the settings.

    Args:
        out: the folder of the data sets.
        name: the data set's name.
        reviews: the reviews; markup in their texts is resolved, as in the features.
        features: of "user" and of "item"; without ``keep.unseen``, only those of users and items that have reviews
            that are kept are written.
        keep: what is kept.
        force: replace what is there; other files in the folder stay.
        count_repeats: write a column ``count``: how many of the reviews read are of that user and item, whatever rule
            keeps the latest.

    Returns:
        What was read, left out and written, in words.

    Raises:
        IRLLRecError: the data set is already there, or what is read is bad or none of it is kept, or there are no
            features whose unseen users and items could be kept. Nothing was changed.
    """
    check_name(name)
    if keep.unseen and not features:
        raise IRLLRecError(
            "There are no features for --keep-unseen to take users and items from: name their file (--items, "
            "--users), or leave it out."
        )
    refuse_overwriting([out / name], force)
    with atomic_folder(out / name) as folder:
        ids, counts = _write_interactions(folder / name, reviews, keep, count_repeats)
        for side, known in features.items():
            counts |= _write_features(folder / f"{name}.{side}", side, known, ids[side], keep.unseen)
        load_col = {"inter": list(read_fields(folder / f"{name}.inter"))}
        settings: dict[str, Any] = {"data_path": str(out), "load_col": load_col}
        if keep.unseen:
            # RecBole takes the ids of a feature file that it loads for ids of the data set, and would drop the
            # interactions of those that are not in it. Else nothing is said of features.
            load_col |= {side: [f"{side}_id"] for side in features}
            settings["filter_inter_by_user_or_item"] = False
            settings["unseen_items"] = "text"
        (folder / f"{name}.yaml").write_text(settings_text(settings), encoding="utf-8")
    return counts


def _write_interactions(
    stem: Path, reviews: Reviews, keep: Keep, count_repeats: bool
) -> tuple[dict[str, pa.Array], dict]:
    """Write ``<stem>.inter`` and ``<stem>.reviews.parquet``; returns the ids kept on each side, and the counts."""
    spilled = stem.with_name("texts.parquet")
    columns = _read(reviews.batches, spilled, keep)
    codes = {side: columns[side].indices.to_numpy() for side in SIDES}
    ids = {side: columns[side].dictionary for side in SIDES}
    counts: dict[str, int] = {"reviews read": len(codes["user"]), **reviews.counts, **_without(columns)}
    repeats = _repeats_to_latest(codes, columns.get("timestamp"))
    kept, dropped = _choose(codes, columns, keep, repeats > 0)
    counts |= dropped
    tokens = {side: _tokens(side, ids[side]) for side in SIDES}
    places = pa.array(np.flatnonzero(kept))
    chosen: dict[str, pa.Array] = {
        side: pa.DictionaryArray.from_arrays(columns[side].indices.take(places), tokens[side]) for side in SIDES
    }
    chosen |= {name: columns[name].take(places) for name in ("rating", "timestamp") if name in columns}
    if count_repeats:
        chosen["count"] = pa.array(repeats[kept], pa.float64())
    with open(stem.with_name(f"{stem.name}.inter"), "wb") as file:
        fields = {"user": "user_id:token", "item": "item_id:token", "rating": "rating:float"}
        fields |= {"timestamp": "timestamp:float", "count": "count:float"}
        write_header(file, [fields[name] for name in chosen])
        write_lines(file, [values if name in SIDES else numbers(values) for name, values in chosen.items()])
    if spilled.is_file():
        resolved = _write_texts(stem.with_name(f"{stem.name}.reviews.parquet"), spilled, kept, chosen)
        counts |= _some({"review texts with HTML, which is resolved": resolved})
        spilled.unlink()
    ids_kept = {side: ids[side].take(pa.array(np.unique(codes[side][kept]))) for side in SIDES}
    escaped = sum(pc.sum(pc.not_equal(escape_tokens(ids_kept[side]), ids_kept[side])).as_py() for side in SIDES)
    counts |= {
        "users": len(ids_kept["user"]),
        "items": len(ids_kept["item"]),
        "interactions": int(kept.sum()),
        **({"interactions with a count above 1": int((repeats[kept] > 1).sum())} if count_repeats else {}),
        "ids that RecBole would not read as they are, and that are escaped": escaped,
    }
    return ids_kept, counts


def _read(reviews: Iterable[pa.RecordBatch], spilled: Path, keep: Keep) -> dict[str, pa.Array]:
    """Read all: the ids as dictionaries and the numbers into memory, the texts to a file."""
    parts: dict[str, list[pa.Array]] = {}
    writer = None
    with open(spilled, "wb") as file:
        for batch in reviews:
            if keep.min_rating is not None and "rating" not in batch.schema.names:
                raise IRLLRecError(
                    "There are no ratings for --min-rating to look at: name their column, or leave it out."
                )
            if "text" in batch.schema.names:
                texts = batch.select(["text"])
                # Without statistics and dictionary, which keep texts in memory until the end.
                writer = writer or pq.ParquetWriter(
                    file, texts.schema, compression="zstd", use_dictionary=False, write_statistics=False
                )
                writer.write_batch(texts)
            for name in batch.schema.names:
                if name in SIDES:
                    parts.setdefault(name, []).append(batch[name].dictionary_encode())
                elif name != "text":
                    parts.setdefault(name, []).append(batch[name])
        if writer:
            writer.close()
    if not writer:
        spilled.unlink()
    if not parts:
        raise IRLLRecError("There is no review in these files: check that they are the ones meant.")
    chunked = {name: pa.chunked_array(chunks) for name, chunks in parts.items()}
    del parts
    return {
        name: chunks.unify_dictionaries().combine_chunks() if name in SIDES else chunks.combine_chunks()
        for name, chunks in chunked.items()
    }


def _without(columns: dict[str, pa.Array]) -> dict[str, int]:
    """How many reviews lack what others have."""
    names = {"rating": "a rating", "timestamp": "a time"}
    lacking = {what: columns[name].null_count for name, what in names.items() if name in columns}
    return _some({f"reviews without {what} (empty, or NA, null and the like)": n for what, n in lacking.items()})


def _some(counts: Mapping[str, int]) -> dict[str, int]:
    return {what: number for what, number in counts.items() if number}


def _choose(
    codes: dict[str, np.ndarray], columns: dict[str, pa.Array], keep: Keep, kept: np.ndarray
) -> tuple[np.ndarray, dict]:
    """Which of the latest reviews ``kept`` stay so, [n] bool, and how many each rule has dropped."""
    left = {"": len(kept)}  # after each rule
    counts: dict[str, int] = {}

    def count(dropped: str, rule: str) -> None:
        counts[dropped] = list(left.values())[-1] - int(kept.sum())
        left[rule] = int(kept.sum())

    count("repeated: only the latest review of a user and item is kept", "the latest of each user and item")
    if keep.min_rating is not None:
        kept &= pc.fill_null(pc.greater_equal(columns["rating"], keep.min_rating), False).to_numpy(False)
        count(f"rated below {keep.min_rating:g}", f"--min-rating {keep.min_rating:g}")
    if keep.sample_users is not None:
        users = np.unique(codes["user"][kept])
        size = max(1, round(keep.sample_users * len(users)))
        sample = np.random.default_rng(keep.seed).choice(users, min(size, len(users)), replace=False)
        kept &= np.isin(codes["user"], sample)
        count("of users outside the sample", f"--sample-users {keep.sample_users:g}")
    if keep.k_core > 1:
        _shrink_to_core(codes, kept, keep.k_core)
        count(f"outside the {keep.k_core}-core", f"--k-core {keep.k_core}")
    if not kept.any():
        after = ", ".join(f"{number:,} after {rule}" for rule, number in list(left.items())[1:])
        lacking = "".join(f" ({number:,} {what})" for what, number in _without(columns).items())
        raise IRLLRecError(f"None of the {len(kept):,} reviews{lacking} is left: {after}: loosen these filters.")
    return kept, counts


def _repeats_to_latest(codes: dict[str, np.ndarray], timestamps: pa.Array | None) -> np.ndarray:
    """[n] int: at the last review of each user and item, by time and then by place, how many they have; else 0."""
    pairs = codes["user"].astype(np.int64) * (int(codes["item"].max()) + 1) + codes["item"]
    if timestamps is None:
        order = np.argsort(pairs, kind="stable")
    else:
        order = np.lexsort((pc.fill_null(timestamps, -np.inf).to_numpy(), pairs))
    last = np.flatnonzero(np.append(pairs[order[1:]] != pairs[order[:-1]], True))
    repeats = np.zeros(len(pairs), np.int32)
    repeats[order[last]] = np.diff(last, prepend=-1)
    return repeats


def _shrink_to_core(codes: dict[str, np.ndarray], kept: np.ndarray, k: int) -> None:
    """Drop from ``kept`` [n] bool until every user and item that is left has at least k reviews."""
    before = -1
    while (now := int(kept.sum())) not in (before, 0):
        before = now
        for side in SIDES:
            counts = np.bincount(codes[side][kept], minlength=int(codes[side].max()) + 1)
            kept &= counts[codes[side]] >= k


def _tokens(side: str, ids: pa.Array) -> pa.Array:
    tokens = escape_tokens(ids)
    longest = pc.max(pc.utf8_length(tokens)).as_py()
    if longest > LONGEST:
        raise IRLLRecError(
            f"A {side} id is {longest} characters long, and RecBole reads at most {LONGEST}: shorten it."
        )
    return tokens


def _write_texts(path: Path, spilled: Path, kept: np.ndarray, chosen: dict[str, pa.Array]) -> int:
    """Write the kept reviews, in the order of the ``.inter`` file; returns how many texts had markup."""
    n = len(chosen["user"])
    columns = {name: chosen.get(name, pa.nulls(n, REVIEWS.field(name).type)) for name in REVIEWS.names[:-1]}
    with pq.ParquetFile(spilled) as texts, pq.ParquetWriter(path, REVIEWS, compression="zstd") as writer:
        read = written = resolved = 0
        for batch in tqdm(texts.iter_batches(_ROWS), path.name, -(-len(kept) // _ROWS), delay=1):
            said = batch["text"].filter(pa.array(kept[read : read + len(batch)]))
            plain = plain_texts(said)
            rows = [columns[name].slice(written, len(said)).cast(REVIEWS.field(name).type) for name in columns]
            writer.write_batch(pa.record_batch([*rows, plain], schema=REVIEWS))
            read += len(batch)
            written += len(said)
            resolved += _differing(plain, said)
    return resolved


def _differing(some: pa.Array, others: pa.Array) -> int:
    return pc.sum(pc.not_equal(some, others), min_count=0).as_py()


def _write_features(path: Path, side: str, features: Features, ids: pa.Array, keep_unseen: bool) -> dict[str, int]:
    """Write the features of the given ids, or of others too, as an atomic file, in the order in which they come."""
    seen = np.zeros(len(ids), bool)
    unseen: set[str] = set()
    repeated = unknown = 0
    faults: Counter[str] = Counter()
    with open(path, "wb") as file:
        write_header(file, [f"{side}_id:token", *(f"{name}:{kind}" for name, kind in features.fields.items())])
        for batch in features.batches:
            where = pc.fill_null(pc.index_in(batch[0], ids), -1).to_numpy()
            first = np.zeros(len(where), bool)
            first[np.unique(where, return_index=True)[1]] = True
            wanted = where >= 0
            new = wanted & first & ~seen[where]
            if keep_unseen:
                new |= _added(unseen, batch[0], ~wanted)
                wanted[:] = True
            if features.once and (wanted & ~new).any():
                what = batch[0][int(np.flatnonzero(wanted & ~new)[0])].as_py()
                raise IRLLRecError(f"{features.origin} has two rows of the {side} {what!r}: keep one of them.")
            repeated += int((wanted & ~new).sum())
            unknown += int((~wanted).sum())
            seen[where[new & (where >= 0)]] = True
            rows = batch.filter(pa.array(new))
            values = []
            for column, (name, kind) in zip(rows.columns[1:], features.fields.items(), strict=True):
                if kind == "float":
                    faults[f"{side}s whose {name} is missing or no number"] += column.null_count
                    values.append(column)
                else:
                    texts, resolved, sources = without_markup(column, features.separators.get(name, ", "))
                    faults[f"{side}s with HTML in their {name}, which is resolved"] += resolved
                    faults[f"{side}s whose {name} is page source, script or style, and counts as missing"] += sources
                    values.append(harmless(texts))
            if len(rows):
                write_lines(file, [_tokens(side, rows[0]), *values])
    if not seen.any():
        raise IRLLRecError(
            f"{features.origin} shares no {side} id with the reviews: check that it belongs to them and that its "
            f"column of ids is the right one."
        )
    others = {f"rows of other {side}s in {features.origin.name}": unknown}
    if keep_unseen:
        others = {f"unseen {side}s with features, which no interaction has": len(unseen)}
    return {
        f"{side}s with features": int(seen.sum()),
        **others,
        f"repeated rows in {features.origin.name}": repeated,
        **_some(faults),
    }


def _added(names: set[str], ids: pa.Array, chosen: np.ndarray) -> np.ndarray:
    """Add the chosen ids, [n] bool, to the names; returns which of them were no names yet, [n] bool."""
    added = np.zeros(len(ids), bool)
    for row in np.flatnonzero(chosen):
        before = len(names)
        names.add(ids[row].as_py())
        added[row] = len(names) > before
    return added


def without_markup(column: pa.Array, separator: str = ", ") -> tuple[pa.Array, int, int]:
    """Texts, or the joined texts of lists, without markup; how many rows had some, and how many page source."""
    lists = pa.types.is_list(column.type)
    parts = pc.fill_null(column.flatten(), "") if lists else column
    rows = pc.list_parent_indices(column).to_numpy() if lists else np.arange(len(column))
    plain = plain_texts(parts)
    source = are_source(parts, plain)
    resolved = np.unique(rows[pc.fill_null(pc.not_equal(parts, plain), False).to_numpy(False)])
    sources = np.unique(rows[source.to_numpy(False)])
    plain = pc.if_else(source, "", plain)
    texts = _joined(plain, rows, len(column), separator) if lists else plain
    return texts, len(np.setdiff1d(resolved, sources)), len(sources)


def _joined(parts: pa.Array, rows: np.ndarray, n: int, separator: str) -> pa.Array:
    """The texts of each of n rows, each text once; ``rows`` ascends."""
    codes = parts.dictionary_encode()
    pairs = rows * max(len(codes.dictionary), 1) + codes.indices.to_numpy()
    first = np.sort(np.unique(pairs, return_index=True)[1])
    first = first[pc.not_equal(parts, "").to_numpy(False)[first]]
    offsets = np.searchsorted(rows[first], np.arange(n + 1)).astype(np.int32)
    return pc.binary_join(pa.ListArray.from_arrays(offsets, parts.take(pa.array(first))), separator)

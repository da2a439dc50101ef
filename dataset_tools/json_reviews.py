"""The reviews and metadata that Amazon's and Yelp's data sets publish as JSON, one object a line."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa

from recbole_irllrec.errors import IRLLRecError

from .convert import REVIEWS, Features, Reviews
from .sources import json_objects
from .values import MISSING

_ROWS = 20_000  # objects in a batch
_Row = tuple[Any, ...]

# An average rating, a rank or a count of reviews is left out: held-out interactions went into it.
_AMAZON_ITEM = {
    "title": "token_seq",
    "brand": "token_seq",
    "categories": "token_seq",
    "features": "token_seq",
    "description": "token_seq",
    "price": "float",
}
_YELP_ITEM = {"business_name": "token_seq", "categories": "token_seq", "city": "token_seq", "state": "token"}
_YELP_USER = {"user_name": "token_seq", "yelping_since": "token"}


def amazon_reviews(paths: Iterable[Path]) -> Reviews:
    """The reviews of 2014 and 2018 (``reviewerID``) and of 2023 (``user_id``, ``parent_asin``)."""
    files = list(paths)
    for path in files:
        _refuse_others(path, _amazon_review)
    return Reviews(chain.from_iterable(_batches(path, _amazon_review, REVIEWS) for path in files), Counter())


def amazon_items(path: Path) -> Features:
    """The metadata of 2014, 2018 or 2023."""
    return _features(path, _amazon_item, _AMAZON_ITEM)._replace(separators={"description": " "})


def yelp_reviews(path: Path) -> Reviews:
    """``yelp_academic_dataset_review.json``."""
    return Reviews(_batches(path, _yelp_review, REVIEWS), Counter())


def yelp_items(path: Path) -> Features:
    """``yelp_academic_dataset_business.json``."""
    return _features(path, _yelp_item, _YELP_ITEM)


def yelp_users(path: Path) -> Features:
    """``yelp_academic_dataset_user.json``."""
    return _features(path, _yelp_user, _YELP_USER)


def _amazon_review(record: dict) -> _Row:
    if "reviewerID" in record:
        time = _number(record, "unixReviewTime")
        return (
            _id(record, "reviewerID"),
            _id(record, "asin"),
            _number(record, "overall"),
            time,
            _text(record, "reviewText"),
        )
    time = _number(record, "timestamp")
    seconds = None if time is None else time / 1000
    return _id(record, "user_id"), _id(record, "parent_asin"), _number(record, "rating"), seconds, _text(record, "text")


def _amazon_item(record: dict) -> _Row:
    return (
        _id(record, "parent_asin" if "parent_asin" in record else "asin"),
        _texts(record.get("title")),
        _texts(record.get("brand") or record.get("store")),
        _texts(record.get("categories") or record.get("category")),
        _texts(record.get("features") or record.get("feature")),
        _texts(record.get("description")),
        _price(record.get("price")),
    )


def _yelp_review(record: dict) -> _Row:
    date = datetime.fromisoformat(_id(record, "date")).replace(tzinfo=UTC)
    ids = _id(record, "user_id"), _id(record, "business_id")
    return *ids, _number(record, "stars"), date.timestamp(), _text(record, "text")


def _yelp_item(record: dict) -> _Row:
    return _id(record, "business_id"), *(_texts(record.get(name)) for name in ("name", "categories", "city", "state"))


def _yelp_user(record: dict) -> _Row:
    year = [since[:4] for since in _texts(record.get("yelping_since"))]
    return _id(record, "user_id"), _texts(record.get("name")), year


def _batches(path: Path, row: Callable[[dict], _Row], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Some thousand rows at a time."""
    rows: list[_Row] = []
    for number, record in json_objects(path):
        rows.append(_parsed(path, number, record, row))
        if len(rows) == _ROWS:
            yield _batch(rows, schema)
            rows.clear()
    if rows:
        yield _batch(rows, schema)


def _parsed(path: Path, number: int, record: dict, row: Callable[[dict], _Row]) -> _Row:
    try:
        return row(record)
    except KeyError as error:
        raise IRLLRecError(
            f"{path}, line {number}, has no {error.args[0]} (it has {', '.join(record)[:200]}): check that this is the "
            f"file meant, and take the line out if it is the only one."
        ) from None
    except (TypeError, ValueError) as error:
        raise IRLLRecError(f"{path}, line {number}, cannot be used ({error}): mend the line or take it out.") from None


def _refuse_others(path: Path, row: Callable[[dict], _Row]) -> None:
    """Refuse a file of another kind by its first object, before hours go into the others."""
    for number, record in json_objects(path):
        _parsed(path, number, record, row)
        break


def _batch(rows: list[_Row], schema: pa.Schema) -> pa.RecordBatch:
    columns = zip(*rows, strict=True)
    arrays = [_array(list(column), field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.record_batch(arrays, schema=schema)


def _array(values: list, kind: pa.DataType) -> pa.Array:
    try:
        return pa.array(values, kind)
    except UnicodeEncodeError:
        return pa.array(_whole(values), kind)


def _whole(value: Any) -> Any:
    """A text, or a list's, without half surrogate pairs, which JSON can say and UTF-8 cannot."""
    if isinstance(value, list):
        return [_whole(part) for part in value]
    return value and value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _features(path: Path, row: Callable[[dict], _Row], fields: dict[str, str]) -> Features:
    _refuse_others(path, row)
    kinds = {name: pa.string() if kind == "float" else pa.list_(pa.string()) for name, kind in fields.items()}
    schema = pa.schema({"id": pa.string(), **kinds})
    return Features(fields, _batches(path, row, schema), path)


def _id(record: dict, name: str) -> str:
    found = record[name]
    if not isinstance(found, str | int) or found == "":
        raise KeyError(name)
    return str(found)


def _number(record: dict, name: str) -> float | None:
    found = record.get(name)
    if found is None or (isinstance(found, str) and found.strip().lower() in MISSING):
        return None
    number = float(found)
    if math.isinf(number):
        raise ValueError(f"{name} is infinite")
    return None if math.isnan(number) else number


def _text(record: dict, name: str) -> str:
    found = record.get(name)
    if found is not None and not isinstance(found, str):
        raise TypeError(f"{name} is no text")
    return found or ""


def _texts(value: Any) -> list[str]:
    """A text, or the texts of a list, which may hold lists."""
    if isinstance(value, list):
        return [text for part in value for text in _texts(part)]
    return [value] if isinstance(value, str) else []


def _price(value: Any) -> str | None:
    """A price as a number: it is a number, ``"$1,299.00"`` or anything else, which is none."""
    try:
        price = float(str(value).replace("$", "").replace(",", ""))
    except ValueError:
        return None
    return str(price) if math.isfinite(price) else None

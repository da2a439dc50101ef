"""Columns of times: seconds, milliseconds or finer since 1970, dates in digits, dates of ISO 8601.

A column is read by one rule, which its first values choose; a later value that does not fit it is refused, so that no
time depends on the rows beside it.
"""

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from .values import finite, null_where, refuse_unread, without_missing

_UNITS = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}  # so many are a second
_LATEST = 1e11  # seconds, the year 5138: larger numbers are of a smaller unit, whose times then begin in 1973
_DIGITS = {
    "dates of 8 digits": (8, "%Y%m%d"),
    "times of 12 digits": (12, "%Y%m%d%H%M"),
    "times of 14 digits": (14, "%Y%m%d%H%M%S"),
}
_YEARS = (1900, 2100)  # of dates in digits
_ISO = "dates"


class Times:
    """Reads a column of times, some rows after the other, as seconds since 1970.

    Args:
        path: the file, for errors.
        name: the column.
        counts: how many were taken for what is counted here, in words.
    """

    def __init__(self, path: Path, name: str, counts: Counter[str]):
        self._path, self._name, self._counts = path, name, counts
        self._kind: str | None = None

    def seconds(self, row: int, values: pa.Array) -> pa.Array:
        """Seconds since 1970, float64, exact to the microsecond until 2116; null where there is a word for nothing.

        Args:
            row: the number of the first of these rows.
            values: strings. A date without an offset is UTC.

        Raises:
            IRLLRecError: one is no time, or not of the kind that the first ones are.
        """
        known = without_missing(values)
        self._kind = self._kind or _kind(known)
        if self._kind is None:
            return finite(known)  # zeros and nulls
        times = _read(known, self._kind)
        what = f"is none of the {self._kind} with which the column begins"
        if self._kind == _ISO:
            what = "is neither a number nor a date as 2024-12-31 or 2024-12-31T23:59:59"
        refuse_unread(self._path, self._name, row, known, times, what)
        since = " since 1970" if self._kind in _UNITS else ""
        self._counts[f"times in {self._name}, taken for {self._kind}{since}"] += len(times) - times.null_count
        return times


def _kind(values: pa.Array) -> str | None:
    """What the first time is, and for dates in digits most of them; None where there are but zeros and nulls."""
    telling = values.filter(pc.not_equal(pc.fill_null(finite(values), 1), 0)).drop_null()
    if len(telling) == 0:
        return None
    first = finite(telling[:1])[0].as_py()
    if first is None:
        return _ISO
    for kind in _DIGITS:
        if 2 * _read(telling, kind).null_count <= len(telling):
            return kind
    return next((unit for unit, per_second in _UNITS.items() if abs(first) / per_second <= _LATEST), "seconds")


def _read(values: pa.Array, kind: str) -> pa.Array:
    """The times of one kind as seconds, null where a string is none."""
    if kind in _UNITS:
        return _since_1970(values, kind)
    if kind == _ISO:
        dates = pd.to_datetime(values.to_pandas(), utc=True, format="ISO8601", errors="coerce")
    else:
        length, form = _DIGITS[kind]
        digits = pc.replace_substring_regex(values, r"\.0+$", "")  # pandas' where others in the column are missing
        unfit = pc.invert(pc.match_substring_regex(digits, rf"^[0-9]{{{length}}}$"))
        dates = pd.to_datetime(null_where(unfit, digits).to_pandas(), utc=True, format=form, errors="coerce")
        dates = dates.where(dates.dt.year.between(*_YEARS))
    microseconds = dates.dt.as_unit("us").astype("int64")  # exact as a float, unlike nanoseconds
    return pa.array((microseconds / 10**6).to_numpy(), mask=dates.isna().to_numpy())


def _since_1970(values: pa.Array, unit: str) -> pa.Array:
    """Numbers of one unit; zero is 1970 in each."""
    numbers = finite(values).to_numpy(zero_copy_only=False)
    if unit == "nanoseconds":
        numbers, unit = np.round(numbers / 10**3), "microseconds"  # which a float holds, until 2116
    times = numbers / _UNITS[unit]
    sizes = np.abs(times)
    fitting = (sizes <= _LATEST) & ((unit == "seconds") | (sizes > _LATEST / 10**3) | (sizes == 0))
    return pa.array(times, mask=~fitting)

"""Ids of any kind as tokens of RecBole's atomic files.

RecBole reads a file of lines and tabs with pandas, which takes ``NA`` or ``null`` for nothing and a quote at the
beginning for the start of a quoted value. An id that would not arrive unchanged is written as ``escaped:`` and the id
in percent encoding, such as ``escaped:NA`` or ``escaped:a%09b``. So is an id that begins with ``escaped:`` already, so
that `unescape_tokens` always gives back the id. Every other id is its own token.
"""

from urllib.parse import quote, unquote

import pyarrow as pa
import pyarrow.compute as pc
from pandas._libs.parsers import STR_NA_VALUES

ESCAPED = "escaped:"
LONGEST = 131_071  # characters in a value, as Python's csv module, which RecBole reads with, has it
# A NUL is among the control characters: numpy, pandas and C all end a string there. The padding is RecBole's own.
_UNFIT = rf'^"|[\x00-\x1f\x7f]|^{ESCAPED}|^\[PAD\]$'
_NOTHING = pa.array(sorted(STR_NA_VALUES))


def escape_tokens(ids: pa.Array) -> pa.Array:
    """The tokens of ids (strings without null); the few that need it are escaped."""
    unfit = pc.or_(pc.match_substring_regex(ids, _UNFIT), pc.is_in(ids, _NOTHING))
    if not pc.any(unfit).as_py():
        return ids
    escaped = [ESCAPED + quote(name, safe=" ") for name in ids.filter(unfit).to_pylist()]
    return pc.replace_with_mask(ids, unfit, pa.array(escaped, ids.type))


def unescape_tokens(tokens: pa.Array) -> pa.Array:
    """The ids of tokens (strings without null): the inverse of `escape_tokens`."""
    escaped = pc.starts_with(tokens, ESCAPED)
    names = [unquote(token.removeprefix(ESCAPED)) for token in tokens.filter(escaped).to_pylist()]
    return pc.replace_with_mask(tokens, escaped, pa.array(names, tokens.type))

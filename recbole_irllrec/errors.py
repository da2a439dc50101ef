"""The one exception that users are meant to see, and what its sentences have in common."""

import difflib
from collections.abc import Iterable


class IRLLRecError(ValueError):
    """Something that the user can put right.

    The message is one sentence: which file or setting, what was found, what to do.
    The commands print it without a traceback unless ``--debug`` is given.
    """


def did_you_mean(name: str, known: Iterable[str], otherwise: str) -> str:
    """How a sentence about an unknown name ends: with the known one that it looks like, or with other advice."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]}?" if close else otherwise

"""How long a text is to a language model, and how to cut it."""

import logging
import re
import threading

import regex
import tiktoken

_PATIENCE = 20.0  # seconds for the download of a vocabulary; tiktoken itself would wait for ever
_CHARACTER = regex.compile(r"\X")  # what a reader sees as one: a letter with its accents, a family of emoji
_PIECE = re.compile(r"[A-Za-z]{1,3}| {2,8}|[^ A-Za-z]")
_RARE = re.compile(r"[^\x00-\u07ff]")  # three or four bytes


class TokenCounter:
    """Counts tokens with the model's own vocabulary, or rather too many where that cannot be had (and logs which)."""

    def __init__(self, model: str):
        self._encoding = _encoding(model)

    @property
    def exact(self) -> bool:
        """Whether the counts are the model's own."""
        return self._encoding is not None

    def count(self, text: str) -> int:
        """The number of tokens."""
        return _estimate(text) if self._encoding is None else len(self._encoding.encode_ordinary(text))

    def cut(self, text: str, most: int) -> str:
        """The longest beginning that has at most ``most`` tokens and ends with a whole character."""
        if self.count(text) <= most:
            return text
        ends = [0, *(character.end() for character in _CHARACTER.finditer(text))]
        fits, too_long = 0, len(ends) - 1
        while too_long - fits > 1:
            middle = (fits + too_long) // 2
            if self.count(text[: ends[middle]]) <= most:
                fits = middle
            else:
                too_long = middle
        return text[: ends[fits]]


def _estimate(text: str) -> int:
    """More tokens than current vocabularies make of ordinary text.

    Three letters of ASCII are a token, every other character is one or, from three bytes on, two; a single space
    belongs to the word that follows.
    """
    return len(_PIECE.findall(text)) + len(_RARE.findall(text))


def _encoding(model: str) -> tiktoken.Encoding | None:
    """tiktoken's vocabulary for a model, downloaded by it at first use; None where it has none or cannot get it."""
    found: list[tiktoken.Encoding] = []
    reason = ["it has not arrived in time"]

    def load() -> None:
        try:
            found.append(tiktoken.encoding_for_model(model))
        except KeyError:
            reason[0] = "tiktoken does not know the model"
        except Exception as error:  # whatever the download may raise
            reason[0] = f"tiktoken could not load it ({type(error).__name__})"

    loader = threading.Thread(target=load, daemon=True)  # a download that hangs does not hold up the end of the process
    loader.start()
    loader.join(_PATIENCE)
    if found:
        return found[0]
    logging.getLogger(__name__).warning(
        f"There is no vocabulary for the model {model} ({reason[0]}): "
        f"tokens are estimated, rather too many than too few."
    )
    return None

"""RecBole as it lies on the disk: its release and its models, told without importing it, which takes seconds."""

import importlib.util
import sys
from functools import cache
from pathlib import Path

# Registration and compat rest on this release's look-up places.
RELEASE = "1.2.1"


@cache
def _origin() -> Path | None:
    """The file that an import of it would run first; None if there is none."""
    spec = importlib.util.find_spec("recbole")
    return Path(spec.origin) if spec is not None and spec.origin is not None else None


def fits() -> bool:
    """Whether the release is there that this package is made for."""
    origin = _origin()
    return origin is not None and f'__version__ = "{RELEASE}"' in origin.read_text(encoding="utf-8")


def models_of(kind: str) -> list[Path]:
    """The files of its models of a kind, such as ``general``."""
    origin = _origin()
    return [] if origin is None else list(origin.parent.glob(f"model/{kind}_recommender/[a-z]*.py"))


def module_of(kind: str, model: str) -> str | None:
    """The module in which RecBole would look for a model, if it is there; registered modules have no file."""
    module = f"recbole.model.{kind}_recommender.{model.lower()}"
    there = module in sys.modules or any(file.stem == model.lower() for file in models_of(kind))
    return module if there else None

"""What this package needs beside itself. Imports but `recboles` of it, so that it works where the packages do not."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.version import Version

from .recboles import RELEASE

PACKAGE = "recbole-irllrec"
# It is no requirement of the package as pip sees it, and is installed without its own: its metadata, not its code,
# refuses every current Ray. They stand in setup.py.
RECBOLE = Requirement(f"recbole=={RELEASE}")
WITH_NUMPY_1 = Requirement("pyarrow<26")  # later ones refuse it, which pip does not know


class Need(NamedTuple):
    """A package that is needed, and what is there."""

    requirement: Requirement
    installed: str | None  # its version; None if it is not there

    @property
    def met(self) -> bool:
        """Whether a version in range is there."""
        return self.installed is not None and self.requirement.specifier.contains(self.installed, prereleases=True)

    @property
    def range(self) -> str:
        """The requirement as pip takes it, e.g. ``numpy<2,>=1.24``."""
        extras = f"[{','.join(sorted(self.requirement.extras))}]" if self.requirement.extras else ""
        return f"{self.requirement.name}{extras}{self.requirement.specifier}"


def needs(extra: str = "") -> Iterator[Need]:
    """What the package as it is installed here needs, RecBole first, or what one of its extras adds.

    Raises:
        importlib.metadata.PackageNotFoundError: it runs from a folder and is not installed; after RecBole.
    """
    if not extra:
        yield Need(RECBOLE, _version(RECBOLE.name))
        if (numpy := _version("numpy")) is not None and Version(numpy).major < 2:
            yield Need(WITH_NUMPY_1, _version(WITH_NUMPY_1.name))
    for line in metadata.requires(PACKAGE) or []:
        requirement = Requirement(line)
        if _applies(requirement, extra) and not (extra and _applies(requirement, "")):
            yield Need(requirement, _version(requirement.name))


def _applies(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


@contextmanager
def explained() -> Iterator[None]:
    """Within, whatever RecBole does where packages are missing or out of range is an ImportError that names them."""
    try:
        yield
    except Exception as error:
        if (sentence := complaint()) is None:
            raise
        raise ImportError(sentence) from error


def complaint() -> str | None:
    """One sentence about the packages that are missing or out of range; None if all is well or nothing is known."""
    unmet: list[Need] = []
    with suppress(metadata.PackageNotFoundError):
        unmet.extend(need for need in needs() if not need.met)
    if not unmet:
        return None
    found = ", ".join(f"{need.requirement.name} is {need.installed or 'missing'}" for need in unmet)
    return f"The packages do not fit: {found}; {advice(unmet)}."


def advice(unmet: list[Need]) -> str:
    """How to put packages right."""
    others = [f'"{need.range}"' for need in unmet if need.requirement != RECBOLE]
    steps = [f"pip install {' '.join(others)}"] if others else []
    if len(others) < len(unmet):
        steps.append(f"pip install --no-deps {RECBOLE}")
    return " && ".join(steps)

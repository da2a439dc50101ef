"""What holds of every module: imports run one way, and nobody writes into the root logger."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent
PACKAGE = "recbole_irllrec"
# what stands at the top of the repository and is installed below the package
FOLDERS = {PACKAGE: TOP / PACKAGE, f"{PACKAGE}.dataset_tools": TOP / "dataset_tools"}
# importing it registers our models with RecBole: every module stands on it, and it on some of them
ROOT = PACKAGE
# which the zoo stands on, and the rest of its folder on the zoo
APART = f"{PACKAGE}.settings.schemas"


def modules() -> dict[str, Path]:
    """All modules' files by their names."""
    found = {}
    for package, folder in FOLDERS.items():
        for file in folder.rglob("*.py"):
            parts = file.relative_to(folder).with_suffix("").parts
            found[".".join([package, *(part for part in parts if part != "__init__")])] = file
    return found


def imported(name: str, file: Path, known: set[str]) -> set[str]:
    """The modules of ours that a module imports anywhere in it, also where a function does or for types alone."""
    found: set[str] = set()
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            of_names = {f"{origin}.{alias.name}" for alias in node.names}
            found |= of_names & known
            if of_names - known:
                found.add(origin)
    return (found & known) - {name, ROOT}


def folder_of(name: str) -> str:
    """The folder below the package, or the module that stands in none."""
    return name if name == APART else ".".join(name.split(".")[:2])


@pytest.mark.parametrize("unit", [str, folder_of], ids=["modules", "folders"])
def test_no_circle(unit):
    files = modules()
    graph: dict[str, set[str]] = {}
    for name in files.keys() - {ROOT}:
        others = {unit(other) for other in imported(name, files[name], files.keys() - {ROOT})}
        graph.setdefault(unit(name), set()).update(others - {unit(name)})
    assert len(graph) > 20 and any(graph.values())
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as circle:
        pytest.fail(" imports ".join(reversed(circle.args[1])))


def test_nobody_logs_as_the_root():
    """It is RecBole's, and the user's."""
    anonymous = []
    for name, file in modules().items():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            called = node.func if isinstance(node, ast.Call) else None
            asks = getattr(called, "attr", getattr(called, "id", None)) == "getLogger"
            if asks and not node.args and not node.keywords:
                anonymous.append(f"{name}, line {node.lineno}")
    assert not anonymous

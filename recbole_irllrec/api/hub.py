"""A saved model on the Hugging Face hub: pushed, pulled, and the card that introduces it there."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from .. import __version__
from ..errors import IRLLRecError
from ..tracking import plain

CARD = "README.md"
_LIBRARY = "recbole-irllrec"
_ENDS_OF_PATHS = ("_table", "_path", "_dir")  # of settings that name places on somebody's machine
_LOADED = """\
## Load it

```python
from recbole_irllrec import load_from_hub

model = load_from_hub("OWNER/NAME")  # of a folder: load("FOLDER")
model.recommend(k=10)
```

It needs `pip install "recbole-irllrec[hub]"`, and `pip install --no-deps recbole==1.2.1`. Nothing in the files is
executed. They hold the interactions that the model was fitted with, and its texts.
"""


def push(folder: Path, repo_id: str, **options: Any) -> str:
    """Push what a folder holds into a repository, which is made, private, where there is none.

    Args:
        folder: of `Model.save_folder`.
        repo_id: such as ``"somebody/shop"``.
        options: ``private``, ``token`` and ``endpoint``; others as ``HfApi.upload_folder`` takes them.

    Returns:
        The address of the commit.

    Raises:
        IRLLRecError: huggingface_hub is not installed, or refuses.
    """
    with _talking(repo_id) as hub:
        api = hub.HfApi(**{name: options.pop(name) for name in ("token", "endpoint") if name in options})
        api.create_repo(repo_id, private=options.pop("private", True), exist_ok=True)
        made = api.upload_folder(
            **{"commit_message": f"A model of {_LIBRARY} {__version__}"} | options,
            repo_id=repo_id,
            folder_path=folder,
        )
        return str(made.commit_url)


def pull(repo_id: str, **options: Any) -> Path:
    """The folder of hub's cache that holds a repository's files.

    Args:
        repo_id: such as ``"somebody/shop"``.
        options: as ``huggingface_hub.snapshot_download`` takes them: ``revision``, ``token``, …

    Raises:
        IRLLRecError: huggingface_hub is not installed, or there is no such repository.
    """
    with _talking(repo_id) as hub:
        return Path(hub.snapshot_download(repo_id, **options))


@contextmanager
def _talking(repo_id: str) -> Iterator[Any]:
    """huggingface_hub, whose errors are one sentence within."""
    try:
        import huggingface_hub as hub
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    except ImportError:
        raise IRLLRecError('The hub needs the package huggingface_hub: pip install "recbole-irllrec[hub]".') from None
    try:
        yield hub
    except Exception as error:
        known = HfHubHTTPError | HFValidationError | LocalEntryNotFoundError | OSError
        if not (isinstance(error, known) or type(error).__module__.startswith("httpx")):  # what it speaks by
            raise
        reason = " ".join(str(error).split())[:300].rstrip(".")
        raise IRLLRecError(
            f"The hub does not give or take {repo_id} ({reason}): check the name, the connection and the token "
            f"(`hf auth login`, or HF_TOKEN)."
        ) from error


def card(
    model: str, sizes: Mapping[str, int], settings: Mapping[str, Any], valid: Mapping[str, float], test: pd.DataFrame
) -> str:
    """A card of a model.

    Args:
        model: its name.
        sizes: of users, items and interactions, by what they are.
        settings: that lie above the defaults; paths and what may be secret are left out.
        valid: the metrics of the best epoch.
        test: as of `Model.evaluate`; empty where nothing was held out.
    """
    metrics = list(dict.fromkeys(name.partition("@")[0] for name in valid))
    header = {"library_name": _LIBRARY, "tags": ["recommendation", "recbole", model], "metrics": metrics}
    shown = {name: value for name, value in settings.items() if not name.endswith(_ENDS_OF_PATHS)}
    shown = {name: shown[name] for name in plain(shown) if name != "warm_start"}
    metrics_of = pd.DataFrame({"validation": valid}).join(test.add_prefix("test, "))
    rows = [["metric", *metrics_of.columns], ["---"] * (1 + len(metrics_of.columns))]
    rows += [[str(name), *(f"{value:.4f}" for value in values)] for name, values in metrics_of.iterrows()]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return "\n".join(
        [
            f"---\n{yaml.safe_dump(header, sort_keys=False)}---\n",
            f"# {model}\n",
            f"A recommender, fitted with [recbole](https://recbole.io) and {_LIBRARY} {__version__}.\n",
            f"## Data\n\n{', '.join(f'{size:,} {what}' for what, size in sizes.items())}.\n",
            f"## Metrics\n\n{table}\n",
            "All items are ranked; validation chose the epoch, and what was held out for the test was looked at once, "
            "for this card.\n",
            f"## Settings\n\nBeside the defaults:\n\n```yaml\n{yaml.safe_dump(shown)}```\n",
            _LOADED,
        ]
    )

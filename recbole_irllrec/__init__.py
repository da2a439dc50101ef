"""IRLLRec, a recommender that aligns language-model intents with the interaction graph, as a RecBole model.

Importing this package registers IRLLRec with RecBole, the moment that is imported; nothing else is needed::

    import recbole_irllrec
    from recbole.quick_start import run_recbole
    run_recbole(model="IRLLRec", dataset="ml-100k")

Without files: `fit` takes data frames and gives a model that recommends.
"""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

# In a checkout, `properties/` and `dataset_tools/` stand beside this folder; installed, they lie inside it.
_checkout = Path(__file__).resolve().parent.parent
if (_checkout / "properties" / "model" / "IRLLRec.yaml").is_file():
    __path__.append(str(_checkout))

from . import hooks, recboles  # noqa: E402  (after the path is complete)
from .errors import IRLLRecError  # noqa: E402

if TYPE_CHECKING:
    from .own_models import register

hooks.install()
if not recboles.fits():
    from .requirements import explained

    with explained():
        import recbole.quick_start  # noqa: F401  (now, so that what is wrong is said here)

# Imported when first asked for: what models of one's own are made of and by, and models in Python.
_LATER = {
    "GraphEncoder": "model.encoder",
    "IRLLRec": "model.irllrec",
    "aligned": "model.wearing",
    "fit": "api",
    "load": "api",
    "load_from_hub": "api",
    "register": "own_models",
}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "GraphEncoder",
    "IRLLRec",
    "IRLLRecError",
    "__version__",
    "aligned",
    "fit",
    "load",
    "load_from_hub",
    "register",
]

"""IRLLRec, a recommender that aligns language-model intents with the interaction graph, as a RecBole model.

Importing this package registers IRLLRec with RecBole; nothing else is needed::

    import recbole_irllrec
    from recbole.quick_start import run_recbole
    run_recbole(model="IRLLRec", dataset="ml-100k")
"""

from pathlib import Path

__version__ = "0.1.0"

# In a checkout, `properties/` and `dataset_tools/` stand beside this folder; installed, they lie inside it.
_checkout = Path(__file__).resolve().parent.parent
if (_checkout / "properties" / "model" / "IRLLRec.yaml").is_file():
    __path__.append(str(_checkout))

from .errors import IRLLRecError  # noqa: E402  (after the path is complete)

try:
    from .registration import register
except Exception as error:  # whatever RecBole does on versions that it was not made for
    from .requirements import complaint

    if (sentence := complaint()) is None:
        raise
    raise ImportError(sentence) from error

register()

__all__ = ["IRLLRecError", "__version__"]

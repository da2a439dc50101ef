"""Models in Python, without files or command lines: ``recbole_irllrec.fit`` and ``recbole_irllrec.load``.

`frames` reads what is given, `fitting` trains, `model` is what comes out, `hub` where others find it.
"""

from .fitting import fit
from .model import Explanation, Extended, Model, Recommender, Vectors, load, load_from_hub

__all__ = ["Explanation", "Extended", "Model", "Recommender", "Vectors", "fit", "load", "load_from_hub"]

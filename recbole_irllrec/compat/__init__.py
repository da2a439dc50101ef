"""What RecBole 1.2.1 needs on current versions of torch, numpy, SciPy and Ray, and what it gets wrong.

Each mend is a function that says why it is here and until when. It takes the module of RecBole's that it mends, and is
called when that has been imported (`hooks`).
"""

from .models import find_model, get_model, model_names

__all__ = ["find_model", "get_model", "model_names"]

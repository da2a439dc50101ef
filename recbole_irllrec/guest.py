"""Working in somebody else's process, whose warnings and random numbers are theirs."""

import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


def ignore_warnings_of_others() -> None:
    """Ignore deprecation notices of RecBole's and Ray's own code, about which its users can do nothing."""
    for module in ("recbole", "ray", "thop", "torch"):
        warnings.filterwarnings("ignore", category=FutureWarning, module=module)
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=module)


@contextmanager
def as_guest() -> Iterator[None]:
    """Ignore these notices, and give back the states of the generators that RecBole seeds, as they were before."""
    import numpy as np
    import torch

    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    of_gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    try:
        with warnings.catch_warnings():
            ignore_warnings_of_others()
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        torch.cuda.set_rng_state_all(of_gpus)

"""Models trained for a moment on the data set "small", each once for all tests."""

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest
from recbole.quick_start import run_recbole

from recbole_irllrec.serving import Served, serve

# without a linear part, of which `test_linear_part` tells, and without biases: their scores are products of embeddings
SETTINGS = {
    "train_batch_size": 256,
    "learning_rate": 0.01,
    "embedding_size": 16,
    "show_progress": False,
    "linear_weight": 0,
    "item_bias": False,
}
ALIGNMENT = ["profile_weight", "pairwise_weight", "translation_weight", "matching_weight"]
NO_TEXT = dict.fromkeys([*ALIGNMENT, "linear_weight"], 0)


def train(folder: Path, model: str, dataset: str, **config) -> Path:
    """Train for an epoch in a folder; returns the checkpoint."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("sys.argv", ["test"])
        run_recbole(model, dataset, config_dict={"epochs": 1, "show_progress": False, **config})
    (checkpoint,) = (path for path in (folder / "saved").glob(f"{model}-*.pth") if ".resume" not in path.name)
    return checkpoint


class Trained:
    """Checkpoints below a folder."""

    def __init__(self, folder: Path, data_path: str):
        self._folder, self._data_path = folder, data_path
        self.checkpoint = cache(self._checkpoint)
        self.served = cache(self._served)

    def _checkpoint(self, model: str, **settings) -> Path:
        folder = Path(mkdtemp(dir=self._folder))
        return train(folder, model, "small", **SETTINGS | {"data_path": self._data_path} | settings)

    def _served(self, model: str, **settings) -> Served:
        """With its texts."""
        return serve(self.checkpoint(model, **settings), texts=True)

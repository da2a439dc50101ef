"""RecBole's data set, with the texts of its users and items."""

from collections.abc import Iterable

from recbole.config import Config
from recbole.data.dataset import Dataset

from .. import zoo
from .text import NodeText, resolve


class IRLLRecDataset(Dataset):
    """RecBole's data set, unchanged: same ids, same interactions, nothing stored on it. It knows where texts are."""

    def node_texts(self, config: Config, kinds: Iterable[str]) -> dict[str, NodeText]:
        """The texts of a training data set's users and items; see `text.resolve` for shapes and errors.

        Args:
            config: the settings of this run; those the data set keeps are old if it comes from RecBole's cache.
            kinds: of "profile" and "intent".
        """
        return resolve(config, self, kinds, zoo.text_sides(config["model"]))

"""RecBole's metrics beyond the users' lists: ItemCoverage, GiniIndex, AveragePopularity and TailPercentage."""

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from recbole.data.dataloader import AbstractDataLoader
    from recbole.evaluator.collector import Collector, DataStruct


def collect_numbers(collector: Any) -> None:
    """RecBole moves all that an evaluation has collected to the CPU, numbers and counts, too, so these metrics raise.

    Tensors alone are moved, and the padding item is none of the items. Can go when RecBole moves tensors alone (its
    issue 2194) and counts without padding.
    """
    kind = collector.Collector
    collects, gives = kind.data_collect, kind.get_data_struct

    def data_collect(self: "Collector", train_data: "AbstractDataLoader") -> None:
        collects(self, train_data)
        if "data.num_items" in self.data_struct:
            self.data_struct.set("data.num_items", self.data_struct.get("data.num_items") - 1)

    def get_data_struct(self: "Collector") -> "DataStruct":
        collected = self.data_struct._data_dict
        numbers = {name: value for name, value in collected.items() if not isinstance(value, torch.Tensor)}
        for name in numbers:
            del collected[name]
        given = gives(self)
        for struct in (self.data_struct, given):
            struct._data_dict.update(numbers)
        return given

    kind.data_collect, kind.get_data_struct = data_collect, get_data_struct

"""The text towers, the gate that fuses two kinds of intent, and the momentum that makes teachers of them."""

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

AnyModule = TypeVar("AnyModule", bound=nn.Module)


class TextTower(nn.Sequential):
    """Maps text embeddings to the model's space, [n, n_in] -> [n, d]; users and items share it.

    `output` of `hidden`, the first layer before its activation, is the whole. It is (n_in + d) // 2 wide if not told.
    """

    def __init__(self, n_in: int, d: int, hidden: int | None = None):
        hidden = (n_in + d) // 2 if hidden is None else hidden
        first, second = nn.Linear(n_in, hidden), nn.Linear(hidden, d)
        super().__init__(first, nn.LeakyReLU(0.01), second)
        nn.init.xavier_uniform_(first.weight)
        nn.init.xavier_uniform_(second.weight)

    def hidden(self, text: Tensor) -> Tensor:
        """[n, n_in] -> [n, hidden]."""
        return self[0](text)

    def output(self, hidden: Tensor) -> Tensor:
        """[n, hidden] -> [n, d]."""
        return self[2](self[1](hidden))


class IntentGate(nn.Module):
    """g∘z + (1−g)∘r with g = sigmoid(W[z; r] + b), [n, d], [n, d] -> [n, d]."""

    def __init__(self, d: int):
        super().__init__()
        self.linear = nn.Linear(2 * d, d)
        nn.init.xavier_uniform_(self.linear.weight)

    def forward(self, text: Tensor, interaction: Tensor) -> Tensor:
        share = self.linear(torch.cat([text, interaction], dim=1)).sigmoid()
        return share * text + (1 - share) * interaction


def teacher_of(student: AnyModule) -> AnyModule:
    """A copy that starts equal and that no gradient reaches."""
    return copy.deepcopy(student).requires_grad_(False)


@torch.no_grad()
def update_teacher(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """Each parameter of the teacher becomes momentum·teacher + (1 − momentum)·student, in place."""
    for slow, fast in zip(teacher.parameters(), student.parameters(), strict=True):
        slow.mul_(momentum).add_(fast, alpha=1 - momentum)

"""Small models that call their modules in every way that capture and intervene name, and what tests ask of them."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from analysis.errors import AnalysisError
from analysis.models.tap import Tap


class Pair(NamedTuple):
    first: Tensor
    rest: list[Tensor]


class Splits(nn.Module):
    """Returns everything that a module may return, nested."""

    def forward(self, x: Tensor) -> dict[str, object]:
        return {"pair": Pair(x, [x + 1, x + 2]), "nothing": None, "count": 3, "steps": x.long()}


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.relu = nn.ReLU(inplace=True)
        self.tap = Tap("block.inner")

    def forward(self, x: Tensor) -> Tensor:
        return self.tap(self.relu(self.linear(self.relu(x.clone()))))


class Shared(nn.Module):
    """Calls one block at three scales, as ScaleAttention does; the ReLU is used twice in each call."""

    def __init__(self, labels: tuple[str, ...] = ("x100", "x75", "x50")) -> None:
        super().__init__()
        self.backbone = nn.Sequential(Block())
        self.sum_tap = Tap("scale.sum")
        self.splits = Splits()
        self.unused = nn.Linear(1, 1)
        self.call_names = {"backbone": labels}

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.backbone(x * (i + 1)) for i, _ in enumerate(self.call_names["backbone"])]
        total = self.sum_tap(torch.stack(parts).sum(0))
        self.splits(total)
        return total * 2


class Reused(nn.Module):
    """An undeclared module called twice, beside one called once."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.linear(self.relu(x)) - 1)


class Wrapper(nn.Module):
    def __init__(self, module: nn.Module, calls: int = 1) -> None:
        super().__init__()
        self.module = module
        self.calls = calls

    def forward(self, x: Tensor) -> Tensor:
        outputs = [self.module(x) for _ in range(self.calls)]
        return outputs[-1]


def hooks(model: nn.Module) -> list[int]:
    """Ids of all hooks of all modules, in order."""
    found = []
    for module in model.modules():
        for kind in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_forward_hooks_always_called"):
            found += [id(hook) for hook in getattr(module, kind).values()]
    return found


def refused(message: str) -> pytest.RaisesExc[AnalysisError]:
    """``pytest.raises`` of the package's own error."""
    return pytest.raises(AnalysisError, match=message)

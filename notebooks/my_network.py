"""A network as you might have it, for the notebook 10: a DANet whose names are its own, and nothing of this project."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SpatialBlock(nn.Module):
    """Position attention: every place looks at every other."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.to_q, self.to_k = nn.Conv2d(width, width // 4, 1), nn.Conv2d(width, width // 4, 1)
        self.to_v = nn.Conv2d(width, width, 1)
        self.strength = nn.Parameter(torch.tensor(0.5))

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, h, w]`` to the same."""
        q, k, v = (convolution(x).flatten(2) for convolution in (self.to_q, self.to_k, self.to_v))
        attention = (q.transpose(1, 2) @ k).softmax(dim=-1)
        return x + self.strength * (v @ attention.transpose(1, 2)).view_as(x)


class ChannelBlock(nn.Module):
    """Channel attention, of the energies themselves as in the paper's equation (3)."""

    def __init__(self) -> None:
        super().__init__()
        self.strength = nn.Parameter(torch.tensor(0.5))

    def forward(self, x: Tensor) -> Tensor:
        """``[B, C, h, w]`` to the same."""
        a = x.flatten(2)
        attention = (a @ a.transpose(1, 2)).softmax(dim=-1)
        return x + self.strength * (attention @ a).view_as(x)


class MyNetwork(nn.Module):
    """Convolutions, both kinds of attention, a classifier."""

    def __init__(self, classes: int = 5, width: int = 32) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, width, 5, stride=4, padding=2), nn.ReLU(), nn.Conv2d(width, width, 3, 2, 1), nn.ReLU()
        )
        self.spatial, self.channels = SpatialBlock(width), ChannelBlock()
        self.classify = nn.Conv2d(width, classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """``[B, 3, H, W]`` to logits ``[B, classes, H/8, W/8]``."""
        x = self.encoder(image)
        return self.classify(self.spatial(x) + self.channels(x))


def make_network(seed: int = 0) -> MyNetwork:
    """Untrained: its maps show how things are found, and mean nothing."""
    torch.manual_seed(seed)
    return MyNetwork()

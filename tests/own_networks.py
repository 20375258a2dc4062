"""Networks that users might write: attention under other names, of other kinds, and what only looks like it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Position(nn.Module):
    """PAM with ``names`` for query and key; ``power`` 0.5 scales by 1/sqrt(d), written into the query."""

    def __init__(
        self, c: int, names: tuple[str, str] = ("query", "key"), width: int = 4, power: float = 0.0, gate: float = 0.5
    ) -> None:
        super().__init__()
        self.first, self.second = names
        for name in sorted(names):
            self.add_module(name, nn.Conv2d(c, width, 1))
        self.project = nn.Conv2d(c, c, 1)
        self.gamma = nn.Parameter(torch.tensor(gate))
        self.scaling = width**-power

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (self.get_submodule(name)(x).flatten(2) for name in (self.first, self.second, "project"))
        attention = (query.mul_(self.scaling).transpose(1, 2) @ key).softmax(dim=-1)
        return self.gamma * (value @ attention.transpose(1, 2)).view_as(x) + x


class Scale(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.tensor([value]))

    def forward(self, x: Tensor) -> Tensor:
        return self.alpha * x


class Channel(nn.Module):
    """CAM in either form, its scalar in a module of its own; with ``projections`` as PAM has them."""

    def __init__(self, c: int, form: str = "released", projections: bool = False, gate: float = 0.5) -> None:
        super().__init__()
        self.gamma, self.form = Scale(gate), form
        self.maps = nn.ModuleList(nn.Conv2d(c, c, 1) for _ in range(3 * projections))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (conv(x).flatten(2) for conv in self.maps) if self.maps else [x.flatten(2)] * 3
        energy = query @ key.transpose(1, 2)
        if self.form == "released":
            energy = energy.max(dim=-1, keepdim=True).values - energy
        return self.gamma((energy.softmax(dim=-1) @ value).view_as(x)) + x


class Dual(nn.Module):
    """A DANet; the features of both paths are written into after attention has read them."""

    def __init__(self, position: nn.Module, channel: nn.Module, c: int = 8, classes: int = 5) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, c, 3, stride=8, padding=1), nn.ReLU())
        self.blocks = nn.ModuleDict({"where": position, "which": nn.Sequential(channel)})
        self.heads = nn.ModuleList(nn.Conv2d(c, classes, 1) for _ in range(3))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = self.stem(x)
        first, second = x.clone(), x.clone()
        a, b = self.blocks["where"](first), self.blocks["which"](second)
        first.zero_()
        second.zero_()
        return tuple(head(y) for head, y in zip(self.heads, (a + b, a, b), strict=True))


def dual(
    names: tuple[str, str] = ("query", "key"), form: str = "released", power: float = 0.0, gate: float = 0.5, c: int = 8
) -> Dual:
    torch.manual_seed(0)
    return Dual(Position(c, names, power=power, gate=gate), Channel(c, form, gate=gate), c)


class Scales(nn.Module):
    """Attention to scale with an activation of the user's; ``classes`` may equal the number of branches."""

    def __init__(
        self, activation: str = "softmax", classes: int = 3, scales: tuple[float, ...] = (1, 0.75, 0.5)
    ) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.scales, self.activation, c = scales, activation, 6
        self.shared = nn.Sequential(nn.Conv2d(3, c, 3, stride=4, padding=1), nn.ReLU())
        self.score = nn.Sequential(nn.Conv2d(c, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, classes, 1))
        head = [nn.Conv2d(c * len(scales), 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, len(scales), 1)]
        self.attention = nn.Sequential(*head)

    def forward(self, x: Tensor) -> Tensor:
        sized = [functional.interpolate(x, scale_factor=s, mode="bilinear") for s in self.scales]
        features = [functional.interpolate(self.shared(y), (x.shape[2] // 4, x.shape[3] // 4)) for y in sized]
        h = self.attention(torch.cat(features, dim=1))
        if self.activation == "none":
            return self.score(features[0])
        w = h.exp() / h.exp().sum(dim=1, keepdim=True) if self.activation == "softmax" else h
        w = h.sigmoid() if self.activation == "sigmoid" else w
        return functional.interpolate(sum(w[:, i : i + 1] * self.score(f) for i, f in enumerate(features)), x.shape[2:])


class LayerScale(nn.Module):
    """Modules with one scalar, one map in and one out, and no attention."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.scale, self.head = nn.Conv2d(3, 8, 3, stride=4), Scale(0.0), nn.Conv2d(8, 4, 1)
        self.act = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.head(self.act(x + self.scale(x)))


class Bottleneck(nn.Module):
    """Three 1x1 convolutions of PAM's widths and a scalar, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.middle, self.up = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 8, 1)
        self.gamma = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.gamma * self.up(self.middle(self.down(x)))


def bottleneck() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3, stride=4), Bottleneck(), nn.Conv2d(8, 4, 1))


class Dictionary(nn.Module):
    """As torchvision's segmentation models return them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"out": self.conv(x), "aux": -self.conv(x)}


class Wrong(nn.Module):
    """Takes or returns what no segmentation network does."""

    def __init__(self, returns: str = "") -> None:
        super().__init__()
        self.returns, self.linear = returns, nn.Linear(4, 4)

    def forward(self, x: Tensor) -> object:
        kinds: dict[str, object] = {"text": "logits", "nothing": (), "flat": x.mean((2, 3)), "dict": {"boxes": x}}
        return kinds[self.returns] if self.returns else self.linear(x)


def broken() -> nn.Module:
    raise RuntimeError("the weights\nare elsewhere")


NUMBER = 3

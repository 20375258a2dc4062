"""A model whose branches are truly good for objects of different size, with weights that follow that, oppose it or
ignore it; and painted scenes in which it can see what every pixel is, also after an object was resized."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from analysis.datasets.sample import Dataset, Item, Sample, connected_objects
from analysis.models import InputSpec, Output, ScaleAttention
from analysis.models.scale_attention import AttentionFusion, weighted_sum

Rule = Literal["follow", "oppose", "ignore"]
CLASSES = ("sky", "ground", "circle", "square")
THINGS = frozenset({2, 3})
PALETTE = np.array([[60, 60, 200], [60, 120, 60], [220, 60, 60], [230, 230, 60]], np.uint8)
SIZE = (96, 128)
STRIDE = 4


class PlantedBranches(ScaleAttention):
    """Branch 1.0x sees objects with sides below 16 pixels, 0.5x those above, 0.75x all of them half as well; what a
    branch does not see is ground to it.

    ``follow``: the weights lie where the knowledge is. ``oppose``: where it is not. ``ignore``: by position alone.
    """

    def __init__(self, rule: Rule) -> None:
        plain = InputSpec(mean=(0, 0, 0), std=(1, 1, 1))
        super().__init__(len(CLASSES), backbone="tiny", head_width=4, input=plain)
        self.rule = rule
        self.eval()

    def forward(self, image: Tensor) -> Output:
        maps, weights = zip(*(self.one(pixels) for pixels in image), strict=True)
        scores = [tap(f) for tap, f in zip(self.scores_taps, torch.stack(maps, dim=1), strict=True)]
        assert isinstance(self.fusion, AttentionFusion)
        return Output(weighted_sum(self.fusion.weights_tap(torch.stack(weights)), scores), {})

    def one(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Score maps ``[S, K, h, w]`` and weights ``[S, h, w]`` of one image ``[3, H, W]``."""
        label, size = (at_cells(array) for array in labels_and_sizes(pixels))
        truth, overlooked = onehot(label), onehot(np.minimum(label, 1))
        small = torch.from_numpy(1 / (1 + np.exp(2 * size))).float()
        quality = [small, torch.full_like(small, 0.5), 1 - small]
        noise = torch.randn(3, *truth.shape, generator=torch.Generator().manual_seed(0))
        scores = [4 * (q * truth + (1 - q) * overlooked) + 0.5 * e for q, e in zip(quality, noise, strict=True)]
        sign = {"follow": 1, "oppose": -1, "ignore": 0}[self.rule]
        field = torch.randn(3, *small.shape, generator=torch.Generator().manual_seed(1))
        logits = 3 * sign * torch.stack(quality) + (sign == 0) * field
        return torch.stack(scores), logits.softmax(dim=0)


def onehot(label: np.ndarray) -> Tensor:
    return torch.from_numpy(np.eye(len(CLASSES), dtype=np.float32)[label]).permute(2, 0, 1)


def labels_and_sizes(pixels: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The class of every pixel by its colour, and log2 of its region's side over 16 pixels; 2 for stuff."""
    colours = torch.from_numpy(PALETTE / 255).float()
    label = (pixels[None] - colours[:, :, None, None]).abs().sum(dim=1).argmin(dim=0).numpy().astype(np.uint8)
    objects = connected_objects(label, THINGS)
    area = np.maximum(np.bincount(objects.map.ravel()), 1)
    size = np.log2(np.sqrt(area) / 16)
    return label, np.where(objects.map > 0, size[objects.map], 2.0)


def at_cells(array: np.ndarray) -> np.ndarray:
    """Values at the cells of the grid, corners aligned."""
    ys, xs = (np.linspace(0, n - 1, n // STRIDE).round().astype(int) for n in array.shape)
    return array[np.ix_(ys, xs)]


def scenes(n: int, seed: int = 0) -> Dataset:
    """``n`` scenes of two objects with sides of 6 to 40 pixels; two scenes are a block."""
    items = tuple(Item(f"scene-{i:03d}", block=f"block-{i // 2:03d}", seed=(seed, i)) for i in range(n))
    return Dataset("planted", "all", CLASSES, THINGS, PALETTE, items, read_scene)


def read_scene(dataset: Dataset, item: Item) -> Sample:
    random = np.random.default_rng(item.seed)
    label = np.zeros(SIZE, np.uint8)
    label[random.integers(20, 70) :] = 1
    for left in (4, 68):
        height, width = (int(2 ** random.uniform(np.log2(6), np.log2(40))) for _ in "hw")
        y, x = int(random.integers(2, SIZE[0] - height - 2)), left + int(random.integers(0, 54 - width))
        label[y : y + height, x : x + width] = random.integers(2, 4)
    image = np.clip(PALETTE[label] + random.normal(0, 5, (*SIZE, 3)), 0, 255).astype(np.uint8)
    return Sample(item.name, image, label, item.sequence, item.block, None, dataset.things)


def without_labels(sample: Sample) -> Sample:
    return dataclasses.replace(sample, label=None)

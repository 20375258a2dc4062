"""Training batches whose content depends on (seed, step) alone: a resumed training sees what it would have seen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler
from torch.utils.data import Dataset as TorchDataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from analysis.datasets import Dataset
from analysis.datasets.images import IGNORED
from analysis.training.recipe import Recipe

Batch = tuple[Tensor, Tensor]


def mix(*numbers: int) -> int:
    """One 63-bit seed from several small numbers."""
    seed = 0x9E3779B97F4A7C15
    for number in numbers:
        seed = ((seed ^ number) * 0xBF58476D1CE4E5B9 + 0x94D049BB133111EB) & (2**63 - 1)
    return seed


class Augmented(TorchDataset[Batch]):
    """(epoch, index) to an augmented crop: image uint8 ``[3, h, w]`` and label int64 ``[h, w]``, padded with 255."""

    def __init__(self, dataset: Dataset, recipe: Recipe, seed: int) -> None:
        self.dataset, self.seed = dataset, seed
        self.transform = _transform(recipe)

    def __getitem__(self, index: tuple[int, int]) -> Batch:
        epoch, number = index
        sample = self.dataset[number]
        image = tv_tensors.Image(torch.from_numpy(sample.image).permute(2, 0, 1))
        label = tv_tensors.Mask(torch.from_numpy(sample.label))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(mix(self.seed, epoch, number))
            image, label = self.transform(image, label)
        return image.as_subclass(Tensor), label.as_subclass(Tensor).long()


class Steps(Sampler[list[tuple[int, int]]]):
    """This process's share of every global batch from ``start`` to ``steps``: each epoch is one permutation."""

    def __init__(
        self, n: int, batch_size: int, seed: int, start: int, steps: int, rank: int = 0, world: int = 1
    ) -> None:
        self.n, self.batch_size, self.seed = n, batch_size, seed
        self.start, self.steps, self.rank, self.world = start, steps, rank, world

    def __len__(self) -> int:
        return self.steps - self.start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        per_epoch, share = self.n // self.batch_size, self.batch_size // self.world
        epoch, order = -1, torch.empty(0)
        for step in range(self.start, self.steps):
            if step // per_epoch != epoch:
                epoch = step // per_epoch
                order = torch.randperm(self.n, generator=torch.Generator().manual_seed(mix(self.seed, epoch)))
            first = step % per_epoch * self.batch_size + self.rank * share
            yield [(epoch, int(index)) for index in order[first : first + share]]


def loader(dataset: Augmented, steps: Steps, workers: int) -> DataLoader[Batch]:
    """Batches of images uint8 ``[B, 3, h, w]`` and labels int64 ``[B, h, w]``, in the order of ``steps``."""
    return DataLoader(dataset, batch_sampler=steps, num_workers=workers, persistent_workers=workers > 0)


def _transform(recipe: Recipe) -> v2.Compose:
    steps: list[torch.nn.Module] = []
    fill: Any = {tv_tensors.Image: _mean_colour(recipe), tv_tensors.Mask: float(IGNORED)}
    short, (low, high) = recipe.model.input.short_side, recipe.scale_range
    if short is not None:
        steps.append(v2.RandomResize(round(short * low), round(short * high) + 1, antialias=True))
    elif (low, high) != (1.0, 1.0):
        bilinear = v2.InterpolationMode.BILINEAR
        steps.append(v2.RandomAffine((0, 0), scale=(low, high), interpolation=bilinear, fill=fill))
    steps.append(v2.RandomCrop(recipe.crop, pad_if_needed=True, fill=fill))
    if recipe.flip:
        steps.append(v2.RandomHorizontalFlip())
    if recipe.jitter:
        steps.append(v2.ColorJitter(recipe.jitter, recipe.jitter, recipe.jitter))
    return v2.Compose(steps)


def _mean_colour(recipe: Recipe) -> list[float]:
    spec = recipe.model.input
    mean = [float(round(value * 255 / spec.value_range)) for value in spec.mean]
    return mean if spec.channel_order == "RGB" else mean[::-1]

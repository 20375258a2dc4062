"""Pass 1: what the channels of a stretch of images add up to, on three paths, in memory that does not grow with them.

    channel      the features that channel attention gets
    position     those of the position branch of the same checkpoint, given to the same channel attention
    untrained    those of a channel branch that was drawn anew, on the same backbone

An image is seen as the crops that training saw (:mod:`~analysis.studies.channel_groups.resolution`).

The last two are the controls of ``class-channels``: neither was trained to be related by channel attention.
A row of the table is a stretch and a path; its matrices are list columns, flat, float32, sums over ``images``:

    energy, affinity        [C, C]     as the module has them
    moment_*, mean_*        [C, C], [C]    mean over positions of x x^T and x, before and after the module
    auc_*                   [C, K]     of :func:`~analysis.studies.channel_groups.selectivity.class_auc`, over
    labelled                [K]        images with the class
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from analysis.datasets.sample import Dataset, Item, Sample
from analysis.models import DualAttention, to_input
from analysis.models.dual_attention import ChannelAttention, gated
from analysis.models.inference import input_size
from analysis.studies.channel_groups.concentration import concentrations
from analysis.studies.channel_groups.resolution import crops
from analysis.studies.channel_groups.selectivity import activations, chosen_cells, class_auc, label_on_grid, labels_of
from analysis.studies.study import Rows, evenly_spaced
from analysis.taps import capture

PATHS = ("channel", "position", "untrained")
MAX_STRETCHES = 40  # 39 degrees of freedom are enough, and a matrix is kept for each
_PILOT = 8  # images on which the untrained branch's batch norm finds its mean and variance


@dataclass(eq=False)
class PathSums:
    """Sums over images; see the module."""

    images: int
    energy: np.ndarray
    affinity: np.ndarray
    moment_before: np.ndarray
    mean_before: np.ndarray
    moment_after: np.ndarray
    mean_after: np.ndarray
    auc_before: np.ndarray
    auc_after: np.ndarray
    labelled: np.ndarray

    def add(self, other: PathSums) -> None:
        """Add the sums of further images."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))

    def row(self) -> dict[str, Any]:
        """One row of the table."""
        return {"images": self.images} | {name: getattr(self, name).astype(np.float32).ravel() for name in ARRAYS}


ARRAYS = tuple(field.name for field in fields(PathSums) if field.name != "images")


@dataclass(frozen=True)
class Cells:
    """The labelled cells of one image whose activations are ranked: flat indices and classes, of ``n`` classes."""

    index: np.ndarray
    classes: np.ndarray
    n: int


@torch.no_grad()
def sums_of(cam: ChannelAttention, features: Tensor, cells: Cells) -> PathSums:
    """The sums of one image: ``features [T, C, h, w]`` of its T crops, of any origin, through ``cam``.

    After the module is what its own gate gives: a second gate on permuted channels is no channel attention.
    """
    with capture(cam, "channel.energy", "channel.affinity", "channel.attended") as taps:
        cam(features)
    after = gated(cam, taps["channel.attended"], features, without="permuted_gate")
    energy, affinity = (taps[f"channel.{name}"].mean(dim=0).double().cpu().numpy() for name in ("energy", "affinity"))
    auc = [class_auc(activations(x, cells.index), cells.classes, cells.n) for x in (features, after)]
    (moment, mean), (moment_after, mean_after) = _moments(features), _moments(after)
    matrices = (energy, affinity, moment, mean, moment_after, mean_after)
    return PathSums(1, *matrices, auc[0][0], auc[1][0], auc[0][1].astype(float))


def _moments(features: Tensor) -> tuple[np.ndarray, np.ndarray]:
    flat = features.transpose(0, 1).flatten(1).float()
    moment = flat @ flat.T / flat.shape[1]
    return moment.double().cpu().numpy(), flat.mean(dim=1).double().cpu().numpy()


@dataclass(eq=False)
class ChannelSums:
    """The study of pass 1; its "images" are the stretches of :func:`stretches`. ``crop``: None for whole images."""

    model: DualAttention
    cam: ChannelAttention
    dataset: Dataset
    crop: tuple[int, int] | None
    name: str = "channel_groups"

    def rows(self, sample: Sample) -> Rows:
        """``channel_sums`` and ``channel_concentration`` of one stretch."""
        totals: dict[str, PathSums] = {}
        tables: list[pd.DataFrame] = []
        for i in self._members[sample.name]:
            image = self.dataset[i]
            features = self._features(image)
            cells = self._cells(image, (features["channel"].shape[2], features["channel"].shape[3]))
            for path, x in features.items():
                found = sums_of(self.cam, x, cells)
                totals[path].add(found) if path in totals else totals.update({path: found})
            tables.append(concentrations(self.cam, features["channel"]))
        sums = pd.DataFrame([{"path": path, **self._constants, **one.row()} for path, one in totals.items()])
        return {"channel_sums": sums, "channel_concentration": _mean_rows(tables)}

    @cached_property
    def _members(self) -> dict[str, list[int]]:
        return members(self.dataset)

    @property
    def _constants(self) -> dict[str, Any]:
        return {
            "classes": list(self.dataset.classes),
            "form": self.cam.form,
            "projections": len(self.cam.projections) > 0,
            "gate": self.cam.gate.item(),
            "crop": "whole" if self.crop is None else "{} x {}".format(*self.crop),
        }

    @torch.no_grad()
    def _features(self, sample: Sample) -> dict[str, Tensor]:
        heads = (self.model.channel_in, self.model.position_in, self._untrained)
        found = [[head(shared) for head in heads] for shared in self._shared(sample)]
        return {path: torch.cat(parts) for path, parts in zip(PATHS, zip(*found, strict=True), strict=True)}

    def _shared(self, sample: Sample) -> Iterator[Tensor]:
        """The backbone's features of every crop."""
        device = next(self.model.parameters()).device
        image = to_input(sample.image, self.model.spec.input).to(device)
        return (self.model.backbone(one) for one in crops(image, self.crop))

    def _cells(self, sample: Sample, grid: tuple[int, int]) -> Cells:
        label = labels_of(sample.label, f"{self.dataset.name} {sample.name}")
        spec = self.model.spec.input
        entered = label_on_grid(label, input_size(label.shape, spec), align_corners=False)  # as to_input resizes
        shown = (one.numpy() for one in crops(torch.from_numpy(entered), self.crop))
        label = np.stack([label_on_grid(one, grid, spec.align_corners) for one in shown])
        index = chosen_cells(label, sample.name)
        return Cells(index, label.ravel()[index], len(self.dataset.classes))

    @cached_property
    def _untrained(self) -> nn.Module:
        """The channel branch with weights drawn anew, its batch norm fitted to some images, as training would."""
        branch = copy.deepcopy(self.model.channel_in)
        redraw(branch, seed=0)
        branch.train()
        pilot = evenly_spaced(self.dataset, _PILOT)
        with torch.no_grad():
            for i in range(len(pilot)):
                for shared in self._shared(pilot[i]):
                    branch(shared)
        return branch.eval()


def redraw(branch: nn.Module, seed: int) -> None:
    """Weights as a new branch has them, from a generator of its own; batch norms will average over what they see."""
    generator = torch.Generator().manual_seed(seed)
    for module in branch.modules():
        if isinstance(module, nn.Conv2d):
            drawn = torch.empty(module.weight.shape)
            nn.init.kaiming_uniform_(drawn, a=5**0.5, generator=generator)
            module.weight.data.copy_(drawn)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
            module.momentum = None  # a plain average


def members(dataset: Dataset) -> dict[str, list[int]]:
    """The images of every stretch: a block, or neighbouring blocks where there are more than :data:`MAX_STRETCHES`."""
    blocks = list(dict.fromkeys(item.block for item in dataset.items))
    n = min(len(blocks), MAX_STRETCHES)
    parts = [blocks[len(blocks) * s // n : len(blocks) * (s + 1) // n] for s in range(n)]
    names = {block: part[0] if len(part) == 1 else f"{part[0]} to {part[-1]}" for part in parts for block in part}
    found: dict[str, list[int]] = {}
    for i, item in enumerate(dataset.items):
        found.setdefault(names[item.block], []).append(i)
    return found


def stretches(dataset: Dataset) -> Dataset:
    """A data set whose items are the stretches of this one, for the frame that splits and resumes; without images."""
    items = tuple(Item(name, block=name) for name in members(dataset))
    return Dataset(dataset.name, dataset.split, dataset.classes, dataset.things, dataset.palette, items, _read_stretch)


def _read_stretch(dataset: Dataset, item: Item) -> Sample:
    nothing = np.zeros((0, 0, 3), np.uint8)
    return Sample(item.name, nothing, nothing[..., 0], "", item.block, None, dataset.things)


def _mean_rows(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """The mean over images, row by row, of tables of the same rows."""
    result = tables[0].assign(images=len(tables))
    for name in ("positions", "entropy", "effective_channels", "self_share", "received"):
        result[name] = [np.mean([table[name].iloc[i] for table in tables], axis=0) for i in range(len(result))]
    return result

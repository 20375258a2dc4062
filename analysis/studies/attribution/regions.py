"""What is attributed: the mean logit of a class over a region that stays what it was before anything is perturbed."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from analysis.datasets.sample import Sample, connected_objects
from analysis.errors import AnalysisError
from analysis.models import DualAttention, Model, Output
from analysis.models.resize import resize

RegionSource = Literal["label", "prediction"]
MIN_AREA = 64  # pixels: one cell of an output stride of 8


@dataclass(frozen=True, eq=False)
class Region:
    """One object: its ``number`` in the map it was taken from, its class and ``mask``, bool ``[H, W]``."""

    number: int
    class_: int
    mask: np.ndarray

    @property
    def centre(self) -> tuple[int, int]:
        """The pixel (y, x) of the mask that is nearest to the mean of its pixels."""
        pixels = np.argwhere(self.mask)
        y, x = pixels[((pixels - pixels.mean(axis=0)) ** 2).sum(axis=1).argmin()]
        return int(y), int(x)

    def row(self) -> dict[str, Any]:
        """The record of the frozen mask: its box, and the box's pixels as packed bits, row by row (numpy.packbits)."""
        ys, xs = (np.flatnonzero(self.mask.any(axis=axis)) for axis in (1, 0))
        top, left, height, width = int(ys[0]), int(xs[0]), int(np.ptp(ys)) + 1, int(np.ptp(xs)) + 1
        box = self.mask[top : top + height, left : left + width]
        place = {"top": top, "left": left, "height": height, "width": width}
        return {"area": int(self.mask.sum()), **place, "mask": np.packbits(box).tobytes()}


def choose_regions(sample: Sample, predicted: np.ndarray | None, most: int) -> list[Region]:
    """At most ``most`` objects of 64 pixels or more, drawn by the image's name.

    Connected regions of thing classes in ``predicted`` int ``[H, W]``, or where that is None the label's objects.
    AnalysisError: no label then.
    """
    if predicted is None and sample.label is None:
        raise AnalysisError(f"{sample.name} has no label: take the regions from the prediction, or a labelled split")
    objects = sample.objects if predicted is None else connected_objects(predicted.astype(np.uint8), sample.things)
    areas = np.bincount(objects.map.ravel(), minlength=len(objects) + 1)[1:]
    large = np.flatnonzero(areas >= MIN_AREA) + 1
    drawn = np.random.default_rng(zlib.crc32(sample.name.encode())).permutation(large)[:most]
    return [Region(int(n), int(objects.classes[n - 1]), objects.map == n) for n in sorted(drawn)]


class RegionScores(nn.Module):
    """A model whose outputs are region scores: ``[B, 3, H, W]`` to ``[B, R]``. All attributions go through it.

    Score r is the mean over region r of the logit of its class, upsampled to the label's size. Upsampling is linear, so
    that is a fixed weighting of the model's own cells, ``weights [R, h, w]`` of sum 1: nothing is upsampled when an
    image is perturbed.
    """

    weights: Tensor

    def __init__(self, model: Model, classes: list[int], weights: Tensor, alone: bool = False) -> None:
        super().__init__()
        self.model = model
        self.classes = classes
        self.alone = alone
        self.register_buffer("weights", weights)

    @staticmethod
    def of(model: Model, regions: list[Region], image: Tensor) -> RegionScores:
        """The scores of ``regions``, whose masks are frozen here, in ``image [1, 3, H, W]`` and changes of it."""
        with torch.no_grad():
            grid = model(image).logits.shape[-2:]
        masks = torch.from_numpy(np.stack([region.mask for region in regions])).to(image)
        weights = frozen_weights(masks, grid, model.spec.input.align_corners)
        return RegionScores(model, [region.class_ for region in regions], weights)

    def first_of(self, model: Model) -> RegionScores:
        """The score of the first region by another model of the same grid."""
        return RegionScores(model, self.classes[:1], self.weights[:1])

    def by_themselves(self) -> RegionScores:
        """The same scores without what they do not depend on, as rows of position attention: maps inside the model are
        not to be looked at then."""
        return RegionScores(self.model, self.classes, self.weights, alone=True)

    def forward(self, image: Tensor) -> Tensor:
        """Scores of all regions, in logits."""
        logits = self._output(image).logits[:, self.classes]
        return torch.einsum("brhw,rhw->br", logits, self.weights)

    def _output(self, image: Tensor) -> Output:
        if self.alone and isinstance(self.model, DualAttention):
            return self.model(image, (self.weights > 0).any(dim=0))
        return self.model(image)


def frozen_weights(masks: Tensor, grid: tuple[int, ...], align_corners: bool) -> Tensor:
    """Masks ``[R, H, W]`` to weights ``[R, h, w]`` of sum 1: sum(w * x) is the mean of the upsampled x in the mask."""
    cells = torch.zeros(1, len(masks), *grid, device=masks.device, requires_grad=True)
    with torch.enable_grad():
        total = (resize(cells, masks.shape[-2:], align_corners)[0] * masks).sum(dim=(1, 2)) / masks.sum(dim=(1, 2))
        return torch.autograd.grad(total.sum(), cells)[0][0].detach()

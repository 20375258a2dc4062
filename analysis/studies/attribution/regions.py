"""What is attributed: the mean logit of a class over a region that stays what it was before anything is perturbed."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from analysis.datasets.sample import Objects, Sample, connected_objects
from analysis.errors import AnalysisError
from analysis.models import Model
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


def choose_regions(sample: Sample, prediction: np.ndarray, source: RegionSource, most: int) -> list[Region]:
    """At most ``most`` objects of 64 pixels or more, drawn by the image's name.

    Objects of the label, or connected regions of thing classes in ``prediction`` int ``[H, W]``, which is the
    unperturbed one. AnalysisError: objects of the label were asked for and there is no label.
    """
    if source == "label" and sample.label is None:
        raise AnalysisError(f"{sample.name} has no label: take the regions from the prediction, or a labelled split")
    objects = sample.objects if source == "label" else _predicted(prediction, sample.things)
    areas = np.bincount(objects.map.ravel(), minlength=len(objects) + 1)[1:]
    large = np.flatnonzero(areas >= MIN_AREA) + 1
    drawn = np.random.default_rng(zlib.crc32(sample.name.encode())).permutation(large)[:most]
    return [Region(int(n), int(objects.classes[n - 1]), objects.map == n) for n in sorted(drawn)]


def _predicted(prediction: np.ndarray, things: frozenset[int]) -> Objects:
    return connected_objects(prediction.astype(np.uint8), things)


class RegionScores(nn.Module):
    """The model whose outputs are region scores: ``[B, 3, H, W]`` to ``[B, R]``. All attributions go through it.

    Score r is the mean over region r of the logit of its class, upsampled to the label's size. Upsampling is linear, so
    the mean is a fixed weighting of the model's own cells: nothing is upsampled when an image is perturbed.
    """

    weights: Tensor

    def __init__(self, model: Model, regions: list[Region], image: Tensor) -> None:
        super().__init__()
        self.model = model
        self.classes = [region.class_ for region in regions]
        with torch.no_grad():
            grid = model(image).logits.shape[-2:]
        masks = torch.from_numpy(np.stack([region.mask for region in regions])).to(image)
        self.register_buffer("weights", frozen_weights(masks, grid, model.spec.input.align_corners))

    def forward(self, image: Tensor) -> Tensor:
        """Scores of all regions, in logits."""
        logits = self.model(image).logits[:, self.classes]
        return torch.einsum("brhw,rhw->br", logits, self.weights)


def frozen_weights(masks: Tensor, grid: tuple[int, ...], align_corners: bool) -> Tensor:
    """Masks ``[R, H, W]`` to weights ``[R, h, w]`` of sum 1: sum(w * x) is the mean of the upsampled x in the mask."""
    cells = torch.zeros(1, len(masks), *grid, device=masks.device, requires_grad=True)
    with torch.enable_grad():
        total = (resize(cells, masks.shape[-2:], align_corners)[0] * masks).sum(dim=(1, 2)) / masks.sum(dim=(1, 2))
        return torch.autograd.grad(total.sum(), cells)[0][0].detach()


def region_score(logits: Tensor, class_: int, mask: Tensor, align_corners: bool) -> Tensor:
    """The definition: ``logits [B, K, h, w]`` upsampled to ``mask [H, W]``, the mean of class ``class_`` in it, [B]."""
    return resize(logits[:, class_ : class_ + 1], mask.shape, align_corners)[:, 0, mask.bool()].mean(dim=1)

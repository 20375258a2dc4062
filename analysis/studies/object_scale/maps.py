"""One forward of a multi-scale model on one image: the score maps, the scale weights, and what they become fused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from analysis.datasets.sample import Objects
from analysis.models import ScaleAttention, predict
from analysis.models.resize import resize
from analysis.models.scale_attention import weighted_sum
from analysis.taps import capture


@dataclass(frozen=True, eq=False)
class Maps:
    """``scores [S, K, h, w]`` and ``weights [S, h, w]`` float32 on the CPU, of an image of ``size`` (H, W)."""

    scores: Tensor
    weights: Tensor
    scales: tuple[float, ...]
    size: tuple[int, int]
    align_corners: bool

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width of the maps."""
        return self.weights.shape[-2], self.weights.shape[-1]

    @property
    def cell(self) -> float:
        """Pixels of the image to a cell of the maps."""
        return self.size[0] * self.size[1] / self.weights[0].numel()

    def fused(self, weights: Tensor) -> Tensor:
        """Equation (1) of Chen et al. with other ``weights [S, h, w]``: what :func:`analysis.intervene` on
        ``scale.weights`` would give, without the forward. ``[K, h, w]``."""
        return weighted_sum(weights[None], [f[None] for f in self.scores])[0]

    def prediction(self, fused: Tensor) -> np.ndarray:
        """Classes of scores ``[K, h, w]`` at the image's size, int64 ``[H, W]``."""
        on_image = resize(fused[None], self.size, self.align_corners)[0]
        return on_image.max(dim=0).indices.numpy()  # argmax over the first dimension takes ten times as long


def tap_names(model: ScaleAttention) -> list[str]:
    """The taps that :func:`maps_of` needs."""
    return ["scale.weights", *(f"scale.scores.{branch}" for branch in model.branches)]


def maps_of(model: ScaleAttention, taps: Mapping[str, Tensor], size: tuple[int, int]) -> Maps:
    """What a capture of :func:`tap_names` holds of one image of ``size``."""
    weights, *scores = (taps[name].float().cpu() for name in tap_names(model))
    return Maps(torch.cat(scores), weights[0], model.spec.scales, size, model.spec.input.align_corners)


def see_maps(model: ScaleAttention, image: np.ndarray) -> Maps:
    """One forward of ``image`` uint8 ``[H, W, 3]``, as :func:`analysis.models.predict` runs it."""
    with capture(model, *tap_names(model)) as taps:
        predict(model, image)
    return maps_of(model, taps, (image.shape[0], image.shape[1]))


def footprints(objects: Objects, maps: Maps) -> sparse.csr_array:
    """How much of each object every cell is: ``[n, h * w]``, in pixels; a row's sum is the object's area.

    Maps are brought to the image's size by bilinear interpolation, which is linear: footprint times a map, over the
    area, is the mean over the object's pixels of the map so resized. Nothing beyond these cells enters the object.
    """
    ys, xs = np.nonzero(objects.map)
    rows, columns = (_taps(n, cells, maps.align_corners) for n, cells in zip(maps.size, maps.grid, strict=True))
    numbers = objects.map[ys, xs] - 1
    shape = (len(objects), maps.weights[0].numel())
    shares, cells = zip(
        *((fy[ys] * fx[xs], y[ys] * maps.grid[1] + x[xs]) for y, fy in rows for x, fx in columns), strict=True
    )
    entries = (np.concatenate(shares), (np.tile(numbers, len(cells)), np.concatenate(cells)))
    return sparse.coo_array(entries, shape=shape).tocsr()


def weights_inside(weights: Tensor, footprint: sparse.csr_array) -> np.ndarray:
    """Mean over each object's pixels of weights ``[S, h, w]`` on the CPU, float64 ``[n, S]``."""
    area = np.asarray(footprint.sum(axis=1)).reshape(-1, 1)
    return (footprint @ weights.flatten(1).T.numpy().astype(float)) / area


def _taps(n: int, cells: int, align_corners: bool) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """The two cells that each of n pixels of a side lies between, and their shares, as torch interpolates."""
    if align_corners:
        place = np.arange(n) * ((cells - 1) / max(1, n - 1))
    else:
        place = np.maximum((np.arange(n) + 0.5) * cells / n - 0.5, 0)
    low = np.minimum(place.astype(int), cells - 1)
    share = place - low
    return (low, 1 - share), (np.minimum(low + 1, cells - 1), share)

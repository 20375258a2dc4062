"""An object made larger or smaller in its photograph, all else unchanged: cut out, filled behind, resized, pasted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional

#: Pixels round a mask that are filled as well: labels are not exact, and a left-over outline gives the size away.
HALO = 2


@dataclass(frozen=True)
class Box:
    """Rows ``top`` to ``bottom`` and columns ``left`` to ``right``, ends excluded."""

    top: int
    bottom: int
    left: int
    right: int

    def scaled(self, factor: float) -> Box:
        """The box of ``factor`` times the size whose centre is nearest to this one's."""
        return Box(*_scaled(self.top, self.bottom, factor), *_scaled(self.left, self.right, factor))

    def moved(self, columns: int) -> Box:
        """That many columns to the right."""
        return Box(self.top, self.bottom, self.left + columns, self.right + columns)

    def inside(self, size: tuple[int, int]) -> bool:
        """Whether an image (H, W) holds all of it, and it touches no border."""
        return self.top > 0 and self.left > 0 and self.bottom < size[0] and self.right < size[1]

    @property
    def slices(self) -> tuple[slice, slice]:
        """For indexing an image that holds it."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


def _scaled(start: int, stop: int, factor: float) -> tuple[int, int]:
    n = max(1, round(factor * (stop - start)))
    first = (start + stop - n + 1) // 2
    return first, first + n


def box_of(mask: np.ndarray) -> Box:
    """The bounding box of a mask ``[H, W]`` that has a pixel."""
    ys, xs = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return Box(int(ys[0]), int(ys[-1]) + 1, int(xs[0]), int(xs[-1]) + 1)


def erased(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """``image [H, W, 3]`` with the mask and ``HALO`` pixels round it filled smoothly from their surroundings, float32.

    A pixel gets the mean of what is known round it, by a Gaussian of half the hole's greatest depth, so that there is
    always something. It is no good inpainting, but the same at every factor, and in the placebo.
    """
    reach = HALO + 1
    outer = _window(box_of(mask), reach, mask.shape)
    hole = ndimage.distance_transform_edt(~mask[outer.slices]) <= HALO
    depth = float(np.max(ndimage.distance_transform_edt(np.pad(hole, 1))))
    window = _window(outer, int(np.ceil(2 * depth)), mask.shape)
    known = np.ones((window.bottom - window.top, window.right - window.left))
    known[outer.top - window.top :, outer.left - window.left :][: hole.shape[0], : hole.shape[1]][hole] = 0
    filled = image.astype(np.float32)
    patch = filled[window.slices]
    share = ndimage.gaussian_filter(known, depth / 2)
    for channel in range(3):
        blurred = ndimage.gaussian_filter(patch[..., channel] * known, depth / 2)
        patch[..., channel] = np.where(known > 0, patch[..., channel], blurred / np.maximum(share, 1e-12))
    return filled


def _window(box: Box, reach: int, size: tuple[int, ...]) -> Box:
    """The box grown by ``reach`` on every side, as far as the image goes."""
    return Box(
        max(0, box.top - reach),
        min(size[0], box.bottom + reach),
        max(0, box.left - reach),
        min(size[1], box.right + reach),
    )


def pasted(background: np.ndarray, image: np.ndarray, mask: np.ndarray, factor: float) -> tuple[np.ndarray, np.ndarray]:
    """The cut-out ``image[mask]``, resized by ``factor`` (antialiased), on ``background [H, W, 3]``; centre kept.

    Returns the image, uint8, and the mask of what was pasted, bool ``[H, W]``: pixels at least half covered, or half as
    much as the most covered one where all are thin. The resized box must lie inside the image.
    """
    box = box_of(mask)
    target = box.scaled(factor)
    inside = mask[box.slices][..., None]
    cut_out = np.concatenate((image[box.slices] * inside, inside), axis=2, dtype=np.float32)
    size = (target.bottom - target.top, target.right - target.left)
    channels = torch.from_numpy(cut_out).permute(2, 0, 1)[None]
    resized = functional.interpolate(channels, size, mode="bilinear", antialias=True, align_corners=False)
    *colours, cover = resized[0].numpy()
    result, covered = background.copy(), np.zeros(mask.shape, bool)
    result[target.slices] = result[target.slices] * (1 - cover[..., None]) + np.stack(colours, axis=2)
    covered[target.slices] = cover >= 0.5 * cover.max()
    return np.clip(np.round(result), 0, 255).astype(np.uint8), covered

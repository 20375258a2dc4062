"""Maps as pictures: arrays in, RGB out, for the dashboard and the notebooks, and under the figures."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib import colormaps

from analysis.figures.style import SEQUENTIAL
from analysis.models.resize import resize


def enlarge(values: np.ndarray, size: tuple[int, int], align_corners: bool) -> np.ndarray:
    """A map ``[h, w]`` at the photograph's ``size`` (H, W), bilinear, lying over it as the model's maps do."""
    cells = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
    return resize(cells[None, None], size, align_corners)[0, 0].numpy()


def heat(
    values: np.ndarray,
    vmin: float,
    vmax: float,
    size: tuple[int, int] | None = None,
    align_corners: bool = True,
    cmap: str = SEQUENTIAL,
) -> np.ndarray:
    """A map ``[h, w]`` in the colours of the scale ``cmap`` from ``vmin`` to ``vmax``: uint8 ``[H, W, 3]``.

    ``size`` (H, W) enlarges it first; values outside the range take the colour of its end.
    """
    if size is not None:
        values = enlarge(values, size, align_corners)
    return colormaps[cmap](share(values, vmin, vmax), bytes=True)[..., :3]


def share(values: np.ndarray, vmin: float, vmax: float) -> np.ndarray:
    """Where values lie between ``vmin`` (0) and ``vmax`` (1), clipped; 0 for an empty range."""
    return np.clip((values - vmin) / (vmax - vmin), 0, 1) if vmax > vmin else np.zeros_like(values)


def blend(image: np.ndarray, colours: np.ndarray, opacity: float | np.ndarray) -> np.ndarray:
    """``colours`` over ``image``, both uint8 ``[H, W, 3]``; ``opacity`` 0..1, one for all or ``[H, W]``."""
    share_of_colours = np.asarray(opacity, np.float32)[..., None]
    return np.round(image + (colours.astype(np.float32) - image) * share_of_colours).astype(np.uint8)


def map_overlay(image: np.ndarray, values: np.ndarray, top: float) -> np.ndarray:
    """A map ``[H, W]`` over the grey photograph uint8 ``[H, W, 3]``; from 0 to ``top``, which covers most."""
    return blend(grey(image), heat(values, 0, top), 0.2 + 0.6 * share(values, 0, top))


def grey(image: np.ndarray) -> np.ndarray:
    """A photograph without its colours, uint8 ``[H, W, 3]``, so that only the map over it has any (Rec. 601 luma)."""
    luma = image.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    return np.repeat(np.round(luma).astype(np.uint8)[..., None], 3, axis=2)


def outlined(image: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """``image [H, W, 3]`` with the outlines of numbered regions ``[H, W]`` drawn just inside them; 0 is no region."""
    from skimage.segmentation import find_boundaries

    drawn = image.copy()
    drawn[find_boundaries(regions, mode="thick") & (regions == 0)] = (
        0  # a dark line round a light one: seen on any ground
    )
    drawn[find_boundaries(regions, mode="inner")] = (240, 228, 66)
    return drawn


def colour_labels(labels: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Labels or a prediction ``[H, W]`` in the colours of ``palette`` uint8 ``[K, 3]``; ignored pixels (255) black."""
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(palette)] = palette
    return colours[labels]

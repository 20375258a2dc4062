"""Labels on the grid of an attention map: which class, and which object, every cell stands for."""

from __future__ import annotations

import numpy as np

from analysis.datasets.images import IGNORED
from analysis.datasets.sample import Objects
from analysis.evaluation import COCO_CUTS

SIZES = ("small", "medium", "large")  # of COCO, by the area of the whole object in pixels of the label


def nearest_cells(pixels: int, cells: int, align_corners: bool) -> np.ndarray:
    """Along one side: the cell nearest to every pixel, int64 ``[pixels]``, as :func:`analysis.views.cell_of` has it."""
    at = np.arange(pixels)
    if align_corners:
        return np.rint(at * (cells - 1) / max(1, pixels - 1)).astype(np.int64)
    return ((at + 0.5) * cells / pixels).astype(np.int64)


def _cell_of_pixels(size: tuple[int, ...], grid: tuple[int, int], align_corners: bool) -> np.ndarray:
    """The number of the nearest cell of every pixel, int64 ``[H, W]``."""
    ys, xs = (nearest_cells(n, cells, align_corners) for n, cells in zip(size, grid, strict=True))
    return ys[:, None] * grid[1] + xs


def labels_on(label: np.ndarray, grid: tuple[int, int], n_classes: int, align_corners: bool) -> np.ndarray:
    """The class of most labelled pixels that are nearest to each cell, int64 ``[h, w]``; -1 where most are ignored.

    ``label`` is uint8 ``[H, W]``, 255 ignored. A cell without a pixel (a grid finer than the label) is ignored too.
    """
    cells = grid[0] * grid[1]
    shifted = np.where(label == IGNORED, n_classes, label).astype(np.int64)
    numbers = _cell_of_pixels(label.shape, grid, align_corners) * (n_classes + 1) + shifted
    counts = np.bincount(numbers.ravel(), minlength=cells * (n_classes + 1)).reshape(cells, n_classes + 1)
    known = counts[:, :-1]
    kept = (known.sum(axis=1) >= counts[:, -1]) & known.any(axis=1)
    return np.where(kept, known.argmax(axis=1), -1).reshape(grid)


def sizes_on(objects: Objects, labels: np.ndarray, align_corners: bool) -> np.ndarray:
    """The size of the object that most pixels nearest to each cell belong to, int64 ``[h, w]``: an index of ``SIZES``.

    -1 where there is none of the cell's own class, ``labels`` int64 ``[h, w]``.
    """
    n, grid = len(objects), (labels.shape[0], labels.shape[1])
    inside = objects.map > 0
    cells = _cell_of_pixels(objects.map.shape, grid, align_corners)[inside]
    pairs, pixels = np.unique(cells * (n + 1) + objects.map[inside], return_counts=True)
    largest_last = np.argsort(pixels, kind="stable")
    most = np.zeros(labels.size, np.int64)
    most[pairs[largest_last] // (n + 1)] = pairs[largest_last] % (n + 1)
    area = np.bincount(objects.map.ravel(), minlength=n + 1)
    size = np.searchsorted(COCO_CUTS[1:-1], area, side="right")
    owned = (most > 0) & (np.append(-2, objects.classes)[most] == labels.ravel())
    return np.where(owned, size[most], -1).reshape(grid)

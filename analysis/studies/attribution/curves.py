"""Deletion and insertion (Petsiuk et al., BMVC 2018): does the score follow the cells that a map names first?"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from analysis.studies.attribution.maps import Cells
from analysis.studies.attribution.regions import RegionScores


def deletion_and_insertion(
    scores: RegionScores, image: Tensor, cells: Cells, orders: np.ndarray, steps: int, batch: int
) -> np.ndarray:
    """Areas under both curves, float64 ``[M, 2, R]``, for each of ``orders [M, cells]``, cells from first to last.

    In ``steps`` equal steps cells take the mean colour (deletion), or come back into an image that is only mean colour
    (insertion). Scores are scaled so that the whole image has 1 and the empty one 0; a good order has a small area
    under deletion and a large one under insertion. NaN where whole and empty image score the same.
    """
    rank = np.empty_like(orders)
    np.put_along_axis(rank, orders, np.arange(orders.shape[1])[None], axis=1)
    fractions = np.linspace(0, 1, steps + 1)[1:-1]
    kept = [rank >= f * orders.shape[1] for f in fractions] + [rank < f * orders.shape[1] for f in fractions]
    ends = np.stack([np.ones(orders.shape[1], bool), np.zeros(orders.shape[1], bool)])
    values = _scores(scores, image, cells, np.concatenate([ends, *kept]), batch)
    whole, empty = values[:2]
    change = np.where(whole == empty, np.nan, whole - empty)
    curves = ((values[2:] - empty) / change).reshape(2, len(fractions), len(orders), -1)
    areas = (curves.sum(axis=1) + 0.5) / steps  # the trapezoid rule: of the ends one is 1 and one is 0
    return areas.transpose(1, 0, 2)


def _scores(scores: RegionScores, image: Tensor, cells: Cells, kept: np.ndarray, batch: int) -> np.ndarray:
    """Scores with only the ``kept`` cells, bool ``[M, cells]``: float64 ``[M, R]``."""
    with torch.no_grad():
        masks = torch.from_numpy(kept).to(image).split(batch)
        return torch.cat([scores(image * cells.paint(mask)) for mask in masks]).double().cpu().numpy()

"""Deletion and insertion (Petsiuk et al., BMVC 2018): does the score follow the cells that a map names first?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from analysis.studies.attribution.maps import Cells
from analysis.studies.attribution.regions import RegionScores


@dataclass(frozen=True, eq=False)
class Curves:
    """Scores in logits: ``whole [R]`` of the image, ``empty [R]`` of the mean colour, and means along the curves.

    ``deletion, insertion [M, R]``: the mean score while cells are taken away, or put into the empty image, in each of M
    orders. Not divided by whole - empty: that is near 0 or negative where an object is missed, and would decide a mean.
    """

    whole: np.ndarray
    empty: np.ndarray
    deletion: np.ndarray
    insertion: np.ndarray


def deletion_and_insertion(
    scores: RegionScores, image: Tensor, cells: Cells, orders: np.ndarray, steps: int, batch: int
) -> Curves:
    """The curves for each of ``orders [M, cells]``, cells from first to last.

    In ``steps`` equal steps cells take the mean colour (deletion), or come back into an image that is only mean colour
    (insertion). A good order has a low mean under deletion and a high one under insertion.
    """
    rank = np.empty_like(orders)
    np.put_along_axis(rank, orders, np.arange(orders.shape[1])[None], axis=1)
    fractions = np.linspace(0, 1, steps + 1)[1:-1]
    kept = [rank >= f * orders.shape[1] for f in fractions] + [rank < f * orders.shape[1] for f in fractions]
    ends = np.stack([np.ones(orders.shape[1], bool), np.zeros(orders.shape[1], bool)])
    values = _scores(scores, image, cells, np.concatenate([ends, *kept]), batch)
    whole, empty = values[:2]
    inner = values[2:].reshape(2, len(fractions), len(orders), -1).sum(axis=1)
    return Curves(whole, empty, *(inner + (whole + empty) / 2) / steps)  # the trapezoid rule


def _scores(scores: RegionScores, image: Tensor, cells: Cells, kept: np.ndarray, batch: int) -> np.ndarray:
    """Scores with only the ``kept`` cells, bool ``[M, cells]``: float64 ``[M, R]``. Equal masks are scored once."""
    different, which = np.unique(kept, axis=0, return_inverse=True)
    with torch.no_grad():
        masks = torch.from_numpy(different).to(image).split(batch)
        found = torch.cat([scores(image * cells.paint(mask)) for mask in masks]).double().cpu().numpy()
    return found[which.ravel()]

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
    """Scores in logits along ``shares [F]`` of the cells, from 0 to 1, for M orders and R regions.

    ``deletions [F, M, R]``: while cells are taken away, from the whole image to the mean colour; ``insertions``: while
    they are put into the empty image, the other way. Not divided by whole - empty: that is near 0 or negative where an
    object is missed, and would decide a mean.
    """

    shares: np.ndarray
    deletions: np.ndarray
    insertions: np.ndarray

    @property
    def whole(self) -> np.ndarray:
        """The score of the image ``[R]``."""
        return self.deletions[0, 0]

    @property
    def empty(self) -> np.ndarray:
        """The score of the mean colour ``[R]``."""
        return self.insertions[0, 0]

    @property
    def deletion(self) -> np.ndarray:
        """The mean score along each curve of deletion ``[M, R]``, by the trapezoid rule."""
        return _mean(self.deletions)

    @property
    def insertion(self) -> np.ndarray:
        """The same of insertion."""
        return _mean(self.insertions)


def _mean(curve: np.ndarray) -> np.ndarray:
    return (curve[1:-1].sum(axis=0) + (curve[0] + curve[-1]) / 2) / (len(curve) - 1)


def from_largest(values: np.ndarray, random: np.ndarray) -> np.ndarray:
    """The order of the cells by ``values [R, cells]``; of equal ones, as where a map is cut off at 0, a random one."""
    return np.lexsort((np.broadcast_to(random, values.shape), -values), axis=1)


def deletion_and_insertion(
    scores: RegionScores, image: Tensor, cells: Cells, orders: np.ndarray, steps: int, batch: int
) -> Curves:
    """The curves for each of ``orders [M, cells]``, cells from first to last.

    In ``steps`` equal steps cells take the mean colour (deletion), or come back into an image that is only mean colour
    (insertion). A good order has a low mean under deletion and a high one under insertion.
    """
    rank = np.empty_like(orders)
    np.put_along_axis(rank, orders, np.arange(orders.shape[1])[None], axis=1)
    shares = np.linspace(0, 1, steps + 1)
    kept = [rank >= f * orders.shape[1] for f in shares] + [rank < f * orders.shape[1] for f in shares]
    values = _scores(scores, image, cells, np.concatenate(kept), batch)
    return Curves(shares, *values.reshape(2, len(shares), len(orders), -1))


def _scores(scores: RegionScores, image: Tensor, cells: Cells, kept: np.ndarray, batch: int) -> np.ndarray:
    """Scores with only the ``kept`` cells, bool ``[M, cells]``: float64 ``[M, R]``. Equal masks are scored once."""
    different, which = np.unique(kept, axis=0, return_inverse=True)
    alone = scores.by_themselves()
    with torch.no_grad():
        masks = torch.from_numpy(different).to(image).split(batch)
        found = torch.cat([alone(image * cells.paint(mask)) for mask in masks]).double().cpu().numpy()
    return found[which.ravel()]

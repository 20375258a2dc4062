"""Measures: arrays and tensors in, numbers out. Nothing here knows a model or a data set.

confusion, iou, mean_iou        class by class, over any number of images
object_iou, ObjectIoU           one number an object (DESIGN 5)
relative_contribution           what a gate really adds
attention_rows, attention_columns, attention_received   of PAM's N x N matrix, which is never built
winning_branch                  of scale weights
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from analysis.errors import AnalysisError

if TYPE_CHECKING:
    from analysis.datasets.sample import Objects

IGNORE = 255
Positions = Sequence[tuple[int, int]]


def confusion(prediction: np.ndarray, label: np.ndarray, n_classes: int, ignore: int = IGNORE) -> np.ndarray:
    """Pixels by true and predicted class, int64 ``[K, K]``, rows truth; matrices of several images add up.

    ``prediction`` and ``label`` are integers of one shape; pixels with ``label == ignore`` are left out.
    AnalysisError: shapes that differ, or a class outside 0..K-1.
    """
    if prediction.shape != label.shape:
        raise AnalysisError(f"the prediction is {prediction.shape} and the label {label.shape}; both need one shape")
    counted = label != ignore
    truth, predicted = label[counted].astype(np.int64), prediction[counted].astype(np.int64)
    for what, values in (("label", truth), ("prediction", predicted)):
        if values.size and not 0 <= values.min() <= values.max() < n_classes:
            worst = values.max() if values.max() >= n_classes else values.min()
            raise AnalysisError(f"class {worst} in the {what}; known are 0 to {n_classes - 1}")
    return np.bincount(truth * n_classes + predicted, minlength=n_classes**2).reshape(n_classes, n_classes)


def iou(confusion: np.ndarray) -> np.ndarray:
    """Intersection over union of every class, float64 ``[K]`` in 0..1; NaN where a class is in neither map."""
    intersection = np.diag(confusion).astype(np.float64)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - intersection
    return np.divide(intersection, union, out=np.full(len(union), np.nan), where=union > 0)


def mean_iou(confusion: np.ndarray) -> float:
    """The mean of :func:`iou` over the classes that are in either map; NaN where there is none."""
    present = iou(confusion)
    present = present[~np.isnan(present)]
    return float(present.mean()) if present.size else float("nan")


def object_iou(prediction: np.ndarray, label: np.ndarray, objects: Objects, ring: int) -> np.ndarray:
    """IoU of every object, float64 ``[n]`` in 0..1 (DESIGN 5).

    For object O of class c: the pixels predicted c within O, over O united with those false positives of c that are
    at most ``ring`` pixels (Euclidean) from O and nearer to O than to any other object of c. A pixel as near to two
    objects counts for neither. Void pixels (label 255), other objects of c and other pixels labelled c are no false
    positives. ``prediction`` and ``label`` are integers ``[H, W]``.
    """
    return ObjectIoU(label, objects, ring)(prediction)


@dataclass(frozen=True, eq=False)
class ObjectIoU:
    """:func:`object_iou` of many predictions of one image: what is nearest to what is found once."""

    label: np.ndarray
    objects: Objects
    ring: int

    def __call__(self, prediction: np.ndarray) -> np.ndarray:
        """Of one prediction, integers ``[H, W]``."""
        n, numbers = len(self.objects), self.objects.map
        hits = np.bincount(numbers[prediction == self._own_class], minlength=n + 1)
        false = np.zeros(n + 1, np.int64)
        for c, nearest in self._nearest.items():
            false += np.bincount(nearest[prediction == c], minlength=n + 1)
        union = (self._area + false)[1:]
        return np.divide(hits[1:], union, out=np.full(n, np.nan), where=union > 0)

    @cached_property
    def _own_class(self) -> np.ndarray:
        return np.append(-1, self.objects.classes)[self.objects.map]

    @cached_property
    def _area(self) -> np.ndarray:
        return np.bincount(self.objects.map.ravel(), minlength=len(self.objects) + 1)

    @cached_property
    def _nearest(self) -> dict[int, np.ndarray]:
        """By class, the object that a false positive of it counts for, ``[H, W]``; 0 where it would be none."""
        found = {}
        for c in np.unique(self.objects.classes).tolist():
            right = (self.label == c) | (self.label == IGNORE) | (self._own_class == c)
            found[c] = np.where(right, 0, _nearest_object(self.objects, c, self.ring))
        return found


def _nearest_object(objects: Objects, c: int, ring: int) -> np.ndarray:
    """Number of the nearest object of class c within ``ring`` pixels, int ``[H, W]``; 0 for none, or two as near.

    One distance transform an object, on its bounding box and ring: what lies outside is in no ring of it.
    """
    from scipy import ndimage

    nearest = np.zeros_like(objects.map)
    distance = np.full(objects.map.shape, np.inf)
    for number, box in enumerate(ndimage.find_objects(objects.map, max_label=len(objects)), start=1):
        if box is None or objects.classes[number - 1] != c:
            continue
        window = tuple(slice(max(0, side.start - ring), side.stop + ring) for side in box)
        d = np.asarray(ndimage.distance_transform_edt(objects.map[window] != number))
        best = distance[window]
        nearest[window][(d <= ring) & (d == best)] = 0
        nearest[window][(d <= ring) & (d < best)] = number
        np.minimum(best, np.where(d <= ring, d, np.inf), out=best)
    return nearest


@torch.no_grad()
def relative_contribution(gate: Tensor, attended: Tensor, features: Tensor) -> Tensor:
    """What a gated path adds, as a share of its input: ||gate * attended|| / ||features||, a float32 scalar.

    Frobenius norms over the whole batch. Comparable between alpha and beta, which the gates alone are not: (alpha, W)
    and (c alpha, W / c) are the same function.
    """
    return (gate.float().abs() * attended.float().norm() / features.float().norm()).squeeze()


def attention_rows(query: Tensor, key: Tensor, positions: Positions) -> Tensor:
    """Where does each position look? Rows s_j of equation (1) of Fu et al., float32 ``[P, h, w]``, each of sum 1.

    ``query, key [d, h, w]`` of one image; ``positions`` are P cells (y, x). AnalysisError: a cell outside the map.
    """
    asked = query[:, *_cells(positions, query)].float()
    with torch.no_grad(), torch.autocast(query.device.type, enabled=False):
        scores = asked.T @ key.flatten(1).float()
        return torch.softmax(scores, dim=-1, out=scores).view(-1, *key.shape[1:])


def attention_columns(query: Tensor, key: Tensor, positions: Positions, normalisers: Tensor | None = None) -> Tensor:
    """Who looks at each position? ``s[j, position]`` for every cell j, float32 ``[P, h, w]``; see ``attention_rows``.

    Every s_j is normalised over its own row: give :func:`log_normalisers` where several columns are asked for.
    """
    asked = key[:, *_cells(positions, key)].float()
    log_z = log_normalisers(query, key) if normalisers is None else normalisers
    with torch.autocast(query.device.type, enabled=False):
        scores = asked.T @ query.flatten(1).float()
    return torch.exp(scores - log_z.flatten()).view(-1, *query.shape[1:])


def attention_received(query: Tensor, key: Tensor) -> Tensor:
    """Who is looked at? The sum of every column of the attention, sum_j s_ji, float32 ``[h, w]``, N in all.

    ``query, key [d, h, w]`` of one image. Of the N x N matrix, some rows are there at a time.
    """
    keys, queries = key.flatten(1).float(), query.flatten(1).float().T.contiguous()
    received = keys.new_zeros(keys.shape[1])
    size = rows_at_a_time(len(received))
    block = keys.new_empty(size, len(received))
    with torch.no_grad(), torch.autocast(query.device.type, enabled=False):
        for some in queries.split(size):
            weights = torch.mm(some, keys, out=block[: len(some)])
            received += torch.softmax(weights, dim=1, out=weights).sum(0)
    return received.view(query.shape[1:])


def log_normalisers(query: Tensor, key: Tensor) -> Tensor:
    """The logarithm of what each row of the attention is divided by, float32 ``[h, w]``; some rows at a time."""
    with torch.autocast(query.device.type, enabled=False):
        keys = key.flatten(1).float()
        chunks = query.flatten(1).float().T.split(rows_at_a_time(keys.shape[1]))
        return torch.cat([torch.logsumexp(q @ keys, dim=-1) for q in chunks]).view(query.shape[1:])


def rows_at_a_time(n: int) -> int:
    """Of ``n`` cells each: 2 MiB of float32 for the caches of a core, but all keys are read anew for so many rows."""
    return max(64, 2**19 // n)


def _cells(positions: Positions, grid: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column indices of cells of ``grid [d, h, w]``."""
    height, width = grid.shape[1:]
    for y, x in positions:
        if not (0 <= y < height and 0 <= x < width):
            raise AnalysisError(f"cell ({y}, {x}) is outside the map of {height} x {width} cells (y, x from 0)")
    ys, xs = torch.tensor(positions, dtype=torch.long, device=grid.device).view(-1, 2).unbind(dim=1)
    return ys, xs


def winning_branch(weights: np.ndarray) -> np.ndarray:
    """The branch with the greatest weight: ``[S, h, w]`` to int64 ``[h, w]``; the first of equal ones."""
    return weights.argmax(axis=0)

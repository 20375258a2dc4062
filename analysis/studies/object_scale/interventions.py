"""What the weights do for the objects: object IoU with other weights, of the same forward (DESIGN 6).

For each object all cells that enter it get one weight a branch. The baseline gives each object its own mean weights;
``shuffled`` those of another object of its class; ``uniform`` 1/S; ``1.0x branch only`` one branch. ``untouched`` is
the model as it is. Cells that enter no object keep their weights.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from torch import Tensor

from analysis.datasets.sample import Sample
from analysis.evaluation import RING
from analysis.measures import ObjectIoU
from analysis.statistics import Estimate, estimate, mean
from analysis.studies.measured import Measured
from analysis.studies.object_scale.by_class import Question
from analysis.studies.object_scale.donors import Donors
from analysis.studies.object_scale.maps import Maps, weights_inside
from analysis.studies.object_scale.shapley import SOURCE
from analysis.views import branch_labels

WEIGHTS_MATTER = "weights-matter"
UNTOUCHED, BASELINE, SHUFFLED, UNIFORM = "untouched", "object mean", "shuffled", "uniform"
#: Points of object IoU.
SMALLEST_EFFECT = 1.0
#: A share of a cell below this is rounding.
_NOTHING = 1e-6


def owners(footprint: sparse.csr_array) -> np.ndarray:
    """The object (1..n) that each cell enters most, 0 where it enters none: int ``[h * w]`` of ``[n, h * w]``."""
    entries = footprint.tocoo()
    order = np.argsort(entries.data, kind="stable")
    order = order[entries.data[order] > _NOTHING]
    owner = np.zeros(footprint.shape[1], int)
    owner[entries.col[order]] = entries.row[order] + 1  # of several entries of a cell the last, largest, stays
    return owner


def flattened(weights: Tensor, owner: np.ndarray, given: np.ndarray) -> Tensor:
    """``weights [S, h, w]`` with one weight a branch, ``given [n, S]``, in all cells of each object."""
    owned = torch.from_numpy(owner > 0).view(weights.shape[1:])
    new = weights.clone()
    new[:, owned] = torch.from_numpy(given[owner[owner > 0] - 1].T).to(weights.dtype)
    return new


def intervention_rows(
    maps: Maps,
    sample: Sample,
    label: np.ndarray,
    classes: tuple[str, ...],
    donors: Donors,
    footprint: sparse.csr_array,
) -> pd.DataFrame:
    """The table ``object_interventions`` of one labelled image, from the maps of a forward and the footprints on them.

    A row per object and intervention, with claim, area (pixels), cells (of the maps), iou and iou_baseline in 0..1 as
    :func:`analysis.measures.object_iou` has them. ``shuffled`` is the mean over as many donors as an object is given,
    and left out for objects that have none.
    """
    owner, own = owners(footprint), weights_inside(maps.weights, footprint)
    iou = ObjectIoU(label, sample.objects, RING)
    ious = {name: iou(maps.prediction(fused)) for name, fused in _fused(maps, owner, own)}
    ious[SHUFFLED] = _shuffled_iou(maps, iou, owner, own, donors.given_to(sample))
    return _per_object(maps, sample, classes, ious)


def _fused(maps: Maps, owner: np.ndarray, own: np.ndarray) -> Iterator[tuple[str, Tensor]]:
    """Fused scores ``[K, h, w]`` under every intervention that needs no other object."""
    yield UNTOUCHED, maps.fused(maps.weights)
    yield BASELINE, maps.fused(flattened(maps.weights, owner, own))
    yield UNIFORM, maps.fused(flattened(maps.weights, owner, np.full_like(own, 1 / own.shape[1])))
    for label, one in zip(branch_labels(maps.scales), np.eye(own.shape[1]), strict=True):
        yield f"{label} only", maps.fused(flattened(maps.weights, owner, np.tile(one, (len(own), 1))))


def _shuffled_iou(maps: Maps, iou: ObjectIoU, owner: np.ndarray, own: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Objects without a donor keep their own weights, and get no IoU."""
    ious = []
    for draw in given:
        fused = maps.fused(flattened(maps.weights, owner, np.where(np.isnan(draw), own, draw)))
        ious.append(iou(maps.prediction(fused)))
    return np.where(np.isnan(given[0, :, 0]), np.nan, np.mean(ious, axis=0))


def _per_object(maps: Maps, sample: Sample, classes: tuple[str, ...], ious: dict[str, np.ndarray]) -> pd.DataFrame:
    n, names = len(sample.objects), [name for name in ious if name != BASELINE]
    area = np.bincount(sample.objects.map.ravel(), minlength=n + 1)[1:]
    table = pd.DataFrame(
        {
            "image": np.full(n * len(names), sample.name),
            "object": np.tile(np.arange(1, n + 1), len(names)),
            "class": np.tile(np.array(classes)[sample.objects.classes], len(names)),
            "area": np.tile(area, len(names)),
            "cells": np.tile(area / maps.cell, len(names)),
            "claim": WEIGHTS_MATTER,
            "intervention": np.repeat(np.array(names), n),
            "iou": np.concatenate([ious[name] for name in names]),
            "iou_baseline": np.tile(ious[BASELINE], len(names)),
        }
    )
    return table[table["iou"].notna()]


def weights_matter_intervened(objects: pd.DataFrame) -> list[Measured]:
    """How much object IoU falls, in points, when an object's own mean weights are exchanged for another's."""
    question = Question(WEIGHTS_MATTER, SOURCE, "intervention", "points of object IoU", SMALLEST_EFFECT, _mean_drop)
    return question.by_class(objects[objects["intervention"] == SHUFFLED])


def _mean_drop(rows: pd.DataFrame) -> Estimate:
    drop = 100 * (rows["iou_baseline"] - rows["iou"])
    return estimate(rows.assign(drop=drop), lambda t, w: mean(t["drop"], w))

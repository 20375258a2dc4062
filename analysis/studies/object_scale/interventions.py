"""What the weights do for the objects: object IoU with other weights, of the same forward (DESIGN 6).

For each object all cells that enter it get one weight a branch. The baseline gives each object its own mean weights;
``shuffled`` those of another object of its class; ``uniform`` 1/S; ``1.0x branch only`` one branch. ``untouched`` is
the model as it is. Cells that enter no object keep their weights. For attention-fusion the rule is swapped everywhere.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from torch import Tensor

from analysis.datasets.sample import Dataset, Objects, Sample
from analysis.errors import AnalysisError
from analysis.evaluation import RING
from analysis.measures import object_iou
from analysis.models import ScaleAttention
from analysis.statistics import Estimate, Weights, estimate, mean
from analysis.studies.measured import Measured
from analysis.studies.miou import class_iou, class_names, confusion_rows, miou
from analysis.studies.object_scale.by_class import Question
from analysis.studies.object_scale.maps import Maps, footprints, see_maps, weights_inside
from analysis.studies.object_scale.shapley import SOURCE
from analysis.studies.study import Rows
from analysis.views import branch_labels

WEIGHTS_MATTER, ATTENTION_FUSION = "weights-matter", "attention-fusion"
UNTOUCHED, BASELINE, SHUFFLED, UNIFORM = "untouched", "object mean", "shuffled", "uniform"
AVERAGE, MAXIMUM = "average fusion", "max fusion"
RULES = ("attention", "average", "max")
#: Points of object IoU, and of mIoU.
SMALLEST_EFFECT, SMALLEST_MIOU = 1.0, 0.5
#: From how many images come the weights that shuffled objects get, and how often each object is given some.
DONOR_IMAGES, SHUFFLES = 64, 3
#: A share of a cell below this is rounding.
_NOTHING = 1e-6
IDENTITY = ("checkpoint", "recipe", "seed", "dataset", "split")
COLUMNS = (*IDENTITY, "block", "claim", "intervention", "class", "size_bin", "iou", "iou_baseline", "n_objects")


@dataclass(frozen=True, eq=False)
class Donors:
    """Mean weights of objects of other images: ``weights [m, S]``, their classes ``[m]`` and blocks ``[m]``."""

    weights: np.ndarray
    classes: np.ndarray
    blocks: np.ndarray

    def given_to(self, sample: Sample) -> np.ndarray:
        """Weights for each object from random objects of its class in other blocks, ``[SHUFFLES, n, S]``; NaN: none.

        The image's name seeds the draw.
        """
        rng = np.random.default_rng(zlib.crc32(sample.name.encode()))
        given = np.full((SHUFFLES, len(sample.objects), self.weights.shape[1]), np.nan)
        for k, c in enumerate(sample.objects.classes):
            fitting = np.flatnonzero((self.classes == c) & (self.blocks != sample.block))
            if len(fitting):
                given[:, k] = self.weights[rng.choice(fitting, SHUFFLES)]
        return given


def find_donors(model: ScaleAttention, dataset: Dataset) -> Donors:
    """Look at ``DONOR_IMAGES`` images, evenly spaced over the data set, once each; the same ones in every process."""
    chosen = np.unique(np.linspace(0, len(dataset) - 1, min(DONOR_IMAGES, len(dataset))).round().astype(int))
    weights, classes, blocks = [np.zeros((0, len(model.branches)))], [np.zeros(0, int)], []
    for i in chosen:
        sample = dataset[int(i)]
        if len(sample.objects):
            maps = see_maps(model, sample.image)
            weights.append(weights_inside(maps, footprints(sample.objects, maps)))
            classes.append(sample.objects.classes)
            blocks += [sample.block] * len(sample.objects)
    return Donors(np.concatenate(weights), np.concatenate(classes), np.array(blocks, dtype=object))


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


def intervention_rows(maps: Maps, sample: Sample, classes: tuple[str, ...], donors: Donors) -> Rows:
    """Tables ``object_interventions`` and ``fusions`` of one labelled image, from the maps of one forward.

    ``object_interventions``: a row per object and intervention, with claim, area (pixels), cells (of the maps), iou
    and iou_baseline in 0..1 as :func:`analysis.measures.object_iou` has them. ``shuffled`` is the mean over
    ``SHUFFLES`` donors, and left out for objects that have none. ``fusions``: a row per rule of fusion, with the
    columns of :func:`analysis.studies.miou.confusion_rows`.
    """
    if sample.label is None:
        raise AnalysisError(f"{sample.name} has no label; object IoU needs a labelled split")
    objects = sample.objects
    owner, own = _owners_and_weights(maps, objects)
    predicted = {name: maps.prediction(fused) for name, fused in _fused(maps, owner, own)}
    ious = {name: object_iou(p, sample.label, objects, RING) for name, p in predicted.items()}
    ious[SHUFFLED] = _shuffled_iou(maps, sample, sample.label, owner, own, donors.given_to(sample))
    swapped = [
        {"image": sample.name, "fusion": rule, **confusion_rows(predicted[name], sample.label, classes)}
        for name, rule in ((UNTOUCHED, "attention"), (AVERAGE, "average"), (MAXIMUM, "max"))
    ]
    return {"object_interventions": _per_object(maps, sample, classes, ious), "fusions": pd.DataFrame(swapped)}


def _owners_and_weights(maps: Maps, objects: Objects) -> tuple[np.ndarray, np.ndarray]:
    footprint = footprints(objects, maps)
    return owners(footprint), weights_inside(maps, footprint)


def _fused(maps: Maps, owner: np.ndarray, own: np.ndarray) -> Iterator[tuple[str, Tensor]]:
    """Fused scores ``[K, h, w]`` under every intervention that needs no other object."""
    yield UNTOUCHED, maps.fused(maps.weights)
    yield BASELINE, maps.fused(flattened(maps.weights, owner, own))
    yield UNIFORM, maps.fused(flattened(maps.weights, owner, np.full_like(own, 1 / own.shape[1])))
    for label, one in zip(branch_labels(maps.scales), np.eye(own.shape[1]), strict=True):
        yield f"{label} only", maps.fused(flattened(maps.weights, owner, np.tile(one, (len(own), 1))))
    yield AVERAGE, maps.scores.mean(dim=0)
    yield MAXIMUM, maps.scores.amax(dim=0)


def _shuffled_iou(
    maps: Maps, sample: Sample, label: np.ndarray, owner: np.ndarray, own: np.ndarray, given: np.ndarray
) -> np.ndarray:
    """Objects without a donor keep their own weights, and get no IoU."""
    ious = []
    for draw in given:
        fused = maps.fused(flattened(maps.weights, owner, np.where(np.isnan(draw), own, draw)))
        ious.append(object_iou(maps.prediction(fused), label, sample.objects, RING))
    return np.where(np.isnan(given[0, :, 0]), np.nan, np.mean(ious, axis=0))


def _per_object(maps: Maps, sample: Sample, classes: tuple[str, ...], ious: dict[str, np.ndarray]) -> pd.DataFrame:
    n, names = len(sample.objects), [name for name in ious if name != BASELINE]
    area = np.bincount(sample.objects.map.ravel(), minlength=n + 1)[1:]
    swapped = [name in (AVERAGE, MAXIMUM) for name in names]
    table = pd.DataFrame(
        {
            "image": np.full(n * len(names), sample.name),
            "object": np.tile(np.arange(1, n + 1), len(names)),
            "class": np.tile(np.array(classes)[sample.objects.classes], len(names)),
            "area": np.tile(area, len(names)),
            "cells": np.tile(area / maps.cell, len(names)),
            "claim": np.repeat(np.where(swapped, ATTENTION_FUSION, WEIGHTS_MATTER), n),
            "intervention": np.repeat(np.array(names), n),
            "iou": np.concatenate([ious[name] for name in names]),
            "iou_baseline": np.concatenate([ious[UNTOUCHED if swap else BASELINE] for swap in swapped]),
        }
    )
    return table[table["iou"].notna()]


def interventions(objects: pd.DataFrame) -> pd.DataFrame:
    """The table ``interventions`` of DESIGN 5 from ``object_interventions``: mean IoUs (0..1) by class and size.

    ``size_bin``: ``all``; ``below a cell``; of the others ``quartile 1`` to ``4`` by area within the class. Class
    ``all`` holds the objects of all classes, each in the bin it has in its own. ``block`` is ``all``.
    """
    if objects.empty:
        return pd.DataFrame(columns=[*COLUMNS])
    binned = objects.assign(size_bin=_size_bins(objects))
    everything = [
        binned.assign(**labels)
        for labels in ({}, {"class": "all"}, {"size_bin": "all"}, {"class": "all", "size_bin": "all"})
    ]
    keys = [*IDENTITY, "claim", "intervention", "class", "size_bin"]
    grouped = pd.concat(everything).groupby(keys, sort=True)[["iou", "iou_baseline"]]
    return grouped.mean().assign(n_objects=grouped.size(), block="all").reset_index()[[*COLUMNS]]


def _size_bins(objects: pd.DataFrame) -> np.ndarray:
    """Quartiles are cut over the objects of a class in a checkpoint, whatever was done to them."""
    whole = objects.assign(area=objects["area"].where(objects["cells"] >= 1))
    rank = whole.groupby([*IDENTITY, "claim", "intervention", "class"])["area"].rank(pct=True).to_numpy()
    names = np.array(["below a cell", "quartile 1", "quartile 2", "quartile 3", "quartile 4"])
    return names[np.nan_to_num(np.ceil(4 * rank)).astype(int)]


def weights_matter_intervened(objects: pd.DataFrame) -> list[Measured]:
    """How much object IoU falls, in points, when an object's own mean weights are exchanged for another's."""
    question = Question(WEIGHTS_MATTER, SOURCE, "intervention", "points of object IoU", SMALLEST_EFFECT, _mean_drop)
    return question.by_class(objects[objects["intervention"] == SHUFFLED])


def _mean_drop(rows: pd.DataFrame) -> Estimate:
    drop = 100 * (rows["iou_baseline"] - rows["iou"])
    return estimate(rows.assign(drop=drop), lambda t, w: mean(t["drop"], w))


def attention_fusion_swapped(fusions: pd.DataFrame) -> list[Measured]:
    """mIoU of the attention model minus that of the better of average and max in its place at test time, in points."""
    classes = class_names(fusions)
    names = [None, *classes]
    return [_swapped(name).asked(fusions, name or "all") for name in names]


def _swapped(class_: str | None) -> Question:
    return Question(
        ATTENTION_FUSION,
        "Chen tables 1, 3, 6",
        "intervention",
        "points of mIoU" if class_ is None else "points of IoU",
        SMALLEST_MIOU,
        partial(_gain, class_=class_),
    )


def _gain(fusions: pd.DataFrame, class_: str | None) -> Estimate:
    def points(rows: pd.DataFrame, weights: Weights) -> np.ndarray:
        return 100 * (miou(rows, weights) if class_ is None else class_iou(rows, weights)[:, index])

    def effect(rows: pd.DataFrame, weights: Weights) -> np.ndarray:
        by_rule = {rule: points(rows, weights * (rows["fusion"] == rule).to_numpy()) for rule in RULES}
        return by_rule["attention"] - np.maximum(by_rule["average"], by_rule["max"])

    index = class_names(fusions).index(class_) if class_ is not None else 0
    found = estimate(fusions, effect)
    return replace(found, n_objects=found.n_objects // len(RULES))  # images: each has a row for every rule

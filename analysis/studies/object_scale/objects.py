"""The ``objects`` table: the scale weights on every object, round it, and where its mask is moved (DESIGN 5, 6).

    study = ObjectScale(model, dataset.classes)
    tables = study.rows(sample, sample.label, study.see(sample))

One row per region and scale, things and stuff (``thing`` tells them). Beside it ``objects_redrawn``: the same for
attention heads that have learnt nothing, on the same features.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from analysis.datasets.sample import Sample
from analysis.evaluation import RING
from analysis.measures import object_iou, winning_branch
from analysis.models import ScaleAttention, predict
from analysis.models.resize import resize
from analysis.studies.object_scale.head import redrawn_heads, redrawn_weights
from analysis.studies.object_scale.maps import Maps, maps_of, tap_names
from analysis.studies.object_scale.regions import Regions, outlines, placebo_means, regions_of
from analysis.studies.study import Rows
from analysis.taps import capture

Columns = dict[str, np.ndarray]  # a value a region [n], or a region and scale [n, S]


@dataclass(frozen=True, eq=False)
class Forward:
    """Of one forward: ``prediction [H, W]``, and the weights of the heads on the photograph, each ``[S, H, W]``.

    ``grid`` is the height and width of the weight map itself, ``maps`` what is on it, ``heads [H, S, h, w]`` the
    weights of single heads that learnt nothing, whose mean the second of ``weights`` is.
    """

    prediction: np.ndarray
    weights: tuple[np.ndarray, ...]
    grid: tuple[int, ...]
    align_corners: bool
    maps: Maps
    heads: Tensor

    @property
    def cell(self) -> int:
        """The longer side of a cell in pixels, rounded up."""
        return max(math.ceil(n / cells) for n, cells in zip(self.prediction.shape, self.grid, strict=True))

    @property
    def centres(self) -> np.ndarray:
        """The pixels nearest to the centres of cells, where a weight is that of one cell: bool ``[H, W]``."""
        sides = (_centres(n, m, self.align_corners) for n, m in zip(self.prediction.shape, self.grid, strict=True))
        return np.logical_and.outer(*sides)


def _centres(n: int, cells: int, align_corners: bool) -> np.ndarray:
    """Along a side of n pixels, bool ``[n]``."""
    places = np.linspace(0, n - 1, cells) if align_corners else (np.arange(cells) + 0.5) * n / cells - 0.5
    chosen = np.zeros(n, bool)
    chosen[places.round().astype(int)] = True
    return chosen


@dataclass(frozen=True)
class ObjectScale:
    """What is observed with one model; ``classes`` are the names of its classes.

    Beside the columns of DESIGN 5 there is ``thing``. Areas and lengths are in pixels of the photograph, ``cells`` in
    cells of the weight map; weights are brought to the photograph's size as logits are. ``object`` numbers the regions
    of an image, objects first. Stuff has neither interior, ring, placebo, contour nor IoU.
    """

    model: ScaleAttention
    classes: tuple[str, ...]
    heads: nn.Module = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "heads", redrawn_heads(self.model))

    def rows(self, sample: Sample, label: np.ndarray, seen: Forward) -> Rows:
        """Tables ``objects`` and ``objects_redrawn`` of one image with its label, of one forward of it."""
        regions = regions_of(sample, label)
        if not len(regions):
            return {}
        described = {
            "image": np.full(len(regions), sample.name),
            "object": np.arange(1, len(regions) + 1),
            "class": np.array(self.classes)[regions.classes],
            "thing": regions.thing,
            **_geometry(regions, seen.grid),
        }
        trained, redrawn = _placed(sample, regions, seen.weights)
        tables = (described | trained | _shaped(sample, label, regions, seen), described | redrawn)
        return {
            name: _long(columns, self.model.spec.scales)
            for name, columns in zip(("objects", "objects_redrawn"), tables, strict=True)
        }

    def see(self, sample: Sample) -> Forward:
        """One forward; the redrawn heads get the features that the trained one got."""
        spec = self.model.spec
        kind = "features" if spec.head_input == "fc7" else "scores"
        inputs = [f"scale.{kind}.{branch}" for branch in self.model.branches]
        with capture(self.model, *{*tap_names(self.model), *inputs}) as taps:
            prediction = predict(self.model, sample.image).max(dim=0).indices.cpu().numpy()  # not argmax: slow
        trained = taps["scale.weights"].float()
        heads = redrawn_weights(self.heads, torch.cat([taps[name] for name in inputs], dim=1), trained)
        redrawn = heads.mean(dim=0, keepdim=True)
        size, align = sample.image.shape[:2], spec.input.align_corners
        on_photograph = tuple(resize(w, size, align)[0].cpu().numpy() for w in (trained, redrawn))
        return Forward(
            prediction, on_photograph, trained.shape[-2:], align, maps_of(self.model, taps, size), heads.cpu()
        )


def _geometry(regions: Regions, grid: tuple[int, ...]) -> Columns:
    (height, width), area = regions.map.shape, regions.area
    top, bottom, left, right = regions.bounds.T
    y, x = regions.centroids.T
    return {
        "area": area,
        "cells": area * (math.prod(grid) / regions.map.size),
        "height": bottom - top,
        "width": right - left,
        "centroid_y": y,
        "centroid_x": x,
        "touches_border": (top == 0) | (left == 0) | (bottom == height) | (right == width),
    }


def _placed(sample: Sample, regions: Regions, weights: Sequence[np.ndarray]) -> list[Columns]:
    """Each head's weights inside the regions, and inside the masks moved to columns that the image's name draws."""
    maps = np.concatenate(weights)
    random = np.random.default_rng(zlib.crc32(sample.name.encode()))
    inside, moved = regions.means(maps), placebo_means(maps, regions, random)
    pairs = zip(*(np.split(means, len(weights), axis=1) for means in (inside, moved)), strict=True)
    return [{"weight_inside": one, "weight_placebo": other} for one, other in pairs]


def _shaped(sample: Sample, label: np.ndarray, regions: Regions, seen: Forward) -> Columns:
    """What needs the objects' outlines, or the pixels one by one."""
    weights, n_scales = seen.weights[0], len(seen.weights[0])
    found = outlines(weights, regions, seen.cell, seen.centres)
    region_and_winner = regions.map * n_scales + winning_branch(weights)
    won = np.bincount(region_and_winner.ravel(), minlength=(len(regions) + 1) * n_scales)
    iou = np.full(len(regions), np.nan)
    iou[regions.thing] = object_iou(seen.prediction, label, sample.objects, RING)
    return {
        "contour_fraction": found.contour,
        "weight_interior": found.interior,
        "weight_ring": found.ring,
        "wins": won.reshape(-1, n_scales)[1:] / regions.area[:, None],
        "iou": iou,
    }


def _long(columns: Columns, scales: Sequence[float]) -> pd.DataFrame:
    """A row per region and scale, the scales of a region below each other."""
    n = len(columns["object"])
    long = {name: v.ravel() if v.ndim == 2 else v.repeat(len(scales)) for name, v in columns.items()}
    table = pd.DataFrame({**long, "scale": np.tile(np.array(scales, float), n)})
    return table[[name for name in ORDER if name in table]]


ORDER = (
    "image", "object", "class", "thing", "area", "cells", "height", "width", "centroid_y", "centroid_x",
    "contour_fraction", "touches_border", "scale", "weight_inside", "weight_interior", "weight_ring",
    "weight_placebo", "wins", "iou",
)  # fmt: skip

"""How far does a head reach that learnt nothing? Single re-drawn heads beside the trained one.

The control of :mod:`.head` is the mean of many heads, and must be null for the measure to be sound. It does not say how
far chance reaches: what any one head reads of the features differs with size, and so do its weights. Here each head is
measured as the trained one is, on the objects alone, each map less its mean over the image, which heads are given.
Where some reach as far a remark says so. The verdict stays: the claim is of what the weights do, not of who taught
them.

A rank correlation has no size, so the mean weight of many heads, nearly the same everywhere, can have any. Its control
is the mean of the heads' own correlations.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import torch
from scipy import sparse
from torch import Tensor

from analysis.datasets.sample import Sample
from analysis.statistics import Estimate, Weights, verdict
from analysis.studies.measured import Measured
from analysis.studies.object_scale.effects import (
    BACKGROUND,
    DELTA,
    Contrast,
    branch_rows,
    comparable,
    estimated,
    of_class,
    spearman,
)
from analysis.studies.object_scale.head import HEADS
from analysis.studies.object_scale.maps import Maps, weights_inside

_OBJECT = ["checkpoint", "image", "object"]


def head_rows(maps: Maps, heads: Tensor, sample: Sample, footprint: sparse.csr_array) -> pd.DataFrame:
    """Table ``objects_by_head``: a row per object and end of the scales; ``heads``, a list: the mean weight, less that
    of the image, of the trained head, of every other one, and of their mirror images.

    ``heads [2 HEADS, S, h, w]``, of one image; ``footprint`` as :func:`.maps.footprints` gives it.
    """
    n, ends = len(sample.objects), sorted({0, len(maps.scales) - 1})
    every = torch.cat([maps.weights[None], heads])[:, ends]
    every = every - every.mean(dim=(2, 3), keepdim=True)
    inside = weights_inside(every.flatten(0, 1), footprint).reshape(n, len(every), len(ends)).transpose(0, 2, 1)
    return pd.DataFrame(
        {
            "image": sample.name,
            "object": np.arange(1, n + 1).repeat(len(ends)),
            "scale": np.tile(np.array(maps.scales, float)[ends], n),
            "heads": list(inside.reshape(-1, len(every)).astype(np.float32)),
        }
    )


def compared_to_chance(
    measured: list[Measured], objects: pd.DataFrame, by_head: pd.DataFrame | None, side: int
) -> list[Measured]:
    """``measured`` with a remark on the primary effect by class where heads reach as far by chance, and with the
    control of the rank correlations. Without ``by_head`` both are missing.
    """
    if by_head is None:
        return measured
    rows = comparable(branch_rows(objects, side)).merge(branch_rows(by_head, side)[[*_OBJECT, "heads"]], on=_OBJECT)
    claim = measured[0].claim

    def compared(one: Measured) -> Measured:
        mine = of_class(rows, one.class_)
        if one.claim == f"{claim}: rank correlation":
            return replace(one, control=estimated(mine, partial(_mean_correlation, side), fisher=True)[0])
        if one.claim == claim and one.class_ != BACKGROUND and one.effect is not None:
            return one.remarked(_remark(mine, side, one.effect))
        return one

    return [compared(one) for one in measured]


def _mean_correlation(side: int, table: pd.DataFrame, weights: Weights) -> np.ndarray:
    each = np.stack(list(table["heads"])).T[1:]
    return np.mean([spearman(side, table.assign(weight_inside=one), weights) for one in each], axis=0)


def _remark(rows: pd.DataFrame, side: int, effect: Estimate) -> str:
    if verdict(effect.low, effect.high, DELTA) not in ("supported", "contradicted"):
        return ""
    trained, heads = reach(rows, side)
    as_far = int((np.abs(heads) >= abs(trained)).sum())
    if not as_far:
        return ""
    return (
        f"{as_far} of {len(heads)} heads that learnt nothing reach as far as its {trained:+.2f} without the placebo "
        f"({heads.min():+.2f} to {heads.max():+.2f})"
    )


def reach(rows: pd.DataFrame, side: int) -> tuple[float, np.ndarray]:
    """The effect on objects alone of the trained head, and of each other ``[HEADS]``; the mean over seeds."""
    contrast, found = Contrast(side, value="weight", minus=None), []
    for _, seed in rows.groupby("seed"):
        weights = np.stack(list(seed["heads"])).T[: HEADS + 1].astype(float)  # mirror images say nothing new
        one = np.ones((1, len(seed)))
        found.append([contrast(seed.assign(weight=values), one)[0] for values in weights])
    trained, *heads = np.mean(found, axis=0)
    return float(trained), np.array(heads)

"""How far does a head reach that learnt nothing? Single re-drawn heads beside the trained one.

The control of :mod:`.head` is the mean of many heads, and must be null for the measure to be sound. It does not say how
far chance reaches: what any one head reads of the features differs with size, and so do its weights. Here each head is
measured as the trained one is, on the objects alone, and where many reach as far a remark says so. The verdict stays:
the claim is of what the weights do, not of who taught them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy import sparse
from torch import Tensor

from analysis.datasets.sample import Sample
from analysis.studies.measured import Measured
from analysis.studies.object_scale.effects import Contrast, branch_rows, comparable, of_class
from analysis.studies.object_scale.maps import weights_inside

#: A larger share of such heads is worth a remark.
RARE = 0.05
_OBJECT = ["checkpoint", "image", "object"]


def head_rows(heads: Tensor, sample: Sample, scales: Sequence[float], footprint: sparse.csr_array) -> pd.DataFrame:
    """Table ``objects_by_head``: a row per object and scale, ``heads`` a list of the mean weights of every head.

    ``heads [H, S, h, w]``, of one image; ``footprint`` as :func:`.maps.footprints` gives it.
    """
    n, shape = len(sample.objects), heads.shape[:2]
    inside = weights_inside(heads.flatten(0, 1), footprint).reshape(n, *shape).transpose(0, 2, 1)
    return pd.DataFrame(
        {
            "image": sample.name,
            "object": np.arange(1, n + 1).repeat(len(scales)),
            "scale": np.tile(np.array(scales, float), n),
            "heads": list(inside.reshape(-1, shape[0]).astype(np.float32)),
        }
    )


def compared_to_chance(
    measured: list[Measured], objects: pd.DataFrame, by_head: pd.DataFrame | None, side: int
) -> list[Measured]:
    """``measured`` with a remark on its first rows, the primary effect by class, where heads reach as far by chance."""
    if by_head is None:
        return measured
    rows = comparable(branch_rows(objects, side)).merge(branch_rows(by_head, side)[[*_OBJECT, "heads"]], on=_OBJECT)
    primary = measured[0].claim
    return [
        replace(one, reason="; ".join(filter(None, (one.reason, _remark(of_class(rows, one.class_), side)))))
        if one.claim == primary and one.evidence == "observed" and one.effect is not None and one.class_ != "background"
        else one
        for one in measured
    ]


def _remark(rows: pd.DataFrame, side: int) -> str:
    trained, heads = reach(rows, side)
    share = float((np.abs(heads) >= abs(trained)).mean())
    if not share > RARE:
        return ""
    return (
        f"{share:.0%} of {len(heads)} heads that learnt nothing reach as far as its {trained:+.2f} without the placebo "
        f"({heads.min():+.2f} to {heads.max():+.2f})"
    )


def reach(rows: pd.DataFrame, side: int) -> tuple[float, np.ndarray]:
    """The effect on objects alone of the trained head, and of each other ``[H]``, each the mean over seeds."""
    contrast, found = Contrast(side, value="weight", minus=None), []
    for _, seed in rows.groupby("seed"):
        weights = [seed["weight_inside"].to_numpy(), *np.stack(list(seed["heads"])).T.astype(float)]
        one = np.ones((1, len(seed)))
        found.append([contrast(seed.assign(weight=values), one)[0] for values in weights])
    trained, *heads = np.mean(found, axis=0)
    return float(trained), np.array(heads)

"""How alike are two maps? Attention says how much of something is used and not to what end, so signs do not count."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats


def rank_agreement(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's correlation of the absolute values of two maps ``[n]``; NaN where one is constant, up to rounding."""
    a, b = np.abs(a), np.abs(b)
    if _constant(a) or _constant(b):
        return float("nan")
    return float(np.corrcoef(stats.rankdata(a), stats.rankdata(b))[0, 1])


def similarity(original: np.ndarray, redrawn: np.ndarray) -> float:
    """Their agreement, and 0 where only the map of the re-drawn weights is constant: nothing is left of the other."""
    if _constant(np.abs(redrawn)) and not _constant(np.abs(original)):
        return 0.0
    return rank_agreement(original, redrawn)


def _constant(map_: np.ndarray) -> bool:
    return bool(np.ptp(map_) <= 1e-9 * map_.max())


def part_agreement(ablation: pd.DataFrame) -> pd.DataFrame:
    """Do the parts with more attention matter more? Over the branches, or groups, of each object: ``agreement``.

    ``ablation``: columns layer, effect, attention, size, image, object, and those to keep: seed, block. Both count per
    channel of a group, or the large ones would have more of either.
    """
    rows = []
    ablation = ablation.assign(
        effect=ablation.effect / ablation["size"], attention=ablation.attention / ablation["size"]
    )
    for _, mine in ablation.groupby(["layer", "image", "object"], sort=False):
        agreement = rank_agreement(mine.effect.to_numpy(), mine.attention.to_numpy())
        first = mine.iloc[0]
        named = {"method": f"ablation {first.layer}", "map": "attention"}
        rows.append({**named, **first[["seed", "block"]].to_dict(), "agreement": agreement})
    return pd.DataFrame(rows)

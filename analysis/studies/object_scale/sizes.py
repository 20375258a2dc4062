"""What stands beside the claims on size: every scale and class, other effects of size, and means by size bin.

size_effects(result["objects"])     quarters, rank correlations and slopes with intervals
size_bins(result["objects"])        means by quarter, by COCO's cuts, and below one cell
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.evaluation import COCO_CUTS
from analysis.statistics import Effect, Weights, mean, rank_correlation, slope
from analysis.studies.object_scale.effects import (
    ALL,
    WON,
    Contrast,
    classes,
    comparable,
    estimated,
    of_class,
    quarter,
    strata,
)

_KEYS = ["checkpoint", "recipe", "seed", "dataset", "split"]
_MEANS = ["weight_inside", "weight_interior", "weight_ring", "weight_placebo", "wins", "iou"]


@dataclass(frozen=True)
class _Slope:
    """Weight per doubling of the area, within class, given the height in the image."""

    value: str

    def __call__(self, table: pd.DataFrame, weights: Weights) -> np.ndarray:
        x = np.stack([np.log2(table["area"]), table["centroid_y"]], axis=1)
        return slope(table[self.value], x, strata(table), weights)


def _spearman(table: pd.DataFrame, weights: Weights) -> np.ndarray:
    return rank_correlation(table["area"], table["weight_inside"], strata(table), weights)


def _won(table: pd.DataFrame, weights: Weights) -> np.ndarray:
    return mean(table["wins"] >= WON, weights)


#: Measure to effect and unit. Quarters: smallest less largest by area, so above 0 where small objects get more.
EFFECTS: Mapping[str, tuple[Effect, str]] = {
    "quarters": (Contrast(1), "weight"),
    "quarters, no placebo": (Contrast(1, minus=None), "weight"),
    "quarters, interior": (Contrast(1, value="weight_interior"), "weight"),
    "rank correlation": (_spearman, "correlation"),
    "slope": (_Slope("weight_inside"), "weight per doubling of the area"),
    "slope, interior": (_Slope("weight_interior"), "weight per doubling of the area"),
    "won, smallest quarter": (_won, "share of objects"),
    "won, largest quarter": (_won, "share of objects"),
}


def size_effects(objects: pd.DataFrame) -> pd.DataFrame:
    """A row per scale, class (and ``all``) and measure: ``effect``, ``low``, ``high``, ``unit``, counts, ``reason``.

    Objects of at least one cell. Rank correlation and slopes are within class; slopes hold the height in the image
    (mean y) fixed. ``interior`` repeats a measure one cell inside the outline, on the objects that reach so deep: an
    effect of the contour alone is not there. ``won``: objects on which the branch has the greatest weight in at least
    half of the pixels. Where there is no interval, ``reason`` says why.
    """
    rows = comparable(objects)
    return pd.DataFrame(
        [
            {"scale": scale, "class": name, "measure": measure, **_measured(of_class(at_scale, name), measure)}
            for scale, at_scale in rows.groupby("scale", sort=False)
            for name in [ALL, *classes(objects)]
            for measure in EFFECTS
        ]
    )


def _measured(rows: pd.DataFrame, measure: str) -> dict[str, Any]:
    effect, unit = EFFECTS[measure]
    if measure.endswith("interior"):
        rows = rows[rows["weight_interior"].notna()]
    if measure.startswith("won"):
        rows = quarter(rows, 1 if "smallest" in measure else -1)
    found, reason = estimated(rows, effect, fisher=unit == "correlation")
    names = ("effect", "low", "high", "n_objects", "n_blocks", "n_seeds")
    return {name: getattr(found, name, np.nan) for name in names} | {"unit": unit, "reason": reason}


def size_bins(objects: pd.DataFrame) -> pd.DataFrame:
    """Means of objects by size: a row per checkpoint, class (and ``all``), scale and bin.

    ``size_bin``: ``quartile 1`` to ``4`` of the area within a class and ``small``, ``medium``, ``large`` by COCO's cuts
    at 32 and 96 pixels squared, both of objects of at least one cell; ``below a cell`` are the others. Columns:
    ``n_objects``, ``area_low``, ``area_high`` (the smallest and largest area there), and means of the weights, wins
    and IoU over objects.
    """
    things = objects[objects["thing"]].reset_index(drop=True)
    binned = pd.concat([things.assign(size_bin=bins) for bins in _bins(things)]).dropna(subset="size_bin")
    both = pd.concat([binned, binned.assign(**{"class": ALL})])
    grouped = both.groupby([*_KEYS, "class", "scale", "size_bin"], observed=True, sort=True)
    bounds = grouped["area"].agg(n_objects="size", area_low="min", area_high="max")
    return bounds.join(grouped[_MEANS].mean()).reset_index()


def _bins(things: pd.DataFrame) -> Iterator[pd.Series]:
    """The bin of every row, three times: missing where a row has none of the kind."""
    seen = things["cells"] >= 1
    yield pd.Series("below a cell", things.index, dtype="str").where(~seen)
    sizes = things[seen].groupby([*_KEYS, "class", "scale"], observed=True)["area"]
    of_four = np.ceil((sizes.rank() - 0.5) / sizes.transform("size") * 4)
    yield ("quartile " + of_four.astype(int).astype(str)).reindex(things.index)
    named = pd.cut(things["area"], COCO_CUTS, right=False, labels=["small", "medium", "large"])
    yield named.astype("str").where(seen)

"""Mean IoU with intervals: intersections and unions of every image kept as rows, summed by weights when asked for.

rows = confusion_rows(prediction, label, dataset.classes)       one row of a table with an image (and a condition) a row
miou(table, weights), class_iou(table, weights)                 effects for :func:`analysis.statistics.estimate`
difference(table, "condition", "none", "alpha at 0")            mIoU of the one minus that of the other, in points
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.errors import AnalysisError
from analysis.measures import confusion
from analysis.statistics import Estimate, Weights, estimate

INTERSECTION, UNION = "intersection_", "union_"
#: What makes an image of a seed the same in two conditions: of one checkpoint, or of two recipes.
_SAME = ("seed", "dataset", "split", "block", "image")


def confusion_rows(prediction: np.ndarray, label: np.ndarray, classes: Sequence[str]) -> dict[str, int]:
    """Pixels in the intersection and the union of every class: ``intersection_<class>``, ``union_<class>``.

    ``prediction``, ``label``: integers of one shape, label 255 ignored, as :func:`analysis.measures.confusion` has it.
    """
    matrix = confusion(prediction, label, len(classes))
    both = np.diag(matrix)
    either = matrix.sum(axis=0) + matrix.sum(axis=1) - both
    counted = zip(classes, both, either, strict=True)
    return {key: int(n) for name, i, u in counted for key, n in ((INTERSECTION + name, i), (UNION + name, u))}


def class_names(table: pd.DataFrame) -> list[str]:
    """The classes that a table of :func:`confusion_rows` counts, in its order."""
    return [name.removeprefix(INTERSECTION) for name in table.columns if name.startswith(INTERSECTION)]


def class_iou(table: pd.DataFrame, weights: Weights) -> np.ndarray:
    """IoU of every class over the weighted rows, 0..1: ``weights [R, n]`` to ``[R, K]``; NaN where a union is empty."""
    names = class_names(table)
    both, either = (table[[kind + name for name in names]].to_numpy(float) for kind in (INTERSECTION, UNION))
    union = weights @ np.nan_to_num(either)
    return np.divide(weights @ np.nan_to_num(both), union, out=np.full(union.shape, np.nan), where=union > 0)


def miou(table: pd.DataFrame, weights: Weights) -> np.ndarray:
    """The mean of :func:`class_iou` over the classes that are in labels or predictions, 0..1: ``[R]``; else NaN."""
    values = class_iou(table, weights)
    there = ~np.isnan(values)
    n = there.sum(axis=1)
    return np.divide(np.nan_to_num(values).sum(axis=1), n, out=np.full(len(n), np.nan), where=n > 0)


def difference(table: pd.DataFrame, column: str, one: str, other: str, class_: str | None = None) -> Estimate:
    """mIoU of the rows whose ``column`` is ``one`` minus that of those with ``other``, in points, images paired.

    ``class_``: the IoU of that class instead, over the blocks in which it is labelled or, in any row of the table,
    predicted: others say nothing, and would count as blocks. AnalysisError: what :func:`side_by_side` and
    :func:`analysis.statistics.estimate` raise.
    """
    both = side_by_side(table, column, (one, other))
    if class_ is not None:
        both = both[both["block"].isin(with_class(table, table[f"{UNION}{class_}"])["block"])]
    return estimate(both, lambda rows, weights: points(rows, weights, 0, class_) - points(rows, weights, 1, class_))


def with_class(table: pd.DataFrame, union: pd.Series) -> pd.DataFrame:
    """The rows of the blocks in which ``union`` (pixels of the class, a row each) is not 0."""
    return table[union.groupby(table["block"]).transform("sum") > 0]


def side_by_side(table: pd.DataFrame, column: str, values: Sequence[str]) -> pd.DataFrame:
    """One row an image (and seed) with the counts of every condition, for :func:`points`.

    AnalysisError: a condition that is not there, or that was not measured on the same images as the first.
    """
    counts = [name for name in table.columns if name.startswith((INTERSECTION, UNION))]
    keys = [name for name in _SAME if name in table.columns]
    sides = []
    for i, value in enumerate(values):
        side = table.loc[table[column] == value, [*keys, *counts]].set_index(keys).add_prefix(f"{i}:")
        if side.empty:
            there = ", ".join(map(str, table[column].unique()))
            raise AnalysisError(f"no row has {column} {value!r}; there are: {there}")
        if not side.index.is_unique or not side.index.sort_values().equals((sides or [side])[0].index.sort_values()):
            raise AnalysisError(f"{column} {values[0]!r} and {value!r} must be measured once each on the same images")
        sides.append(side)
    return sides[0].join(sides[1:]).reset_index()


def points(table: pd.DataFrame, weights: Weights, side: int, class_: str | None = None) -> np.ndarray:
    """mIoU, or the IoU of ``class_``, of one side of :func:`side_by_side`, in points: ``[R]``."""
    mine = [name for name in table.columns if name.startswith(f"{side}:")]
    counts = table[mine].rename(columns=lambda name: name.removeprefix(f"{side}:"))
    if class_ is None:
        return 100 * miou(counts, weights)
    return 100 * class_iou(counts, weights)[:, class_names(counts).index(class_)]

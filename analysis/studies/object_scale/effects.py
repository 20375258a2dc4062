"""What the ``objects`` table says of size: the claims ``small-objects`` and ``large-objects``.

    small_objects(result["objects"], result["objects_redrawn"])     before the verdict, all classes and each

Sizes are compared within a class, and within a checkpoint where the rows of several are one seed (two folds).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from analysis.errors import AnalysisError
from analysis.statistics import (
    Effect,
    Estimate,
    Weights,
    estimate,
    quartile_contrast,
    rank_correlation,
    ratio,
    slope,
    verdict,
)
from analysis.studies.measured import Measured
from analysis.views import branch_labels

#: DESIGN 6: the smallest difference of mean weights that matters. Of correlations as for weights-matter; a slope of
#: 0.01 a doubling of the area is 0.02 a doubling of the sides, as in the object probe.
DELTA, CORRELATION, SLOPE = 0.05, 0.1, 0.01
#: "Carries the weight" also asks that the branch wins on this share of the objects.
WON = 0.5
ALL, BACKGROUND = "all", "background"
SMALL_SOURCE, LARGE_SOURCE = "Chen fig. 1, §4.1", "Chen §4.1"


@dataclass(frozen=True)
class Contrast:
    """Mean of ``value`` less ``minus``, smallest less largest quarter by area (``side`` 1), or the mirror (-1)."""

    side: int
    value: str = "weight_inside"
    minus: str | None = "weight_placebo"

    def __call__(self, table: pd.DataFrame, weights: Weights) -> np.ndarray:
        """The effect for many weightings of the rows, as :func:`analysis.statistics.estimate` asks."""
        y = table[self.value] - (table[self.minus] if self.minus else 0)
        return self.side * quartile_contrast(y, table["area"], strata(table), weights)


def small_objects(objects: pd.DataFrame, objects_redrawn: pd.DataFrame | None = None) -> list[Measured]:
    """The 1.0x branch carries the weight on small objects: observed, for all classes and then each thing class.

    Effect: mean weight of the branch of the largest scale, smallest less largest quarter by area within class, less
    the same at the placebo; objects below one cell are left out. Control: the same with the redrawn head.

    An effect beyond delta is no answer yet where ``unmet`` says why: it is not on the objects but where the placebo
    lies; or it does not come out the same a cell inside the outlines (the contour, and cells that a small object shares
    with what is round it, are rival explanations); or the weight rises, and the branch yet wins on fewer than half of
    the smallest quarter, so it does not carry it.

    Beside it, as ``small-objects: rank correlation`` and so on: Spearman's correlation of area and weight within class;
    the ``slope`` of weight on log2 area, the height in the image held fixed; the effect on the ``interior``.
    """
    observed = _observed("small-objects", SMALL_SOURCE, objects, objects_redrawn, side=1)
    return [*observed, *_beside("small-objects", SMALL_SOURCE, objects, objects_redrawn, observed, side=1)]


def large_objects(objects: pd.DataFrame, objects_redrawn: pd.DataFrame | None = None) -> list[Measured]:
    """The mirror: the smallest branch, largest less smallest quarter. With two scales it would be the same test.

    A last row ``background``: mean weight of that branch on stuff, by area, less that on the smallest quarters; it has
    no placebo. ``unmet``, and what is beside it, as in :func:`small_objects`.
    """
    if objects["scale"].nunique() < 3:
        why = "with two scales the weights are one number: it is the test of small-objects, mirrored"
        return [Measured("large-objects", LARGE_SOURCE, ALL, "observed", None, None, "weight", DELTA, why)]
    measured = _observed("large-objects", LARGE_SOURCE, objects, objects_redrawn, side=-1)
    beside = _beside("large-objects", LARGE_SOURCE, objects, objects_redrawn, measured, side=-1)
    return [*measured, _background(objects, objects_redrawn), *beside]


def branch_rows(objects: pd.DataFrame, side: int) -> pd.DataFrame:
    """The rows of the branch that a claim speaks of: largest scale for small objects (1), smallest for large (-1)."""
    scale = objects["scale"].max() if side == 1 else objects["scale"].min()
    return objects[objects["scale"] == scale]


def comparable(rows: pd.DataFrame) -> pd.DataFrame:
    """Objects of at least one cell that have a placebo: the rows of the primary effect."""
    return rows[rows["thing"] & (rows["cells"] >= 1) & rows["weight_placebo"].notna()]


def strata(table: pd.DataFrame) -> np.ndarray:
    """What sizes are compared within: class and checkpoint, ``[n]``."""
    return table.groupby(["class", "checkpoint"], observed=True).ngroup().to_numpy()


def quarter(table: pd.DataFrame, end: int) -> pd.DataFrame:
    """The smallest (1) or largest (-1) quarter by area of each class, in each checkpoint."""
    sizes = (end * table["area"]).groupby(strata(table))
    return table[sizes.rank() - 0.5 <= sizes.transform("size") / 4]


def _observed(
    claim: str, source: str, objects: pd.DataFrame, redrawn: pd.DataFrame | None, side: int
) -> list[Measured]:
    rows = comparable(branch_rows(objects, side))
    control = None if redrawn is None else comparable(branch_rows(redrawn, side))
    measured = []
    for name in [ALL, *classes(objects)]:
        mine = of_class(rows, name)
        effect, reason = estimated(mine, Contrast(side))
        null = None if control is None else estimated(of_class(control, name), Contrast(side))[0]
        unmet = "" if effect is None else _objection(mine, side, effect)
        measured.append(Measured(claim, source, name, "observed", effect, null, "weight", DELTA, reason, unmet))
    return measured


def _beside(
    claim: str,
    source: str,
    objects: pd.DataFrame,
    redrawn: pd.DataFrame | None,
    observed: list[Measured],
    side: int,
) -> list[Measured]:
    rows = comparable(branch_rows(objects, side))
    control = None if redrawn is None else comparable(branch_rows(redrawn, side))
    inner = rows[rows["weight_interior"].notna()]
    no_weight = {one.class_: _no_weight(one.effect) for one in observed}

    def correlation(name: str) -> Measured:  # its control is of single heads: chance.py
        effect, why = estimated(of_class(rows, name), partial(spearman, side), fisher=True)
        head = (f"{claim}: rank correlation", source, name, "observed")
        return Measured(*head, effect, None, "correlation", CORRELATION, why, no_weight[name])

    def sloped(name: str) -> Measured:
        effect, why = estimated(of_class(rows, name), partial(_slope, side))
        null = None if control is None else estimated(of_class(control, name), partial(_slope, side))[0]
        head = (f"{claim}: slope", source, name, "observed")
        return Measured(*head, effect, null, "weight per doubling of the area", SLOPE, why)

    def interior(name: str) -> Measured:
        effect, why = estimated(of_class(inner, name), Contrast(side, value="weight_interior"))
        return Measured(f"{claim}: interior", source, name, "observed", effect, None, "weight", DELTA, why)

    return [of(name) for of in (correlation, sloped, interior) for name in (ALL, *classes(objects))]


def _no_weight(contrast: Estimate | None) -> str:
    """Why a rank correlation says nothing of weight: ranks do not tell how little it differs."""
    if contrast is None or verdict(contrast.low, contrast.high, DELTA) != "negligible":
        return ""
    return f"ranks differ, the weight does not: smallest less largest quarter {contrast.effect:+.2g}"


def spearman(side: int, table: pd.DataFrame, weights: Weights) -> np.ndarray:
    """Rank correlation of area and weight within class, signed as the claim predicts."""
    return -side * rank_correlation(table["area"], table["weight_inside"], strata(table), weights)


def _slope(side: int, table: pd.DataFrame, weights: Weights) -> np.ndarray:
    x = np.stack([np.log2(table["area"]), table["centroid_y"]], axis=1)
    return -side * slope(table["weight_inside"], x, strata(table), weights)


def classes(objects: pd.DataFrame) -> list[str]:
    """The thing classes that a table has objects of."""
    return sorted(objects.loc[objects["thing"], "class"].unique())


def of_class(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """The rows of a class; of ``all`` every row."""
    return rows if name == ALL else rows[rows["class"] == name]


def estimated(rows: pd.DataFrame, effect: Effect, fisher: bool = False) -> tuple[Estimate | None, str]:
    """The estimate, or why there is none."""
    try:
        return estimate(rows, effect, fisher), ""
    except AnalysisError as error:
        return None, str(error)


def _objection(rows: pd.DataFrame, side: int, effect: Estimate) -> str:
    """Why an effect beyond delta is yet no answer; empty where it is one, or does not lie beyond delta."""
    word = verdict(effect.low, effect.high, DELTA)
    if word not in ("supported", "contradicted"):
        return ""
    bare = estimated(rows, Contrast(side, minus=None))[0]
    if bare and verdict(bare.low, bare.high, DELTA) not in (word, "undecided"):
        return f"the placebo makes it: of the objects alone the effect is {bare.low:+z.2f} to {bare.high:+z.2f}"
    within, why = estimated(rows[rows["weight_interior"].notna()], Contrast(side, value="weight_interior"))
    if within is None:
        return f"the outline may explain it: of what lies a cell inside it, {why}"
    if verdict(within.low, within.high, DELTA) != word:
        return f"the outline may explain it: a cell inside it the effect is {within.low:+z.2f} to {within.high:+z.2f}"
    return _not_carried(rows, side) if word == "supported" else ""


def _not_carried(rows: pd.DataFrame, side: int) -> str:
    """Empty where the branch wins on half of the objects at its end of the sizes."""
    won = won_share(quarter(rows, side))
    label, end = branch_labels((rows["scale"].iloc[0],))[0], "smallest" if side == 1 else "largest"
    return "" if won >= WON else f"the weight rises, but the {label} wins on only {won:.0%} of the {end} quarter"


def won_share(rows: pd.DataFrame) -> float:
    """The share of objects on which the branch has the greatest weight in at least half of the pixels."""
    return float((rows["wins"] >= WON).mean())


def _background(objects: pd.DataFrame, redrawn: pd.DataFrame | None) -> Measured:
    rows = _stuff_and_small(objects)
    effect, reason = estimated(rows, _stuff_less_small)
    control = None if redrawn is None else estimated(_stuff_and_small(redrawn), _stuff_less_small)[0]
    supported = effect is not None and verdict(effect.low, effect.high, DELTA) == "supported"
    unmet = _not_carried_by_stuff(rows[~rows["thing"]]) if supported else ""
    head = ("large-objects", LARGE_SOURCE, BACKGROUND, "observed")
    return Measured(*head, effect, control, "weight", DELTA, reason, unmet)


def _not_carried_by_stuff(stuff: pd.DataFrame) -> str:
    won, label = np.average(stuff["wins"], weights=stuff["area"]), branch_labels((stuff["scale"].iloc[0],))[0]
    return "" if won >= WON else f"the weight rises, but the {label} wins on only {won:.0%} of the background"


def _stuff_and_small(objects: pd.DataFrame) -> pd.DataFrame:
    rows = branch_rows(objects, -1)
    return pd.concat([rows[~rows["thing"]], quarter(comparable(rows), 1)])


def _stuff_less_small(table: pd.DataFrame, weights: Weights) -> np.ndarray:
    stuff, w = ~table["thing"].to_numpy(bool), table["weight_inside"]
    of_stuff = table["area"] * stuff
    return ratio(w * of_stuff, of_stuff, weights) - ratio(w * ~stuff, ~stuff, weights)

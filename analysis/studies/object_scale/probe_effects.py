"""What the ``probe`` table says: the interventions of small-objects and large-objects, and the zooms beside them.

small_objects_probed(probe)     the object probe and, as ``small-objects: zoom``, the zoom of the whole image
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd

from analysis.statistics import Estimate, Weights, estimate, mean, ratio
from analysis.studies.measured import Measured
from analysis.studies.object_scale.by_class import Question

#: Of weight, for a doubling of height and width.
SMALLEST_EFFECT = 0.02
KEYS = ("checkpoint", "recipe", "seed", "dataset", "split", "block", "image", "object", "class", "area", "scale")


def small_objects_probed(probe: pd.DataFrame) -> list[Measured]:
    """How much weight the branch of the largest scale loses for every doubling of an object, less its placebo.

    The control is what the paste alone does: the object pasted as it was, less the untouched image. Secondary evidence
    beside it is ``small-objects: zoom``: the same loss on things less that on stuff when the whole image is zoomed
    (factors up to 1); a zoom also changes sharpness, so its control is the blur alone, and how far the image is from
    what the model was trained on.
    """
    return _measured("small-objects", "Chen fig. 1, §4.1", probe, probe["scale"].max(), sign=-1)


def large_objects_probed(probe: pd.DataFrame) -> list[Measured]:
    """How much weight the branch of the smallest scale gains. With two scales that is the test of small-objects."""
    if probe["scale"].nunique() == 2:
        question = _question("large-objects", "Chen §4.1", _mean_of)
        return [question.not_applicable("two scales: their weights add up to 1, so it is the test of small-objects")]
    return _measured("large-objects", "Chen §4.1", probe, probe["scale"].min(), sign=1)


def _measured(claim: str, source: str, probe: pd.DataFrame, scale: float, sign: int) -> list[Measured]:
    rows = probe[probe["scale"] == scale]
    probed = _question(claim, source, _mean_of).by_class(_probed(rows, sign))
    zoomed, question = _zoomed(rows, sign), _question(f"{claim}: zoom", source, _less_stuff)
    stuff = zoomed[zoomed["object"] == 0]
    by_class = zoomed[zoomed["object"] > 0].groupby("class", sort=True)
    classes = [question.asked(pd.concat([mine, stuff]), str(name)) for name, mine in by_class]
    return [*probed, question.asked(zoomed, "all"), *classes]


def _question(claim: str, source: str, estimator: Callable[..., Estimate]) -> Question:
    effect, control = (partial(estimator, column=name) for name in ("effect", "control"))
    return Question(claim, source, "intervention", "weight per doubling", SMALLEST_EFFECT, effect, control)


def _mean_of(rows: pd.DataFrame, column: str) -> Estimate:
    return estimate(rows, lambda t, w: mean(t[column], w))


def slopes(probe: pd.DataFrame) -> pd.DataFrame:
    """Least-squares slope of weight_inside on log2 factor of every object, kind and scale, in a column ``slope``.

    ``blur`` has the untouched image as its factor 1. Rows with fewer than two factors have no slope.
    """
    untouched = probe[(probe["kind"] == "image") & (probe["factor"] == 1)].assign(kind="blur")
    table = pd.concat([probe, untouched], ignore_index=True).assign(x=lambda t: np.log2(t["factor"]))
    groups = table.groupby([*KEYS, "kind"], sort=False)
    x, y = (table[name] - groups[name].transform("mean") for name in ("x", "weight_inside"))
    sums = table.assign(xy=x * y, xx=x * x).groupby([*KEYS, "kind"], sort=True)[["xy", "xx"]].sum()
    sums = sums[sums["xx"] > 0]
    return (sums["xy"] / sums["xx"]).rename("slope").reset_index()


def _probed(rows: pd.DataFrame, sign: int) -> pd.DataFrame:
    """Of rows of one scale a row per probed object: ``effect``, the signed slope less the placebo's; ``control``."""
    of_kind = slopes(rows).pivot(index=[*KEYS], columns="kind", values="slope")
    as_it_was = rows[rows["factor"] == 1].pivot(index=[*KEYS], columns="kind", values="weight_inside")
    none = pd.Series(np.nan, index=of_kind.index)
    effect = sign * (of_kind.get("object", none) - of_kind.get("placebo", none))
    control = sign * (as_it_was.get("object", none) - as_it_was.get("image", none))
    return pd.DataFrame({"effect": effect, "control": control}).dropna().reset_index()


def _zoomed(rows: pd.DataFrame, sign: int) -> pd.DataFrame:
    """Of rows of one scale a row per object and class of stuff: the signed slopes of zoom and, ``control``, blur."""
    of_kind = slopes(rows[rows["kind"].isin(["image", "blur"])]).pivot(index=[*KEYS], columns="kind", values="slope")
    return (sign * of_kind).rename(columns={"image": "effect", "blur": "control"}).dropna().reset_index()


def _less_stuff(rows: pd.DataFrame, column: str) -> Estimate:
    """The mean over things minus that over stuff, counted in things."""

    def effect(table: pd.DataFrame, weights: Weights) -> np.ndarray:
        of_things = (table["object"] > 0).to_numpy(float)
        things, stuff = (ratio(table[column] * side, side, weights) for side in (of_things, 1 - of_things))
        return things - stuff

    found = estimate(rows, effect)
    return replace(found, n_objects=int((rows["object"] > 0).sum()) // found.n_seeds)

"""What the ``probe`` table says: the interventions of small-objects and large-objects, and the zooms beside them.

small_objects_probed(probe), large_objects_probed(probe)
zooms(probe)                                                    secondary evidence
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd

from analysis.errors import AnalysisError
from analysis.statistics import Estimate, Weights, estimate, mean, ratio
from analysis.studies.measured import Measured
from analysis.studies.object_scale.by_class import Question

#: Of weight, for a doubling of height and width.
SMALLEST_EFFECT = 0.02
KEYS = ("checkpoint", "recipe", "seed", "dataset", "split", "block", "image", "object", "class", "area", "scale")


def small_objects_probed(probe: pd.DataFrame) -> list[Measured]:
    """How much weight the branch of the largest scale loses for every doubling of an object, less its placebo."""
    return _question("small-objects", "Chen fig. 1, §4.1").by_class(_probed(probe, probe["scale"].max(), sign=-1))


def large_objects_probed(probe: pd.DataFrame) -> list[Measured]:
    """How much weight the branch of the smallest scale gains. With two scales that is the test of small-objects."""
    question = _question("large-objects", "Chen §4.1")
    if probe["scale"].nunique() == 2:
        return [question.not_applicable("two scales: their weights add up to 1, so it is the test of small-objects")]
    return question.by_class(_probed(probe, probe["scale"].min(), sign=1))


def _question(claim: str, source: str) -> Question:
    """The control is what the paste alone does: the object pasted as it was, less the untouched image."""
    effect, control = (partial(_mean_of, column=name) for name in ("effect", "control"))
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


def _probed(probe: pd.DataFrame, scale: float, sign: int) -> pd.DataFrame:
    """A row per probed object: ``effect``, the signed slope less the placebo's, and ``control``."""
    rows = probe[probe["scale"] == scale]
    of_kind = slopes(rows).pivot(index=[*KEYS], columns="kind", values="slope")
    as_it_was = rows[rows["factor"] == 1].pivot(index=[*KEYS], columns="kind", values="weight_inside")
    none = pd.Series(np.nan, index=of_kind.index)
    effect = sign * (of_kind.get("object", none) - of_kind.get("placebo", none))
    control = sign * (as_it_was.get("object", none) - as_it_was.get("image", none))
    return pd.DataFrame({"effect": effect, "control": control}).dropna().reset_index()


def zooms(probe: pd.DataFrame) -> pd.DataFrame:
    """Slopes of weight per doubling under zoom of the whole image (factors up to 1) and under its blur alone.

    One row per kind (``image``, ``blur``), scale and class: effect, low, high, n_objects, n_blocks. Class ``stuff`` is
    the mean slope on stuff; ``all`` and the classes of things are less that. Secondary evidence: a zoom also changes
    sharpness, and how far the image is from what the model was trained on. Rows without an interval are left out.
    """
    found = []
    table = slopes(probe[probe["kind"].isin(["image", "blur"])])
    for kind, scale in table[["kind", "scale"]].drop_duplicates().itertuples(index=False):
        rows = table[(table["kind"] == kind) & (table["scale"] == scale)]
        things = rows[rows["object"] > 0]
        stuff = rows[rows["object"] == 0]
        chosen = {"stuff": stuff, "all": rows}
        chosen |= {str(c): pd.concat([mine, stuff]) for c, mine in things.groupby("class")}
        found += [{"kind": kind, "scale": scale, "class": c, **_interval(some)} for c, some in chosen.items()]
    return pd.DataFrame(found).dropna(subset=["low"])


def _interval(rows: pd.DataFrame) -> dict[str, float]:
    things = int((rows["object"] > 0).sum())
    try:
        one = estimate(rows, _less_stuff if things else _slope)
    except AnalysisError:
        return {"low": np.nan}
    n = things or len(rows)
    return {"effect": one.effect, "low": one.low, "high": one.high, "n_objects": n, "n_blocks": one.n_blocks}


def _slope(rows: pd.DataFrame, weights: Weights) -> np.ndarray:
    return mean(rows["slope"], weights)


def _less_stuff(rows: pd.DataFrame, weights: Weights) -> np.ndarray:
    thing = (rows["object"] > 0).to_numpy(float)
    of_things, of_stuff = (ratio(rows["slope"] * side, side, weights) for side in (thing, 1 - thing))
    return of_things - of_stuff

"""Attribution of an object's score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from analysis.datasets.sample import Objects
from analysis.figures.attribution import map_title
from analysis.studies.attribution.regions import Region

ATTRIBUTION = """
Attention says how much of something is used; an attribution says what a score depends on. The score is the mean logit
of the object's class over its frozen mask. Beside each attention map: Grad-CAM *(Selvaraju et al., ICCV 2017)*,
integrated gradients *(Sundararajan et al., ICML 2017)* and occlusion *(Zeiler and Fergus, ECCV 2014)*, computed by
captum. Attributions are explanations too, and may be wrong: hence the tests."""

MAPS = (
    "The picked object, and every map over it: attention and Grad-CAM, which is cut off at 0, from 0 upwards; others, "
    "where they have signs, red where they raise the score and blue where they lower it. Each map has its own range."
)

COSTS = (
    "Attention costs a forward, Grad-CAM a forward and a backward for every branch, integrated gradients 8 of both, "
    "occlusion a forward for every cell, the curves about 14 for every map, weights drawn anew 6 times the first two."
)

CURVES = """
If a map names first what matters, the score falls early when its first cells take the mean colour, and rises early when
they come back *(Petsiuk et al., BMVC 2018)*. Grey: the mean of three random orders."""

RANDOMISED = """
The weights are shuffled, module by module from the output down. A map that hardly changes does not depend on what the
model has learnt and explains nothing *(Adebayo et al., NeurIPS 2018)*."""


def titled(maps: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Maps by what people call them."""
    return {map_title(name): values for name, values in maps.items()}


def titled_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """The same of a table's column ``map``."""
    return rows.assign(map=[map_title(name) for name in rows["map"]])


def texts(objects: Objects, classes: Sequence[str]) -> list[str]:
    """What the pointer shows of every object; first of none."""
    areas = np.bincount(objects.map.ravel(), minlength=len(objects) + 1)
    return ["", *(f"{classes[c]}, {areas[k]:,} pixels" for k, c in enumerate(objects.classes, 1))]


def object_caption(region: Region, classes: Sequence[str], truth: bool) -> str:
    """What is picked."""
    by = "" if truth else ", a region of the prediction as there are no labels here"
    return f"Object {region.number}: {classes[region.class_]}, {int(region.mask.sum()):,} pixels{by}."


def agreement_caption(rows: pd.DataFrame) -> str:
    """The pair that agrees most, and what mirroring the map leaves of it."""
    known = rows.dropna(subset=["agreement"])
    if known.empty:
        return "No pair of maps can be ranked: one of each is the same everywhere."
    best = known.loc[known["agreement"].idxmax()]
    return (
        "Rank correlation of sizes over the cells, and with the attention map mirrored left to right, which is what "
        f"the layout of the scene alone gives. Most alike: {best['map']} and {best['attribution']}, "
        f"{best['agreement']:+.2f}, mirrored {best['mirrored']:+.2f}."
    )


def curves_caption(curves: pd.DataFrame) -> str:
    """Mean scores along the curves, against random orders."""
    means = curves.groupby(["curve", "map"])["score"].mean()
    said = []
    for kind, best in (("deletion", means["deletion"].idxmin()), ("insertion", means["insertion"].idxmax())):
        said.append(f"{kind}: {best} ({means[kind, best]:.2f} on average, random {means[kind, 'random']:.2f})")
    return (
        f"Best order by {'; by '.join(said)}. One object, a few random orders: the study `attribution` has intervals."
    )


def randomised_caption(rows: pd.DataFrame, threshold: float) -> str:
    """What survives."""
    last = rows[rows["share"] == 1]
    alive = last[last["similarity"] > threshold]
    said = ", ".join(f"{row['map']} ({row['similarity']:+.2f})" for _, row in alive.iterrows())
    flat = ", ".join(last.loc[last["similarity"].isna(), "map"])
    unknown = f" Cannot be ranked, as they are the same everywhere: {flat}." if flat else ""
    if said:
        return f"These maps survive with all weights drawn anew: {said}.{unknown}"
    return f"No map that can be ranked survives.{unknown}" if flat else "No map survives: all depend on the weights."

"""The objects of a single photograph: their scale weights, and what each branch is worth to them.

    seen = objects_of(model, sample, label, classes)
    seen.table                                      a row per object and scale
    seen.maps.prediction(seen.maps.fused(weights))  with other weights

The same rows as of the study :mod:`~analysis.studies.object_scale`, without its controls.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from analysis.datasets.sample import Objects, Sample
from analysis.models import ScaleAttention
from analysis.studies.object_scale.maps import Maps, footprints, weights_inside
from analysis.studies.object_scale.objects import ORDER, ObjectScale
from analysis.studies.object_scale.shapley import shapley_rows


@dataclass(frozen=True, eq=False)
class ObjectsOf:
    """``table``: the columns of ``objects``, things only, and ``shapley`` (nats); ``sample`` has ``objects``."""

    table: pd.DataFrame
    sample: Sample
    maps: Maps

    @property
    def objects(self) -> Objects:
        """Where they are."""
        return self.sample.objects


def objects_of(
    model: ScaleAttention, sample: Sample, label: np.ndarray, things: frozenset[int], classes: tuple[str, ...]
) -> ObjectsOf:
    """Of one forward. ``label`` uint8 ``[H, W]``: the truth, or where there is none a prediction, whose regions stand
    for objects; then the IoU says nothing. ``things``: the classes whose regions are objects."""
    sample = sample if sample.label is label else replace(sample, label=label, instances=None, things=things)
    study = ObjectScale(model, classes)
    seen = study.see(sample)
    if not len(sample.objects):
        return ObjectsOf(pd.DataFrame(columns=[*ORDER, "shapley"]), sample, seen.maps)
    table = study.rows(sample, label, seen)["objects"]
    inside = weights_inside(seen.maps.weights, footprints(sample.objects, seen.maps))
    values = shapley_rows(seen.maps, sample, classes, inside).rename(columns={"value": "shapley"})
    keys = ["object", "scale"]
    return ObjectsOf(table[table["thing"]].merge(values[[*keys, "shapley"]], on=keys), sample, seen.maps)

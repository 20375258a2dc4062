"""What the papers report, in the fields of our recipes: their tables beside trainings of ours.

    beside(differences(metrics, scores))    the papers' differences of one field, with ours of the same two recipes

One training a cell. :data:`CHEN` is mIoU in per cent of Chen et al.'s tables 1 (PASCAL-Person-Part), 3 and 5 (VOC 2012
val, started from ImageNet and from COCO) and 6 (a subset of COCO), and the IoU of person of table 7 (the same subset);
:data:`FU` of Fu et al.'s table 1, Cityscapes val. Fu et al.'s *neither* is a dilated FCN: it lacks the two 3 x 3
branches and their losses as well, which our recipes keep where an attention is switched off.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import pandas as pd

from analysis.studies.pairing import recipe_fields
from analysis.training.recipe import find_recipe

THREE, TWO, ONE = "(1.0, 0.75, 0.5)", "(1.0, 0.5)", "(1.0,)"
PERSON = "COCO subset, person alone"
CHEN = pd.DataFrame(
    [
        [THREE, "attention", "per_scale", 56.39, 69.08, 71.42, 35.78, 72.72],
        [THREE, "average", "per_scale", 55.72, 67.98, 70.55, 35.72, 71.70],
        [THREE, "max", "per_scale", 55.78, 67.79, 70.06, 35.08, 71.43],
        [THREE, "attention", "none", 53.12, 64.37, 69.47, 33.42, 70.14],
        [THREE, "average", "none", 52.56, 63.92, 68.82, 33.74, 69.69],
        [THREE, "max", "none", 53.02, 65.15, 69.70, 33.58, 69.97],
        [TWO, "attention", "per_scale", 55.85, 68.24, 70.76, 35.41, 72.20],
        [TWO, "average", "per_scale", 55.17, 67.79, 70.44, 35.14, 71.60],
        [TWO, "max", "per_scale", 55.26, 67.43, 70.01, 34.70, 71.06],
        [TWO, "attention", "none", 53.49, 65.27, 69.90, 34.03, 70.66],
        [TWO, "average", "none", 52.71, 64.86, 69.22, 33.69, 70.38],
        [TWO, "max", "none", 52.90, 64.81, 69.15, 32.95, 70.07],
        [ONE, "attention", "none", 51.91, 62.28, 67.58, 31.22, 68.76],  # of one scale there is nothing to fuse
    ],
    columns=["scales", "fusion", "extra_supervision", "Person-Part", "VOC", "VOC, COCO start", "COCO subset", PERSON],
).set_index(["scales", "fusion", "extra_supervision"])
FU = pd.DataFrame(
    [
        ["True", "True", 76.34, 77.57],
        ["True", "False", 75.74, 77.03],
        ["False", "True", 74.28, 76.55],
        ["False", "False", 70.03, 72.54],
    ],
    columns=["position", "channel", "ResNet-50", "ResNet-101"],
).set_index(["position", "channel"])
_KEY = ["field", "value", "baseline", "all else"]
_OURS = ["effect", "low", "high", "n_seeds"]


def beside(found: pd.DataFrame) -> pd.DataFrame:
    """Every difference of one field that the papers' tables hold, in points, beside ours of the same two recipes.

    ``found``: :func:`analysis.studies.retrained.differences`. Rows ``field, value, baseline, all else``; ``least`` and
    ``most`` are the reported ones over data sets or networks (mIoU, so without table 7), ``effect, low, high, n_seeds``
    ours, NaN without trainings; ``recipe`` names them. ``least within``, ``most within``: whether our interval holds
    it, None without one.
    """
    reported = pd.concat([_gains(CHEN.drop(columns=PERSON)), _gains(FU)], ignore_index=True)
    reported = pd.concat([rows for _, rows in reported.groupby("field", sort=False)])
    ours = [one for row in found.to_dict("records") for one in _as_reported(row)]
    table = pd.DataFrame(ours, columns=[*_KEY, "recipe", *_OURS]).astype(dict.fromkeys(_OURS, float))
    both = reported.merge(table, on=_KEY, how="left")
    for which in ("least", "most"):
        within = (both["low"] <= both[which]) & (both[which] <= both["high"])
        both[f"{which} within"] = within.astype(object).where(both["low"].notna(), None)
    return both.set_index(_KEY)


def _gains(table: pd.DataFrame) -> pd.DataFrame:
    """Every two rows one field apart, the upper one less the lower one."""
    rows = []
    for one, other in combinations(table.index, 2):
        apart = [i for i, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]
        if len(apart) == 1:
            gains = table.loc[one] - table.loc[other]
            key = _key(dict(zip(table.index.names, one, strict=True)), table.index.names[apart[0]], other[apart[0]])
            rows.append(dict(zip(_KEY, key, strict=True)) | {"least": gains.min(), "most": gains.max()})
    return pd.DataFrame(rows)


def _key(fields: dict[str, str], field: str, baseline: str) -> tuple[str, ...]:
    rest = ", ".join(f"{name}={value}" for name, value in fields.items() if name != field)
    return field, fields[field], baseline, rest


def _as_reported(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A difference of ours in the papers' fields, as it is and turned round: their tables have one of both."""
    name, changed = recipe_fields(row["recipe"])
    model = find_recipe(name).model
    for names in (CHEN.index.names, FU.index.names):
        if row["field"] in names and all(hasattr(model, one) for one in names):
            fields = {one: changed.get(f"model.{one}", str(getattr(model, one))) for one in names}
            key = _key(fields | {row["field"]: row["value"]}, row["field"], row["baseline"])
            yield dict(zip(_KEY, key, strict=True)) | {one: row[one] for one in ("recipe", *_OURS)}
            key = _key(fields | {row["field"]: row["baseline"]}, row["field"], row["value"])
            turned = {"effect": -row["effect"], "low": -row["high"], "high": -row["low"]}
            yield dict(zip(_KEY, key, strict=True)) | {one: row[one] for one in ("recipe", *_OURS)} | turned

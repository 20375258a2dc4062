"""Means by the size of objects: the tables ``size_bins`` and ``interventions``.

Both are answers of DuckDB, which reads tables in files in pieces: five million objects are not loaded. What is kept of
them is their areas, for the quartiles of a class.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.evaluation import COCO_CUTS
from analysis.statistics import mean
from analysis.studies.object_scale.effects import WON, estimated
from analysis.studies.study import Result

_KEYS = "checkpoint, recipe, seed, dataset, split"
_COCO = f"case when area < {COCO_CUTS[1]} then 'small' when area < {COCO_CUTS[2]} then 'medium' else 'large' end"
_QUARTILE = """case when cells < 1 then 'below a cell'
    else 'quartile ' || (1 + (area > cuts[1])::int + (area > cuts[2])::int + (area > cuts[3])::int) end"""


def size_bins(result: Result) -> pd.DataFrame:
    """Means of ``objects`` by size: a row per checkpoint, class (and ``all``), scale and bin; ``block`` is ``all``.

    ``size_bin``: ``all``; ``below a cell`` of the weight map; of the others ``quartile 1`` to ``4`` of the area within
    a class, and ``small``, ``medium``, ``large`` by COCO's cuts at 32 and 96 pixels squared. Columns: ``n_objects``,
    ``area_low`` and ``area_high`` (the smallest and largest area there), means over objects of the weights, wins and
    IoU, and ``won``, the share of objects on which the branch wins at least half of the pixels.
    """
    return result.summary(
        f"""with things as not materialized (select * from objects where thing),
        {_binned("things", "scale = (select max(scale) from objects)", f"if(cells >= 1, {_COCO}, null)")}
        select {_KEYS}, 'all' as block, coalesce(class, 'all') as class, scale, size_bin, count(*) as n_objects,
            min(area) as area_low, max(area) as area_high, avg(weight_inside) as weight_inside,
            avg(weight_interior) as weight_interior, avg(weight_ring) as weight_ring,
            avg(weight_placebo) as weight_placebo, avg(wins) as wins, avg((wins >= {WON})::int) as won, avg(iou) as iou
        from binned where size_bin is not null
        group by grouping sets (({_KEYS}, scale, size_bin, class), ({_KEYS}, scale, size_bin)) order by all"""
    )


def interventions(result: Result) -> pd.DataFrame:
    """The table ``interventions`` of DESIGN 5 from ``object_interventions``: mean IoUs (0..1) by class and size.

    ``size_bin`` as in :func:`size_bins`, without COCO's. Class ``all`` holds the objects of all classes, each in the
    bin it has in its own. ``block`` is ``all``.
    """
    return result.summary(
        f"""with {_binned("object_interventions", "intervention = 'untouched'")}
        select {_KEYS}, 'all' as block, claim, intervention, coalesce(class, 'all') as class, size_bin,
            avg(iou) as iou, avg(iou_baseline) as iou_baseline, count(*) as n_objects
        from binned where size_bin is not null
        group by grouping sets
            (({_KEYS}, claim, intervention, size_bin, class), ({_KEYS}, claim, intervention, size_bin)) order by all"""
    )


def weights_by_size(result: Result) -> pd.DataFrame:
    """Mean weights on things, inside and at the placebo, with 95 % intervals: a row per recipe, class (and ``all``),
    scale, size_bin (``below a cell``, ``quartile 1`` to ``4`` within class) and ``value``; see :func:`_with_intervals`.
    """
    rows = _in_bins(result, "(select * from objects where thing)", "scale = (select max(scale) from objects)")
    return _with_intervals(rows, ("weight_inside", "weight_placebo"), ("scale",))


def ious_by_size(result: Result) -> pd.DataFrame:
    """Mean object IoU (0..1) under every intervention on the weights, as :func:`weights_by_size` has the weights."""
    rows = _in_bins(result, "object_interventions", "intervention = 'untouched'")
    flattened = rows[rows["intervention"] == "untouched"].assign(
        intervention="object mean", iou=lambda t: t.iou_baseline
    )
    return _with_intervals(pd.concat([rows, flattened], ignore_index=True), ("iou",), ("intervention",))


def _in_bins(result: Result, table: str, once: str) -> pd.DataFrame:
    """The rows of a table, each in its one bin of size."""
    return result.summary(
        f"with source as not materialized (select * from {table}), {_binned('source', once)} "
        f"select * from binned where size_bin like 'quartile%' or size_bin = 'below a cell' order by all"
    )


def _with_intervals(rows: pd.DataFrame, values: Sequence[str], by: Sequence[str]) -> pd.DataFrame:
    """Means of ``values`` over objects, with ``low`` and ``high`` over blocks (and seeds); NaN for fewer than six.

    ``area`` is the geometric mean of the objects' (pixels); ``reason`` says why there is no interval.
    """
    found = []
    for class_, mine in [("all", rows), *rows.groupby("class", sort=True)]:
        for _, part in mine.groupby(["recipe", *by, "size_bin"], sort=True):
            where = {**part.iloc[0][["recipe", *by, "size_bin"]].to_dict(), "class": class_}
            found += [{**where, "value": name, **_mean_of(part.dropna(subset=name), name)} for name in values]
    return pd.DataFrame(found)


def _mean_of(rows: pd.DataFrame, value: str) -> dict[str, object]:
    effect, reason = estimated(rows, lambda t, w: mean(t[value], w)) if len(rows) else (None, "no object")
    area = float(np.exp(np.log(rows["area"]).mean())) if len(rows) else np.nan
    counts = {"n_objects": rows[["checkpoint", "image", "object"]].drop_duplicates().shape[0]}
    counts |= {"n_blocks": rows["block"].nunique(), "n_seeds": rows["seed"].nunique()}
    ends = (effect.effect, effect.low, effect.high) if effect else (rows[value].mean(), np.nan, np.nan)
    return {"area": area, **dict(zip(("mean", "low", "high"), ends, strict=True)), **counts, "reason": reason}


def _binned(table: str, once: str, more: str = "null") -> str:
    """``table`` as ``binned``, a row for every bin that an object is in; ``once`` picks one row an object.

    Nothing is to be materialized: else DuckDB holds what is used twice, 0.5 GB for a million objects.
    """
    return f"""quartiles as (select checkpoint, class, quantile_disc(area, [0.25, 0.5, 0.75]) as cuts
            from {table} where cells >= 1 and {once} group by all),
        binned as not materialized (select {table}.*, unnest(['all', {_QUARTILE}, {more}]) as size_bin
            from {table} left join quartiles using (checkpoint, class))"""

"""By the size of objects: the weights that branches put on them, and how well they are found under other weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from analysis.figures.maps import MARKERS
from analysis.figures.style import CATEGORIES, axes_for
from analysis.views import branch_labels

FIRST = ("untouched", "object mean", "shuffled", "uniform")  # interventions; then one branch only
_AREA = "area (pixels, mean of the bin)"
_SPREAD = 1.06  # by so much series stand apart, as a factor of the area, so that their bars do not cover each other


def weight_by_size(rows: pd.DataFrame, ax: Axes | None = None) -> Figure:
    """Mean weight of each branch on the objects of each bin of size, with 95 % intervals; dashed at the placebo.

    ``rows``: of one class and recipe of :func:`analysis.studies.object_scale.sizes.weights_by_size`.
    """
    figure, ax = axes_for(ax, 6.5, 4.2)
    _weights(ax, rows)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def weight_by_size_of_classes(rows: pd.DataFrame) -> Figure:
    """:func:`weight_by_size` of all classes and each, side by side."""
    names = ["all", *sorted(set(rows["class"]) - {"all"})]
    columns = 2 if len(names) in (2, 4) else 3
    lines = -(-len(names) // columns)
    figure = Figure(figsize=(6.875, 0.7 + 1.8 * lines), layout="constrained")
    panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for ax, name in zip(panels, names, strict=False):
        _weights(ax, rows[rows["class"] == name])
        ax.set_title("all classes" if name == "all" else name)
    for ax in panels[len(names) :]:
        ax.set_visible(False)
    for i, ax in enumerate(panels[: len(names)]):
        ax.tick_params(labelbottom=i + columns >= len(names))  # the lowest of its column
        ax.set_xlabel(_AREA if i + columns >= len(names) else "")
        ax.set_ylabel(ax.get_ylabel() if i % columns == 0 else "")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return figure


def _weights(ax: Axes, rows: pd.DataFrame) -> None:
    scales = sorted(rows["scale"].unique(), reverse=True)
    for i, (scale, label) in enumerate(zip(scales, branch_labels(tuple(scales)), strict=True)):
        mine = rows[rows["scale"] == scale]
        style = {"color": CATEGORIES[i], "marker": MARKERS[i]}
        _series(ax, mine[mine["value"] == "weight_inside"], i, label, style)
        placebo = mine[mine["value"] == "weight_placebo"].dropna(subset="mean").sort_values("area")
        ax.plot(placebo["area"], placebo["mean"], color=CATEGORIES[i], linestyle=":", linewidth=1.0)
    ax.plot([], [], color="0.3", linestyle=":", linewidth=1.0, label="at the placebo")
    ax.set_ylim(-0.03, 1.03)
    _finish(ax, "mean weight on the object")


def iou_by_size(rows: pd.DataFrame, ax: Axes | None = None) -> Figure:
    """Mean object IoU of each bin of size under every intervention on the weights, with 95 % intervals.

    ``rows``: of one class and recipe of :func:`analysis.studies.object_scale.sizes.ious_by_size`.
    """
    figure, ax = axes_for(ax, 6.5, 4.2)
    names = [*(name for name in FIRST if name in set(rows["intervention"]))]
    names += sorted(set(rows["intervention"]) - set(names), reverse=True)  # the 1.0x branch before the smaller ones
    for i, name in enumerate(names):
        mine = rows[rows["intervention"] == name]
        colour = "black" if i == 0 else CATEGORIES[(i - 1) % 6]
        _series(ax, mine, i - (len(names) - 1) / 2, name, {"color": colour, "marker": MARKERS[i % 8]})
    _finish(ax, "mean IoU of the objects")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def _series(ax: Axes, rows: pd.DataFrame, place: float, label: str, style: Mapping[str, Any]) -> None:
    """Points with bars; without intervals, points."""
    rows = rows.dropna(subset="mean").sort_values("area")
    ends = [(rows["mean"] - rows["low"]).fillna(0), (rows["high"] - rows["mean"]).fillna(0)]
    x = rows["area"] * _SPREAD**place
    ax.errorbar(x, rows["mean"], ends, label=label, markersize=4, linewidth=1.2, elinewidth=0.9, capsize=2, **style)


def _finish(ax: Axes, label: str) -> None:
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set(xlabel=_AREA, ylabel=label)
    ax.spines[["top", "right"]].set_visible(False)

"""Branches of Attention to Scale side by side: what each is worth alone and fused, how alike their features are."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.maps import MARKERS
from analysis.figures.style import CATEGORIES, axes_for
from analysis.studies.pairing import family
from analysis.views import branch_labels

FUSED = {"fused": "fused, as trained", "average": "fused by average", "max": "fused by max"}


def branch_scores(fusions: pd.DataFrame, ax: Axes | None = None) -> Figure:
    """mIoU of each branch alone and of the fusions of the same score maps; a mark a checkpoint, a colour a recipe.

    ``fusions``: as :mod:`analysis.studies.branches` gives it, of any number of checkpoints.
    """
    rows = fusions[fusions["class"] == "all"]
    maps = list(dict.fromkeys(rows["map"]))
    figure, ax = axes_for(ax, 6.5, 1.2 + 0.3 * len(maps))
    _marks(ax, rows, "map", maps, "miou")
    ax.set_yticks(range(len(maps)), [FUSED.get(name) or f"{_branch(name)} alone" for name in maps])
    ax.set_xlabel("mIoU (%)")
    _finish(ax, len(maps))
    _legend(figure, ax, 2)
    return figure


def branch_similarity(similarity: pd.DataFrame, ax: Axes | None = None) -> Figure:
    """How alike the features of two branches are, trained (filled) and in the untrained architecture (hollow)."""
    rows = similarity.assign(pair=similarity["branch_a"] + " " + similarity["branch_b"])
    pairs = list(dict.fromkeys(rows["pair"]))
    figure, ax = axes_for(ax, 6.5, 1.2 + 0.3 * len(pairs))
    for model in ("untrained", "trained"):
        _marks(ax, rows[rows["model"] == model], "pair", pairs, "cka", hollow=model == "untrained")
    ax.plot([], [], "o", markerfacecolor="none", color="0.3", label="hollow: untrained")  # also of a single recipe
    ax.set_yticks(range(len(pairs)), [" and ".join(map(_short, pair.split())) for pair in pairs])
    ax.set_xlabel("similarity (debiased linear CKA)")
    _finish(ax, len(pairs))
    _legend(figure, ax, 1)
    return figure


def _marks(ax: Axes, rows: pd.DataFrame, column: str, order: Sequence[str], value: str, hollow: bool = False) -> None:
    for i, (recipe, mine) in enumerate(rows.groupby(rows["recipe"].map(family), sort=False)):
        style: dict[str, Any] = {
            "color": CATEGORIES[i % 8],
            "marker": MARKERS[i % 8],
            "linestyle": "none",
            "markersize": 5,
        }
        style |= {"markerfacecolor": "none"} if hollow else {"label": str(recipe)}
        ax.plot(mine[value], [order.index(name) for name in mine[column]], **style)


def _branch(name: str) -> str:
    """``x75`` as people say it."""
    return branch_labels((int(name.removeprefix("x")) / 100,))[0]


def _short(name: str) -> str:
    return _branch(name).removesuffix(" branch")


def _legend(figure: Figure, ax: Axes, fewest: int) -> None:
    """Of the recipes, where there are so many: labels may be long."""
    marks, labels = ax.get_legend_handles_labels()
    if len(labels) >= fewest:
        wrapped = [textwrap.fill(label, 46, break_on_hyphens=False) for label in labels]
        figure.legend(marks, wrapped, loc="outside lower center", frameon=False)


def _finish(ax: Axes, lines: int) -> None:
    ax.set_ylim(lines - 0.5, -0.5)
    ax.grid(axis="x", color="0.9")
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)

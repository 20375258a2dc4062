"""Claims as a forest plot: effects with their intervals against the smallest effect that matters."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures.style import CATEGORIES, axes_for

#: Colour and marker of every verdict that has an interval.
VERDICTS = {
    "supported": (CATEGORIES[0], "o"),
    "contradicted": (CATEGORIES[5], "X"),
    "negligible": ("0.35", "s"),
    "mixed": (CATEGORIES[1], "D"),
    "undecided": ("0.6", "o"),
    "control failed": (CATEGORIES[3], "P"),
}
REACH = 8.0  # smallest effects; what lies beyond is an arrow


def forest(rows: pd.DataFrame, ax: Axes | None = None) -> Figure:
    """Rows of the table ``claims`` from top to bottom; those without an interval are left out.

    Claims have units of their own, so effects are drawn as multiples of their claim's smallest effect: beyond +1 a
    sentence is supported, below -1 contradicted, and within both negligible.
    """
    shown = rows[rows["effect"].notna() & rows["low"].notna()].reset_index(drop=True)
    figure, ax = axes_for(ax, 8.5, 1.3 + 0.3 * max(1, len(shown)))
    ax.axvspan(-1, 1, color="0.93", zorder=0)
    ax.axvline(0, color="black", linewidth=0.8)
    for y, (_, row) in enumerate(shown.iterrows()):
        _interval(ax, y, row)
    names = [f"{row['claim']} ({row['class']}, {row['evidence']})" for _, row in shown.iterrows()]
    ax.set_yticks(range(len(shown)), names, fontsize="small")
    ax.set_ylim(len(shown) - 0.4, -0.6)
    ax.set_xlim(-REACH, REACH)
    ax.set_xlabel("effect, in multiples of the smallest effect that matters (grey: smaller than that)")
    ax.spines[["top", "right"]].set_visible(False)
    used = [name for name in VERDICTS if name in set(shown["verdict"])]
    marks = [Line2D([], [], color=VERDICTS[v][0], marker=VERDICTS[v][1], label=v) for v in used]
    figure.legend(handles=marks, loc="outside lower center", ncols=6, frameon=False, fontsize="small")
    return figure


def _interval(ax: Axes, y: float, row: pd.Series) -> None:
    effect, low, high = (float(row[name]) / float(row["smallest_effect"]) for name in ("effect", "low", "high"))
    colour, marker = VERDICTS[row["verdict"]]
    ends = np.clip([low, high], -REACH, REACH)
    ax.plot(ends, [y, y], color=colour, linewidth=1.6)
    for end, whole, arrow in ((ends[0], low, "<"), (ends[1], high, ">")):
        if end != whole:
            ax.plot(end, y, arrow, color=colour, markersize=5, clip_on=False)
    if abs(effect) <= REACH:
        ax.plot(effect, y, marker, color=colour, markersize=6)

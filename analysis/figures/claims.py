"""Claims as a forest plot: effects with their intervals against the smallest effect that matters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures.style import CATEGORIES, axes_for
from analysis.studies.pairing import families

#: Colour and marker of every verdict that has an interval.
VERDICTS = {
    "supported": (CATEGORIES[0], "o"),
    "contradicted": (CATEGORIES[5], "X"),
    "negligible": ("0.35", "s"),
    "mixed": (CATEGORIES[1], "D"),
    "undecided": ("0.6", "o"),
    "control failed": (CATEGORIES[3], "P"),
}
CONTROL: dict[str, Any] = {"color": "0.55", "linewidth": 1.0, "linestyle": (0, (2, 1)), "marker": "|", "markersize": 3}
REACH = 8.0  # smallest effects; what lies beyond is an arrow


def forest(rows: pd.DataFrame, ax: Axes | None = None, controls: bool = False) -> Figure:
    """Rows of the table ``claims`` from top to bottom; those without an interval are left out.

    ``controls`` draws the interval of each row's control below it. Classes of one
    claim alone go without its name.

    Claims have units of their own, so effects are drawn as multiples of their claim's smallest effect: beyond +1 a
    sentence is supported, below -1 contradicted, and within both negligible. Several recipes stand one below the other,
    each under its name.
    """
    shown = rows[rows["effect"].notna() & rows["low"].notna()]
    lines = _lines(shown)
    figure, ax = axes_for(ax, 8.5, 1.3 + 0.3 * max(1, len(lines)))
    ax.axvspan(-1, 1, color="0.93", zorder=0)
    ax.axvline(0, color="black", linewidth=0.8)
    for y, (_, row) in enumerate(lines):
        if row is not None:
            _interval(ax, y, row)
        if row is not None and controls and pd.notna(row["control_low"]):
            _control(ax, y + 0.28, row)
    ax.set_yticks(range(len(lines)), [name for name, _ in lines], fontsize="small")
    for label, (_, row) in zip(ax.get_yticklabels(), lines, strict=True):
        label.set_fontweight("normal" if row is not None else "bold")
    ax.set_ylim(len(lines) - 0.4, -0.6)
    ax.set_xlim(-REACH, REACH)
    ax.set_xlabel("effect, in multiples of the smallest effect that matters (grey: smaller than that)")
    ax.spines[["top", "right"]].set_visible(False)
    used = [name for name in VERDICTS if name in set(shown["verdict"])]
    marks = [Line2D([], [], color=VERDICTS[v][0], marker=VERDICTS[v][1], label=v) for v in used]
    if controls and shown["control_low"].notna().any():
        marks.append(Line2D([], [], **CONTROL, label="control"))
    figure.legend(handles=marks, loc="outside lower center", ncols=6, frameon=False, fontsize="small")
    return figure


def _lines(rows: pd.DataFrame) -> list[tuple[str, pd.Series | None]]:
    """Labels and rows; where there are several recipes, each has a line with its name above its rows."""
    one = rows["claim"].nunique() == 1 and rows["class"].nunique() > 1
    recipes = list(dict.fromkeys(rows["recipe"])) if "recipe" in rows else []
    lines: list[tuple[str, pd.Series | None]] = []
    for recipe in recipes if len(recipes) > 1 else [None]:
        mine = rows if recipe is None else rows[rows["recipe"] == recipe]
        if recipe is not None:
            lines.append((",\n".join(families(str(recipe))), None))
        lines += [(_label(row, one), row) for _, row in mine.iterrows()]
    return lines


def _label(row: pd.Series, short: bool) -> str:
    of = f"{row['class']}, {row['evidence']}"
    return of if short else f"{row['claim']} ({of})"


def _control(ax: Axes, y: float, row: pd.Series) -> None:
    """As far as it lies in the picture."""
    low, high = (np.clip(row[name] / row["smallest_effect"], -REACH, REACH) for name in ("control_low", "control_high"))
    ax.plot([low, high], [y, y], **CONTROL)


def _interval(ax: Axes, y: float, row: pd.Series) -> None:
    effect, low, high = (float(row[name]) / float(row["smallest_effect"]) for name in ("effect", "low", "high"))
    colour, marker = VERDICTS[row["verdict"]]
    ax.plot(np.clip([low, high], -REACH, REACH), [y, y], color=colour, linewidth=1.6)
    for beyond, end, arrow in ((low < -REACH, -REACH, "<"), (high > REACH, REACH, ">")):
        if beyond:
            ax.plot(end, y, arrow, color=colour, markersize=5, clip_on=False)
    if abs(effect) <= REACH:
        ax.plot(effect, y, marker, color=colour, markersize=6)

"""Position attention."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.views import View
from dashboard.words.models import FU

POSITION = rf"""
Where the picked pixel $j$ looks: its row $s_{{ji}} = \exp(q_j \cdot k_i) \,/\, \sum_i \exp(q_j \cdot k_i)$ over all
positions $i$, which weights the values in $E_j = \alpha \sum_i s_{{ji}} v_i + A_j$
*({FU}, section 3.2, equations 1 and 2)*."""


COLUMN = rf"""
Who looks at the picked pixel $i$: its column $s_{{ji}}$ over all positions $j$, each from a row of its own, so that a
column need not add up to 1 *({FU}, section 3.2, equation 1)*."""

WITHOUT = rf"""
Does the prediction need keys of the same class? In every ring of equal distance beyond two cells each query loses
attention on its own class, or as much on other classes, and its row adds up to 1 again: $\alpha \sum_i s_{{ji}} v_i$
changes, all else stays *(tests what {FU}, section 4.2.3, reads from three pictures)*."""


def row_caption(
    seen: View, attention: np.ndarray, pixel: tuple[int, int], cells: int, classes: Sequence[str], see: str
) -> str:
    """What is picked, and how concentrated its row or column is."""
    y, x = seen.cell(pixel)
    height, width = attention.shape
    times = attention * attention.size
    grid = f"{height} x {width}"
    there = f"The pixel is predicted {classes[seen.prediction[pixel]]} and lies in cell ({y}, {x}) of {grid}."
    where = there if cells == 1 else f"The mean over the {cells} cells of the box, of {grid}."
    if see == "row":
        own = f"gives {times[y, x]:.2g} times to itself"
        return f"{where} Its row peaks at {times.max():,.1f} times uniform attention, and {own}."
    most = f"at most {times.max():.2g} times, and {times[y, x]:.2g} times from itself"
    return f"{where} It gets {times.mean():.2g} times uniform attention on average, {most}."


def mass_caption(rows: pd.DataFrame, own: str, truth: bool) -> str:
    """How much lies on the own class, against its share and what distance alone gives."""
    by = "the labels" if truth else "the prediction, as there are no labels here"
    mine = rows[rows["class"] == own]
    if mine.empty:
        return f"Classes by {by}. Beyond two cells there is no other {own}."
    mass, base, matched = (100 * mine.iloc[0][["mass", "base_rate", "distance_matched_rate"]].astype(float)).tolist()
    return (
        f"Classes by {by}. On {own} itself lie {mass:.1f} %, where {base:.1f} % of the cells are; with as much "
        f"attention at every distance, but whatever the class, it would be {matched:.1f} %."
    )

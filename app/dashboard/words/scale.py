"""Attention to Scale."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.views import branch_labels
from dashboard.words.models import CHEN

WEIGHTS = rf"""
How much each branch counts at every position, $w^s_i = \exp h^s_i \,/\, \sum_t \exp h^t_i$, in the fused score
$g_{{i,c}} = \sum_s w^s_i f^s_{{i,c}}$; one common scale from 0 to 1
*({CHEN}, section 3.2, equations 1 and 2)*."""

AVERAGE = rf"""
Average fusion gives every branch the same weight everywhere, $w^s_i = 1/S$, in the fused score
$g_{{i,c}} = \sum_s w^s_i f^s_{{i,c}}$ *({CHEN}, section 3.2)*."""

WINNER = rf"""
The branch with the greatest weight at every position, $\arg\max_s w^s_i$
*(weights of {CHEN}, section 3.2; the paper's figures show each map by itself)*."""

WINNER_OF_MAX = rf"""
Max fusion takes the greatest score, $g_{{i,c}} = \max_s f^s_{{i,c}}$, a choice per class that no weight shared by
classes can make; shown is the branch from which the predicted class has its score *({CHEN}, section 3.2)*."""


PANELS = """
Each panel now has its own range, as in the paper's figures: a map that hardly varies looks as busy as one that decides,
and colours of two panels cannot be compared."""

FORCED = rf"""
What the prediction owes to the weights: the same score maps $f^s_{{i,c}}$ fused by $g_{{i,c}} = \sum_s w^s f^s_{{i,c}}$
with one weight a branch for the whole photograph *(after {CHEN}, section 3.2, equation 1)*."""

OBJECTS = rf"""
The mean weight of each branch on every object, $\bar w^s = \frac{{1}}{{|O|}} \sum_{{i \in O}} w^s_i$, beside its
area. The paper reads its maps as: large weights on small objects at scale 1, on large ones at scale 0.5 *({CHEN},
figures 1, 5 and 6)*; here is each object. One photograph shows nothing of that by itself: the command `claims` tests
it."""

PROBE = """
The same object in the same place at another size: cut out, its place filled smoothly, pasted back. The placebo is the
same done to the bare ground at the same height: what the pasting alone does to the weights."""


def objects_caption(rows: pd.DataFrame, truth: bool) -> str:
    """How many objects there are, by what."""
    if rows.empty:
        return "No object of a thing class is here."
    n, small = rows["object"].nunique(), rows.loc[rows["cells"] < 1, "object"].nunique()
    by = "labels" if truth else "prediction, whose regions stand for objects as there are no labels here"
    few = f"{small} smaller than a cell of the weight map, whose weights are those of what is round them"
    return f"{n} object{'s' * (n != 1)} by the {by}; {few}."


def object_caption(rows: pd.DataFrame, truth: bool) -> str:
    """Everything of one object: a row a branch."""
    first, labels = rows.iloc[0], branch_labels(tuple(rows["scale"]))
    said = f"Object {first['object']}: {first['class']}, {first['area']:,} pixels ({first['cells']:.1f} cells)"
    if truth:
        said += f", IoU {first['iou']:.2f}"
    each = [
        f"{label} weight {row['weight_inside']:.2f}, {_or_none(row['weight_interior'])} a cell inside the outline, "
        f"{_or_none(row['weight_placebo'])} at the placebo, worth {row['shapley']:+.2f} nats (Shapley)"
        for label, (_, row) in zip(labels, rows.iterrows(), strict=True)
    ]
    return f"{said}. {'; '.join(each)}."


def probe_caption(rows: pd.DataFrame, factor: float, branch: str) -> str:
    """The weight at a factor, of the object and of its placebo, against factor 1."""
    values = rows.pivot_table("weight_inside", "kind", "factor")
    said = [
        f"{kind} {values.loc[kind, factor]:.3f} ({values.loc[kind, factor] - values.loc[kind, 1.0]:+.3f})"
        for kind in ("object", "placebo")
    ]
    now = f"At {factor:.2f} times its size the mean weight of the {branch} is"
    return f"{now}: {', '.join(said)}; in brackets, less that at its own size."


def _or_none(value: float) -> str:
    return "unknown" if np.isnan(value) else f"{value:.2f}"

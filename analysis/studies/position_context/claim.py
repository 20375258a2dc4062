"""The claim ``same-class-context`` of DESIGN 6."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd

from analysis.errors import AnalysisError
from analysis.statistics import Estimate, Weights, estimate, judge, ratio
from analysis.studies.measured import Measured
from analysis.studies.miou import difference

CLAIM, SOURCE = "same-class-context", "Fu §4.2.3"
SMALLEST_MASS = 0.05
SMALLEST_IOU = 1.0  # point
#: Where less of the mass on the own class had an equal on other classes, no difference is no evidence.
MATCHED = 0.5
ARMS = ("none", "own class removed", "other classes removed")


def same_class_context(position_context: pd.DataFrame, position_context_iou: pd.DataFrame | None) -> list[Measured]:
    """For all classes and each of them: what is observed, and what the intervention does.

    Observed: over all queries, own mass less what the row's own mass by distance predicts; control: the same with query
    and key convolutions drawn anew. ``unmet`` where the mean query of the other classes' cells, in the query's place,
    gives as much: what looks at the sky from everywhere is no look of the sky at itself. Intervention: IoU without the
    mass on other classes less that without as much on the own class at equal distance, in points; not applicable
    without a table of IoU. Where attention lies so nearly on one side that most of it has no equal to remove, a sure
    difference stays one, as both arms lose the same, but none is no evidence. Tables of several checkpoints may be one
    below the other.
    """
    classes = position_context["class"].unique().tolist()
    return [_observed(_of(position_context, class_), class_) for class_ in ("all", *classes)] + [
        _intervention(position_context, position_context_iou, class_) for class_ in ("all", *classes)
    ]


def excess(table: pd.DataFrame, weights: Weights, prefix: str = "") -> np.ndarray:
    """Own mass less the distance-matched rate, the mean over queries: ``[R]``. ``prefix``: of a control's columns."""
    queries = table["control_queries" if prefix else "queries"].to_numpy(float)
    each = (table[f"{prefix}same_class_mass"] - table[f"{prefix}distance_matched_rate"]).fillna(0).to_numpy()
    return ratio(each * queries, queries, weights)


def _of(table: pd.DataFrame, class_: str) -> pd.DataFrame:
    return table if class_ == "all" else table[table["class"] == class_]


def _observed(rows: pd.DataFrame, class_: str) -> Measured:
    effect, reason = _tried(lambda: estimate(rows, excess))
    control, no_control = _tried(lambda: estimate(rows, partial(excess, prefix="redrawn_")))
    why = reason or (no_control and f"no control: {no_control}")
    unmet = rival = ""
    if effect is not None and judge(effect, SMALLEST_MASS)[0] in ("supported", "contradicted"):
        more, no_rival = _tried(lambda: estimate(rows, lambda table, w: excess(table, w) - excess(table, w, "fixed_")))
        unmet = _same_from_everywhere(effect, more) if more else ""
        rival = no_rival and f"not compared with the look of other classes: {no_rival}"
    row = Measured(CLAIM, SOURCE, class_, "observed", effect, control, "row mass", SMALLEST_MASS, why, unmet)
    return row.remarked(rival)


def _same_from_everywhere(effect: Estimate, more: Estimate) -> str:
    """Why the effect may be one look of all queries: what is beyond that, ``more``, is not beyond 0 as it is."""
    if judge(more, SMALLEST_MASS)[0] == judge(effect, SMALLEST_MASS)[0]:
        return ""
    given = effect.effect - more.effect
    return f"other classes' cells look there too, {given:+.2f}; beyond that it is {more.low:+.2f} to {more.high:+.2f}"


def _intervention(table: pd.DataFrame, iou: pd.DataFrame | None, class_: str) -> Measured:
    def measure() -> Estimate:
        if iou is None or "removed_mass" not in table:
            raise AnalysisError("no key was removed: run position_context with its interventions")
        effect = difference(iou, "intervention", ARMS[2], ARMS[1], None if class_ == "all" else class_)
        share = _matched(_of(table, class_))
        if share < MATCHED and judge(effect, SMALLEST_IOU)[0] not in ("supported", "contradicted"):
            raise AnalysisError(
                f"only {100 * share:.0f} % of the mass on the own class has an equal on other classes at its distance, "
                f"so that little was removed: {effect.effect:+.2f} points [{effect.low:+.2f}, {effect.high:+.2f}]"
            )
        return effect

    effect, reason = _tried(measure)
    return Measured(CLAIM, SOURCE, class_, "intervention", effect, None, "points of IoU", SMALLEST_IOU, reason)


def _matched(rows: pd.DataFrame) -> float:
    """The mass that was removed as a share of what lay on the own class, over all queries."""
    own = float((rows["same_class_mass"] * rows["queries"]).sum())
    return float((rows["removed_mass"] * rows["queries"]).sum()) / own if own > 0 else 0.0


def _tried(measure: Callable[[], Estimate]) -> tuple[Estimate | None, str]:
    """The estimate, or why there is none."""
    try:
        return measure(), ""
    except AnalysisError as error:
        return None, str(error)

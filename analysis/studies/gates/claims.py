"""The claims ``gates-grow`` and ``complementary`` of DESIGN 6."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd

from analysis.errors import AnalysisError
from analysis.statistics import Estimate, Weights, estimate, mean
from analysis.studies.measured import Evidence, Measured
from analysis.studies.miou import class_names, difference, points, side_by_side

#: What the rows of the table ``gates`` are called, and the gates that are at 0 in them.
ZEROED = {
    "none": frozenset(),
    "alpha": frozenset({"alpha"}),
    "beta": frozenset({"beta"}),
    "both": frozenset({"alpha", "beta"}),
}
GATES = ("alpha", "beta")
GROW, GROW_SOURCE = "gates-grow", "Fu §3.2–3.3, user question"
COMPLEMENTARY, COMPLEMENTARY_SOURCE = "complementary", "Fu table 1"
SMALLEST_CONTRIBUTION, SMALLEST_IOU = 1.0, 0.5  # per cent, points
NO_CONTROL = "no control: the training had no second gate on a permuted path"

Tried = tuple[Estimate | None, str]


def gates_grow(gates: pd.DataFrame) -> list[Measured]:
    """Relative contribution (per cent, observed) and the drop of mIoU with the gate at 0 (points, intervention).

    ``gates`` holds the last checkpoint of each training; several may be one below the other. Rows ``alpha`` and
    ``beta`` in place of classes, and ``all``: the weaker of the two, as the source speaks of both; then, of the
    intervention, what each class loses with both gates at 0. The control, a second gate on a permuted path in the same
    training, is missing until trainings have one.
    """
    contribution = {gate: _tried(partial(_contribution, gates, gate)) for gate in GATES}
    drop = {gate: _tried(partial(_drop, gates, gate)) for gate in GATES}
    observed = [_grow(name, "observed", *one) for name, one in {"all": _weaker(contribution), **contribution}.items()]
    dropped = [_grow(name, "intervention", *one) for name, one in {"all": _weaker(drop), **drop}.items()]
    classes = [_grow(c, "intervention", *_tried(partial(_drop, gates, "both", c))) for c in class_names(gates)]
    return observed + dropped + classes


def complementary(gates: pd.DataFrame, retrained: pd.DataFrame | None = None) -> list[Measured]:
    """What both attentions give beyond the better of the two, in points of IoU; for all classes and each of them.

    Observed, the *reliance* of one model: with both gates less with one of them at 0. Intervention, the *benefit* of
    trainings: both less PAM or CAM alone; ``retrained`` has intersections and unions by image and ``attention``
    (none, position, channel, both), seeds paired, and without it the benefit is not applicable.
    """
    found = []
    for class_ in ("all", *class_names(gates)):
        reliance = _tried(partial(_both_over_better, gates, "zeroed", ("none", "beta", "alpha"), class_))
        found.append(_complementary(class_, "observed", *reliance))
    for class_ in ("all", *class_names(gates)):
        found.append(_complementary(class_, "intervention", *_tried(partial(_benefit, retrained, class_))))
    return found


def _grow(class_: str, evidence: Evidence, effect: Estimate | None, reason: str) -> Measured:
    unit, smallest = ("%", SMALLEST_CONTRIBUTION) if evidence == "observed" else ("points of IoU", SMALLEST_IOU)
    return Measured(GROW, GROW_SOURCE, class_, evidence, effect, None, unit, smallest, reason or NO_CONTROL)


def _complementary(class_: str, evidence: Evidence, effect: Estimate | None, reason: str) -> Measured:
    head = (COMPLEMENTARY, COMPLEMENTARY_SOURCE, class_, evidence)
    return Measured(*head, effect, None, "points of IoU", SMALLEST_IOU, reason)


def _contribution(gates: pd.DataFrame, gate: str) -> Estimate:
    """Mean over images of what the gate's path adds, in per cent of its input."""
    column = f"{gate}_contribution"
    if column not in gates or gates[column].isna().any():
        raise AnalysisError(f"the model has no {gate}")
    rows = gates[gates["zeroed"] == "none"]
    return estimate(rows, lambda table, weights: 100 * mean(table[column], weights))


def _drop(gates: pd.DataFrame, zeroed: str, class_: str | None = None) -> Estimate:
    return difference(gates, "zeroed", "none", zeroed, class_)


def _weaker(found: Mapping[str, Tried]) -> Tried:
    """Of the two gates the one that shows less; the reason where one shows nothing."""
    effects = [effect for effect, _ in found.values() if effect]
    if len(effects) < len(found):
        return None, next(reason for effect, reason in found.values() if effect is None)
    return min(effects, key=lambda one: one.low), ""


def _benefit(retrained: pd.DataFrame | None, class_: str) -> Estimate:
    if retrained is None:
        raise AnalysisError("no trainings to compare: give checkpoints of none, PAM, CAM and both, with the same seeds")
    return _both_over_better(retrained, "attention", ("both", "position", "channel"), class_)


def _both_over_better(table: pd.DataFrame, column: str, values: Sequence[str], class_: str) -> Estimate:
    """IoU with both attentions (the first value) less that with the better of the two others, in points."""
    which = None if class_ == "all" else class_

    def effect(rows: pd.DataFrame, weights: Weights) -> np.ndarray:
        both, one, other = (points(rows, weights, side, which) for side in range(3))
        return both - np.maximum(one, other)

    return estimate(side_by_side(table, column, values), effect)


def _tried(measure: Callable[[], Estimate]) -> Tried:
    """The estimate, or why there is none."""
    try:
        return measure(), ""
    except AnalysisError as error:
        return None, str(error)

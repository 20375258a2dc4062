"""The claim ``gates-grow`` of DESIGN 6."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pandas as pd

from analysis.errors import AnalysisError
from analysis.statistics import Estimate, estimate, mean
from analysis.studies.gates.movements import summary
from analysis.studies.measured import Evidence, Measured
from analysis.studies.miou import class_names, difference

#: What the rows of the table ``gates`` are called, and the gates that are at 0 in them.
ZEROED = {
    "none": frozenset[str](),
    "alpha": frozenset({"alpha"}),
    "beta": frozenset({"beta"}),
    "both": frozenset({"alpha", "beta"}),
    "alpha_permuted": frozenset({"alpha_permuted"}),
    "beta_permuted": frozenset({"beta_permuted"}),
    "both_permuted": frozenset({"alpha_permuted", "beta_permuted"}),
}
GATES = ("alpha", "beta")
CLAIM, SOURCE = "gates-grow", "Fu §3.2–3.3, user question"
SMALLEST_CONTRIBUTION, SMALLEST_IOU = 1.0, 0.5  # per cent, points
NO_CONTROL = "no control: the training had no second gate on a permuted path (model.permuted_gates)"


def gates_grow(gates: pd.DataFrame, movements: pd.DataFrame | None = None) -> list[Measured]:
    """Relative contribution (per cent, observed) and the drop of mIoU with the gate at 0 (points, intervention).

    ``gates`` holds the last checkpoint of each training; several may be one below the other. Rows ``alpha`` and
    ``beta`` in place of classes, and ``all``: the weaker of the two, as the source speaks of both; then, of the
    intervention, what each class loses with all gates at 0. The control is the same of the second gate, on the
    permuted path, in the same training; of ``all`` the one that shows more. What ``movements`` say of the trainings
    stands beside what was observed.

    AnalysisError: models without gates.
    """
    here = [gate for gate in GATES if gate in gates and gates[gate].notna().all()]
    if not here:
        raise AnalysisError("these models have neither alpha nor beta, so nothing can grow: give one with attention")
    zeroed = "both" if len(here) == len(GATES) else here[0]
    classes = [_relied(gates, zeroed, name, name) for name in class_names(gates)]
    grown, relied = (
        [of(gates, gate) if gate in here else _unknown(gate, evidence, f"the model has no {gate}") for gate in GATES]
        for evidence, of in (("observed", _grown), ("intervention", _relied))
    )
    grown = [row.remarked(summary(movements, row.class_)) if row.effect else row for row in grown]
    return [_weaker(*grown), *grown, _weaker(*relied), *relied, *classes]


def _grown(gates: pd.DataFrame, gate: str) -> Measured:
    """What the gate's path adds: the mean over images, in per cent of its input."""

    def contribution(of: str) -> Estimate:
        rows = gates[gates["zeroed"] == "none"]
        return estimate(rows, lambda table, weights: 100 * mean(table[f"{of}_contribution"], weights))

    return _measured(gates, gate, gate, "observed", contribution)


def _relied(gates: pd.DataFrame, gate: str, class_: str = "", of: str | None = None) -> Measured:
    """What mIoU, or the IoU of a class, loses with the gate at 0, in points."""

    def drop(zeroed: str) -> Estimate:
        return difference(gates, "zeroed", "none", zeroed, of)

    return _measured(gates, gate, class_ or gate, "intervention", drop)


def _measured(
    gates: pd.DataFrame, gate: str, class_: str, evidence: Evidence, measure: Callable[[str], Estimate]
) -> Measured:
    """``measure`` of the gate and, where there is one, of the second gate on its permuted path."""
    second = f"{gate}_permuted"
    try:
        effect, control = measure(gate), measure(second) if second in set(gates["zeroed"]) else None
    except AnalysisError as error:
        return _unknown(class_, evidence, str(error))
    return dataclasses.replace(_unknown(class_, evidence, ""), effect=effect, control=control)


def _unknown(class_: str, evidence: Evidence, reason: str) -> Measured:
    unit, smallest = ("%", SMALLEST_CONTRIBUTION) if evidence == "observed" else ("points of IoU", SMALLEST_IOU)
    return Measured(CLAIM, SOURCE, class_, evidence, None, None, unit, smallest, reason)


def _weaker(one: Measured, other: Measured) -> Measured:
    """The row of both gates: what the one shows that shows less, or why one shows nothing."""
    weaker = min(one, other, key=lambda row: row.effect.low if row.effect else -np.inf)
    control = max(filter(None, (one.control, other.control)), key=lambda c: max(-c.low, c.high), default=None)
    row = dataclasses.replace(weaker, class_="all", control=control)
    if row.effect is None:
        return row
    return row.remarked(f"of the two gates {weaker.class_} shows less", "" if control else NO_CONTROL)

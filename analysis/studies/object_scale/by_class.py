"""A claim measured on all objects and on those of each class: one function for every claim of this study."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from analysis.errors import AnalysisError
from analysis.statistics import Estimate
from analysis.studies.measured import Evidence, Measured

Estimator = Callable[[pd.DataFrame], Estimate]


@dataclass(frozen=True)
class Question:
    """What is asked of a table: ``effect``, and ``control`` where there is one, take its rows."""

    claim: str
    source: str
    evidence: Evidence
    unit: str
    smallest_effect: float
    effect: Estimator
    control: Estimator | None = None

    def not_applicable(self, reason: str, class_: str = "all") -> Measured:
        """The answer where nothing can be measured."""
        return Measured(
            self.claim, self.source, class_, self.evidence, None, None, self.unit, self.smallest_effect, reason
        )

    def asked(self, table: pd.DataFrame, class_: str) -> Measured:
        """The answer for these rows; too few of them give a reason."""
        try:
            effect, control = self.effect(table), self.control(table) if self.control else None
        except AnalysisError as error:
            return self.not_applicable(str(error), class_)
        return Measured(
            self.claim, self.source, class_, self.evidence, effect, control, self.unit, self.smallest_effect
        )

    def by_class(self, table: pd.DataFrame) -> list[Measured]:
        """First ``all``, then the classes by name."""
        if table.empty:
            return [self.not_applicable("no object was measured: the split has no thing that can be")]
        classes = [self.asked(rows, str(name)) for name, rows in table.groupby("class", sort=True)]
        return [self.asked(table, "all"), *classes]

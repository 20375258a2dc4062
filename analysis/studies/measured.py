"""What a study measured for one claim, before the verdict: the only thing that studies hand to claims.py."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from analysis.statistics import Estimate

Evidence = Literal["observed", "intervention"]


@dataclass(frozen=True)
class Measured:
    """One row of the claims table without its verdict: effect and control of a claim, for one class and evidence.

    ``claim`` and ``source`` as in DESIGN 6; ``class_`` is ``all`` or the name of a class. ``effect`` is signed so
    that the source predicts > 0, in ``unit``, and judged against ``smallest_effect``; ``control`` must come out null,
    and is None where the claim has none. Where nothing could be measured ``effect`` is None and ``reason`` says why;
    beside an effect it is a remark. ``unmet``: something else that the sentence asks for and that does not hold, or a
    rival explanation that does: then what the effect would support or contradict is ``mixed``. Further measures of a
    claim are named ``class-channels: agreement``.
    """

    claim: str
    source: str
    class_: str
    evidence: Evidence
    effect: Estimate | None
    control: Estimate | None
    unit: str
    smallest_effect: float
    reason: str = ""
    unmet: str = ""

    def remarked(self, *remarks: str) -> Measured:
        """This row with more to say after its reason; empty remarks say nothing."""
        return replace(self, reason="; ".join(filter(None, (self.reason, *remarks))))


def lowest(rows: Iterable[Measured]) -> Measured:
    """Of several rows that must all hold that which decides: one without an interval first, then one that lies below
    -delta, else the one whose interval reaches lowest."""

    def worst(row: Measured) -> tuple[int, float]:
        if row.effect is None:
            return 0, 0.0
        return (1, row.effect.high) if row.effect.high < -row.smallest_effect else (2, row.effect.low)

    return min(rows, key=worst)

"""From what was measured to rows of the table ``claims`` (DESIGN 5, 6)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from analysis.statistics import Estimate, Verdict, combine, judge, overall
from analysis.studies.measured import Measured

Row = dict[str, Any]
_NAN = float("nan")


def verdict_rows(measured: Sequence[Measured]) -> list[Row]:
    """A row for each measurement, and one more for each claim and class with both kinds of evidence.

    The row of class ``all`` is ``mixed`` where after Holm classes lie beyond the smallest effect on both sides.
    """
    judged = [_row(one, *_judged(one, measured)) for one in measured]
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in judged:
        groups.setdefault((row["claim"], row["class"]), []).append(row)
    return [row for group in groups.values() for row in _with_both(group)]


def _judged(one: Measured, measured: Iterable[Measured]) -> tuple[Verdict, str]:
    if one.effect is None:
        return "not applicable", one.reason
    word, reason = judge(one.effect, one.smallest_effect, one.control)
    if one.class_ == "all":
        family = [other for other in measured if (other.claim, other.evidence) == (one.claim, one.evidence)]
        classes = {o.class_: o.effect for o in family if o.class_ != "all" and o.effect and _counts(o)}
        if (wider := overall(word, list(classes.values()), one.smallest_effect)) != word:
            word, reason = wider, _sides(classes)
    if one.unmet and word in ("supported", "contradicted"):
        word = "mixed"
    return word, "; ".join(filter(None, (reason, one.unmet, one.reason)))


def _counts(one: Measured) -> bool:
    """Whether the word of a class is that of its interval: no rival explanation, and its control is null."""
    if one.effect is None or one.unmet:
        return False
    return judge(one.effect, one.smallest_effect, one.control)[0] != "control failed"


def _sides(classes: dict[str, Estimate]) -> str:
    most, least = (pick(classes, key=lambda name: classes[name].effect) for pick in (max, min))
    return f"{most} {classes[most].effect:+.2g}, {least} {classes[least].effect:+.2g}"


def _row(one: Measured, word: Verdict, reason: str) -> Row:
    effect, control = one.effect, one.control
    return {
        "claim": one.claim,
        "source": one.source,
        "class": one.class_,
        "evidence": one.evidence,
        "scope": effect.scope if effect else "",
        "effect": effect.effect if effect else _NAN,
        "low": effect.low if effect else _NAN,
        "high": effect.high if effect else _NAN,
        "unit": one.unit,
        "smallest_effect": one.smallest_effect,
        "control_low": control.low if control else _NAN,
        "control_high": control.high if control else _NAN,
        "n_objects": effect.n_objects if effect else 0,
        "n_blocks": effect.n_blocks if effect else 0,
        "n_seeds": effect.n_seeds if effect else 0,
        "verdict": word,
        "reason": reason,
    }


def _with_both(rows: list[Row]) -> list[Row]:
    """The rows of one class and, where observation and intervention could both be made, what they say together."""
    by_evidence = {row["evidence"]: row for row in rows if row["verdict"] != "not applicable"}
    if len(by_evidence) < 2:
        return rows
    observed, intervention = by_evidence["observed"], by_evidence["intervention"]
    reasons = [f"{name}: {row['reason']}" for name, row in by_evidence.items() if row["reason"]]
    both = {
        "evidence": "both",
        "unit": "",
        "verdict": combine(observed["verdict"], intervention["verdict"]),
        "reason": "; ".join(reasons),
    }
    measures = ("effect", "low", "high", "smallest_effect", "control_low", "control_high")
    return [*rows, {**observed, **dict.fromkeys(measures, _NAN), **both}]


def headlines(claims: pd.DataFrame) -> pd.DataFrame:
    """One row for each claim and recipe, of all classes: the last word of a ``claims`` table on it.

    The verdict is that of both kinds of evidence, or of the one that could be had; ``effect`` and its interval are what
    was observed, if anything was.
    """
    overall_rows = claims[claims["class"] == "all"]
    groups = overall_rows.groupby(["recipe", "claim"], sort=False)
    return pd.DataFrame([_headline(rows) for _, rows in groups]).reset_index(drop=True)


def _headline(rows: pd.DataFrame) -> pd.Series:
    able = rows[rows.verdict != "not applicable"]
    if able.empty:
        return rows.iloc[0]
    first, last = able.iloc[0], able.iloc[-1].copy()
    unable = rows[rows.verdict == "not applicable"]
    notes = [last.reason, *(f"{row.evidence}: {row.reason}" for row in unable.itertuples())]
    last["reason"] = "; ".join(filter(None, notes))
    for name in ("effect", "low", "high", "unit", "smallest_effect"):
        last[name] = first[name]
    return last

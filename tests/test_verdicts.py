"""From intervals to verdicts: DESIGN 6, and the definitions of its p-values and powers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis.statistics import Estimate, Verdict, combine, holm, judge, overall, verdict


def interval(effect: float, se: float, df: float = 10, fisher: bool = False) -> Estimate:
    ends = (np.arctanh(effect) if fisher else effect) + np.array([-1, 1]) * stats.t.ppf(0.975, df) * se
    low, high = np.tanh(ends) if fisher else ends
    return Estimate(effect, low, high, se, df, 300, 30, 3, fisher)


@given(st.floats(-0.9, 0.9), st.floats(0.001, 0.5), st.floats(1, 50), st.booleans())
def test_p_values_agree_with_intervals(effect: float, se: float, df: float, fisher: bool) -> None:
    one = interval(effect, se, df, fisher)
    decided = verdict(one.low, one.high, 0.1) in ("supported", "contradicted")
    assert decided == (one.p_value(0.1) < 0.05) or one.p_value(0.1) == pytest.approx(0.05)


@pytest.mark.parametrize("df", [2, 5, 30])
def test_detectable_effects_are_found_four_times_in_five(df: int) -> None:
    found = interval(0.0, 1.0, df).detectable(delta=0.5)
    rng = np.random.default_rng(df)
    se = np.sqrt(rng.chisquare(df, 20_000) / df)
    share = np.mean(rng.normal(found, 1, 20_000) - stats.t.ppf(0.975, df) * se > 0.5)
    assert share == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize(
    ("low", "high", "control", "word"),
    [
        (0.06, 0.2, (-0.01, 0.01), "supported"),
        (0.05, 0.2, (-0.01, 0.01), "undecided"),
        (-0.2, -0.06, None, "contradicted"),
        (-0.04, 0.04, None, "negligible"),
        (0.01, 0.04, None, "negligible"),
        (-0.06, 0.04, None, "undecided"),
        (0.06, 0.2, (-0.01, 0.06), "control failed"),
        (float("nan"), float("nan"), None, "not applicable"),
    ],
)
def test_verdicts(low: float, high: float, control: tuple[float, float] | None, word: Verdict) -> None:
    assert verdict(low, high, 0.05, *(control or (None, None))) == word


def test_reasons() -> None:
    clear, null, wide = interval(0.5, 0.01), interval(0.0, 0.01), interval(0.0, 0.1)
    assert judge(clear, 0.05, null) == ("supported", "")
    assert judge(wide, 0.05)[0] == "undecided" and "0.36 or more" in judge(wide, 0.05)[1]
    assert "too wide" in judge(clear, 0.05, wide)[1]
    assert "not null: +0.478 to +0.522" in judge(clear, 0.05, clear)[1]


@pytest.mark.parametrize(
    ("observed", "intervention", "word"),
    [
        ("supported", "supported", "supported"),
        ("supported", "contradicted", "mixed"),
        ("supported", "negligible", "mixed"),
        ("supported", "undecided", "undecided"),
        ("undecided", "contradicted", "undecided"),
        ("negligible", "negligible", "negligible"),
        ("control failed", "supported", "control failed"),
        ("supported", "not applicable", "not applicable"),
    ],
)
def test_evidence_combines(observed: Verdict, intervention: Verdict, word: Verdict) -> None:
    assert combine(observed, intervention) == combine(intervention, observed) == word


@given(st.lists(st.floats(0, 0.1), min_size=1, max_size=12))
def test_holm_rejects_step_by_step(p: list[float]) -> None:
    rejected, ranked = set(), sorted(range(len(p)), key=p.__getitem__)
    for step, i in enumerate(ranked):
        if p[i] * (len(p) - step) >= 0.05:
            break
        rejected.add(i)
    assert set(np.flatnonzero(holm(p) < 0.05)) == rejected


def test_classes_that_disagree_are_mixed() -> None:
    up, down, unclear = interval(0.5, 0.1), interval(-0.5, 0.1), interval(-0.3, 0.1)
    assert overall("undecided", [up, down], 0.1) == "mixed"
    assert overall("supported", [up, up, up], 0.1) == "supported"
    assert overall("negligible", [up, replace(unclear, se=0.08), *[interval(0, 0.1)] * 8], 0.1) == "negligible"
    assert overall("control failed", [up, down], 0.1) == "control failed"

"""Claims in plain words."""

from __future__ import annotations

import pandas as pd
import pytest

from analysis.claims import CLAIMS, chosen
from analysis.claims.words import MEANING, PLAIN, control_text, counted, effect_text, find_claim, number
from analysis.errors import AnalysisError

ROW = {"effect": 0.1234, "low": -1.5, "high": 12.34, "unit": "weight", "smallest_effect": 0.05}


def test_every_claim_is_explained() -> None:
    assert list(PLAIN) == [claim.name for claim in CLAIMS]
    assert find_claim("small-objects: slope") is CLAIMS[0] and find_claim("none such") is None


def test_numbers_have_three_digits_or_decimals() -> None:
    assert [number(value) for value in (0.01234, 1.234, -12.34)] == ["+0.012", "+1.23", "-12.3"]
    assert effect_text(ROW) == "+0.123 [-1.50, +12.3] weight"
    assert effect_text({**ROW, "effect": float("nan")}) == ""


def test_a_control_says_whether_it_is_null() -> None:
    assert control_text({**ROW, "control_low": -0.01, "control_high": 0.02}) == "-0.010 to +0.020, inside ±0.05"
    assert control_text({**ROW, "control_low": -0.01, "control_high": 0.06}) == "-0.010 to +0.060, not inside ±0.05"
    assert control_text({**ROW, "control_low": float("nan"), "control_high": float("nan")}) == ""


def test_verdicts_are_counted_in_one_order() -> None:
    rows = pd.DataFrame({"verdict": ["undecided", "supported", "undecided"]})
    assert counted(rows) == "1 supported, 2 undecided" and next(iter(MEANING)) == "supported"


def test_claims_are_chosen_in_their_order() -> None:
    assert [claim.name for claim in chosen(["gates-grow", "small-objects"])] == ["small-objects", "gates-grow"]
    assert chosen([]) == CLAIMS
    with pytest.raises(AnalysisError, match="there is no claim 'gate-grows'; closest: gates-grow"):
        chosen(["gate-grows"])

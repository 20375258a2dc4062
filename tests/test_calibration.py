"""The promises of DESIGN 6 on planted truth: the stored table of 2,000 sets a condition, and 300 sets here."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import binomtest

from analysis.store import read_provenance, read_table

ROOT = Path(__file__).parents[1]
STORED = ROOT / "data" / "calibration" / "intervals.parquet"
CALIBRATE = runpy.run_path(str(ROOT / "benchmarks" / "calibrate.py"))
CONDITIONS = CALIBRATE["conditions"]()


def expect(row: dict[str, Any], column: str, *, at_least: float = 0.0, at_most: float = 1.0) -> None:
    """The share in the long run is within the bounds, as far as an exact binomial test at 1 % can tell."""
    hits, sets = round(row[column] * row["sets"]), row["sets"]
    assert binomtest(hits, sets, at_least, "less").pvalue > 0.01, (column, row)
    assert binomtest(hits, sets, at_most, "greater").pvalue > 0.01, (column, row)


def check(row: dict[str, Any]) -> None:
    """What DESIGN 6 asks of a condition. Six blocks may cover more than 98 %, and so may quartiles, never less than 92.

    Seeds that differ are not outvoted by blocks, so power is asked of correlations where objects are independent, and
    of ten times the data in one checkpoint.
    """
    exact = row["blocks"] > 6 and row["kind"] != "quartile contrast"
    expect(row, "coverage", at_least=0.92, at_most=0.98 if exact else 1.0)
    if not row["planted"]:
        expect({**row, "wrong": row["supported"] + row["contradicted"]}, "wrong", at_most=0.05)
    if row["planted"] and row["blocks"] == 30 and row["clustering"] <= (row["kind"] != "rank correlation"):
        expect(row, "supported", at_least=0.8)
    if row["blocks"] == 300 and row["seeds"] == 1:
        expect(row, "negligible", at_least=0.8)


def test_stored_table() -> None:
    table = read_table(STORED)
    assert "calibrate.py" in read_provenance(STORED)["command"]
    assert len(table) == len(CONDITIONS)
    assert (table["sets"] >= 500).all()
    for row in table.to_dict("records"):
        check(row)


@pytest.mark.parametrize("kind", CALIBRATE["KINDS"])
def test_three_seeds_ten_blocks(kind: str) -> None:
    check(CALIBRATE["calibrate"](CALIBRATE["Condition"](kind, False, 3, 10), 300))


@pytest.mark.slow
@pytest.mark.parametrize("condition", CONDITIONS, ids=str)
def test_every_condition(condition: Any) -> None:
    check(CALIBRATE["calibrate"](condition, 300 if condition.blocks < 300 else 60))

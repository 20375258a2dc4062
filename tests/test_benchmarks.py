"""The benchmarks' one table: what runs is in it, what fails is named."""

import json
import subprocess
import sys
from pathlib import Path

ALL = Path(__file__).parents[1] / "benchmarks" / "all.py"


def test_rows_of_a_benchmark_reach_the_table() -> None:
    command = [sys.executable, str(ALL), "--quick", "--json", "--only", "objects"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["failed"] == []
    assert found["machines"]["objects"]["cpu"]
    ours = next(row for row in found["rows"] if row["goal"])
    assert ours["variant"] == "regions_of" and ours["reached"] in (True, False) and ours["cpu_s"] > 0

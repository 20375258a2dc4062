"""What benchmarks report: one row a variant, printed as a table or as JSON, alone or all together by all.py.

    table = paired({"plain": plain, "capture": captured}, 40)
    rows = rows_of("four captures", table, goals={"capture": Goal("cpu_ratio", 1.02)})

A ratio is to the first variant of the same rounds, with its quartiles. Ratios and seconds are given by the clock and in
CPU time of this process, which a load changes far less; a goal says which of them it is about.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
from measuring import Work, described, machine, peak_mib


@dataclass(frozen=True)
class Goal:
    """The most that a column of :class:`Row` should be, such as ``ratio``, ``cpu_ratio``, ``wall_s`` or ``mib``."""

    column: str
    most: float


@dataclass(frozen=True)
class Row:
    """One variant: medians of seconds and ratios, quartiles of the ratio by the clock, MiB at its peak beyond before.

    ``version`` is that of an alternative, ``remark`` what numbers do not say. NaN where something is not measured.
    """

    what: str
    variant: str
    version: str = ""
    ratio: float = math.nan
    low: float = math.nan
    high: float = math.nan
    cpu_ratio: float = math.nan
    wall_s: float = math.nan
    cpu_s: float = math.nan
    mib: float = math.nan
    goal: str = ""
    reached: bool | None = None
    remark: str = ""

    def judged(self, goal: Goal) -> Row:
        """With the goal, and whether it is reached."""
        reached = bool(getattr(self, goal.column) <= goal.most)  # numpy's is none that JSON knows
        return replace(self, goal=f"{goal.column} <= {goal.most:g}", reached=reached)


def rows_of(
    what: str,
    table: pd.DataFrame,
    versions: Mapping[str, str] = {},
    goals: Mapping[str, Goal] = {},
    mib: Mapping[str, float] = {},
    remarks: Mapping[str, str] = {},
) -> list[Row]:
    """Rows of a table of :func:`measuring.paired`; what is known of single variants is given by their names."""
    found = []
    for measured in table.to_dict("records"):
        name = str(measured["variant"])
        numbers: dict[str, Any] = {column: measured[column] for column in _MEASURED}
        row = Row(what, name, versions.get(name, ""), **numbers, mib=mib.get(name, math.nan))
        row = replace(row, remark=remarks.get(name, ""))
        found.append(row.judged(goals[name]) if name in goals else row)
    return found


_MEASURED = ("ratio", "low", "high", "cpu_ratio", "wall_s", "cpu_s")


def peaks(make: Callable[[str], Work], names: Iterable[str], asked: argparse.Namespace) -> dict[str, float]:
    """Peak memory of each way, ``make(name)``, in a process of its own; not with ``--quick``."""
    return {} if asked.quick else {name: peak_mib(make, name) for name in names}


def installed(package: str) -> bool:
    """Whether an alternative is there; says on standard error that its rows will be missing where it is not."""
    there = find_spec(package) is not None
    if not there:
        print(f"{package} is not installed: its rows are left out (pip install {package})", file=sys.stderr)
    return there


def options(doc: str | None, **more: Any) -> argparse.Namespace:
    """``--json``, ``--quick``, and more options by name with their defaults; a list is what can be chosen from."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--quick", action="store_true", help="few rounds, no memory: does it run, and roughly how fast")
    for name, default in more.items():
        if isinstance(default, list):
            parser.add_argument(f"--{name}", nargs="+", choices=default, default=default)
            continue
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    return parser.parse_args()


def report(rows: Sequence[Row], asked: argparse.Namespace, *packages: str) -> None:
    """Print rows and the machine, with versions of what all of them need."""
    here = machine(*packages)
    if asked.json:
        print(json.dumps({"benchmark": Path(sys.argv[0]).stem, "machine": here, "rows": [asdict(row) for row in rows]}))
        return
    print(described(here))
    print(text(rows))


def text(rows: Sequence[Row]) -> str:
    """Rows as lines, those of one ``what`` below it."""
    lines = [_HEAD, "-" * len(_HEAD)]
    for i, row in enumerate(rows):
        if i == 0 or rows[i - 1].what != row.what:
            lines.append(row.what)
        lines.append(_line(row))
    return "\n".join(lines)


_WIDTH = 46
_HEAD = (
    f"{'  variant':{_WIDTH}}{'ratio (quartiles)':>22}{'CPU ratio':>11}{'seconds':>10}{'CPU s':>9}{'peak MiB':>10}"
    "  goal                 reached  remark"
)


def _line(row: Row) -> str:
    spread = "" if math.isnan(row.ratio) else f"{row.ratio:.3f} ({row.low:.3f}-{row.high:.3f})"
    numbers = [_number(row.cpu_ratio, 11, 3), _number(row.wall_s, 10, 3), _number(row.cpu_s, 9, 3)]
    reached = {None: "", True: "yes", False: "NO"}[row.reached]
    name = f"  {row.variant} {row.version}".rstrip()
    ends = f"  {row.goal:21}{reached:9}{row.remark}"
    return (f"{name:{_WIDTH}}{spread:>22}" + "".join(numbers) + _number(row.mib, 10, 0) + ends).rstrip()


def _number(value: float, width: int, digits: int) -> str:
    return " " * width if math.isnan(value) else f"{value:{width}.{digits}f}"


def rows_in(told: str) -> tuple[dict[str, Any], list[Row]]:
    """The machine and the rows of what ``--json`` printed."""
    found = json.loads(told)
    return found["machine"], [Row(**row) for row in found["rows"]]

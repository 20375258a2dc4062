"""Every benchmark in a process of its own, one after another, and one table of all rows: what `make bench` prints.

    python benchmarks/all.py [--quick] [--json] [--only capture objects] [--without dashboard]

Nothing else should run on the machine: see the ratios in CPU time where something does. One benchmark that fails does
not stop the others: it is named below the table, and the exit status is 1. Ctrl-C prints what was measured so far.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

from measuring import described
from reported import Row, rows_in, text

HERE = Path(__file__).parent
BENCHMARKS = (
    *("attention", "capture", "objects", "shapley", "channels", "queries", "inference"),
    *("opening", "loading", "studies", "dashboard", "growth"),
)


def main() -> None:
    """Run what is asked for and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rounds, no memory")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS, default=BENCHMARKS)
    parser.add_argument("--without", nargs="+", choices=BENCHMARKS, default=())
    asked = parser.parse_args()
    rows: list[Row] = []
    machines, failed = {}, []
    names = [name for name in asked.only if name not in asked.without]
    for i, name in enumerate(names):
        print(f"{name} ...", file=sys.stderr, flush=True)
        start = time.perf_counter()
        try:
            done = run(name, asked.quick)
        except KeyboardInterrupt:
            failed += names[i:]
            break
        print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
        if done.returncode:
            failed.append(name)
            continue
        machines[name], found = rows_in(done.stdout)
        rows += found
    if asked.json:
        print(json.dumps({"machines": machines, "failed": failed, "rows": [asdict(row) for row in rows]}))
    else:
        print("\n".join(f"{name}: {described(machine)}" for name, machine in machines.items()))
        print(text(rows))
        judged = [row for row in rows if row.reached is not None]
        print(f"{sum(row.reached is True for row in judged)} of {len(judged)} goals reached; failed to run: {failed}")
    sys.exit(bool(failed))


def run(name: str, quick: bool) -> subprocess.CompletedProcess[str]:
    """One benchmark with ``--json``; what it says on standard error is seen at once."""
    command = [sys.executable, str(HERE / f"{name}.py"), "--json", *(["--quick"] if quick else [])]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)


if __name__ == "__main__":
    main()

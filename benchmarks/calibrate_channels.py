"""How often do the measures of channels find what was planted in them, and how often what was not?

    python benchmarks/calibrate_channels.py [--sets 200] [--out data/calibration/channels.parquet] [--show]

Agreement has no truth that an interval could cover, so this is about false positives and power alone (DESIGN 6). A set
is 24 channels of four classes in ten scenes (tests/planted_channels.py), a seed each. ``above``, ``below``: shares of
sets whose 95 % interval lies beside 0; shares of verdicts; ``groups``: shares of sets with so many stable groups.

noise      channels that know no class: nothing may be found, and no group
gathered   affinities add up channels of a class: more related (3 delta), more selective, groups right before and after
spoilt     channels that nearly know their class, under a gate of 10: groups and classes agree less after the module
"""

from __future__ import annotations

import argparse
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import trange

from analysis.statistics import estimate, verdict
from analysis.store import command_line, read_table, write_table
from analysis.studies.channel_groups.effects import OfSums, agreement_change, relation, selectivity_change
from analysis.studies.channel_groups.groups import stable_groups

PLANTED = runpy.run_path(str(Path(__file__).parents[1] / "tests" / "planted_channels.py"))
CONDITIONS: dict[str, dict[str, float]] = {
    "noise": {"signal": 0.0},
    "gathered": {"signal": 0.1, "gate": 3.0, "scale": 1.5},
    "spoilt": {"signal": 0.03, "gate": 10.0},
}
MEASURES = {"relation": relation, "selectivity": selectivity_change, "agreement": agreement_change}
DELTA = 0.05


def calibrate(condition: str, sets: int) -> list[dict[str, Any]]:
    """A row for each measure, and one for the number of groups."""
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in MEASURES}
    numbers = []
    for seed in trange(sets, desc=condition, unit="set"):
        table = PLANTED["sums_table"](**CONDITIONS[condition], blocks=10, seed=seed)
        own = table[table["path"] == "channel"].reset_index(drop=True)
        for name, measure in MEASURES.items():
            one = estimate(own, OfSums(measure).of(0))
            found[name].append((one.effect, one.low, one.high))
        numbers.append(number_of_groups(own))
    rows = [{"condition": condition, "measure": name, "sets": sets, **shares(np.array(found[name]))} for name in found]
    for n in sorted({0, PLANTED["K"]}):
        rows.append({"condition": condition, "measure": f"{n} groups", "sets": sets, "groups": numbers.count(n) / sets})
    return rows


def number_of_groups(own: pd.DataFrame) -> int:
    """How many stable groups there are."""
    mean = np.stack(list(own["mean_before"])).astype(float)
    moment = np.stack(list(own["moment_before"])).astype(float).reshape(*mean.shape, mean.shape[1])
    return len(stable_groups(moment, mean, own["images"].to_numpy(float)))


def shares(found: np.ndarray) -> dict[str, float]:
    """Of effects and their intervals, ``[sets, 3]``."""
    effect, low, high = found.T
    words = [verdict(a, b, DELTA) for a, b in zip(low, high, strict=True)]
    counted = {
        word: words.count(word) / len(words) for word in ("supported", "contradicted", "negligible", "undecided")
    }
    return {
        "effect": float(effect.mean()),
        "above": float((low > 0).mean()),
        "below": float((high < 0).mean()),
        **counted,
    }


def main() -> None:
    """Run all conditions, store the table, print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("data/calibration/channels.parquet"))
    parser.add_argument("--show", action="store_true", help="measure nothing, print what --out holds")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if not args.show:
        table = pd.DataFrame([row for condition in CONDITIONS for row in calibrate(condition, args.sets)])
        write_table(table, args.out, {"command": command_line()})
    print(read_table(args.out).to_string(index=False, float_format=lambda x: f"{x:.3f}", na_rep=""))


if __name__ == "__main__":
    main()

"""Do the intervals and verdicts of analysis.statistics keep their promises, on data whose truth is known?

    python benchmarks/calibrate.py [--sets 2000] [--workers 2] [--out data/calibration/intervals.parquet]

A simulated set is what a study of scale weights returns: objects of four classes in blocks of very unequal numbers,
areas lognormal and larger in some blocks, a weight that depends on the area. Seeds, blocks and their interaction move
both the weight and its dependence; each object has a skewed deviation of its own that all seeds see. One row per
condition: share of sets whose 95 % interval holds the truth, and shares of verdicts (DESIGN 6).
"""

from __future__ import annotations

import argparse
import itertools
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from analysis import statistics
from analysis.statistics import Effect, Weights, estimate, mean, quartile_contrast, rank_correlation, slope
from analysis.store import command_line, write_table

CLASS_SHARES, CLASS_SIZES, CLASS_LEVELS = (0.4, 0.3, 0.2, 0.1), (9, 11, 7, 12), (0.05, -0.05, 0.02, 0)
SIZE_SD = 1.7  # of log2 area within a class: the middle 95 % span a factor of 100
#: Standard deviations over seeds, blocks and their interaction: of the level, and of the slope per SD of size.
LEVEL_SD, SLOPE_SD = (0.03, 0.03, 0.02), (0.012, 0.02, 0.015)
OBJECT_SD, NOISE_SD = 0.06, 0.03
SEEDS, BLOCKS = (1, 3, 5), (6, 10, 30)


@dataclass(frozen=True)
class Kind:
    """An effect as a study would ask for it, its smallest effect, and (level, slope per SD of size) that give 3 delta."""

    effect: Effect
    delta: float
    planted: tuple[float, float]


def _mean(t: pd.DataFrame, w: Weights) -> np.ndarray:
    return mean(t["weight"], w)


def _slope(t: pd.DataFrame, w: Weights) -> np.ndarray:
    return slope(t["weight"], t[["size"]], t["class"], w)


def _rank(t: pd.DataFrame, w: Weights) -> np.ndarray:
    return rank_correlation(t["size"], t["weight"], t["class"], w)


def _contrast(t: pd.DataFrame, w: Weights) -> np.ndarray:
    return quartile_contrast(t["weight"], t["size"], t["class"], w)


KINDS = {
    "mean": Kind(_mean, 0.05, (0.15, 0.0)),
    "slope": Kind(_slope, 0.02, (0.0, 0.06 * SIZE_SD)),
    "rank correlation": Kind(_rank, 0.1, (0.0, 0.026)),
    "quartile contrast": Kind(_contrast, 0.05, (0.0, -0.059)),
}


@dataclass(frozen=True)
class Condition:
    """What is simulated: ten objects a block on average."""

    kind: str
    planted: bool
    seeds: int
    blocks: int


def conditions() -> list[Condition]:
    """All of them: with and without an effect, and without one on ten times the 30 blocks."""
    crossed = [Condition(*c) for c in itertools.product(KINDS, (False, True), SEEDS, BLOCKS)]
    return crossed + [Condition(kind, False, seeds, 300) for kind, seeds in itertools.product(KINDS, SEEDS)]


def simulate(condition: Condition, rng: np.random.Generator) -> pd.DataFrame:
    """Columns seed, block, class, size (log2 area), weight; a row per object and seed."""
    n_seeds, n_blocks = condition.seeds, condition.blocks
    counts = 1 + rng.negative_binomial(1.5, 1.5 / 10.5, n_blocks)
    block = np.repeat(np.arange(n_blocks), counts)
    shares = rng.dirichlet(4 * np.array(CLASS_SHARES), n_blocks).cumsum(1)
    group = (rng.random((len(block), 1)) > shares[block]).sum(1).clip(max=3)
    near = rng.normal(0, 0.4, n_blocks)[block]
    size = rng.normal(0, 1, len(block)) * np.sqrt(1 - 0.4**2) + near
    level, steep = (
        sds[0] * rng.standard_normal((n_seeds, 1))
        + sds[1] * rng.standard_normal((1, n_blocks))
        + sds[2] * rng.standard_normal((n_seeds, n_blocks))
        for sds in (LEVEL_SD, SLOPE_SD)
    )
    planted = KINDS[condition.kind].planted if condition.planted else (0.0, 0.0)
    own = OBJECT_SD * (rng.exponential(1, len(block)) - 1)
    noise = NOISE_SD * rng.standard_normal((n_seeds, len(block)))
    weight = planted[0] + (level + 0)[:, block] + (planted[1] + steep)[:, block] * size + own + noise
    if condition.kind != "mean":
        weight += np.array(CLASS_LEVELS)[group]
    columns = {"block": block, "class": group, "size": np.array(CLASS_SIZES)[group] + SIZE_SD * size}
    repeated = {name: np.tile(values, n_seeds) for name, values in columns.items()}
    return pd.DataFrame({"seed": np.repeat(np.arange(n_seeds), len(block)), **repeated, "weight": weight.ravel()})


@cache
def truth(kind: str, planted: bool) -> float:
    """The effect over endless seeds and blocks: 0 by symmetry, what was planted, or the mean of many large sets."""
    if not planted or kind in ("mean", "slope"):
        return 3 * KINDS[kind].delta * planted
    rng, large = np.random.default_rng(1), Condition(kind, planted, 1, 300)
    sets = (simulate(large, rng) for _ in range(2000))
    effects = np.array([KINDS[kind].effect(rows, np.ones((1, len(rows))))[0] for rows in sets])
    return float(np.tanh(np.arctanh(effects).mean()) if kind == "rank correlation" else effects.mean())


def calibrate(condition: Condition, sets: int, seed: int = 0) -> dict[str, object]:
    """A row of the table: the condition, the truth, and shares of the sets."""
    kind, rng = KINDS[condition.kind], np.random.default_rng([seed, conditions().index(condition)])
    true, covered, width, verdicts = truth(condition.kind, condition.planted), 0, 0.0, Counter()
    for _ in range(sets):
        e = estimate(simulate(condition, rng), kind.effect, fisher=condition.kind == "rank correlation")
        covered += e.low <= true <= e.high
        width += (e.high - e.low) / sets
        verdicts[statistics.verdict(e.low, e.high, kind.delta)] += 1
    words = ("supported", "contradicted", "negligible", "undecided")
    shares = {word: verdicts[word] / sets for word in words}
    return {**asdict(condition), "sets": sets, "truth": true, "coverage": covered / sets, "width": width, **shares}


def main() -> None:
    """Run all conditions, print the table, store it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("data/calibration/intervals.parquet"))
    args = parser.parse_args()
    with ProcessPoolExecutor(args.workers) as pool:
        table = pd.DataFrame(pool.map(calibrate, conditions(), itertools.repeat(args.sets)))
    print(table.to_string(index=False, float_format=lambda x: f"{x:.3f}"))
    write_table(table, args.out, {"command": command_line(), "numpy": np.__version__})


if __name__ == "__main__":
    main()

"""What studies cost: time beyond the forwards they need, resampling, and memory that does not grow with the images.

    python benchmarks/studies.py [--json] [--quick] [--only cost resampling memory rows] [--images 12]

cost        a study beside reading the images and the forwards that it needs, in CPU time of one thread, over rounds in
            which both alternate. Whole forwards alone are counted: what lies behind a gate or a group of channels is
            computed again without one.
resampling  2,000 bootstrap draws over blocks of 20,000 objects; beside it scipy in a loop.
memory      the most that object_scale takes while it sees 100 and 1,000 scenes, in a process each.
rows        a summary of five million rows in 2,500 parts, in a process of its own.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from measuring import forget_peak, in_fresh_process, resident, timed
from reported import Goal, Row, options, report
from scipy import stats
from tqdm import tqdm

from analysis.checkpoints import Checkpoint, open_checkpoint
from analysis.claims import find_study
from analysis.datasets import open_dataset
from analysis.datasets.sample import Dataset, Item
from analysis.models import predict
from analysis.statistics import block_draws, mean, quartile_contrast, rank_correlation, slope
from analysis.store import query, write_table
from analysis.studies.object_scale import object_scale

DEMO = Path(__file__).parents[1] / "data" / "demo"
OBJECTS, BLOCKS, CLASSES, DRAWS = 20_000, 500, 11, 2000
ROWS, PARTS = 5_000_000, 2500


@dataclasses.dataclass(frozen=True)
class Case:
    """A study, the demo checkpoint it runs on, its options, and the forwards it needs for each image."""

    study: str
    demo: str
    forwards: float
    options: dict[str, object] = dataclasses.field(default_factory=dict)


CASES = (
    Case("object_scale", "camvid-scale", 1 + 1 / 8, {"probed_images": 0}),  # every eighth gives weights to others first
    Case("branches", "camvid-scale", 2),  # trained and untrained
    Case("position_context", "camvid-dual", 1),
    Case("channel_groups", "camvid-dual", 2),  # groups are known only after all images
    Case("gates", "camvid-dual", 1),
)


def main() -> None:
    """Measure what is asked for, and print it."""
    asked = options(__doc__, only=["cost", "resampling", "memory", "rows"], camvid="../shared/camvid", images=12)
    torch.set_num_threads(1)  # CPU time of several threads counts their waiting for each other
    parts = {"cost": cost, "resampling": resampling, "memory": memory, "rows": rows}
    report([row for what in asked.only for row in parts[what](asked)], asked, "torch", "scipy")


def some_photographs(camvid: Path, n: int) -> Dataset:
    """Photographs of blocks all over the data set."""
    dataset = open_dataset(f"camvid:{camvid}", "blocks-odd")
    chosen = np.linspace(0, len(dataset) - 1, n).round().astype(int)
    return dataclasses.replace(dataset, items=tuple(dataset.items[i] for i in chosen))


def scenes(n: int) -> Dataset:
    """``n`` scenes of the embedded data set, each a block of its own."""
    items = tuple(Item(f"{i:05d}", sequence=f"{i}", block=f"{i}", seed=(2, i)) for i in range(n))
    return dataclasses.replace(open_dataset("shapes", "val"), items=items)


def cost(asked: argparse.Namespace) -> Iterator[Row]:
    """Every study's time over that of its forwards."""
    dataset = some_photographs(Path(asked.camvid), 4 if asked.quick else asked.images)
    for case in CASES:
        checkpoint = open_checkpoint(DEMO / case.demo)
        predict(checkpoint.model, dataset[0].image)  # a warm-up
        pairs = np.array([study_and_needed(case, checkpoint, dataset) for _ in range(1 if asked.quick else 3)])
        (wall, cpu), ratios = np.median(pairs[:, 0], axis=0), pairs[:, 0] / pairs[:, 1]
        low, ratio, high = np.quantile(ratios[:, 0], (0.25, 0.5, 0.75))
        row = Row(f"a study over reading and forwards, {len(dataset)} photographs", case.study)
        row = dataclasses.replace(
            row, ratio=ratio, low=low, high=high, cpu_ratio=np.median(ratios[:, 1]), wall_s=wall, cpu_s=cpu
        )
        yield row.judged(Goal("cpu_ratio", 1.15))


def study_and_needed(case: Case, checkpoint: Checkpoint, dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Wall and CPU seconds ``[2]`` of a study; and of reading the images and of the forwards that it needs."""
    images: list[np.ndarray] = []
    reading = np.array(timed(lambda: images.extend(sample.image for sample in dataset)))
    forward = np.array(timed(lambda: [predict(checkpoint.model, image) for image in images]))
    study = np.array(timed(lambda: find_study(case.study)(checkpoint, dataset, **case.options)))
    return study, reading + case.forwards * forward


def resampling(asked: argparse.Namespace) -> Iterator[Row]:
    """2,000 draws for every effect; scipy's is told from a few."""
    rng, what = np.random.default_rng(0), f"{DRAWS:,} draws of {OBJECTS:,} objects"
    block, strata = rng.integers(0, BLOCKS, OBJECTS), rng.integers(0, CLASSES, OBJECTS)
    x, y = rng.random((2, OBJECTS))
    effects = {
        "mean": lambda w: mean(y, w),
        "slope": lambda w: slope(y, x, strata, w),
        "rank correlation": lambda w: rank_correlation(x, y, strata, w),
        "quartile contrast": lambda w: quartile_contrast(y, x, strata, w),
    }
    draws = block_draws(BLOCKS, DRAWS, rng)
    for name, effect in effects.items():
        wall, cpu = timed(lambda of=effect: [of(some[:, block]) for some in np.array_split(draws, DRAWS // 50)])
        yield Row(what, name, wall_s=wall, cpu_s=cpu).judged(Goal("cpu_s", 10))
    few = 5 if asked.quick else 20
    rows = [np.repeat(np.arange(OBJECTS), one) for one in counts(draws, block, few)]
    wall, cpu = (DRAWS / few * took for took in timed(lambda: [by_loop(one, x, y, strata) for one in rows]))
    yield Row(what, "scipy's spearmanr, class by class", version("scipy"), wall_s=wall, cpu_s=cpu, remark=f"from {few}")


def counts(draws: np.ndarray, block: np.ndarray, few: int) -> np.ndarray:
    """How often each object is in the first draws, ``[few, objects]``."""
    return draws[:few, block].astype(int)


def by_loop(rows: np.ndarray, x: np.ndarray, y: np.ndarray, strata: np.ndarray) -> float:
    """What one would write first: the correlation of one draw, class by class."""
    classes = (rows[strata[rows] == c] for c in range(CLASSES))
    return float(np.mean([stats.spearmanr(x[one], y[one]).statistic for one in classes]))


def memory(asked: argparse.Namespace) -> Iterator[Row]:
    """MiB of object_scale for 100 and 1,000 images, or 20 and 100: the second at most 5 % above the first."""
    few, many = (20, 100) if asked.quick else (100, 1000)
    at_first = in_fresh_process(peak_of_study, few)
    yield Row("memory of object_scale", f"{few} scenes", mib=at_first)
    yield Row("memory of object_scale", f"{many} scenes", mib=in_fresh_process(peak_of_study, many)).judged(
        Goal("mib", round(1.05 * at_first))
    )


def peak_of_study(n: int) -> float:
    """MiB at the most of this process, which studies ``n`` scenes in parts."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        object_scale(open_checkpoint(DEMO / "shapes-scale"), scenes(n), Path(folder), probed_images=0)
    return resident("VmHWM")


def rows(asked: argparse.Namespace) -> Iterator[Row]:
    """A summary of many rows in many parts, in a process of its own."""
    n_parts = PARTS // 10 if asked.quick else PARTS
    with tempfile.TemporaryDirectory() as folder:
        parts = [Path(folder) / f"part-{i:06d}.parquet" for i in range(n_parts)]
        for i, part in enumerate(tqdm(parts, desc="parts", leave=False)):
            write_table(part_of_objects(i), part, {})
        took, mib = in_fresh_process(summary, parts)
    yield Row(
        f"{ROWS // PARTS * n_parts:,} rows in {n_parts} parts", "quarters of area, one thread", wall_s=took, mib=mib
    )


def part_of_objects(number: int) -> pd.DataFrame:
    """Rows as a study of weights writes them."""
    rng, n = np.random.default_rng(number), ROWS // PARTS
    named = {"image": f"image-{number}", "class": np.array(list("abcdefghijk"))[rng.integers(0, CLASSES, n)]}
    return pd.DataFrame({**named, "area": rng.lognormal(6, 2, n), "scale": 1.0, "weight_inside": rng.random(n)})


def summary(parts: list[Path]) -> tuple[float, float]:
    """Wall seconds, and MiB at the most beyond before, of quarters by area of every class and their mean weights."""
    query("select count(*) from objects", {"objects": parts[:1]})
    before, start = forget_peak(), time.perf_counter()
    found = query(
        "with cuts as (select class, quantile_cont(area, [0.25, 0.75]) as cut from objects group by class) "
        "select class, corr(ln(area), weight_inside), avg(weight_inside) filter (area < cut[1]) as small, "
        "avg(weight_inside) filter (area > cut[2]) as large from objects join cuts using (class) group by class",
        {"objects": parts},
    )
    assert len(found) == CLASSES
    return time.perf_counter() - start, resident("VmHWM") - before


if __name__ == "__main__":
    main()

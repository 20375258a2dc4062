"""What studies cost: time over the forwards they need, resampling, and memory, each as the issue promises it.

    python benchmarks/studies.py [cost resampling memory rows] [--camvid ../shared/camvid] [--images 12]

cost        CPU seconds of a study over those of reading the images and of the forwards that it needs, on one thread, a
            median over rounds in which both alternate: at most 1.15. Whole forwards alone are counted: what lies behind
            a gate or a group of channels is computed again without one.
resampling  seconds of 2,000 bootstrap draws over blocks of 20,000 objects: at most 10. Beside it scipy in a loop.
memory      MiB at the most while object_scale sees 100 and 1,000 scenes, in a process each: the same.
rows        seconds and MiB for a summary of five million rows in 2,500 parts, in a process of its own.
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import stats

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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["cost", "resampling", "memory", "rows"])
    parser.add_argument("--camvid", type=Path, default=Path("../shared/camvid"))
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)  # CPU time of several threads counts their waiting for each other
    for what in args.what:
        if what == "cost":
            cost(some_photographs(args.camvid, args.images), args.rounds)
        else:
            {"resampling": resampling, "memory": memory, "rows": rows}[what]()


def some_photographs(camvid: Path, n: int) -> Dataset:
    """Photographs of blocks all over the data set."""
    dataset = open_dataset(f"camvid:{camvid}", "blocks-odd")
    chosen = np.linspace(0, len(dataset) - 1, n).round().astype(int)
    return dataclasses.replace(dataset, items=tuple(dataset.items[i] for i in chosen))


def cost(dataset: Dataset, rounds: int) -> None:
    """Print every study's time over that of its forwards."""
    print(f"{len(dataset)} photographs   ratio   study s   reading + forwards s")
    for case in CASES:
        checkpoint = open_checkpoint(DEMO / case.demo)
        predict(checkpoint.model, dataset[0].image)  # a warm-up
        pairs = [study_and_needed(case, checkpoint, dataset) for _ in range(rounds)]
        ratio = statistics.median(study / needed for study, needed in pairs)
        study, needed = (statistics.median(one) for one in zip(*pairs, strict=True))
        print(f"{case.study:17s}{ratio:8.3f}{study:10.2f}{needed:10.2f}", flush=True)


def study_and_needed(case: Case, checkpoint: Checkpoint, dataset: Dataset) -> tuple[float, float]:
    """CPU seconds of a study; and of reading the images and of the forwards that it needs."""
    images: list[np.ndarray] = []
    reading = seconds(lambda: images.extend(sample.image for sample in dataset))
    forward = seconds(lambda: [predict(checkpoint.model, image) for image in images])
    study = seconds(lambda: find_study(case.study)(checkpoint, dataset, **case.options))
    return study, reading + case.forwards * forward


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds."""
    start = time.process_time()
    work()
    return time.process_time() - start


def resampling() -> None:
    """Print the time of 2,000 draws for every effect."""
    rng = np.random.default_rng(0)
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
        took = seconds(lambda of=effect: [of(some[:, block]) for some in np.array_split(draws, DRAWS // 50)])
        print(f"{DRAWS} draws of {OBJECTS} objects, {name:18s}{took:8.2f} s")
    few = 20
    took = seconds(
        lambda: [by_loop(np.repeat(np.arange(OBJECTS), one), x, y, strata) for one in counts(draws, block, few)]
    )
    print(f"{DRAWS} draws by scipy's spearmanr, class by class  {took * DRAWS / few:8.2f} s (from {few})")


def counts(draws: np.ndarray, block: np.ndarray, few: int) -> np.ndarray:
    """How often each object is in the first draws, ``[few, objects]``."""
    return draws[:few, block].astype(int)


def by_loop(rows: np.ndarray, x: np.ndarray, y: np.ndarray, strata: np.ndarray) -> float:
    """What one would write first: the correlation of one draw, class by class."""
    classes = (rows[strata[rows] == c] for c in range(CLASSES))
    return float(np.mean([stats.spearmanr(x[one], y[one]).statistic for one in classes]))


def memory() -> None:
    """Print the most memory that object_scale takes, for 100 and 1,000 images."""
    for n in (100, 1000):
        print(f"object_scale, {n} scenes: {in_fresh_process(peak_of_study, n):.0f} MiB at the most", flush=True)


def peak_of_study(n: int) -> float:
    """MiB at the most of this process, which studies ``n`` scenes in parts."""
    torch.set_num_threads(1)
    shapes = open_dataset("shapes", "val")
    items = tuple(Item(f"{i:05d}", sequence=f"{i}", block=f"{i}", seed=(2, i)) for i in range(n))
    with tempfile.TemporaryDirectory() as folder:
        dataset = dataclasses.replace(shapes, items=items)
        object_scale(open_checkpoint(DEMO / "shapes-scale"), dataset, Path(folder), probed_images=0)
    return peak()


def rows() -> None:
    """Print what a summary of many rows takes."""
    with tempfile.TemporaryDirectory() as folder:
        parts = [Path(folder) / f"part-{i:06d}.parquet" for i in range(PARTS)]
        for i, part in enumerate(parts):
            write_table(part_of_objects(i), part, {})
        took, before, after = in_fresh_process(summary, parts)
    print(f"{ROWS} rows in {PARTS} parts: {took:.2f} s, {after - before:.0f} MiB more than the {before:.0f} of imports")


def part_of_objects(number: int) -> pd.DataFrame:
    """Rows as a study of weights writes them."""
    rng, n = np.random.default_rng(number), ROWS // PARTS
    named = {"image": f"image-{number}", "class": np.array(list("abcdefghijk"))[rng.integers(0, CLASSES, n)]}
    return pd.DataFrame({**named, "area": rng.lognormal(6, 2, n), "scale": 1.0, "weight_inside": rng.random(n)})


def summary(parts: list[Path]) -> tuple[float, float, float]:
    """Wall seconds, and MiB at the most before and after, of quarters by area of every class and their mean weights."""
    query("select count(*) from objects", {"objects": parts[:1]})
    before, start = peak(), time.perf_counter()
    found = query(
        "with cuts as (select class, quantile_cont(area, [0.25, 0.75]) as cut from objects group by class) "
        "select class, corr(ln(area), weight_inside), avg(weight_inside) filter (area < cut[1]) as small, "
        "avg(weight_inside) filter (area > cut[2]) as large from objects join cuts using (class) group by class",
        {"objects": parts},
    )
    assert len(found) == CLASSES
    return time.perf_counter() - start, before, peak()


def in_fresh_process(work: Callable[[Any], Any], given: Any) -> Any:
    """The result of a function in a new interpreter."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, (given,))


def peak() -> float:
    """MiB that this process has held at the most; getrusage would count what it was forked from as well."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


if __name__ == "__main__":
    main()

"""How cost grows: time and memory against the positions of an attention map, and against the number of images.

    python benchmarks/growth.py [--json] [--quick] [--figure docs/figures/growth.png]

Every point is one call in a process of its own, on one thread; memory is what the call adds to its inputs, its result
included. Lines of the released code are dashed. ``grows`` is the exponent between the two largest sizes: 1 is linear, 2
quadratic. What is exact in every pair of positions takes quadratic time whoever computes it; its memory need not, and
one row is linear in both. A study's time is linear in the images, and its memory should not grow at all.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from attention import ALL, RECEIVED, RELEASED, chosen, forward_call, maps, sums_call, training_call
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from measuring import Work, forget_peak, in_fresh_process, resident, timed
from objects import OURS, scene, ways
from queries import some_objects
from reported import Goal, Row, options, report
from shapley import KEPT
from shapley import call as shapley_call
from studies import scenes
from tqdm import tqdm

from analysis.checkpoints import open_checkpoint
from analysis.evaluation import evaluate
from analysis.figures.style import save
from analysis.measures import attention_rows
from analysis.statistics import block_draws
from analysis.store import query, write_table
from analysis.studies.channel_groups.groups import drawn_means
from analysis.studies.channel_groups.sums import MAX_STRETCHES
from analysis.studies.object_scale import object_scale

DEMO = Path(__file__).parents[1] / "data" / "demo"
CELLS = (1024, 4096, 8192, 16384, 32768, 65536)
IMAGES = (10, 30, 100, 300, 1000)
POSITIONS, OF_IMAGES = "positions of the map", "images"
Make = Callable[[int], Work]


def main() -> None:
    """Measure, draw and print."""
    asked = options(__doc__, figure="docs/figures/growth.png")
    rows = [*measured(POSITIONS, CELLS, WAYS, asked), *measured(OF_IMAGES, IMAGES, STUDIES, asked)]
    if not asked.quick:
        save(drawn(rows), Path(asked.figure))
    report(rows, asked, "torch", "duckdb")


@dataclasses.dataclass(frozen=True)
class Way:
    """What is measured up to size ``most``, and how its memory may grow between the last two sizes."""

    make: Make
    most: int
    memory: float | None = 1.1


def measured(what: str, sizes: tuple[int, ...], ways: dict[str, Way], asked: argparse.Namespace) -> Iterator[Row]:
    """A row a way and size; with ``--quick`` the two smallest sizes of each."""
    for name, way in tqdm(ways.items(), desc=what, leave=False, disable=None):
        some = [size for size in sizes if size <= way.most][: 2 if asked.quick else None]
        found = [in_fresh_process(point, way.make, size) for size in some]
        for size, (wall, cpu, mib) in zip(some, found, strict=True):
            yield Row(f"{name}, {what}", f"{size:,}", wall_s=wall, cpu_s=cpu, mib=mib)
        grows = [exponent(some, [one[i] for one in found]) for i in (1, 2)]
        row = Row(f"{name}, {what}", "grows", cpu_s=grows[0], mib=grows[1], remark="exponents of CPU time and memory")
        yield row if way.memory is None or asked.quick else row.judged(Goal("mib", way.memory))


def point(make: Make, size: int) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and MiB of one call; inputs are made, and code is warmed up, before."""
    torch.set_num_threads(1)
    work = make(size)
    before = forget_peak()
    wall, cpu = timed(work)
    extra = resident("VmHWM") - before
    return wall, cpu, extra if extra > 0.1 else np.nan  # less is a page here or there


def exponent(sizes: list[int], values: list[float]) -> float:
    """Between the two largest sizes."""
    return float(np.log(values[-1] / values[-2]) / np.log(sizes[-1] / sizes[-2]))


# --- Positions --------------------------------------------------------------------------------------------------------


def grid(n: int) -> tuple[int, int]:
    """Height and width of a map of ``n`` cells, a power of two: as wide as high, or twice."""
    h = 2 ** (int(np.log2(n)) // 2)
    return h, n // h


def forward(way: str, n: int) -> Work:
    """The released code's, or ours with the product that it chooses."""
    return forward_call(*grid(n), way or chosen())


def training(way: str, n: int) -> Work:
    """Forward and backward."""
    return training_call(*grid(n), way or chosen())


def one_row(n: int) -> Work:
    """Of the cell in the middle, once warmed up."""
    given, (h, w) = maps(grid(n)), grid(n)
    attention_rows(*given, [(0, 0)])
    return lambda: attention_rows(*given, [(h // 2, w // 2)])


def sums(name: str, n: int) -> Work:
    """Of columns, or all."""
    return sums_call(name, grid(n))


WAYS = {
    f"{RELEASED} forward": Way(partial(forward, RELEASED), 32768, None),
    "forward": Way(partial(forward, ""), 65536),
    f"{RELEASED} training": Way(partial(training, RELEASED), 16384, None),
    "training": Way(partial(training, ""), 32768, 1.25),
    "one row": Way(one_row, 65536, None),  # a few pages of memory: the exponent of its noise says nothing
    "column sums": Way(partial(sums, RECEIVED), 65536),
    "all sums": Way(partial(sums, ALL), 65536, 1.6),  # the scores of a column of the grid
}


# --- Images -----------------------------------------------------------------------------------------------------------


def evaluation(n: int) -> Work:
    """IoU of classes and objects."""
    model = open_checkpoint(DEMO / "shapes-scale").model
    evaluate(model, scenes(2), progress=False)
    return lambda: evaluate(model, scenes(n), progress=False)


def study(n: int) -> Work:
    """Weights, Shapley values and interventions, into parts on disk."""
    checkpoint = open_checkpoint(DEMO / "shapes-scale")
    object_scale(checkpoint, scenes(2), probed_images=0)

    def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            object_scale(checkpoint, scenes(n), Path(folder), probed_images=0)

    return run


def object_tables(n: int) -> Work:
    """Regions of 256 x 512 pixels and three maps."""
    return again(partial(ways()[OURS], *scene((256, 512))), n)


def shapley(n: int) -> Work:
    """Of three branches from kept score maps."""
    return again(shapley_call(KEPT), n)


def again(work: Work, n: int) -> Work:
    """The same for image after image, nothing kept."""

    def run() -> None:
        for _ in range(n):
            work()

    return run


def resamples(n: int) -> Work:
    """100 means of affinities of 512 channels, each seen once and added to its stretch."""
    affinity = np.random.default_rng(0).random((512, 512), np.float32).ravel()
    weights = block_draws(MAX_STRETCHES, 100, np.random.default_rng(0))

    def run() -> None:
        sums = np.zeros((MAX_STRETCHES, 512 * 512))
        for i in range(n):
            sums[i * MAX_STRETCHES // n] += affinity
        drawn_means(sums, np.full(MAX_STRETCHES, n / MAX_STRETCHES), weights)

    return run


def questions(n: int) -> Work:
    """A mean a class of 5,000 objects an image, from Parquet."""
    folder = tempfile.TemporaryDirectory()  # there for as long as the call
    table = some_objects(0, np.random.default_rng(0)).head(5000)
    files = [Path(folder.name) / f"{i}.parquet" for i in range(n // 10)]
    for file in files:
        write_table(table.loc[table.index.repeat(10)], file, {})

    query("select count(*) from objects", {"objects": files[:1]})
    return partial(ask, folder, files)


def ask(folder: tempfile.TemporaryDirectory[str], files: list[Path]) -> None:
    """The question, to files of a folder."""
    query("select class, avg(weight_inside) from objects group by class", {"objects": files}, threads=2)


STUDIES = {
    "evaluate": Way(evaluation, 1000, 0.1),
    "object_scale": Way(study, 300, 0.1),
    "object tables": Way(object_tables, 1000, 0.1),
    "Shapley values": Way(shapley, 100, 0.1),
    "100 resamples of affinities": Way(resamples, 1000, 0.1),
    "a question to 5,000 objects an image": Way(questions, 1000, 0.3),
}


# --- The figure -------------------------------------------------------------------------------------------------------


def drawn(rows: list[Row]) -> Figure:
    """Time and memory, above against positions and below against images, on logarithmic axes."""
    figure = Figure((10, 8), layout="constrained")
    axes = figure.subplots(2, 2)
    for pair, what in zip(axes, (POSITIONS, OF_IMAGES), strict=True):
        for ax, (column, label) in zip(pair, (("wall_s", "seconds"), ("mib", "MiB beyond the inputs")), strict=True):
            mine = [row for row in rows if row.what.endswith(f", {what}") and row.variant != "grows"]
            panel(ax, mine, what, column)
            ax.set(xlabel=what, ylabel=label)
        pair[1].legend(*pair[0].get_legend_handles_labels(), loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return figure


def short(size: int) -> str:
    """As 4k: of 1,024 for powers of two."""
    unit = 1024 if size & (size - 1) == 0 else 1000
    return f"{size // unit}k" if size >= unit else str(size)


def panel(ax: Axes, rows: list[Row], what: str, column: str) -> None:
    """A line a way; dotted: linear and quadratic growth from its lower left."""
    names = dict.fromkeys(row.what for row in rows)
    sizes = sorted({int(row.variant.replace(",", "")) for row in rows})
    values = [value for row in rows if not np.isnan(value := getattr(row, column))]
    for power in (1, 2):
        guide = min(values) * (np.array(sizes) / sizes[0]) ** power
        ax.plot(sizes, guide, ":", color="0.6", linewidth=1)
    for name in names:
        mine = [row for row in rows if row.what == name]
        x = [int(row.variant.replace(",", "")) for row in mine]
        style = "--" if name.startswith("released") else "-"
        ax.plot(
            x,
            [getattr(row, column) for row in mine],
            style,
            marker="o",
            markersize=3,
            label=name.removesuffix(f", {what}"),
        )
    ax.set(xscale="log", yscale="log", ylim=(min(values) / 2, max(values) * 2), xticks=sizes)
    ax.set_xticklabels([short(size) for size in sizes])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()

"""Questions to a table of five million objects: DuckDB on Parquet, as the package asks them, beside pandas and polars.

    python benchmarks/queries.py [--json] [--quick]

The table is what a study of many images leaves: a Parquet file with columns of ``objects``. DuckDB and polars read
what they need for each question, on two threads; pandas loads the needed columns each time, or holds the whole table.
All answers have to be equal, or the benchmark stops. The file is in the page cache. Areas repeat: their quantiles are
found by counting each area, in two thirds of the time of DuckDB's own, which sorts them.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from measuring import paired, peak_mib
from reported import Goal, Row, installed, options, report, rows_of

from analysis.store import query

ROWS, PARTS, CLASSES, THREADS = 5_000_000, 20, 19, 2
CAR = "class 3"
SHARES = [i / 10 for i in range(1, 10)]
TIME, MEMORY = Goal("wall_s", 0.3), Goal("mib", 300)
OURS, PANDAS, LOADED, POLARS = "duckdb, Parquet", "pandas, Parquet", "pandas, loaded before", "polars, Parquet"
PACKAGES = {OURS: "duckdb", PANDAS: "pandas", LOADED: "pandas", POLARS: "polars"}
MEAN, BINS, TOP, SLOPE = (
    *("mean weight of every class", "mean and spread in ten bins of area"),
    *("the 20 greatest weights on small cars", "slope on log area in every class"),
)


@dataclass(frozen=True)
class Question:
    """What a page asks: in SQL, and in pandas of the columns it needs."""

    columns: tuple[str, ...]
    sql: str
    pandas: Callable[[pd.DataFrame], pd.DataFrame]


def _means(objects: pd.DataFrame) -> pd.DataFrame:
    return objects.groupby("class")["weight_inside"].mean().rename("mean").reset_index()


def _bins(objects: pd.DataFrame) -> pd.DataFrame:
    cuts = objects["area"].quantile(SHARES, interpolation="lower").to_numpy()
    bins = pd.Series(np.searchsorted(cuts, objects["area"].to_numpy()), name="bin")
    found = objects.groupby([objects["class"], bins])["weight_inside"].agg(mean="mean", spread="std")
    return found.reset_index()


def _greatest(objects: pd.DataFrame) -> pd.DataFrame:
    cars = objects[objects["class"] == CAR]
    small = cars[cars["area"] <= cars["area"].quantile(0.1, interpolation="lower")]
    return small.nlargest(20, "weight_inside")[["image", "object", "area", "weight_inside"]]


def _slopes(objects: pd.DataFrame) -> pd.DataFrame:
    x, y, of_class = np.log(objects["area"]), objects["weight_inside"], objects["class"]
    sums = pd.DataFrame({"n": 1.0, "x": x, "y": y, "xx": x * x, "xy": x * y}).groupby(of_class).sum()
    slope = (sums["n"] * sums["xy"] - sums["x"] * sums["y"]) / (sums["n"] * sums["xx"] - sums["x"] ** 2)
    return slope.rename("slope").reset_index()


QUESTIONS = {
    MEAN: Question(
        ("class", "weight_inside"),
        "select class, avg(weight_inside) as mean from objects group by class order by class",
        _means,
    ),
    BINS: Question(
        ("class", "area", "weight_inside"),
        f"""with counts as (select area, count(*) as n from objects group by area),
        below as (select area, sum(n) over (order by area) as below, sum(n) over () as n from counts),
        cuts as (select [{", ".join(f"min(area) filter (below >= ceil({s} * n))" for s in SHARES)}] as cut from below)
        select class, ({" + ".join(f"(area > cut[{i}])::utinyint" for i in range(1, 10))})::bigint as bin,
            avg(weight_inside) as mean, stddev_samp(weight_inside) as spread
        from objects, cuts group by all order by all""",
        _bins,
    ),
    TOP: Question(
        ("image", "object", "class", "area", "weight_inside"),
        f"""select image, object, area, weight_inside from objects where class = '{CAR}'
            and area <= (select quantile_disc(area::integer, 0.1) from objects where class = '{CAR}')
        order by weight_inside desc limit 20""",
        _greatest,
    ),
    SLOPE: Question(
        ("class", "area", "weight_inside"),
        "select class, regr_slope(weight_inside, ln(area)) as slope from objects group by class order by class",
        _slopes,
    ),
}


def main() -> None:
    """Measure, compare and print."""
    asked = options(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "objects.parquet"
        write_objects(file)
        report(measure(file, asked), asked, "numpy", "pyarrow")


def measure(file: Path, asked: argparse.Namespace) -> list[Row]:
    """Ratios to pandas that reads the file, question by question."""
    rows: list[Row] = []
    engines = (PANDAS, LOADED, OURS, *((POLARS,) if installed("polars") else ()))
    versions = {name: version(PACKAGES[name]) for name in engines}
    for question in QUESTIONS:
        calls = {name: call(name, question, file) for name in engines}
        check(question, {name: work() for name, work in calls.items()})
        table = paired(calls, 2 if asked.quick else 7)
        mib = {} if asked.quick else {n: peak_mib(call, n, question, file, threads=THREADS) for n in engines}
        rows += rows_of(f"{question}, {ROWS:,} objects", table, versions, {OURS: TIME}, mib)
        if mib:
            rows.append(Row(rows[-1].what, f"{OURS}: memory", mib=mib[OURS]).judged(MEMORY))
    return rows


def write_objects(file: Path) -> None:
    """Rows as the study ``object_scale`` leaves them, part by part."""
    random = np.random.default_rng(0)
    parts = (pa.Table.from_pandas(some_objects(part, random), preserve_index=False) for part in range(PARTS))
    first = next(parts)
    with pq.ParquetWriter(file, first.schema, compression="zstd") as writer:
        for part in itertools.chain([first], parts):
            writer.write_table(part)


def some_objects(part: int, random: np.random.Generator) -> pd.DataFrame:
    """Objects of 50 an image; areas are whole numbers of pixels."""
    n, an_image = ROWS // PARTS, 50
    images = np.repeat([f"video_{part:02d}_{i:05d}" for i in range(n // an_image)], an_image)
    area = np.exp(random.normal(6, 2, n)).astype(np.int64) + 1
    named = {"image": images, "object": np.tile(np.arange(1, an_image + 1), n // an_image)}
    of_class = np.array([f"class {c}" for c in range(CLASSES)])[random.integers(0, CLASSES, n)]
    sizes = {"class": of_class, "area": area, "cells": area / 64, "scale": random.choice([1.0, 0.75, 0.5], n)}
    measured = ("weight_inside", "weight_ring", "weight_placebo", "wins", "iou")
    return pd.DataFrame({**named, **sizes, **{name: random.random(n) for name in measured}})


def call(engine: str, question: str, file: Path) -> Callable[[], pd.DataFrame]:
    """One engine's answer; what is loaded before is loaded here."""
    asked = QUESTIONS[question]
    if engine == OURS:
        return lambda: query(asked.sql, {"objects": [file]}, threads=THREADS)
    if engine == PANDAS:
        return lambda: asked.pandas(pd.read_parquet(file, columns=list(asked.columns)))
    if engine == LOADED:
        frame = pd.read_parquet(file, columns=list(asked.columns))
        return lambda: asked.pandas(frame)
    return partial(in_polars, question, file)


def in_polars(question: str, file: Path) -> pd.DataFrame:
    """The same in polars' expressions; its own pool of threads, one a core."""
    import polars as pl  # ty: ignore[import-not-found]

    objects, weight, area = pl.scan_parquet(file), pl.col("weight_inside"), pl.col("area")
    if question == MEAN:
        found = objects.group_by("class").agg(weight.mean().alias("mean")).sort("class")
    elif question == BINS:
        cuts = objects.select([area.quantile(share, "lower").alias(str(share)) for share in SHARES]).collect().row(0)
        bins = pl.sum_horizontal([(area > cut).cast(pl.Int64) for cut in cuts]).alias("bin")
        found = objects.group_by("class", bins).agg(weight.mean().alias("mean"), weight.std().alias("spread"))
        found = found.sort("class", "bin")
    elif question == TOP:
        cars = objects.filter(pl.col("class") == CAR)
        small = cars.filter(area <= area.quantile(0.1, "lower"))
        found = small.select("image", "object", area, weight).sort(weight, descending=True).head(20)
    else:
        x = area.log()
        slope = pl.cov(x, weight) / x.var()
        found = objects.group_by("class").agg(slope.alias("slope")).sort("class")
    answer = found.collect()
    return pd.DataFrame({name: answer[name].to_numpy() for name in answer.columns})


def check(question: str, answers: dict[str, pd.DataFrame]) -> None:
    """Stop where an engine gives another answer."""
    usual = answers[PANDAS]
    for name, answer in answers.items():
        for column in usual:
            one, other = answer[column].to_numpy(), usual[column].to_numpy()
            same = np.allclose(one, other, atol=1e-9) if one.dtype.kind in "if" else list(one) == list(other)
            if len(answer) != len(usual) or not same:
                raise SystemExit(f"{name} answers {question!r} differently: {column}")


if __name__ == "__main__":
    main()

"""The frame that every study runs in: image by image, in parts on disk, over any number of processes (DESIGN 4, 5).

    result = run(ObjectScale(checkpoint), checkpoint, dataset, out=Path("runs/claims"))
    result["objects"]                                                     a pandas table
    result.summary("select class, avg(weight_inside) from objects group by class")

A study says what the rows of one image are. The frame adds the six columns that every table carries.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from tqdm import tqdm

from analysis.checkpoints import Checkpoint
from analysis.datasets.sample import Dataset, Sample
from analysis.errors import AnalysisError, closest
from analysis.store import Source, Tables, query
from analysis.studies.parts import IMAGES_PER_PART, Parts, Rank, open_parts

Rows = dict[str, pd.DataFrame]


class Study(Protocol):
    """What a study is: a ``name``, and the rows of one image.

    ``rows`` depends on the image alone, not on those before it: parts are measured in any order and again after a
    crash. Plain fields of a dataclass count as options: a folder of parts is continued only with the same.
    """

    @property
    def name(self) -> str:
        """As in ``object_scale``: the folder of its parts."""
        ...

    def rows(self, sample: Sample) -> Rows:
        """Tables by name, without the columns that :func:`run` adds; empty or left out where the image has no row."""
        ...


@dataclass(frozen=True, eq=False)
class Result:
    """What a study gives: ``tables`` by the names of DESIGN 5. Those of parts on disk are loaded when asked for."""

    tables: Mapping[str, pd.DataFrame]

    def __getitem__(self, name: str) -> pd.DataFrame:
        """One table. AnalysisError where there is none of that name."""
        if name not in self.tables:
            raise AnalysisError(f"there is no table {name!r} in this result{closest(name, self.tables)}")
        return self.tables[name]

    @property
    def sources(self) -> Mapping[str, Source]:
        """What each table is held in: a frame, or its parts."""
        return self.tables.sources if isinstance(self.tables, Tables) else self.tables

    def plus(self, more: Mapping[str, pd.DataFrame]) -> Result:
        """This result with further tables, such as those that follow from it; nothing is loaded."""
        return Result(Tables({**self.sources, **more}))

    def summary(self, sql: str, threads: int = 1) -> pd.DataFrame:
        """The answer to an SQL query over the tables; those on disk are not loaded (:func:`analysis.store.query`)."""
        return query(sql, self.sources, threads)


def run(
    study: Study,
    checkpoint: Checkpoint,
    dataset: Dataset,
    out: Path | None = None,
    *,
    images_per_part: int = IMAGES_PER_PART,
) -> Result:
    """The rows of every image, in the order of the data set, with the columns that :func:`identity` gives and block.

    With ``out`` they are written as Parquet parts of 16 images (:mod:`analysis.studies.parts`): memory does not grow
    with the images, a killed run continues at the part it was writing, and torchrun's processes share the parts.
    Without it they are kept in memory. Either way the table is the same. ``images_per_part``: fewer where one takes
    minutes, as where an item of the data set stands for many images.

    AnalysisError: no image; classes that are not the model's; several processes without ``out``; parts there that were
    measured with something else; a process that stopped; whatever the study raises.
    """
    if not len(dataset):
        raise AnalysisError(f"{dataset.name} {dataset.split} has no image to study; choose another split")
    check_classes(checkpoint, dataset)
    columns = identity(checkpoint, dataset)
    if out is None:
        if Rank.here().world > 1:
            raise AnalysisError("several processes share their rows through files: give a folder with --out")
        with _progress(study, checkpoint, len(dataset)) as progress:
            return Result(_measured(study, dataset, range(len(dataset)), columns, progress))
    parts = open_parts(study, checkpoint, dataset, columns, out, images_per_part)
    with parts.alive():
        _write_parts(study, dataset, parts, columns, checkpoint)
        parts.wait()
    return Result(Tables(parts.files()))


def identity(checkpoint: Checkpoint, dataset: Dataset) -> dict[str, Any]:
    """The columns that tables join by, besides block: checkpoint, recipe, seed, dataset and split.

    The two block folds of a training are one recipe: which of them it was is in ``split``. A checkpoint that does not
    say how it was trained is a recipe of its own, with seed 0.
    """
    label = checkpoint.origin.get("recipe") or checkpoint.name
    return {
        "checkpoint": checkpoint.name,
        "recipe": re.sub(r" (split|validation)=blocks-(even|odd)(?= |$)", "", label),
        "seed": int(checkpoint.origin.get("seed") or 0),
        "dataset": dataset.name,
        "split": dataset.split,
    }


def evenly_spaced(dataset: Dataset, most: int) -> Dataset:
    """At most ``most`` images of a data set, evenly spaced: for what costs too much to do on all."""
    chosen = np.unique(np.linspace(0, len(dataset) - 1, min(most, len(dataset))).round().astype(int))
    return replace(dataset, items=tuple(dataset.items[i] for i in chosen))


def check_classes(checkpoint: Checkpoint, dataset: Dataset) -> None:
    """AnalysisError where the model has another number of classes than the data set."""
    if checkpoint.spec.classes != len(dataset.classes):
        raise AnalysisError(
            f"{checkpoint.name} has {checkpoint.spec.classes} classes and data set {dataset.name} "
            f"{len(dataset.classes)}; give the data set that it was trained on"
        )


def _measured(study: Study, dataset: Dataset, images: range, columns: dict[str, Any], progress: tqdm) -> Rows:
    found: list[tuple[str, Rows]] = []
    for i in images:
        sample = dataset[i]
        found.append((sample.block, study.rows(sample)))
        progress.update()
    return {name: _joined(found, name, columns) for name in dict.fromkeys(n for _, tables in found for n in tables)}


def _joined(images: list[tuple[str, Rows]], name: str, columns: dict[str, Any]) -> pd.DataFrame:
    """A table of some images, block and rows of each, as one; columns are added once: an image's take 30 ms."""
    found = [(block, tables[name]) for block, tables in images if name in tables]
    found = [one for one in found if len(one[1])] or found[:1]  # empty ones would only blur the types of the others
    block = [block for block, rows in found for _ in range(len(rows))]
    return pd.concat([rows for _, rows in found], ignore_index=True).assign(**columns, block=block)


def _write_parts(study: Study, dataset: Dataset, parts: Parts, columns: dict[str, Any], checkpoint: Checkpoint) -> None:
    """Write the parts of this process that are missing."""
    here = Rank.here()
    missing, mine = set(parts.missing()), range(here.rank, len(parts), here.world)
    with _progress(study, checkpoint, sum(len(parts.images_of(part)) for part in mine)) as progress:
        for part in mine:
            images = parts.images_of(part)
            if part not in missing:
                progress.update(len(images))
                continue
            parts.check_failed(missing.difference(mine))  # of other processes
            try:
                parts.write(part, _measured(study, dataset, images, columns, progress))
            except AnalysisError as error:
                parts.fail(part, str(error))
                raise


def _progress(study: Study, checkpoint: Checkpoint, n: int) -> tqdm:
    first = Rank.here().rank == 0
    return tqdm(total=n, desc=f"{study.name} {checkpoint.name}", unit="image", leave=False, disable=not first)

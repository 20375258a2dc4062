"""The rows of one study of one checkpoint on one split, on disk in parts of 16 images.

    <out>/parts/<study>/<checkpoint's sum>-<data set>-<split>/
        description.json            what was measured with what, and which code: a resumed job must be the same
        <table>/part-000012.parquet rows of images 192 to 207
        part-000012.done            written last: all tables of the part are there
        process-0001.alive          of several processes: touched while one is at work

Parts are dealt to torchrun's processes in turn. None sends anything to another: each writes its own parts, then waits
until those of all are there, so that every one can go on with the whole table.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import time
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path
from textwrap import shorten
from threading import Event, Thread
from typing import Any

import pandas as pd
from tqdm import tqdm

from analysis.checkpoints import Checkpoint
from analysis.datasets.sample import Dataset
from analysis.errors import AnalysisError
from analysis.store import command_line, replacing, write_table

IMAGES_PER_PART = 16
_STARTED = time.time()
_LONGEST = 200  # characters of an option
_POLL, _BEAT = 0.5, 10.0  # seconds
_PATIENCE = 600.0  # seconds without a sign of life: a process may be busy between two studies


def _sum_of_sources() -> str:
    """Of the modules that rows come from."""
    root = Path(__file__).parents[1]
    folders = (root / name for name in ("checkpoints", "datasets", "models", "studies"))
    files = sorted([*root.glob("*.py"), *(file for folder in folders for file in folder.rglob("*.py"))])
    sources = b"".join(str(file.relative_to(root)).encode() + file.read_bytes() for file in files)
    return hashlib.sha256(sources).hexdigest()[:12]


_CODE = _sum_of_sources()  # now, as these are the sources that this process runs


class OtherParts(AnalysisError):
    """The folder holds parts that were measured with something else: nothing of a study, but of where it writes."""


@dataclasses.dataclass(frozen=True)
class Rank:
    """This process's place among those that torchrun started."""

    rank: int
    world: int

    @staticmethod
    def here() -> Rank:
        """As torchrun's environment says; alone without it."""
        return Rank(int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)))


@dataclasses.dataclass(frozen=True)
class Parts:
    """A folder of parts over ``images`` images, ``size`` each, and what is written into each of them as provenance."""

    folder: Path
    images: int
    size: int
    provenance: dict[str, Any]

    def __len__(self) -> int:
        """How many parts there will be."""
        return -(-self.images // self.size)

    def images_of(self, part: int) -> range:
        """The images of a part."""
        return range(part * self.size, min((part + 1) * self.size, self.images))

    def missing(self) -> list[int]:
        """The parts that are not done."""
        return [part for part in range(len(self)) if not self._mark(part, "done").exists()]

    def write(self, part: int, tables: Mapping[str, pd.DataFrame]) -> None:
        """Write all tables of a part, then mark it as done; what a killed or failed process left is removed."""
        for leftover in (*self.folder.glob(f"*/.part-{part:06d}.*.part"), self._mark(part, "failed")):
            leftover.unlink(missing_ok=True)
        for name, table in tables.items():
            write_table(table, self.folder / name / f"part-{part:06d}.parquet", self.provenance)
        with replacing(self._mark(part, "done")) as temporary:
            temporary.touch()

    def fail(self, part: int, reason: str) -> None:
        """Tell the processes that wait for this part that it will not come, and why."""
        with replacing(self._mark(part, "failed")) as temporary:
            temporary.write_text(reason, encoding="utf-8")

    @contextmanager
    def alive(self) -> Generator[None]:
        """Show the other processes, where there are any, that this one is at work inside the block."""
        done, here = Event(), Rank.here()

        def beat() -> None:
            while not done.wait(_BEAT):
                self._sign(here.rank).touch()

        if here.world == 1:
            yield
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        self._sign(here.rank).touch()
        thread = Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def wait(self) -> None:
        """Until every part is there. AnalysisError: a process failed, or gave no sign of life for ten minutes."""
        here, seen = Rank.here(), {}
        if not self.missing():
            return
        shown = {"desc": "waiting for the other processes", "unit": "part", "leave": False, "disable": here.rank > 0}
        with tqdm(total=len(self), **shown) as progress:
            while missing := self.missing():
                progress.update(len(self) - len(missing) - progress.n)
                self.check_failed(missing)
                for part in missing:
                    owner, now = part % here.world, time.monotonic()
                    if now - seen.setdefault((owner, self._last_sign(owner)), now) > _PATIENCE:
                        raise AnalysisError(_stopped(self.folder, missing, owner))
                time.sleep(_POLL)

    def files(self) -> dict[str, list[Path]]:
        """The parts of every table, in the order of the data set."""
        folders = sorted(path for path in self.folder.iterdir() if path.is_dir())
        return {folder.name: sorted(folder.glob("part-*.parquet")) for folder in folders}

    def _mark(self, part: int, word: str) -> Path:
        return self.folder / f"part-{part:06d}.{word}"

    def _sign(self, rank: int) -> Path:
        return self.folder / f"process-{rank:04d}.alive"

    def _last_sign(self, rank: int) -> float:
        """When a process was last at work, by the clock of the disk; 0 where it never was."""
        sign = self._sign(rank)
        return sign.stat().st_mtime if sign.exists() else 0.0

    def check_failed(self, waited_for: Iterable[int]) -> None:
        """AnalysisError, with its reason, where a process of this job failed at one of these parts."""
        for mark in (self._mark(part, "failed") for part in waited_for):
            if mark.exists() and mark.stat().st_mtime > _STARTED:  # not one of an earlier job
                raise AnalysisError(mark.read_text(encoding="utf-8"))


def open_parts(
    study: Any, checkpoint: Checkpoint, dataset: Dataset, identity: dict[str, Any], out: Path, size: int
) -> Parts:
    """The folder of this study, checkpoint and split. AnalysisError where it holds something else under that name."""
    sha = checkpoint.provenance["sha256"]
    folder = out / "parts" / study.name / f"{sha[:12]}-{dataset.name}-{dataset.split}"
    description = {
        "study": study.name,
        **identity,
        "options": _options(study),
        "version": version("attention-analysis"),
        "code": _CODE,
        "checkpoint_sha256": sha,
        "changed": checkpoint.origin.get("changed", {}),  # since it was opened (analysis.forms)
        "images": len(dataset),
        "images_per_part": size,
        "things": sorted(dataset.things),
        "files": _sum(files_of(dataset)),
    }
    _check_same(folder / "description.json", description)
    provenance = {**description, "step": checkpoint.origin.get("step"), "command": command_line()}
    return Parts(folder, len(dataset), size, provenance)


def files_of(dataset: Dataset) -> list[list[str]]:
    """Name and content of every file, and what made images are made from: other labels are other rows.

    Contents and not times: a copy of the data, or the same disk mounted again, has other times. Reading them costs a
    small part of what the forwards will.
    """
    found = []
    for item in dataset.items:
        files = [path for path in (item.image, item.label, item.instances) if path is not None and path.is_file()]
        sums = [f"{path.name} {_content(path, path.stat().st_mtime_ns)}" for path in files]
        found.append([item.name, str(item.seed), item.block, *sums])
    return found


@cache
def _content(path: Path, time: int) -> str:
    """The sum of a file's bytes; read once for all checkpoints that one process measures."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:16]


def _sum(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:12]


def _options(study: Any) -> dict[str, Any]:
    """The fields of a study that are plain values: what must not change between a job and its continuation.

    Long ones, such as names of images, are given by their sum.
    """
    fields = dataclasses.fields(study) if dataclasses.is_dataclass(study) else ()
    values = {field.name: getattr(study, field.name) for field in fields}
    plain = {name: json.loads(json.dumps(value)) for name, value in values.items() if _plain(value)}
    return {name: _sum(value) if len(str(value)) > _LONGEST else value for name, value in plain.items()}


def _plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_plain, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and _plain(one) for key, one in value.items())
    return value is None or isinstance(value, (str, bool, int, float))


def _check_same(file: Path, description: dict[str, Any]) -> None:
    if file.exists():
        stored = json.loads(file.read_text(encoding="utf-8"))
        old, new = ({**one, **one["options"]} for one in (stored, description))
        for name in [key for key in new if key != "options" and old.get(key) != new[key]]:
            was, now = (shorten(str(value), 60) for value in (old.get(name), new[name]))
            harmless = f", or, if the change makes no other rows, put {now} into its {file.name}"
            raise OtherParts(
                f"{file.parent} was measured with {name} {was}, not {now}; choose another --out, or remove that folder"
                f"{harmless if name == 'code' else ''}"
            )
    elif Rank.here().rank == 0:
        with replacing(file) as temporary:
            temporary.write_text(json.dumps(description, indent=1), encoding="utf-8")


def _stopped(folder: Path, missing: list[int], rank: int) -> str:
    return (
        f"{folder}: {len(missing)} parts are missing, and process {rank} has given no sign of life for "
        f"{_PATIENCE / 60:.0f} minutes; start the same command again, it keeps what is there"
    )

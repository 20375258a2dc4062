"""One type for every data set: (image, label, objects, sequence, block), whatever the files look like (DESIGN 7)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from analysis.datasets.connected import connected_regions
from analysis.datasets.images import IGNORED, read_ids, read_image, read_mask
from analysis.errors import AnalysisError, closest


@dataclass(frozen=True, eq=False)
class Objects:
    """The objects of one label map: ``map`` int32 ``[H, W]``, 0 outside and k = 1..n inside object k.

    ``classes`` int64 ``[n]``: the class of object k at ``classes[k - 1]``.
    """

    map: np.ndarray
    classes: np.ndarray

    def __len__(self) -> int:
        """How many objects."""
        return len(self.classes)


@dataclass(frozen=True, eq=False)
class Sample:
    """One labelled image.

    ``image`` uint8 ``[H, W, 3]`` RGB. ``label`` uint8 ``[H, W]``, 255 = ignored; None where there are no labels.
    ``instances`` int32 ``[H, W]``, 0 outside; None where the data set has none. ``things``: classes whose regions are
    objects; ``regions``: those of them that have no instances where others have. ``sequence``: the video it comes
    from; ``block``: the stretch of it that is independent of the others.
    """

    name: str
    image: np.ndarray
    label: np.ndarray | None
    sequence: str
    block: str
    instances: np.ndarray | None
    things: frozenset[int]
    regions: frozenset[int] = frozenset()

    @cached_property
    def objects(self) -> Objects:
        """The data set's instances, else the 8-connected regions of each thing class; none without labels."""
        if self.label is None:
            return Objects(np.zeros(self.image.shape[:2], np.int32), np.zeros(0, np.int64))
        if self.instances is None:
            return connected_objects(self.label, self.things)
        if not self.regions:
            return objects_of_instances(self.label, self.instances, self.things)
        regions = connected_objects(self.label, self.regions)
        instances = np.where(regions.map > 0, 0, self.instances)
        return joined(objects_of_instances(self.label, instances, self.things), regions)


@dataclass(frozen=True)
class Item:
    """Where one sample is to be found: files, or for a made data set the ``seed`` it is made from.

    ``row``: which image of the file ``label`` it is, where one file holds the annotations of all (COCO).
    """

    name: str
    image: Path | None = None
    label: Path | None = None
    sequence: str = ""
    block: str = ""
    instances: Path | None = None
    seed: tuple[int, int] | None = None
    row: int | None = None


@dataclass(frozen=True, eq=False)
class Dataset:
    """A split of a data set: ``len(dataset)``, ``dataset[i]``, iteration; picklable for DataLoader workers.

    ``palette`` uint8 ``[K, 3]`` holds one RGB colour a class; ``read`` turns an item into a sample.
    """

    name: str
    split: str
    classes: tuple[str, ...]
    things: frozenset[int]
    palette: np.ndarray
    items: tuple[Item, ...]
    read: Callable[[Dataset, Item], Sample]

    def __len__(self) -> int:
        """How many samples."""
        return len(self.items)

    def __getitem__(self, i: int) -> Sample:
        """Read sample ``i``. AnalysisError for a missing or damaged file."""
        return self.read(self, self.items[i])

    def index(self, name: str) -> int:
        """The position of the image called ``name``; AnalysisError with the closest names where there is none."""
        names = [item.name for item in self.items]
        if name not in names:
            raise AnalysisError(f"no image {name!r} in {self.name} {self.split}{closest(name, names)}")
        return names.index(name)


def read_files(
    dataset: Dataset, item: Item, void: tuple[int, ...] = (IGNORED,), values: Sequence[int] | None = None
) -> Sample:
    """The sample of an item whose image, label and instances are files.

    ``void`` are the label values to ignore, and ``values[k]`` is that of class k, k itself where left out.
    """
    if item.image is None:
        raise AnalysisError(f"{dataset.name} {item.name}: no image file is known")
    image = read_image(item.image)
    size = (image.shape[0], image.shape[1])
    label = None if item.label is None else read_mask(item.label, len(dataset.classes), size, void, values)
    instances = None if item.instances is None else read_instances(item.instances, size)
    if instances is not None:
        instances[instances == IGNORED] = 0
    return Sample(item.name, image, label, item.sequence, item.block, instances, dataset.things)


def read_instances(path: Path, size: tuple[int, int]) -> np.ndarray:
    """The ids of an instance mask of 8 or 16 bits, int32 ``[H, W]``. AnalysisError also for another size."""
    stored = read_ids(path)
    if stored.shape != size:
        raise AnalysisError(f"{path}: the instance mask is {stored.shape} and its image {size}; both need one size")
    return stored


def connected_objects(label: np.ndarray, things: frozenset[int], then: frozenset[int] = frozenset()) -> Objects:
    """8-connected regions of equal thing class in ``label`` ``[H, W]``, numbered in raster order; after them those of
    the classes ``then``, numbered on."""
    region, lengths, values = connected_regions(label)
    order = np.concatenate([np.flatnonzero(np.isin(values, list(some))) for some in (things, then)])
    numbers = np.zeros(len(values), np.int32)
    numbers[order] = np.arange(1, len(order) + 1)
    return Objects(numbers[region].repeat(lengths).reshape(label.shape), values[order].astype(np.int64))


def objects_of_instances(label: np.ndarray, instances: np.ndarray, things: frozenset[int]) -> Objects:
    """The instances whose class (that of most of their labelled pixels) is a thing, renumbered 1..n."""
    ids = np.flatnonzero(np.bincount(instances.ravel(), minlength=1))
    numbers = np.zeros(ids.max(initial=0) + 1, np.int64)
    numbers[ids] = np.arange(len(ids))
    pairs = numbers[instances].ravel() * 256 + label.ravel()
    pixels = np.bincount(pairs, minlength=256 * len(ids)).reshape(-1, 256)[:, :IGNORED]
    classes = np.where(pixels.any(axis=1), pixels.argmax(axis=1), IGNORED)
    kept = (ids > 0) & np.isin(classes, list(things))
    numbers[ids] = np.where(kept, kept.cumsum(), 0)
    return Objects(numbers[instances].astype(np.int32), classes[kept].astype(np.int64))


def joined(a: Objects, b: Objects) -> Objects:
    """The objects of both, those of ``b`` numbered after those of ``a``; no pixel is in both."""
    return Objects(np.where(b.map > 0, b.map + np.int32(len(a)), a.map), np.concatenate((a.classes, b.classes)))

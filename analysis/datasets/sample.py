"""One type for every data set: (image, label, objects, sequence, block), whatever the files look like (DESIGN 7)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from analysis.datasets.images import IGNORED, read_image, read_indices, read_mask
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
    objects. ``sequence``: the video it comes from; ``block``: the stretch of it that is independent of the others.
    """

    name: str
    image: np.ndarray
    label: np.ndarray | None
    sequence: str
    block: str
    instances: np.ndarray | None
    things: frozenset[int]

    @cached_property
    def objects(self) -> Objects:
        """The data set's instances, else the 8-connected regions of each thing class; none without labels."""
        if self.label is None:
            return Objects(np.zeros(self.image.shape[:2], np.int32), np.zeros(0, np.int64))
        if self.instances is not None:
            return objects_of_instances(self.label, self.instances, self.things)
        return connected_objects(self.label, self.things)


@dataclass(frozen=True)
class Item:
    """Where one sample is to be found: files, or for a made data set the ``seed`` it is made from."""

    name: str
    image: Path | None = None
    label: Path | None = None
    sequence: str = ""
    block: str = ""
    instances: Path | None = None
    seed: tuple[int, int] | None = None


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


def read_files(dataset: Dataset, item: Item, void: tuple[int, ...] = (IGNORED,)) -> Sample:
    """The sample of an item whose image, label and instances are files; ``void`` are the label values to ignore."""
    if item.image is None:
        raise AnalysisError(f"{dataset.name} {item.name}: no image file is known")
    image = read_image(item.image)
    size = (image.shape[0], image.shape[1])
    label = None if item.label is None else read_mask(item.label, len(dataset.classes), size, void)
    instances = None if item.instances is None else _read_instances(item.instances, size)
    return Sample(item.name, image, label, item.sequence, item.block, instances, dataset.things)


def _read_instances(path: Path, size: tuple[int, int]) -> np.ndarray:
    stored = read_indices(path)
    if stored.shape != size:
        raise AnalysisError(f"{path}: the instance mask is {stored.shape} and its image {size}; both need one size")
    return np.where(stored == IGNORED, 0, stored).astype(np.int32)


def connected_objects(label: np.ndarray, things: frozenset[int]) -> Objects:
    """8-connected regions of equal thing class in ``label`` ``[H, W]``, numbered in raster order."""
    from skimage import measure

    # One call for all classes: regions of different value never join. 0 is the background, hence the shift by one.
    shifted = np.where(np.isin(label, list(things)), label.astype(np.int32) + 1, 0)
    regions = np.asarray(measure.label(shifted, background=0, connectivity=2), dtype=np.int32)
    _, first = np.unique(regions.ravel(), return_index=True)
    classes = label.ravel()[first].astype(np.int64)
    return Objects(regions, classes[regions.ravel()[first] > 0])


def objects_of_instances(label: np.ndarray, instances: np.ndarray, things: frozenset[int]) -> Objects:
    """The instances whose class (that of most of their labelled pixels) is a thing, renumbered 1..n."""
    ids = [int(k) for k in np.unique(instances) if k > 0]
    classes = {k: _most_common(label[instances == k]) for k in ids}
    kept = [k for k in ids if classes[k] in things]
    numbers = np.zeros(max(ids, default=0) + 1, np.int32)
    numbers[kept] = np.arange(1, len(kept) + 1, dtype=np.int32)
    return Objects(numbers[instances], np.array([classes[k] for k in kept], np.int64))


def _most_common(values: np.ndarray) -> int:
    """The commonest class, ignored pixels aside; 255 where nothing else is there."""
    counts = np.bincount(values[values != IGNORED], minlength=1)
    return int(counts.argmax()) if counts.any() else IGNORED

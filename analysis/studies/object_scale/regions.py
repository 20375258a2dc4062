"""Regions of a label map, and means of maps over them: inside, interior, ring, and the placebo. No model here.

Pixels of a region are kept as runs, stretches of a row. For regions moved sideways maps are summed along rows once:
then the sum of a map over a region is a difference a run, whatever the region's area.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from analysis.datasets.connected import run_starts
from analysis.datasets.sample import Objects, Sample, connected_objects, joined
from analysis.measures import IGNORE

#: Random columns to which an object's mask is moved.
DRAWS = 16


@dataclass(frozen=True, eq=False)
class Runs:
    """Runs of all regions, sorted by region: ``y``, ``start``, ``stop`` (beyond the last) ``[R]``.

    Those of region k are ``first[k]`` up to ``first[k + 1]``; every region has one.
    """

    y: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    first: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """Runs of each region, ``[n]``."""
        return np.diff(self.first, append=len(self.y))

    def of(self, regions: np.ndarray, top: int) -> Runs:
        """The runs of some regions, in their order, on the part of the map from row ``top``."""
        counts = self.counts[regions]
        first = np.cumsum(counts) - counts
        chosen = np.arange(counts.sum()) + np.repeat(self.first[regions] - first, counts)
        return Runs(self.y[chosen] - top, self.start[chosen], self.stop[chosen], first)

    def sums(self, maps: np.ndarray, shift: np.ndarray) -> np.ndarray:
        """Sums of ``maps [C, H, W]`` over each region moved by ``shift [n, D]`` columns: ``[C, n, D]``."""
        along = np.zeros((*maps.shape[:-1], maps.shape[-1] + 1))
        np.cumsum(maps, axis=-1, out=along[..., 1:])
        moved = shift.repeat(self.counts, axis=0) + (self.y * along.shape[-1])[:, None]
        flat = along.reshape(len(maps), -1)
        ends, starts = (flat.take(x[:, None] + moved, axis=1) for x in (self.stop, self.start))
        return np.add.reduceat(ends - starts, self.first, axis=1)


@dataclass(frozen=True, eq=False)
class Regions:
    """Objects, numbered as in ``sample.objects``, and after them the connected regions of stuff.

    ``map`` int32 ``[H, W]``, 0 in none and k + 1 in region k; ``classes`` and ``thing`` (bool) ``[n]``.
    """

    map: np.ndarray
    classes: np.ndarray
    thing: np.ndarray
    runs: Runs

    def __len__(self) -> int:
        """How many regions."""
        return len(self.classes)

    @cached_property
    def area(self) -> np.ndarray:
        """Pixels of each region, ``[n]``."""
        return np.add.reduceat(self.runs.stop - self.runs.start, self.runs.first)

    @cached_property
    def bounds(self) -> np.ndarray:
        """Top, bottom, left and right of each region, bottom and right beyond it: ``[n, 4]``."""
        y, first = self.runs.y, self.runs.first
        ends = (np.minimum, y), (np.maximum, y + 1), (np.minimum, self.runs.start), (np.maximum, self.runs.stop)
        return np.stack([extreme.reduceat(values, first) for extreme, values in ends], axis=1)

    @cached_property
    def centroids(self) -> np.ndarray:
        """Mean y and x of each region's pixels, ``[n, 2]``."""
        length, middle = self.runs.stop - self.runs.start, (self.runs.start + self.runs.stop - 1) / 2
        sums = [np.add.reduceat(length * values, self.runs.first) for values in (self.runs.y, middle)]
        return np.stack(sums, axis=1) / self.area[:, None]

    def means(self, maps: np.ndarray) -> np.ndarray:
        """Means of ``maps [C, H, W]`` over each region, ``[n, C]``: of float64 sums, run by run."""
        starts = run_starts(self.map)
        number = self.map.ravel()[starts]
        of_runs = (np.add.reduceat(values.ravel(), starts, dtype=float) for values in maps)
        sums = [np.bincount(number, one, len(self) + 1)[1:] for one in of_runs]
        return np.stack(sums, axis=1) / self.area[:, None]


def regions_of(sample: Sample, label: np.ndarray) -> Regions:
    """Things and stuff of a sample; pixels of a thing class that are in no object are in no region."""
    stuff = frozenset(range(int(label.max()) + 1)) - sample.things - {IGNORE}
    if sample.instances is None and label is sample.label:  # as sample.objects, in one go
        both = connected_objects(label, sample.things, stuff)
    else:
        both = joined(sample.objects, connected_objects(label, stuff))
    return Regions(both.map, both.classes, np.isin(both.classes, list(sample.things)), _runs(both))


def _runs(objects: Objects) -> Runs:
    width, flat = objects.map.shape[1], objects.map.ravel()
    start = run_starts(objects.map)
    length, number = np.diff(start, append=flat.size), flat[start]
    order = np.argsort(number, kind="stable")[np.count_nonzero(number == 0) :]
    y, x = np.divmod(start[order], width)
    return Runs(y, x, x + length[order], np.searchsorted(number[order], np.arange(1, len(objects) + 1)))


def placebo_means(maps: np.ndarray, regions: Regions, rng: np.random.Generator) -> np.ndarray:
    """Means over each object's mask moved to random columns at its height: ``maps [C, H, W]`` to ``[n, C]``.

    Of ``DRAWS`` columns those count where the mask meets least of the objects of its class, itself among them; what it
    meets even there is left out. NaN for stuff, and where nothing is left, as of an object as wide as the image.
    """
    means, places = np.full((len(regions), len(maps)), np.nan), rng.random((len(regions), DRAWS))
    for c in np.unique(regions.classes[regions.thing]):
        mine = np.flatnonzero(regions.thing & (regions.classes == c))
        top, bottom = regions.bounds[mine, 0].min(), regions.bounds[mine, 1].max()
        of_class = np.zeros(len(regions) + 1, bool)
        of_class[mine + 1] = True
        free = ~of_class[regions.map[top:bottom]]
        left, right = regions.bounds[mine, 2:].T
        room = free.shape[1] - (right - left)
        shift = (places[mine] * (room + 1)[:, None]).astype(int) - left[:, None]
        pixels, *totals = regions.runs.of(mine, top).sums(np.stack([free, *(maps[:, top:bottom] * free)]), shift)
        counted = pixels == pixels.max(axis=1, keepdims=True)
        n, sums = (pixels * counted).sum(axis=1), (np.stack(totals) * counted).sum(axis=2)
        means[mine] = np.divide(sums, n, out=np.full(sums.shape, np.nan), where=n > 0).T
    return means


@dataclass(frozen=True, eq=False)
class Outlines:
    """Means over the interior and the ring of each region ``[n, C]``, and the share of its pixels on its contour."""

    interior: np.ndarray
    ring: np.ndarray
    contour: np.ndarray


def outlines(maps: np.ndarray, regions: Regions, cell: int, centres: np.ndarray) -> Outlines:
    """Interior: further than a cell from all that is not the object. Ring: at most that far from it, outside the
    objects of its class. The contour: pixels beside one that is not the object. The image's border is no contour.

    ``maps [C, H, W]``; ``cell`` in pixels. The interior's mean is over ``centres``, bool ``[H, W]``, of cells alone:
    pixels between them are interpolated, also from cells on the outline. NaN for stuff, and where there is no interior
    or ring.
    """
    interior, ring = np.full((2, len(regions), len(maps)), np.nan)
    contour = np.full(len(regions), np.nan)
    class_of = np.append(-1, np.where(regions.thing, regions.classes, -1))
    for k in np.flatnonzero(regions.thing):
        top, bottom, left, right = regions.bounds[k]
        window = slice(max(0, top - cell), bottom + cell), slice(max(0, left - cell), right + cell)
        numbers, values = regions.map[window], maps[(slice(None), *window)]
        inside = numbers == k + 1
        depth, distance = _distance_to(~inside), _distance_to(inside)
        contour[k] = np.mean(depth[inside] <= 1)
        interior[k] = _mean(values, (depth > cell) & centres[window])
        ring[k] = _mean(values, (distance <= cell) & (class_of[numbers] != regions.classes[k]))
    return Outlines(interior, ring, contour)


def _distance_to(there: np.ndarray) -> np.ndarray:
    """Euclidean distance of each pixel to the nearest that is there, infinite where none is."""
    from scipy import ndimage

    return np.asarray(ndimage.distance_transform_edt(~there)) if there.any() else np.full(there.shape, np.inf)


def _mean(values: np.ndarray, where: np.ndarray) -> np.ndarray | float:
    return values[:, where].mean(axis=1, dtype=float) if where.any() else np.nan

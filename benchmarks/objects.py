"""From a label map to a table of its objects: area and the means of three maps, beside the usual ways.

    python benchmarks/objects.py [--json] [--quick]

A label map of 1024 x 2048 pixels and 19 classes with some 2,500 connected regions, and three weight maps that add up to
1. Every way labels the regions and measures them all, on one thread. Areas have to be the same, and our means those of
float64 sums, or the benchmark stops.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import cache, partial
from importlib.metadata import version

import numpy as np
import torch
from measuring import Work, paired
from reported import Goal, Row, installed, options, peaks, report, rows_of
from scipy import ndimage
from skimage import measure as skimage_measure

from analysis.datasets.sample import Sample
from analysis.studies.object_scale.regions import regions_of

SIZE, CLASSES, SMOOTH = (1024, 2048), 19, 18.5  # pixels of blur: some 2,500 regions
THINGS = frozenset(range(11, CLASSES))
GOAL = Goal("cpu_ratio", 0.2)
USUAL, OURS, EXACT = "skimage regionprops_table", "regions_of", "skimage label and bincount"
MASKS, CC3D = "skimage label, a mask an object", "cc3d and bincount"
PACKAGES = {USUAL: "scikit-image", EXACT: "scikit-image", MASKS: "scikit-image", CC3D: "connected-components-3d"}
Table = tuple[np.ndarray, np.ndarray]  # areas [n] and means [n, 3]
Way = Callable[[np.ndarray, np.ndarray], Table]


def main() -> None:
    """Measure, compare and print."""
    asked = options(__doc__)
    torch.set_num_threads(1)
    report(measure(asked), asked, "numpy", "scipy")


def measure(asked: argparse.Namespace) -> list[Row]:
    """Ratios to regionprops_table, and what each way takes in memory."""
    label, maps = scene()
    found = {name: way(label, maps) for name, way in ways().items()}
    differs = differences(found)
    if differs[OURS] > 1e-12:
        raise SystemExit(f"{OURS} finds means that differ by {differs[OURS]:.1e} from {EXACT}")
    calls: dict[str, Work] = {name: partial(way, label, maps) for name, way in ways().items()}
    table = paired(calls, 3 if asked.quick else 15)
    mib = peaks(call, calls, asked)
    what = f"{len(found[OURS][0])} objects of {SIZE[0]} x {SIZE[1]} pixels"
    versions = {name: version(package) for name, package in PACKAGES.items() if name in found}
    remarks = {name: f"means at most {most:.0e} off" for name, most in differs.items()}
    return rows_of(what, table, versions, {OURS: GOAL}, mib, remarks)


@cache
def scene(size: tuple[int, int] = SIZE) -> Table:
    """A label map ``[H, W]`` uint8, where the greatest of 19 blurred noises wins; three maps float32 ``[3, H, W]``."""
    random = np.random.default_rng(0)
    best, label = np.full(size, -np.inf, np.float32), np.zeros(size, np.uint8)
    for c in range(CLASSES):
        blurred = ndimage.gaussian_filter(random.standard_normal(size, np.float32), SMOOTH)
        label[blurred > best] = c
        np.maximum(best, blurred, out=best)
    maps = random.random((3, *size), np.float32)
    return label, maps / maps.sum(axis=0)


def call(name: str) -> Work:
    """One way, for a process of its own, warmed up on a corner."""
    label, maps = scene()
    ways()[name](label[:64, :64], maps[:, :64, :64])
    return partial(ways()[name], label, maps)


def ways() -> dict[str, Way]:
    """By name, regionprops_table first."""
    found: dict[str, Way] = {USUAL: _regionprops, OURS: _ours, EXACT: _bincount, MASKS: _masks}
    if installed("cc3d"):
        found[CC3D] = _cc3d
    return found


def _ours(label: np.ndarray, maps: np.ndarray) -> Table:
    """What a study does for every image; things first, then stuff."""
    sample = Sample("scene", np.zeros((*label.shape, 0), np.uint8), label, "", "", None, THINGS)
    regions = regions_of(sample, label)
    return regions.area, regions.means(maps)


def _labelled(label: np.ndarray) -> np.ndarray:
    return np.asarray(skimage_measure.label(label.astype(np.int32) + 1, background=0, connectivity=2))


def _regionprops(label: np.ndarray, maps: np.ndarray) -> Table:
    regions, last = _labelled(label), np.ascontiguousarray(maps.transpose(1, 2, 0))
    found = skimage_measure.regionprops_table(regions, last, properties=("area", "mean_intensity"))
    return found["area"], np.stack([found[f"mean_intensity-{i}"] for i in range(3)], axis=1)


def _bincount(label: np.ndarray, maps: np.ndarray) -> Table:
    return _counted(_labelled(label), maps)


def _cc3d(label: np.ndarray, maps: np.ndarray) -> Table:
    import cc3d  # ty: ignore[import-not-found]

    return _counted(cc3d.connected_components(label + np.uint8(1), connectivity=8), maps)


def _counted(regions: np.ndarray, maps: np.ndarray) -> Table:
    flat = regions.ravel()
    area = np.bincount(flat)[1:]
    return area, np.stack([np.bincount(flat, one.ravel())[1:] / area for one in maps], axis=1)


def _masks(label: np.ndarray, maps: np.ndarray) -> Table:
    """A loop over objects, each inside its bounding box."""
    regions = _labelled(label)
    rows = []
    for k, box in enumerate(ndimage.find_objects(regions), start=1):
        mask = regions[box] == k
        rows.append((mask.sum(), *maps[:, *box][:, mask].mean(axis=1, dtype=float)))
    table = np.array(rows)
    return table[:, 0].astype(int), table[:, 1:]


def differences(found: dict[str, Table]) -> dict[str, float]:
    """By how much each way's means differ from those of float64 sums by bincount, at most; areas have to be equal."""
    tables = {name: _sorted(np.column_stack(one)) for name, one in found.items()}
    exact = tables[EXACT]
    for name, table in tables.items():
        if table.shape != exact.shape or not np.array_equal(table[:, 0], exact[:, 0]):
            raise SystemExit(f"{name} finds other areas than {EXACT}")
    return {name: float(np.abs(table - exact).max()) for name, table in tables.items()}


def _sorted(table: np.ndarray) -> np.ndarray:
    return table[np.lexsort((table[:, 1], table[:, 0]))]


if __name__ == "__main__":
    main()

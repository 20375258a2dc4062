"""Data sets: every one opens as a :class:`~analysis.datasets.sample.Dataset` of samples (DESIGN 7)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from analysis.datasets import ade20k, camvid, cityscapes, coco, folder, shapes, voc
from analysis.datasets.images import read_image
from analysis.datasets.sample import Dataset, Item, Objects, Sample
from analysis.errors import AnalysisError, closest

__all__ = [
    "Dataset",
    "Item",
    "Objects",
    "Sample",
    "open_dataset",
    "palette_of",
    "parse_spec",
    "read_image",
    "splits",
    "things_of",
]

_OPEN = {
    "camvid": camvid.open_camvid,
    "voc": voc.open_voc,
    "cityscapes": cityscapes.open_cityscapes,
    "coco": coco.open_coco,
    "ade20k": ade20k.open_ade20k,
    "folder": folder.open_folder,
}
_SPLITS = {
    "camvid": camvid.splits,
    "voc": voc.splits,
    "cityscapes": cityscapes.splits,
    "coco": coco.splits,
    "ade20k": ade20k.splits,
    "folder": folder.splits,
}
NAMES = ("shapes", *_OPEN)


def open_dataset(spec: str, split: str) -> Dataset:
    """Open a split of ``NAME[:PATH]``, NAME one of :data:`NAMES`; PATH is data/NAME where left out.

    AnalysisError: an unknown name or split, a missing path, an empty folder.
    """
    name, path = parse_spec(spec)
    return shapes.open_shapes(split) if path is None else _OPEN[name](path, split)


def palette_of(classes: Sequence[str]) -> np.ndarray:
    """Colours for classes of these names, uint8 ``[K, 3]``: those of the data set that has them, or Pascal VOC's."""
    names = tuple(name.strip() for name in classes)  # mmsegmentation's checkpoints say "bed "
    for module in (camvid, shapes, cityscapes, coco, ade20k):
        if names == module.CLASSES:
            return module.PALETTE
    return voc.palette(len(classes))


def things_of(classes: Sequence[str]) -> frozenset[int]:
    """Which of these classes are things: as the data set that has them says; none where no data set does."""
    names = tuple(name.strip() for name in classes)
    return next((m.THINGS for m in (camvid, shapes, cityscapes, coco, ade20k, voc) if names == m.CLASSES), frozenset())


def splits(spec: str) -> tuple[str, ...]:
    """The splits that ``spec`` can be opened with. AnalysisError as for :func:`open_dataset`."""
    name, path = parse_spec(spec)
    return shapes.splits() if path is None else _SPLITS[name](path)


def parse_spec(spec: str) -> tuple[str, Path | None]:
    """``"camvid:PATH"`` → ``("camvid", PATH)``; the path is None for shapes, which is made and not read."""
    name, _, path = spec.partition(":")
    if name not in NAMES:
        raise AnalysisError(f"no data set {name!r}{closest(name, NAMES)}")
    if name != "shapes":
        return name, Path(path or f"data/{name}")
    if path:
        raise AnalysisError(f"{spec}: shapes are made on the fly and take no path; say only shapes")
    return name, None

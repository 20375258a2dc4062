"""PASCAL VOC 2012 segmentation in its usual layout: 20 thing classes, background, and instance masks.

``VOCdevkit/VOC2012`` with ``ImageSets/Segmentation/{train,val,trainval}.txt``, ``JPEGImages``, ``SegmentationClass``
and ``SegmentationObject`` (palette PNG whose stored value is the class or the instance; 255 is the void contour).
The photographs have nothing to do with each other: each is a sequence and a block of its own.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from analysis.datasets.sample import Dataset, Item, read_files
from analysis.errors import AnalysisError

CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
THINGS = frozenset(range(1, len(CLASSES)))
SPLITS = ("train", "val", "trainval")
_FETCH = "get it with: attention-analysis data fetch voc"


def open_voc(root: Path, split: str) -> Dataset:
    """VOC 2012 under ``root`` (the folder with VOCdevkit, or VOCdevkit/VOC2012 itself): train, val or trainval.

    AnalysisError: no VOC there, an unknown split, an empty list.
    """
    if split not in splits(root):
        raise AnalysisError(f"{root}: no split {split!r}; splits here: {', '.join(splits(root))}")
    home = _home(root)
    items = tuple(_item(home, name) for name in _list(home, split).read_text().split())
    if not items:
        raise AnalysisError(f"{_list(home, split)}: names no image; {_FETCH}")
    return Dataset("voc", split, CLASSES, THINGS, palette(len(CLASSES)), items, read_files)


def splits(root: Path) -> tuple[str, ...]:
    """The splits whose lists are there. AnalysisError where this is no VOC."""
    home = _home(root)
    return tuple(name for name in SPLITS if _list(home, name).is_file())


def _list(home: Path, split: str) -> Path:
    return home / "ImageSets" / "Segmentation" / f"{split}.txt"


def _home(root: Path) -> Path:
    for home in (root / "VOCdevkit" / "VOC2012", root / "VOC2012", root):
        if (home / "ImageSets" / "Segmentation").is_dir():
            return home
    raise AnalysisError(f"{root}: no VOC 2012 here (VOCdevkit/VOC2012/ImageSets/Segmentation); {_FETCH}")


def _item(home: Path, name: str) -> Item:
    return Item(
        name,
        image=home / "JPEGImages" / f"{name}.jpg",
        label=home / "SegmentationClass" / f"{name}.png",
        sequence=name,
        block=name,
        instances=home / "SegmentationObject" / f"{name}.png",
    )


def palette(n: int) -> np.ndarray:
    """The VOC colours, uint8 ``[n, 3]``: three bits of the class number at a time, spread over R, G, B (VOC devkit)."""
    colours = np.zeros((n, 3), np.uint8)
    for k in range(n):
        for bit in range(8):
            channel_bits = (k >> (3 * bit)) & 7
            colours[k] |= np.array([(channel_bits >> c & 1) << (7 - bit) for c in range(3)], np.uint8)
    return colours

"""PASCAL VOC 2012 segmentation in its usual layout: 20 thing classes, background, and instance masks.

``VOCdevkit/VOC2012`` with ``ImageSets/Segmentation/{train,val,trainval}.txt``, ``JPEGImages``, ``SegmentationClass``
and ``SegmentationObject`` (palette PNG whose stored value is the class or the instance; 255 is the void contour).
The photographs have nothing to do with each other: each is a sequence and a block of its own.

The split ``trainaug`` is what both papers train on: train and the images that SBD (Hariharan et al. 2011) annotates,
without val, together 10,582 (Fu et al., section 4). It is there with ``SegmentationClassAug`` and a list in either
usual form:

* ``aug.txt``, the images of SBD alone, beside train.txt (mmsegmentation): those of train.txt keep their own label in
  SegmentationClass, the others have one in SegmentationClassAug;
* ``trainaug.txt`` or ``train_aug.txt``, all of them (DeepLab), here or in ``ImageSets/SegmentationAug``: every label
  is in SegmentationClassAug.

SBD's images have no mask in SegmentationObject: where there is none, objects are connected regions. A list's line is
a name, or an image and a label as in ``/JPEGImages/x.jpg /SegmentationClassAug/x.png``.
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
LABELS = "SegmentationClass"
AUGMENTED, AUGMENTED_LABELS = "trainaug", "SegmentationClassAug"
_AUGMENTED_LISTS = ("Segmentation/trainaug", "Segmentation/train_aug", "SegmentationAug/train_aug")
_FETCH = "get it with: attention-analysis data fetch voc"
_FETCH_AUGMENTED = (
    "it needs SegmentationClassAug beside SegmentationClass, and trainaug.txt, train_aug.txt or aug.txt in "
    "ImageSets/Segmentation (DeepLab's or mmsegmentation's)"
)


def open_voc(root: Path, split: str) -> Dataset:
    """VOC 2012 under ``root`` (the folder with VOCdevkit, or VOCdevkit/VOC2012 itself): train, val, trainval, trainaug.

    AnalysisError: no VOC there, an unknown split, an empty list.
    """
    if split not in splits(root):
        hint = f"; {_FETCH_AUGMENTED}" if split == AUGMENTED else ""
        raise AnalysisError(f"{root}: no split {split!r}; splits here: {', '.join(splits(root))}{hint}")
    home = _home(root)
    lists = _augmented(home) if split == AUGMENTED else [(_list(home, f"Segmentation/{split}"), LABELS)]
    items: dict[str, Item] = {}
    for path, labels in lists:
        items |= {item.name: item for item in _items(home, path, labels) if item.name not in items}
    return Dataset("voc", split, CLASSES, THINGS, palette(len(CLASSES)), tuple(items.values()), read_files)


def splits(root: Path) -> tuple[str, ...]:
    """The splits whose lists are there. AnalysisError where this is no VOC."""
    home = _home(root)
    there = tuple(name for name in SPLITS if _list(home, f"Segmentation/{name}").is_file())
    return (*there, AUGMENTED) if _augmented(home) and (home / AUGMENTED_LABELS).is_dir() else there


def _list(home: Path, name: str) -> Path:
    return home / "ImageSets" / f"{name}.txt"


def _home(root: Path) -> Path:
    for home in (root / "VOCdevkit" / "VOC2012", root / "VOC2012", root):
        if (home / "ImageSets" / "Segmentation").is_dir():
            return home
    raise AnalysisError(f"{root}: no VOC 2012 here (VOCdevkit/VOC2012/ImageSets/Segmentation); {_FETCH}")


def _augmented(home: Path) -> list[tuple[Path, str]]:
    """The lists that make up trainaug, and where the labels of each are; none where there is no list."""
    train, sbd = _list(home, "Segmentation/train"), _list(home, "Segmentation/aug")
    if train.is_file() and sbd.is_file():
        return [(train, LABELS), (sbd, AUGMENTED_LABELS)]
    whole = [_list(home, name) for name in _AUGMENTED_LISTS]
    return [(path, AUGMENTED_LABELS) for path in whole if path.is_file()][:1]


def _items(home: Path, path: Path, labels: str) -> tuple[Item, ...]:
    lines = [line.split() for line in path.read_text().splitlines() if line.strip()]
    if not lines:
        raise AnalysisError(f"{path}: names no image; {_FETCH}")
    return tuple(_item(home, line, labels) for line in lines)


def _item(home: Path, line: list[str], labels: str) -> Item:
    """The item of a list's line: a name, or the paths of image and label under ``home``."""
    name = Path(line[0]).stem
    instances = home / "SegmentationObject" / f"{name}.png"
    return Item(
        name,
        image=home / "JPEGImages" / f"{name}.jpg",
        label=home / line[1].lstrip("/") if len(line) > 1 else home / labels / f"{name}.png",
        sequence=name,
        block=name,
        instances=instances if labels == LABELS or instances.is_file() else None,
    )


def palette(n: int) -> np.ndarray:
    """The VOC colours, uint8 ``[n, 3]``: three bits of the class number at a time, spread over R, G, B (VOC devkit)."""
    colours = np.zeros((n, 3), np.uint8)
    for k in range(n):
        for bit in range(8):
            channel_bits = (k >> (3 * bit)) & 7
            colours[k] |= np.array([(channel_bits >> c & 1) << (7 - bit) for c in range(3)], np.uint8)
    return colours

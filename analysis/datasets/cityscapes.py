"""Cityscapes: street photographs of 1024 x 2048 from 50 cities, 19 classes, with instances.

``leftImg8bit/SPLIT/CITY/*_leftImg8bit.png`` with ``gtFine/SPLIT/CITY/*_gtFine_labelIds.png`` and
``*_gtFine_instanceIds.png`` (16 bits), both folders also as ``leftImg8bit_trainvaltest/leftImg8bit``. The 19 classes
are the official train ids, found from the label ids; all other ids are ignored. Where labelIds are missing,
``*_gtFine_labelTrainIds.png`` takes their place. The labels of test are not public: what lies there in their place is
not read, and its samples have no label.

Objects. People and vehicles are annotated one by one: an instance id of labelId * 1000 + n. Groups of them, whose id
is the label id alone, are labelled and no objects. Poles, traffic lights and traffic signs are things as well, small
objects being what this project asks about; Cityscapes tells no instances of them apart, so theirs are connected
regions (of polygons that touch, one). Without any instanceIds file in a split that holds for all things.

A file's name is CITY_SEQUENCE_FRAME, and a sample's sequence CITY_SEQUENCE. In most cities a sequence is a snippet of
30 frames, labelled at frame 19 alone, and the snippets of one drive are numbered one by one; in others it is a long
recording at 17 frames a second with a labelled frame every few hundred. Neither snippets of one drive nor frames of
one recording are independent, while whole cities would leave val with three blocks. A block is therefore ten
consecutive snippets of a city, or 3,000 frames (three minutes) of a recording, about ten labelled frames either way.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from analysis.datasets.class_table import read_table
from analysis.datasets.images import IGNORED, require_all
from analysis.datasets.sample import Dataset, Item, Sample, read_files, read_instances
from analysis.errors import AnalysisError

_TABLE = read_table("cityscapes")
CLASSES, THINGS, PALETTE = _TABLE.names, _TABLE.things, _TABLE.palette
#: Things without instances: pole, traffic light, traffic sign.
REGIONS = frozenset(CLASSES.index(name) for name in ("pole", "traffic light", "traffic sign"))
LABEL_IDS = range(34)
SPLITS = ("train", "val", "test")

LABELLED_FRAME = 19  # of a 30-frame snippet
BLOCK_SNIPPETS = 10
BLOCK_FRAMES = 3000
_NAME = re.compile(r"(.+)_(\d{6})_(\d{6})_leftImg8bit")
_GET = "unpack leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip (cityscapes-dataset.com) there"


def open_cityscapes(root: Path, split: str) -> Dataset:
    """Cityscapes under ``root`` (the folder with leftImg8bit and gtFine): train, val, or test without labels.

    AnalysisError: no Cityscapes there, an unknown split, a name that is no frame, an image without its label.
    """
    if split not in splits(root):
        raise AnalysisError(f"{root}: no split {split!r}; splits here: {', '.join(splits(root))}")
    images = _images(root, split)
    items = tuple(_item(path) for path in images)
    if split != "test":
        home = _home(root, "gtFine")
        labels, instances = _labels(home, images), _instances(home, images)
        items = tuple(replace(item, label=a, instances=b) for item, a, b in zip(items, labels, instances, strict=True))
    return Dataset("cityscapes", split, CLASSES, THINGS, PALETTE, items, read_cityscapes)


def splits(root: Path) -> tuple[str, ...]:
    """The splits whose images are there. AnalysisError where there is none."""
    there = tuple(split for split in SPLITS if _images(root, split))
    if not there:
        raise AnalysisError(f"{root}: no Cityscapes here (leftImg8bit/train/CITY/*_leftImg8bit.png); {_GET}")
    return there


def read_cityscapes(dataset: Dataset, item: Item) -> Sample:
    """The sample of an item; ``instances`` holds Cityscapes' own ids, 0 where there is no instance."""
    by_train_id = item.label is not None and item.label.stem.endswith("TrainIds")
    values = range(len(CLASSES)) if by_train_id else _TABLE.values
    others = set() if by_train_id else set(LABEL_IDS) - set(values)
    sample = read_files(dataset, replace(item, instances=None), (IGNORED, *sorted(others)), values)
    if item.instances is None:
        return sample
    size = (sample.image.shape[0], sample.image.shape[1])
    ids = read_instances(item.instances, size)
    return replace(sample, instances=np.where(ids < 1000, 0, ids), regions=REGIONS)


def _home(root: Path, kind: str) -> Path:
    """The folder that holds the splits of ``leftImg8bit`` or ``gtFine``; the archives may have been unpacked apart."""
    homes = (root / kind, root / f"{kind}_trainvaltest" / kind, root / kind / kind)
    return next((home for home in homes if any((home / split).is_dir() for split in SPLITS)), homes[0])


def _images(root: Path, split: str) -> list[Path]:
    return sorted((_home(root, "leftImg8bit") / split).glob("*/*_leftImg8bit.png"))


def _item(image: Path) -> Item:
    name = _NAME.fullmatch(image.stem)
    if name is None:
        raise AnalysisError(f"{image}: not a Cityscapes name such as bochum_000000_000313_leftImg8bit; rename the file")
    city, sequence, frame = name[1], int(name[2]), int(name[3])
    block = f"{city}_{name[2]}/{frame // BLOCK_FRAMES:02d}"
    if frame == LABELLED_FRAME:
        block = f"{city}/{sequence // BLOCK_SNIPPETS:02d}"
    return Item(image.stem.removesuffix("_leftImg8bit"), image, sequence=f"{city}_{name[2]}", block=block)


def _targets(home: Path, images: list[Path], kind: str) -> list[Path]:
    """The file of every image in gtFine, whether it is there or not."""
    places = [(path.parts[-3:-1], path.stem.removesuffix("_leftImg8bit")) for path in images]
    return [home.joinpath(*folders, f"{name}_gtFine_{kind}.png") for folders, name in places]


def _labels(home: Path, images: list[Path]) -> list[Path]:
    train_ids = _targets(home, images, "labelTrainIds")
    labels = _targets(home, images, "labelIds")
    if all(path.is_file() for path in train_ids) and not any(path.is_file() for path in labels):
        return train_ids
    require_all(labels, "label", _GET)
    return labels


def _instances(home: Path, images: list[Path]) -> list[Path] | list[None]:
    """All or none: objects that are instances here and regions there could not be compared."""
    paths = _targets(home, images, "instanceIds")
    if not any(path.is_file() for path in paths):
        return [None] * len(paths)
    require_all(paths, "instance mask", _GET)
    return paths

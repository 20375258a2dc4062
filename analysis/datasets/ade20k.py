"""ADE20K as the scene parsing challenge cut it: 150 classes, everything else ignored.

``ADEChallengeData2016`` with ``images/{training,validation}/*.jpg`` and ``annotations/{training,validation}/*.png``;
the splits are called train and val, as everywhere here. A stored 0 ("other") is ignored, 1 to 150 are the classes 0 to
149 (mmsegmentation's ``reduce_zero_label``). Names and colours are those that mmsegmentation's checkpoints carry; the
things are the 100 classes of the instance challenge on the same images. The scene parsing files hold no instances, so
an object is a connected region of a thing. Every photograph is a sequence and a block of its own.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from analysis.datasets.class_table import read_table
from analysis.datasets.images import IGNORED, require_all
from analysis.datasets.sample import Dataset, Item, read_files
from analysis.errors import AnalysisError

_TABLE = read_table("ade20k")
CLASSES, THINGS, PALETTE = _TABLE.names, _TABLE.things, _TABLE.palette
FOLDERS = {"train": "training", "val": "validation"}
_GET = "unpack ADEChallengeData2016.zip (sceneparsing.csail.mit.edu) there"


def open_ade20k(root: Path, split: str) -> Dataset:
    """ADE20K under ``root`` (ADEChallengeData2016 or the folder that holds it): train or val.

    AnalysisError: no ADE20K there, an unknown split, no image, an image without its label.
    """
    if split not in splits(root):
        raise AnalysisError(f"{root}: no split {split!r}; splits here: {', '.join(splits(root))}")
    home, folder = _home(root), FOLDERS[split]
    images = sorted((home / "images" / folder).glob("*.jpg"))
    if not images:
        raise AnalysisError(f"{home / 'images' / folder}: holds no image; {_GET}")
    labels = [home / "annotations" / folder / f"{path.stem}.png" for path in images]
    require_all(labels, "label", _GET)
    items = tuple(map(_item, images, labels))
    read = partial(read_files, void=(0, IGNORED), values=_TABLE.values)
    return Dataset("ade20k", split, CLASSES, THINGS, PALETTE, items, read)


def splits(root: Path) -> tuple[str, ...]:
    """The splits whose images are there. AnalysisError where this is no ADE20K."""
    home = _home(root)
    return tuple(split for split, folder in FOLDERS.items() if (home / "images" / folder).is_dir())


def _home(root: Path) -> Path:
    for home in (root / "ADEChallengeData2016", root):
        if any((home / "images" / folder).is_dir() for folder in FOLDERS.values()):
            return home
    raise AnalysisError(f"{root}: no ADE20K here (ADEChallengeData2016/images/training); {_GET}")


def _item(image: Path, label: Path) -> Item:
    return Item(image.stem, image, label, sequence=image.stem, block=image.stem)

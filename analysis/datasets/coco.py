"""COCO 2017 and 2014 as semantic segmentation: 80 thing classes and background, with instances.

``annotations/instances_{train,val}{2017,2014}.json`` with the images in ``train2017`` and so on, or
``images/train2017``. The splits train and val are those of 2017 where they are there, else of 2014; ``train2014`` asks
for a year by name. Class 0 is background and 1 to 80 are the categories in the order of their ids 1 to 90, the 80 + 1
classes of Chen et al., table 6 (their 10,000 and 1,500 images of 2014, drawn at random, are not published). Polygons
and run lengths are decoded by pycocotools (``pip install pycocotools``).

Where objects overlap, the one of fewer pixels is on top (of equals, the later), in labels and instances alike: a tie
lies on a person and not under it. Crowd regions (``iscrowd``) are ignored wherever no object of their image lies, and
are no objects themselves. Every photograph is a sequence and a block of its own.

The annotation file, half a gigabyte for train, is read once, when the data set is opened; what is kept is where each
annotation begins and ends in it, 16 bytes each, so that the data set is small in every loader process, and a sample
reads its own annotations from the file.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from analysis.datasets.class_table import read_table
from analysis.datasets.coco_annotations import Annotations, rasteriser, read_annotations
from analysis.datasets.images import read_image
from analysis.datasets.sample import Dataset, Item, Sample
from analysis.errors import AnalysisError

_TABLE = read_table("coco")
CLASSES, THINGS, PALETTE = _TABLE.names, _TABLE.things, _TABLE.palette
SETS = ("train2017", "val2017", "train2014", "val2014")
CLASS_OF = {value: k for k, value in enumerate(_TABLE.values) if k in THINGS}  # by category id
CATEGORIES = {value: CLASSES[k] for value, k in CLASS_OF.items()}
_GET = "unpack the images and annotations_trainval2017.zip (cocodataset.org) there"


def open_coco(root: Path, split: str) -> Dataset:
    """COCO under ``root``: train or val, or a year's such as train2014.

    AnalysisError: no COCO there, an unknown split, a damaged annotation file or one with other categories, no folder
    of images, pycocotools missing.
    """
    named = _sets(root)
    year = named.get(split, split)
    if year not in named.values():
        raise AnalysisError(f"{root}: no split {split!r}; splits here: {', '.join(named)}")
    rasteriser()  # says that it is missing before half a gigabyte is read
    folder, path = _image_folder(root, year), _annotation_file(root, year)
    names, annotations = read_annotations(path, CATEGORIES, CLASS_OF)
    items = tuple(_item(folder / name, path, row) for row, name in enumerate(names))
    return Dataset("coco", split, CLASSES, THINGS, PALETTE, items, partial(read_coco, annotations=annotations))


def splits(root: Path) -> tuple[str, ...]:
    """The splits whose annotations are there. AnalysisError where there are none."""
    return tuple(_sets(root))


def _sets(root: Path) -> dict[str, str]:
    """What each split is called in the files; val2014 shares images with train2017, so years are not mixed."""
    there = [name for name in SETS if _annotation_file(root, name).is_file()]
    if not there:
        raise AnalysisError(f"{root}: no COCO here (annotations/instances_val2017.json); {_GET}")
    year = there[0][-4:]
    return {name.removesuffix(year): name for name in there}


def _annotation_file(root: Path, name: str) -> Path:
    return root / "annotations" / f"instances_{name}.json"


def _image_folder(root: Path, name: str) -> Path:
    for folder in (root / name, root / "images" / name):
        if folder.is_dir():
            return folder
    raise AnalysisError(f"{root / name}: no such folder of images; {_GET}")


def _item(image: Path, annotations: Path, row: int) -> Item:
    return Item(image.stem, image, annotations, sequence=image.stem, block=image.stem, row=row)


def read_coco(dataset: Dataset, item: Item, annotations: Annotations) -> Sample:
    """The sample of an item: the image, and label and instances painted from its annotations."""
    if item.image is None or item.row is None:
        raise AnalysisError(f"{dataset.name} {item.name}: no image and annotations are known")
    image = read_image(item.image)
    size = (image.shape[0], image.shape[1])
    label, instances = annotations.paint(item.row, item.image, size)
    return Sample(item.name, image, label, item.sequence, item.block, instances, dataset.things)

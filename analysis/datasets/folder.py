"""Any folder of photographs, with index masks or without.

::

    PATH/images/*.jpg|png|...   PATH/masks/*.png (same stem)      split "all"
    PATH/NAME/images/...        PATH/NAME/masks/...               split NAME, for as many as there are
    PATH/classes.txt            one class a line, in the order of the mask values; a * after it makes it a thing:
                                    road
                                    car *

A mask's pixel value is the class number, 255 is ignored. Without classes.txt the classes are called by their numbers
and none is a thing, so there are no objects. Without masks there are no labels. Every photograph is a block.
"""

from __future__ import annotations

import itertools
from pathlib import Path

from analysis.datasets.images import IGNORED, read_indices
from analysis.datasets.sample import Dataset, Item, read_files
from analysis.datasets.voc import palette
from analysis.errors import AnalysisError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


def open_folder(root: Path, split: str) -> Dataset:
    """The images and masks under ``root``.

    AnalysisError: no such folder, no images, an unknown split, an image without its mask while others have one.
    """
    homes = _homes(root)
    if split not in homes:
        raise AnalysisError(
            f"{root}: no split {split!r}; splits here: {', '.join(homes)} (PATH/NAME/images makes a split NAME)"
        )
    items = _items(homes[split])
    classes, things = _classes(root, items)
    return Dataset("folder", split, classes, things, palette(len(classes)), items, read_files)


def splits(root: Path) -> tuple[str, ...]:
    """The splits there are. AnalysisError where there is no images folder."""
    return tuple(_homes(root))


def _homes(root: Path) -> dict[str, Path]:
    """The folder of each split."""
    if not root.is_dir():
        raise AnalysisError(f"{root}: no such folder; give one as folder:PATH, with images in PATH/images")
    homes = {"all": root} if (root / "images").is_dir() else {}
    homes |= {path.name: path for path in sorted(root.iterdir()) if (path / "images").is_dir()}
    if not homes:
        raise AnalysisError(f"{root}: no images folder in it; put images into {root / 'images'}")
    return homes


def _items(home: Path) -> tuple[Item, ...]:
    images = sorted(path for path in (home / "images").iterdir() if path.suffix.lower() in SUFFIXES)
    if not images:
        raise AnalysisError(f"{home / 'images'}: holds no image; put some there ({', '.join(SUFFIXES)})")
    doubled = [b.name for a, b in itertools.pairwise(images) if a.stem == b.stem]
    if doubled:
        raise AnalysisError(f"{home / 'images'}: two images of one name, {doubled[0]} and another suffix; rename one")
    masks = {path.stem: path for path in home.glob("masks/*.png")}
    missing = [path.name for path in images if path.stem not in masks]
    if masks and missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise AnalysisError(f"{home / 'masks'}: no mask for {', '.join(missing[:3])}{more}; add them or remove masks/")
    return tuple(Item(path.stem, path, masks.get(path.stem), path.stem, path.stem) for path in images)


def _classes(root: Path, items: tuple[Item, ...]) -> tuple[tuple[str, ...], frozenset[int]]:
    path = root / "classes.txt"
    if not path.is_file():
        return tuple(str(k) for k in range(_highest_value(items) + 1)), frozenset()
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not 0 < len(lines) <= IGNORED:
        raise AnalysisError(f"{path}: {len(lines)} classes; write 1 to {IGNORED}, one a line")
    things = frozenset(k for k, line in enumerate(lines) if line.endswith("*"))
    return tuple(line.rstrip("* \t") for line in lines), things


def _highest_value(items: tuple[Item, ...]) -> int:
    """The highest class number in any mask, -1 without masks; every mask is read once for it."""
    masks = [read_indices(item.label) for item in items if item.label is not None]
    return max((int(mask[mask != IGNORED].max(initial=0)) for mask in masks), default=-1)

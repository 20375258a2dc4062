"""The VOC layout, on three real photographs with instances."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from analysis.datasets import open_dataset, splits
from analysis.datasets.check import check
from analysis.datasets.voc import palette
from analysis.errors import AnalysisError

from .shared import shared


def test_the_real_photographs() -> None:
    root = shared("voc_sample")
    assert splits(f"voc:{root}") == ("train", "val", "trainval")
    found = {}
    for split in ("train", "val", "trainval"):
        dataset = open_dataset(f"voc:{root}", split)
        for i in range(len(dataset)):
            sample = dataset[i]
            found[sample.name] = [dataset.classes[k] for k in sample.objects.classes]
            assert sample.label is not None and sample.image.shape[:2] == sample.label.shape
            assert sample.block == sample.sequence == sample.name
    assert found == {
        "2011_000003": ["person", "person", "bottle"],
        "2011_000006": ["person", "person", "person", "chair", "person", "sofa"],
        "2011_000025": ["bus", "bus", "car"],
    }


def test_objects_are_the_instance_masks_not_the_regions() -> None:
    dataset = open_dataset(f"voc:{shared('voc_sample')}", "trainval")
    sample = dataset[dataset.index("2011_000006")]
    assert sample.instances is not None
    assert sorted(set(sample.instances.ravel().tolist())) == [0, 1, 2, 3, 4, 5, 7]  # the file skips 6
    assert sorted(set(sample.objects.map.ravel().tolist())) == [0, 1, 2, 3, 4, 5, 6]
    for k, kind in enumerate(sample.objects.classes, start=1):
        inside = sample.objects.map == k
        assert sample.label is not None and np.mean(sample.label[inside] == kind) > 0.99


@pytest.mark.parametrize("inner", ["", "VOCdevkit", "VOCdevkit/VOC2012"])
def test_any_folder_of_the_layout_will_do(inner: str) -> None:
    assert len(open_dataset(f"voc:{shared('voc_sample') / inner}", "trainval")) == 3


def test_faults_are_one_line(tmp_path: Path) -> None:
    root = Path(shutil.copytree(shared("voc_sample"), tmp_path / "voc"))
    with pytest.raises(AnalysisError, match="no split 'test'; splits here: train, val, trainval"):
        open_dataset(f"voc:{root}", "test")
    (root / "VOCdevkit/VOC2012/JPEGImages/2011_000003.jpg").unlink()
    dataset = open_dataset(f"voc:{root}", "trainval")
    with pytest.raises(AnalysisError, match=r"2011_000003\.jpg: no such image file"):
        dataset[dataset.index("2011_000003")]
    (root / "VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt").write_text("")
    with pytest.raises(AnalysisError, match=r"val\.txt: names no image"):
        open_dataset(f"voc:{root}", "val")


def test_the_palette_is_the_devkits() -> None:
    assert palette(256)[[1, 15, 20, 255]].tolist() == [[128, 0, 0], [192, 128, 128], [0, 64, 128], [224, 224, 192]]


TRAIN, SBD = ["2011_000003"], ["2011_000006", "2011_000025"]


@pytest.fixture
def augmented(tmp_path: Path) -> Path:
    """The real photographs, one of them in train.txt, the others as SBD's: masks in grey, no instances."""
    root = Path(shutil.copytree(shared("voc_sample"), tmp_path / "voc")) / "VOCdevkit" / "VOC2012"
    (root / "SegmentationClassAug").mkdir()
    for name in (*TRAIN, *SBD):
        mask = np.array(Image.open(root / "SegmentationClass" / f"{name}.png"))
        mask[0, 0] = 20  # tells the two folders apart
        Image.fromarray(mask).save(root / "SegmentationClassAug" / f"{name}.png")
    for name in SBD:
        (root / "SegmentationObject" / f"{name}.png").unlink()
    (root / "ImageSets/Segmentation/train.txt").write_text("\n".join(TRAIN))
    for name in ("val", "trainval"):
        (root / f"ImageSets/Segmentation/{name}.txt").unlink()
    return root


def pair(name: str) -> str:
    return f"/JPEGImages/{name}.jpg /SegmentationClassAug/{name}.png"


@pytest.mark.parametrize(
    ("file", "lines", "corner"),
    [
        ("Segmentation/trainaug.txt", [*TRAIN, *SBD], [20, 20, 20]),
        ("Segmentation/train_aug.txt", [pair(name) for name in (*TRAIN, *SBD)], [20, 20, 20]),
        ("SegmentationAug/train_aug.txt", [pair(name) for name in (*TRAIN, *SBD)], [20, 20, 20]),
        ("Segmentation/aug.txt", SBD, [0, 20, 20]),  # mmsegmentation: train.txt keeps the labels of VOC itself
        ("Segmentation/aug.txt", [*SBD, *TRAIN], [0, 20, 20]),
    ],
)
def test_the_augmented_split(augmented: Path, file: str, lines: list[str], corner: list[int]) -> None:
    (augmented / "ImageSets" / file).parent.mkdir(exist_ok=True)
    (augmented / "ImageSets" / file).write_text("\n".join(lines) + "\n")
    assert splits(f"voc:{augmented}") == ("train", "trainaug")
    dataset = open_dataset(f"voc:{augmented}", "trainaug")
    assert [item.name for item in dataset.items] == [*TRAIN, *SBD]
    samples = [dataset[i] for i in range(3)]
    assert [int(sample.label[0, 0]) for sample in samples if sample.label is not None] == corner
    assert [sample.instances is None for sample in samples] == [False, True, True]
    assert [dataset.classes[k] for k in samples[0].objects.classes] == ["person", "person", "bottle"]
    assert {"person", "chair"} <= {dataset.classes[k] for k in samples[1].objects.classes}  # regions
    assert check(f"voc:{augmented}") == []


def test_what_the_augmented_split_needs(augmented: Path) -> None:
    with pytest.raises(AnalysisError, match="no split 'trainaug'; splits here: train; it needs SegmentationClassAug"):
        open_dataset(f"voc:{augmented}", "trainaug")
    (augmented / "ImageSets/Segmentation/trainaug.txt").write_text("2011_000003\n2007_000001\n")
    assert any("2007_000001.jpg: no such image file" in line for line in check(f"voc:{augmented}"))

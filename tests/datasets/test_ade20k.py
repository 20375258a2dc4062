"""ADE20K's scene parsing layout, in small."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from analysis.datasets import open_dataset, palette_of, splits
from analysis.datasets.ade20k import CLASSES, PALETTE, THINGS
from analysis.datasets.check import check
from analysis.errors import AnalysisError


def write(home: Path, folder: str, name: str, values: np.ndarray) -> None:
    for kind in ("images", "annotations"):
        (home / kind / folder).mkdir(parents=True, exist_ok=True)
    Image.new("RGB", values.shape[::-1], (90, 90, 90)).save(home / "images" / folder / f"{name}.jpg")
    Image.fromarray(values).save(home / "annotations" / folder / f"{name}.png")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "ADEChallengeData2016"
    values = np.ones((4, 8), np.uint8)
    values[0, :], values[2, 0], values[2:, 4], values[2, 7] = 0, 21, 21, 13
    write(home, "training", "ADE_train_00000001", values)
    write(home, "validation", "ADE_val_00000001", np.arange(151, dtype=np.uint8).reshape(1, 151))
    return home


def test_names_colours_and_things() -> None:
    assert len(CLASSES) == len(PALETTE) == len(set(CLASSES)) == 150 and len(THINGS) == 100
    known = {"wall": 0, "sky": 2, "bed": 7, "car": 20, "television receiver": 89, "traffic light": 136, "flag": 149}
    assert {name: CLASSES.index(name) for name in known} == known
    colours = PALETTE[[0, 7, 20, 149]].tolist()
    assert colours == [[120, 120, 120], [204, 5, 255], [0, 102, 200], [92, 0, 255]]
    assert {7, 12, 20, 136, 149} < THINGS and not THINGS & {0, 1, 2, 3, 4, 25, 128}
    # mmsegmentation's list, which its checkpoints carry, has a blank after "bed".
    assert (palette_of([name + " " * (name == "bed") for name in CLASSES]) == PALETTE).all()


def test_zero_is_ignored_and_classes_start_at_one(home: Path) -> None:
    label = open_dataset(f"ade20k:{home}", "val")[0].label
    assert label is not None and label.dtype == np.uint8 and label[0].tolist() == [255, *range(150)]


def test_objects_are_regions_of_things(home: Path) -> None:
    sample = open_dataset(f"ade20k:{home}", "train")[0]
    assert [CLASSES[k] for k in sample.objects.classes] == ["car", "car", "person"]
    assert sample.block == sample.sequence == sample.name == "ADE_train_00000001" and sample.instances is None


def test_the_folder_or_the_one_above(home: Path) -> None:
    assert splits(f"ade20k:{home}") == splits(f"ade20k:{home.parent}") == ("train", "val")
    assert len(open_dataset(f"ade20k:{home.parent}", "train")) == 1


def test_faults_are_one_line(home: Path, tmp_path: Path) -> None:
    with pytest.raises(AnalysisError, match=r"no ADE20K here \(ADEChallengeData2016/images/training\); unpack"):
        open_dataset(f"ade20k:{tmp_path / 'none'}", "val")
    with pytest.raises(AnalysisError, match="no split 'validation'; splits here: train, val"):
        open_dataset(f"ade20k:{home}", "validation")
    write(home, "training", "ADE_train_00000002", np.full((2, 2), 151, np.uint8))
    with pytest.raises(AnalysisError, match="unknown label value 151; known are 1 to 150 and 0, 255 for ignored"):
        open_dataset(f"ade20k:{home}", "train")[1]
    assert [line.split(":")[0] for line in check(f"ade20k:{home}")] == [
        str(home / "annotations/training/ADE_train_00000002.png")
    ]
    (home / "annotations/training/ADE_train_00000002.png").unlink()
    with pytest.raises(AnalysisError, match=r"ADE_train_00000002\.png: label missing; unpack ADEChallengeData2016"):
        open_dataset(f"ade20k:{home}", "train")


def test_data_check_finds_nothing_wrong(home: Path) -> None:
    assert check(f"ade20k:{home}") == []

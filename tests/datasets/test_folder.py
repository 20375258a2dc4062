"""Any folder of images and index masks."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from analysis.datasets import open_dataset, splits
from analysis.errors import AnalysisError


def write(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        write(tmp_path / "images" / f"{name}.jpg", np.full((4, 6, 3), 90, np.uint8))
        mask = np.zeros((4, 6), np.uint8)
        mask[0, 0], mask[2:, 3:], mask[3, 0] = 1, 1, 255
        write(tmp_path / "masks" / f"{name}.png", mask)
    (tmp_path / "classes.txt").write_text("road\ncar *\nstreet lamp*\n")
    return tmp_path


def test_classes_and_things_come_from_the_list(folder: Path) -> None:
    dataset = open_dataset(f"folder:{folder}", "all")
    assert dataset.classes == ("road", "car", "street lamp") and dataset.things == {1, 2}
    sample = dataset[dataset.index("b")]
    assert sample.objects.classes.tolist() == [1, 1] and sample.block == "b"
    assert sample.label is not None and sample.label[3, 0] == 255


def test_without_a_list_classes_are_numbers_and_none_is_a_thing(folder: Path) -> None:
    (folder / "classes.txt").unlink()
    dataset = open_dataset(f"folder:{folder}", "all")
    assert dataset.classes == ("0", "1") and len(dataset[0].objects) == 0


def test_photographs_alone(folder: Path) -> None:
    for path in (folder / "masks").iterdir():
        path.unlink()
    sample = open_dataset(f"folder:{folder}", "all")[0]
    assert sample.label is None and len(sample.objects) == 0


def test_folders_of_folders_are_splits(folder: Path) -> None:
    for split in ("train", "val"):
        write(folder / split / "images" / f"{split}.png", np.zeros((2, 2, 3), np.uint8))
    assert splits(f"folder:{folder}") == ("all", "train", "val")
    dataset = open_dataset(f"folder:{folder}", "val")
    assert [item.name for item in dataset.items] == ["val"] and dataset.classes[1] == "car"
    with pytest.raises(AnalysisError, match="no split 'test'; splits here: all, train, val"):
        open_dataset(f"folder:{folder}", "test")


def test_faults_are_one_line(folder: Path) -> None:
    write(folder / "images" / "c.jpg", np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(AnalysisError, match=r"masks: no mask for c\.jpg; add"):
        open_dataset(f"folder:{folder}", "all")
    write(folder / "masks" / "c.png", np.full((2, 2), 3, np.uint8))
    dataset = open_dataset(f"folder:{folder}", "all")
    with pytest.raises(AnalysisError, match=r"c\.png: unknown label value 3; known are 0 to 2"):
        dataset[dataset.index("c")]
    write(folder / "images" / "c.png", np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(AnalysisError, match="two images of one name"):
        open_dataset(f"folder:{folder}", "all")
    (folder / "classes.txt").write_text("\n")
    (folder / "images" / "c.png").unlink()
    with pytest.raises(AnalysisError, match="0 classes; write 1 to 255"):
        open_dataset(f"folder:{folder}", "all")


def test_an_empty_images_folder(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    with pytest.raises(AnalysisError, match="holds no image"):
        open_dataset(f"folder:{tmp_path}", "all")

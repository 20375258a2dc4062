"""Cityscapes' layout, in small: label ids, 16-bit instance ids, things without instances, blocks."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from analysis.datasets import Dataset, open_dataset, palette_of, splits
from analysis.datasets.check import check
from analysis.errors import AnalysisError
from analysis.training.recipe import find_recipe

#: The official list of label ids whose train ids are 0 to 18.
OFFICIAL = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
ROAD, POLE, SIGN, PERSON, CAR, CARAVAN = 7, 17, 20, 24, 26, 29


def write(root: Path, place: str, labels: np.ndarray, ids: np.ndarray | None = None) -> None:
    """A frame such as ``train/bochum/bochum_000000_000313``; ``ids``: its instance ids, else ``labels``."""
    files = {
        f"leftImg8bit/{place}_leftImg8bit.png": np.full((*labels.shape, 3), 90, np.uint8),
        f"gtFine/{place}_gtFine_labelIds.png": labels.astype(np.uint8),
        f"gtFine/{place}_gtFine_instanceIds.png": (labels if ids is None else ids).astype(np.uint16),
    }
    for name, values in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(root / name)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    labels = np.full((4, 8), ROAD)
    write(tmp_path, "train/aachen/aachen_000007_000019", labels)
    write(tmp_path, "train/aachen/aachen_000012_000019", labels)
    write(tmp_path, "train/bochum/bochum_000000_000313", labels)
    write(tmp_path, "train/bochum/bochum_000000_003005", labels)
    write(tmp_path, "val/munster/munster_000173_000019", labels)
    write(tmp_path, "test/berlin/berlin_000000_000019", np.full((4, 8), 3))
    return tmp_path


def test_every_label_id_becomes_its_train_id_or_ignored(tmp_path: Path) -> None:
    write(tmp_path, "val/ulm/ulm_000000_000019", np.arange(34).reshape(1, 34))
    label = open_dataset(f"cityscapes:{tmp_path}", "val")[0].label
    assert label is not None and label.dtype == np.uint8
    assert label[0].tolist() == [OFFICIAL.index(k) if k in OFFICIAL else 255 for k in range(34)]


def test_names_colours_and_things_are_the_official_ones(root: Path) -> None:
    dataset = open_dataset(f"cityscapes:{root}", "val")
    named = dict(zip(dataset.classes, dataset.palette.tolist(), strict=True))
    assert len(dataset.classes) == 19 and dataset.classes[0] == "road" and dataset.classes[18] == "bicycle"
    assert named["road"] == [128, 64, 128] and named["traffic sign"] == [220, 220, 0] and named["car"] == [0, 0, 142]
    assert [name for k, name in enumerate(dataset.classes) if k in dataset.things] == [
        "pole", "traffic light", "traffic sign", "person", "rider", "car", "truck", "bus", "train", "motorcycle",
        "bicycle",
    ]  # fmt: skip
    assert (palette_of(dataset.classes) == dataset.palette).all()


def test_objects_are_instances_and_regions_of_things_without_any(tmp_path: Path) -> None:
    labels = np.full((6, 12), ROAD)
    labels[0, :2] = labels[5, 5] = SIGN
    labels[1:3, 4:10] = CAR
    labels[4, 0:2] = CAR  # a group: labelled, and no object
    labels[4, 4:6] = PERSON
    labels[4, 8:] = CARAVAN  # an instance of a class that is ignored
    ids = labels.copy()
    ids[1:3, 4:7], ids[1:3, 7:10] = 26000, 26001  # two cars side by side: one region
    ids[4, 4:6], ids[4, 8:] = 24000, 29000
    write(tmp_path, "val/ulm/ulm_000000_000019", labels, ids)
    sample = open_dataset(f"cityscapes:{tmp_path}", "val")[0]
    objects = sample.objects
    names = ["person", "car", "car", "traffic sign", "traffic sign"]
    assert [open_dataset(f"cityscapes:{tmp_path}", "val").classes[k] for k in objects.classes] == names
    assert np.bincount(objects.map.ravel())[1:].tolist() == [2, 6, 6, 2, 1]
    assert objects.map[1, 4] == 2 and objects.map[1, 7] == 3 and objects.map[4, 0] == 0 == objects.map[4, 8]
    assert sample.instances is not None and sample.instances[1, 7] == 26001 and sample.instances[0, 0] == 0


def test_sequences_and_blocks(root: Path) -> None:
    items = open_dataset(f"cityscapes:{root}", "train").items
    assert [(item.name, item.sequence, item.block) for item in items] == [
        ("aachen_000007_000019", "aachen_000007", "aachen/00"),  # ten snippets of a city are a block
        ("aachen_000012_000019", "aachen_000012", "aachen/01"),
        ("bochum_000000_000313", "bochum_000000", "bochum_000000/00"),  # so are 3,000 frames of a recording
        ("bochum_000000_003005", "bochum_000000", "bochum_000000/01"),
    ]


def test_splits_and_the_test_split_without_labels(root: Path) -> None:
    assert splits(f"cityscapes:{root}") == ("train", "val", "test")
    sample = open_dataset(f"cityscapes:{root}", "test")[0]
    assert sample.label is None and len(sample.objects) == 0 and sample.block == "berlin/00"
    shutil.rmtree(root / "gtFine" / "test")
    assert len(open_dataset(f"cityscapes:{root}", "test")) == 1
    with pytest.raises(AnalysisError, match="no split 'trainval'; splits here: train, val, test"):
        open_dataset(f"cityscapes:{root}", "trainval")


@pytest.mark.parametrize("inner", ["{}_trainvaltest/{}", "{}/{}"])
def test_archives_unpacked_apart(root: Path, inner: str) -> None:
    for kind in ("leftImg8bit", "gtFine"):
        (root / kind).rename(root / "moved")
        (root / inner.format(kind, kind)).parent.mkdir(parents=True)
        (root / "moved").rename(root / inner.format(kind, kind))
    assert open_dataset(f"cityscapes:{root}", "train")[3].label is not None


def test_train_id_labels_do_without_label_ids_and_instances(root: Path) -> None:
    ids = root / "gtFine/val/munster/munster_000173_000019_gtFine_labelIds.png"
    values = np.array([[0, 0, 13, 255], [5, 13, 13, 18]], np.uint8)
    Image.fromarray(values).save(str(ids).replace("labelIds", "labelTrainIds"))
    Image.new("RGB", (4, 2)).save(root / "leftImg8bit/val/munster/munster_000173_000019_leftImg8bit.png")
    ids.unlink()
    Path(str(ids).replace("labelIds", "instanceIds")).unlink()
    sample = open_dataset(f"cityscapes:{root}", "val")[0]
    assert sample.label is not None and (sample.label == values).all() and sample.instances is None
    assert sample.objects.classes.tolist() == [13, 5, 18]  # regions, in raster order


def test_faults_are_one_line(root: Path, tmp_path: Path) -> None:
    with pytest.raises(AnalysisError, match=r"no Cityscapes here \(leftImg8bit/train/CITY/.*cityscapes-dataset\.com"):
        open_dataset(f"cityscapes:{tmp_path / 'none'}", "val")
    target = root / "gtFine/train/bochum/bochum_000000_003005_gtFine_{}.png"
    wrong = np.full((4, 8), 40, np.uint8)
    Image.fromarray(wrong).save(str(target).format("labelIds"))
    with pytest.raises(AnalysisError, match="unknown label value 40; known are 7, 8, 11"):
        open_dataset(f"cityscapes:{root}", "train")[3]
    Path(str(target).format("instanceIds")).unlink()
    with pytest.raises(AnalysisError, match=r"003005_gtFine_instanceIds\.png: instance mask missing; unpack"):
        open_dataset(f"cityscapes:{root}", "train")
    for path in root.glob("gtFine/train/*/*_labelIds.png"):
        path.unlink()
    with pytest.raises(AnalysisError, match=r"000019_gtFine_labelIds\.png: label missing, as are 3 more of 4; unpack"):
        open_dataset(f"cityscapes:{root}", "train")
    (root / "leftImg8bit/val/munster/munster_1_leftImg8bit.png").touch()
    with pytest.raises(AnalysisError, match="not a Cityscapes name such as bochum_000000_000313_leftImg8bit"):
        open_dataset(f"cityscapes:{root}", "val")


def test_data_check_reads_everything(root: Path) -> None:
    assert check(f"cityscapes:{root}") == []
    image = root / "leftImg8bit/train/aachen/aachen_000012_000019_leftImg8bit.png"
    image.write_bytes(image.read_bytes()[:40])
    instances = root / "gtFine/val/munster/munster_000173_000019_gtFine_instanceIds.png"
    Image.fromarray(np.zeros((2, 2), np.uint16)).save(instances)
    problems = check(f"cityscapes:{root}")
    assert len(problems) == 2 and str(image) in problems[0] and "not a readable image, or cut off" in problems[0]
    assert problems[1].startswith(f"{instances}: the instance mask is (2, 2) and its image (4, 8)")


def test_a_data_set_goes_to_loader_processes(root: Path) -> None:
    dataset: Dataset = pickle.loads(pickle.dumps(open_dataset(f"cityscapes:{root}", "train")))
    assert dataset[2].name == "bochum_000000_000313" and dataset[2].label is not None


def test_the_recipe_of_the_paper_opens_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = find_recipe("cityscapes-dual-resnet101")
    (root / "here" / "data").mkdir(parents=True)
    (root / "here" / "data" / "cityscapes").symlink_to(root)
    monkeypatch.chdir(root / "here")
    assert (
        len(open_dataset("cityscapes", recipe.split)) == 4 and len(open_dataset("cityscapes", recipe.validation)) == 1
    )

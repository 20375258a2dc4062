"""COCO's layout, in small: polygons, run lengths, crowds, overlaps, and the annotation file read in place."""

import json
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as rle
from pycocotools.coco import COCO

from analysis.datasets import open_dataset, palette_of, splits
from analysis.datasets.check import check
from analysis.datasets.coco import CATEGORIES, CLASS_OF, CLASSES, PALETTE
from analysis.datasets.coco_annotations import read_annotations
from analysis.errors import AnalysisError

HIGH, WIDE = 12, 16
PERSON, STOP_SIGN, TIE, TOOTHBRUSH = 1, 13, 32, 90


def box(left: int, top: int, right: int, bottom: int) -> list[list[float]]:
    """A polygon that covers the pixels of ``[top:bottom, left:right]``."""
    return [[left, top, right, top, right, bottom, left, bottom]]


def runs(inside: np.ndarray, compressed: bool) -> dict[str, Any]:
    packed = rle.encode(np.asfortranarray(inside.astype(np.uint8)))
    if compressed:
        return {"size": packed["size"], "counts": packed["counts"].decode()}
    flat = np.concatenate(([0], inside.ravel(order="F").astype(np.int8), [2]))
    changes = np.flatnonzero(np.diff(flat))
    return {"size": list(inside.shape), "counts": np.diff(np.concatenate(([0], changes))).tolist()}


def annotation(image: int, category: int, shape: list[list[float]] | dict[str, Any], crowd: int = 0) -> dict[str, Any]:
    return {"id": 1, "image_id": image, "category_id": category, "segmentation": shape, "iscrowd": crowd, "area": 1.0}


def write(root: Path, name: str, annotations: list[dict[str, Any]], images: str = "{}", **layout: Any) -> Path:
    """A set of two images, 000000000042.jpg and another whose name is not ASCII."""
    files = {42: "000000000042.jpg", 7: "Żółw_é.jpg"}
    folder = root / images.format(name)
    folder.mkdir(parents=True, exist_ok=True)
    for file in files.values():
        Image.new("RGB", (WIDE, HIGH), (90, 90, 90)).save(folder / file)
    content = {
        "info": {"description": 'žluťoučký [ } ] " kůň', "year": 2017},
        "licenses": [],
        "images": [{"id": k, "file_name": file, "height": HIGH, "width": WIDE} for k, file in files.items()],
        "annotations": annotations,
        "categories": [{"id": k, "name": text, "supercategory": "x"} for k, text in CATEGORIES.items()],
    }
    path = root / "annotations" / f"instances_{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, **layout), encoding="utf-8")
    return path


def painted(root: Path, annotations: list[dict[str, Any]]) -> tuple[list[list[int]], list[str]]:
    write(root, "val2017", annotations)
    sample = open_dataset(f"coco:{root}", "val")[0]
    assert sample.label is not None
    return sample.label.tolist(), [CLASSES[k] for k in sample.objects.classes]


def test_categories_become_81_classes() -> None:
    assert len(CLASSES) == 81 and CLASSES[0] == "background"
    assert [CLASS_OF[k] for k in (PERSON, STOP_SIGN, TIE, TOOTHBRUSH)] == [1, 12, 28, 80]
    assert [CLASSES[k] for k in (1, 12, 28, 80)] == ["person", "stop sign", "tie", "toothbrush"]
    assert list(CLASS_OF.values()) == list(range(1, 81)) and list(CLASS_OF) == sorted(CLASS_OF)
    assert PALETTE[[0, 1, 3, 80]].tolist() == [[0, 0, 0], [220, 20, 60], [0, 0, 142], [191, 162, 208]]
    assert (palette_of(CLASSES) == PALETTE).all()


def test_polygons_and_instances(tmp_path: Path) -> None:
    two_parts = box(1, 1, 4, 3) + box(10, 1, 12, 3)
    label, objects = painted(
        tmp_path, [annotation(42, TOOTHBRUSH, two_parts), annotation(42, PERSON, box(5, 6, 9, 11))]
    )
    expected = np.zeros((HIGH, WIDE), int)
    expected[1:3, 1:4] = expected[1:3, 10:12] = 80
    expected[6:11, 5:9] = 1
    assert label == expected.tolist() and sorted(objects) == ["person", "toothbrush"]


@pytest.mark.parametrize("turn", [1, -1])
def test_the_smaller_of_two_objects_is_on_top(tmp_path: Path, turn: int) -> None:
    both = [annotation(42, PERSON, box(2, 2, 12, 10)), annotation(42, TIE, box(4, 4, 6, 8))]
    label, objects = painted(tmp_path, both[::turn])
    assert np.unique(np.array(label)[4:8, 4:6]).tolist() == [28] and np.count_nonzero(np.array(label) == 1) == 72
    assert sorted(objects) == ["person", "tie"]


@pytest.mark.parametrize("compressed", [False, True])
def test_crowds_are_ignored_and_no_objects(tmp_path: Path, compressed: bool) -> None:
    crowd = np.zeros((HIGH, WIDE), bool)
    crowd[0, 0] = crowd[3:7, 5:14] = True
    inside = annotation(42, PERSON, box(6, 4, 8, 6))
    label, objects = painted(tmp_path, [inside, annotation(42, PERSON, runs(crowd, compressed), crowd=1)])
    expected = np.where(crowd, 255, 0)
    expected[4:6, 6:8] = 1  # an object is labelled also where a crowd lies round it
    assert label == expected.tolist() and objects == ["person"]


def test_an_image_without_annotations_is_background(tmp_path: Path) -> None:
    write(tmp_path, "val2017", [annotation(42, PERSON, box(0, 0, 2, 2))])
    dataset = open_dataset(f"coco:{tmp_path}", "val")
    sample = dataset[dataset.index("Żółw_é")]
    assert sample.label is not None and not sample.label.any() and len(sample.objects) == 0
    assert sample.block == sample.sequence == sample.name


@pytest.mark.parametrize("layout", [{}, {"indent": 1}, {"ensure_ascii": False}, {"separators": (",", ":")}])
def test_however_the_file_is_written(tmp_path: Path, layout: dict[str, Any]) -> None:
    shapes = [annotation(7, TIE, box(0, 0, 3, 3)), annotation(42, PERSON, box(5, 5, 9, 9)), annotation(7, TIE, [])]
    write(tmp_path, "train2017", shapes, **layout)
    dataset = open_dataset(f"coco:{tmp_path}", "train")
    labels = [sample.label for sample in (dataset[0], dataset[1])]
    assert [np.unique(label).tolist() for label in labels if label is not None] == [[0, 1], [0, 28]]


@given(st.lists(st.lists(st.integers(0, 160), min_size=6, max_size=12), min_size=1, max_size=4))
def test_every_object_is_what_pycocotools_draws(
    tmp_path_factory: pytest.TempPathFactory, corners: list[list[int]]
) -> None:
    """One polygon an annotation, corners in tenths of a pixel; the painter's order made by hand."""
    root = tmp_path_factory.mktemp("coco")
    polygons = [[min(v / 10, (WIDE, HIGH)[k % 2]) for k, v in enumerate(c[: len(c) // 2 * 2])] for c in corners]
    path = write(root, "val2017", [annotation(42, PERSON + k, [polygon]) for k, polygon in enumerate(polygons)])
    reference = COCO(str(path))
    drawn = sorted((reference.annToMask(a).astype(bool) for a in read(path)), key=lambda inside: -inside.sum())
    sample = open_dataset(f"coco:{root}", "val")[0]
    expected = np.zeros((HIGH, WIDE), int)
    for k, inside in enumerate(drawn, start=1):
        expected[inside] = k
    assert sample.instances is not None and (sample.instances == expected).all()


def read(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text())["annotations"]


@pytest.mark.parametrize("images", ["{}", "images/{}"])
def test_years_and_folders(tmp_path: Path, images: str) -> None:
    write(tmp_path, "val2014", [], images)
    assert splits(f"coco:{tmp_path}") == ("val",) and len(open_dataset(f"coco:{tmp_path}", "val2014")) == 2
    write(tmp_path, "train2017", [], images)
    assert splits(f"coco:{tmp_path}") == ("train", "val2014")  # never 2017 to train on with 2014 to evaluate on
    assert open_dataset(f"coco:{tmp_path}", "train").items == open_dataset(f"coco:{tmp_path}", "train2017").items
    with pytest.raises(AnalysisError, match="no split 'val'; splits here: train, val2014"):
        open_dataset(f"coco:{tmp_path}", "val")


def test_what_goes_to_loader_processes_is_small(tmp_path: Path) -> None:
    path = write(tmp_path, "val2017", [annotation(42, PERSON, [box(1, 2, 9, 8)[0] * 21]) for _ in range(2000)])
    dataset = open_dataset(f"coco:{tmp_path}", "val")
    stored = pickle.dumps(dataset)
    assert path.stat().st_size > 1_000_000 and len(stored) < 50_000
    label = pickle.loads(stored)[0].label
    assert label.max() == 1 and len(dataset[0].objects) > 0


def test_faults_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AnalysisError, match=r"no COCO here \(annotations/instances_val2017\.json\); unpack"):
        open_dataset(f"coco:{tmp_path}", "val")
    path = write(tmp_path, "val2017", [annotation(42, PERSON, box(0, 0, 2, 2))])
    dataset = open_dataset(f"coco:{tmp_path}", "val")
    path.write_text(path.read_text()[40:])
    with pytest.raises(AnalysisError, match=r"instances_val2017\.json: an annotation of 000000000042\.jpg is damaged"):
        dataset[0]
    Image.new("RGB", (WIDE, HIGH + 1)).save(tmp_path / "val2017" / "000000000042.jpg")
    with pytest.raises(AnalysisError, match=r"the image is 13 x 16 pixels .* its annotations are for 12 x 16"):
        dataset[0]
    content = json.loads(write(tmp_path, "val2017", []).read_text())
    path.write_text(json.dumps({**content, "categories": [{"id": 1, "name": "tumour"}]}))
    with pytest.raises(AnalysisError, match=r"categories are not COCO's 80; make masks .* folder:PATH"):
        open_dataset(f"coco:{tmp_path}", "val")
    path.write_text(json.dumps({**content, "annotations": [annotation(5, PERSON, [])]}))
    with pytest.raises(AnalysisError, match=r"no COCO annotations, or cut off \(KeyError: 5"):
        open_dataset(f"coco:{tmp_path}", "val")
    (tmp_path / "val2017").rename(tmp_path / "elsewhere")
    with pytest.raises(AnalysisError, match="val2017: no such folder of images; unpack"):
        open_dataset(f"coco:{tmp_path}", "val")
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(AnalysisError, match="pip install pycocotools"):
        open_dataset(f"coco:{tmp_path}", "val")


@pytest.mark.parametrize(
    "shape",
    [
        [[0, 0, float("nan"), 1, 3, 3]],
        [[0, 0, 1e9, 1, 3, 3]],
        [["a"] * 6],
        {"size": [HIGH, WIDE], "counts": [1, 2]},
        {"size": [HIGH, WIDE], "counts": [1, -2, 193]},
        {"size": [HIGH, WIDE], "counts": [1, 1000]},
        {"size": [HIGH, WIDE], "counts": "@@@@~~~~"},
        {"size": [HIGH, WIDE], "counts": None},
        {"size": [100_000, 100_000], "counts": [1]},
        {"counts": [1]},
        None,
    ],
    ids=str,
)
def test_an_annotation_that_cannot_be_drawn(tmp_path: Path, shape: Any) -> None:
    write(tmp_path, "val2017", [annotation(42, PERSON, shape)])
    with pytest.raises(AnalysisError, match=r"an annotation of 000000000042\.jpg is damaged"):
        open_dataset(f"coco:{tmp_path}", "val")[0]


def test_a_file_cut_off_anywhere(tmp_path: Path) -> None:
    path = write(tmp_path, "val2017", [annotation(42, PERSON, box(0, 0, 2, 2))])
    whole = path.read_bytes()
    for length in range(len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(AnalysisError, match="no COCO annotations, or cut off"):
            read_annotations(path, CATEGORIES, CLASS_OF)


def test_data_check_reads_everything(tmp_path: Path) -> None:
    write(tmp_path, "val2017", [annotation(42, PERSON, box(0, 0, 2, 2)), annotation(7, 99, box(0, 0, 2, 2))])
    problems = check(f"coco:{tmp_path}")
    assert len(problems) == 1 and "an annotation of Żółw_é.jpg is damaged (KeyError: 99)" in problems[0]
    (tmp_path / "val2017" / "000000000042.jpg").unlink()
    assert "000000000042.jpg: no such image file" in check(f"coco:{tmp_path}")[0]
    assert check(f"coco:{tmp_path / 'none'}") == [f"missing: {tmp_path / 'none'}"]

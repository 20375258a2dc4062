"""Evaluation: known answers by a model whose prediction is painted into its images; a real model on photographs."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from analysis.datasets import Dataset, open_dataset
from analysis.errors import AnalysisError
from analysis.evaluation import evaluate
from analysis.models import InputSpec, Model, Output, ScaleAttention, ScaleSpec, predict

COLOURS = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0]], np.uint8)
CAMVID = Path(__file__).parents[1].parent / "shared" / "camvid"


class Painted(nn.Module):
    """Predicts the class whose colour each pixel has: a model with planted answers."""

    def __init__(self) -> None:
        super().__init__()
        self.spec = ScaleSpec(classes=3, input=InputSpec(mean=(0, 0, 0), std=(1, 1, 1)))
        self.colours = nn.Parameter(torch.from_numpy(COLOURS / 255).float())

    def forward(self, image: Tensor) -> Output:
        return Output(-(image[:, None] - self.colours[None, :, :, None, None]).abs().sum(dim=2), {})


PAINTED = cast(Model, Painted())


def write_folder(root: Path, labels: list[np.ndarray], predictions: list[np.ndarray], classes: str) -> Dataset:
    for name, arrays in (("masks", labels), ("images", [COLOURS[p] for p in predictions])):
        (root / name).mkdir(parents=True)
        for i, array in enumerate(arrays):
            Image.fromarray(array).save(root / name / f"{i:02d}.png")
    (root / "classes.txt").write_text(classes)
    return open_dataset(f"folder:{root}", "all")


def squares(*sides: int) -> np.ndarray:
    """One square of class 1 for each side, far apart, in a row."""
    label = np.zeros((120, 130 * len(sides)), np.uint8)
    for i, side in enumerate(sides):
        label[10 : 10 + side, 130 * i + 10 : 130 * i + 10 + side] = 1
    return label


def rows(table: pd.DataFrame, name: str) -> pd.DataFrame:
    return table[table["class"] == name].set_index("size_bin")


def test_a_perfect_prediction(tmp_path: Path) -> None:
    label = squares(4, 8, 16, 32)
    evaluation = evaluate(PAINTED, write_folder(tmp_path, [label], [label], "road\ncar *\nsign *\n"), progress=False)
    assert evaluation.mean_iou == 1.0
    assert evaluation.iou["road"] == evaluation.iou["car"] == 1.0 and np.isnan(evaluation.iou["sign"])
    assert (evaluation.pixels, evaluation.n_images) == (label.size, 1)
    cars = rows(evaluation.table, "car")
    assert cars["iou"].tolist() == [1.0] * 5
    assert cars["n_objects"].tolist() == [4, 1, 1, 1, 1]
    assert cars["pixels"].tolist() == [16 + 64 + 256 + 1024, 16, 64, 256, 1024]
    assert rows(evaluation.table, "sign").index.tolist() == ["all"]


def test_columns_and_quartiles_by_hand(tmp_path: Path) -> None:
    labels = [squares(4, 8), squares(16, 32)]
    predictions = [label.copy() for label in labels]
    predictions[0][10:12, 10:14] = 0  # half of the smallest object is missed
    predictions[1][10:42, 172:173] = 1  # a column of 32 false positives beside the largest
    evaluation = evaluate(PAINTED, write_folder(tmp_path, labels, predictions, "road\ncar *\nsign"), progress=False)
    table = evaluation.table
    assert list(table) == ["class", "size_bin", "iou", "pixels", "n_objects", "area_low", "area_high"]
    cars = rows(table, "car")
    assert cars.index.tolist() == ["all", "quartile 1", "quartile 2", "quartile 3", "quartile 4"]
    np.testing.assert_allclose(cars["iou"], [(1360 - 8) / (1360 + 32), 0.5, 1.0, 1.0, 1024 / 1056])
    cuts = np.quantile([16, 64, 256, 1024], [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(cars["area_low"][1:], cuts[:-1])
    np.testing.assert_allclose(cars["area_high"][1:], cuts[1:])
    assert table["n_objects"].isna().tolist() == [True, False, True, False, False, False, False]  # road and sign: stuff
    assert evaluation.mean_iou == pytest.approx((evaluation.iou["road"] + evaluation.iou["car"]) / 2)


def test_coco_bins_are_at_32_and_96_squared(tmp_path: Path) -> None:
    label = squares(31, 32, 95, 96)
    data = write_folder(tmp_path, [label], [label], "road\ncar *\nsign")
    cars = rows(evaluate(PAINTED, data, size_bins="coco", progress=False).table, "car")
    assert cars["n_objects"].to_dict() == {"all": 4, "small": 1, "medium": 2, "large": 1}
    assert cars["area_low"].tolist()[1:] == [0, 1024, 9216] and cars["area_high"].tolist()[1:] == [1024, 9216, np.inf]


def test_ignored_pixels_are_not_compared(tmp_path: Path) -> None:
    label, prediction = squares(8, 8), squares(8, 8)
    prediction[:, :130] = 2
    label[:, :130] = 255
    evaluation = evaluate(PAINTED, write_folder(tmp_path, [label], [prediction], "road\ncar *\nsign"), progress=False)
    assert evaluation.mean_iou == 1.0 and evaluation.pixels == label.size // 2


def test_without_objects_the_class_rows_are_the_same(tmp_path: Path) -> None:
    data = write_folder(tmp_path, [squares(4, 8)], [squares(8, 4)], "road\ncar *\nsign")
    fast, full = evaluate(PAINTED, data, objects=False, progress=False), evaluate(PAINTED, data, progress=False)
    assert set(fast.table["size_bin"]) == {"all"} and fast.table["n_objects"].isna().all()
    shared = ["class", "size_bin", "iou", "pixels"]
    pd.testing.assert_frame_equal(fast.table[shared], full.table[shared].iloc[:3])


def test_limit_spaces_the_images_evenly(tmp_path: Path) -> None:
    labels = [np.full((8, 8), i // 2, np.uint8) for i in range(5)]  # classes 0, 0, 1, 1, 2
    data = write_folder(tmp_path, labels, labels, "road\ncar *\nsign")
    assert evaluate(PAINTED, data, limit=3, progress=False).confusion.diagonal().tolist() == [64, 64, 64]
    assert evaluate(PAINTED, data, limit=50, progress=False).n_images == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [({"limit": 0}, "limit must be at least 1"), ({"size_bins": "thirds"}, "one of quartiles, coco, not 'thirds'")],
)
def test_options_that_make_no_sense(options: dict, message: str) -> None:
    model = ScaleAttention(classes=5, backbone="tiny")
    with pytest.raises(AnalysisError, match=message):
        evaluate(model, open_dataset("shapes", "val"), progress=False, **options)


def test_another_number_of_classes_is_refused() -> None:
    with pytest.raises(AnalysisError, match="the model has 11 classes and data set shapes 5"):
        evaluate(ScaleAttention(classes=11, backbone="tiny"), open_dataset("shapes", "val"), progress=False)


def test_images_without_labels_are_refused(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "images" / "street.png")
    (tmp_path / "classes.txt").write_text("road\ncar *\nsign")
    with pytest.raises(AnalysisError, match="street has no label"):
        evaluate(PAINTED, open_dataset(f"folder:{tmp_path}", "all"), progress=False)


def test_a_real_model_on_photographs() -> None:
    if not CAMVID.is_dir():
        pytest.skip(f"needs the photographs in {CAMVID}")
    data = open_dataset(f"camvid:{CAMVID}", "val")
    torch.manual_seed(0)
    model = ScaleAttention(classes=11, backbone="tiny", head_width=16).train()
    evaluation = evaluate(model, data, limit=2, progress=False)
    assert model.training
    first, last = data[0], data[len(data) - 1]
    truth = np.stack([s.label for s in (first, last) if s.label is not None])
    predicted = np.stack([predict(model, s.image).argmax(dim=0).numpy() for s in (first, last)])
    predicted[truth == 255] = 255
    for c, name in enumerate(data.classes):
        union = ((truth == c) | (predicted == c)).sum()
        expected = ((truth == c) & (predicted == c)).sum() / union if union else np.nan
        np.testing.assert_allclose(evaluation.iou[name], expected)
    by_size = evaluation.table[evaluation.table["size_bin"] != "all"]
    assert by_size["n_objects"].sum() == len(first.objects) + len(last.objects)
    assert by_size["iou"].between(0, 1).all()

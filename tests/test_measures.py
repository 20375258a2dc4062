"""Measures against their definitions, written out naively."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from analysis.datasets.sample import Objects, connected_objects, objects_of_instances
from analysis.errors import AnalysisError
from analysis.measures import (
    attention_columns,
    attention_received,
    attention_rows,
    confusion,
    iou,
    mean_iou,
    object_iou,
    relative_contribution,
    winning_branch,
)
from analysis.models import PositionAttention
from analysis.views import overlap

SIDE = 12
MAPS = arrays(np.uint8, (SIDE, SIDE), elements=st.sampled_from([0, 0, 0, 1, 1, 2, 255]))
PREDICTIONS = arrays(np.uint8, (SIDE, SIDE), elements=st.integers(0, 2))
INSTANCES = arrays(np.int32, (SIDE, SIDE), elements=st.integers(0, 4))


def naive_object_iou(prediction: np.ndarray, label: np.ndarray, objects: Objects, ring: int) -> list[float]:
    """DESIGN 5, pixel by pixel."""
    height, width = label.shape
    pixels = {k + 1: np.argwhere(objects.map == k + 1) for k in range(len(objects))}
    result = []
    for k, points in pixels.items():
        c = objects.classes[k - 1]
        rivals = [pixels[other] for other in pixels if other != k and objects.classes[other - 1] == c]
        false = 0
        for y in range(height):
            for x in range(width):
                truth = label[y, x] == c or any((p == (y, x)).all(axis=1).any() for p in [points, *rivals])
                if prediction[y, x] != c or label[y, x] == 255 or truth:
                    continue
                squared = [((p - (y, x)) ** 2).sum(axis=1).min(initial=10**6) for p in [points, *rivals]]
                false += squared[0] <= ring**2 and all(squared[0] < other for other in squared[1:])
        hit = sum(prediction[y, x] == c for y, x in points)
        result.append(hit / (len(points) + false) if len(points) + false else float("nan"))
    return result


@settings(max_examples=40, deadline=None)
@given(MAPS, PREDICTIONS, st.integers(0, 5))
def test_object_iou_is_its_definition_on_regions(label: np.ndarray, prediction: np.ndarray, ring: int) -> None:
    objects = connected_objects(label, frozenset({1, 2}))
    measured = object_iou(prediction, label, objects, ring)
    np.testing.assert_allclose(measured, naive_object_iou(prediction, label, objects, ring))


@settings(max_examples=40, deadline=None)
@given(MAPS, PREDICTIONS, INSTANCES)
def test_object_iou_is_its_definition_on_instances(label: np.ndarray, prediction: np.ndarray, ids: np.ndarray) -> None:
    objects = objects_of_instances(label, ids, frozenset({1, 2}))
    np.testing.assert_allclose(
        object_iou(prediction, label, objects, 3), naive_object_iou(prediction, label, objects, 3)
    )


def two_squares() -> tuple[np.ndarray, Objects]:
    """Two 2 x 2 objects of class 1, four columns apart."""
    label = np.zeros((6, 10), np.uint8)
    label[2:4, 1:3] = label[2:4, 7:9] = 1
    return label, connected_objects(label, frozenset({1}))


def test_a_perfect_prediction_has_object_iou_one() -> None:
    label, objects = two_squares()
    assert object_iou(label, label, objects, 8).tolist() == [1.0, 1.0]


def test_false_positives_go_to_the_nearer_object_only() -> None:
    label, objects = two_squares()
    prediction = label.copy()
    prediction[2:4, 3:5] = 1  # columns 3 and 4 are one and two pixels from the left square
    assert object_iou(prediction, label, objects, 8).tolist() == [0.5, 1.0]
    assert object_iou(prediction, label, objects, 1).tolist() == [4 / 6, 1.0]  # the ring ends before column 4
    assert object_iou(prediction, label, objects, 0).tolist() == [1.0, 1.0]


def test_a_false_positive_as_near_to_two_objects_counts_for_neither() -> None:
    label = np.zeros((1, 5), np.uint8)
    label[0, [0, 4]] = 1
    prediction = np.ones((1, 5), np.uint8)
    assert object_iou(prediction, label, connected_objects(label, frozenset({1})), 3).tolist() == [0.5, 0.5]


def test_void_and_other_objects_of_the_class_are_no_false_positives() -> None:
    label, objects = two_squares()
    label[2:4, 3:7] = 255
    prediction = np.where(label == 255, 1, label)
    assert object_iou(prediction, label, objects, 8).tolist() == [1.0, 1.0]


def test_no_objects_give_no_numbers() -> None:
    label = np.zeros((4, 4), np.uint8)
    assert object_iou(label, label, connected_objects(label, frozenset({1})), 2).shape == (0,)


@given(st.lists(st.tuples(PREDICTIONS, MAPS), min_size=1, max_size=3))
def test_confusion_adds_up_and_counts_every_labelled_pixel(images: list[tuple[np.ndarray, np.ndarray]]) -> None:
    whole = confusion(np.stack([p for p, _ in images]), np.stack([y for _, y in images]), 3)
    assert (whole == sum(confusion(p, y, 3) for p, y in images)).all()
    assert whole.sum() == sum((y != 255).sum() for _, y in images)
    assert whole.dtype == np.int64
    for truth in range(3):
        for predicted in range(3):
            assert whole[truth, predicted] == sum(((y == truth) & (p == predicted)).sum() for p, y in images)


def test_iou_by_hand() -> None:
    matrix = np.array([[3, 1, 0, 0], [2, 4, 0, 0], [0, 0, 0, 0], [0, 0, 0, 5]])
    np.testing.assert_allclose(iou(matrix), [3 / 6, 4 / 7, np.nan, 1.0])
    assert mean_iou(matrix) == pytest.approx((3 / 6 + 4 / 7 + 1) / 3)
    assert np.isnan(mean_iou(np.zeros((2, 2), np.int64)))


@pytest.mark.parametrize(
    ("prediction", "label", "message"),
    [
        (np.zeros((2, 3), int), np.zeros((3, 2), int), r"prediction is \(2, 3\) and the label \(3, 2\)"),
        (np.full((2, 2), 7), np.zeros((2, 2), int), "class 7 in the prediction; known are 0 to 2"),
        (np.zeros((2, 2), int), np.full((2, 2), 3), "class 3 in the label"),
    ],
)
def test_confusion_refuses(prediction: np.ndarray, label: np.ndarray, message: str) -> None:
    with pytest.raises(AnalysisError, match=message):
        confusion(prediction, label, 3)


def test_relative_contribution_by_hand_and_in_half_precision() -> None:
    attended, features = torch.full((2, 3, 4, 4), 3.0), torch.full((2, 3, 4, 4), 6.0)
    assert relative_contribution(torch.tensor([-0.5]), attended, features).item() == pytest.approx(0.25)
    # The sum of squares passes the largest half: only a float32 norm survives.
    half = relative_contribution(torch.tensor([1.0]), 200 * attended.half(), 200 * features.half())
    assert half.shape == () and half.dtype == torch.float32 and half.item() == pytest.approx(0.5)


def full_attention(query: Tensor, key: Tensor) -> Tensor:
    """Equation (1) of Fu et al. with the N x N matrix written out: s[j, i]."""
    return torch.softmax(query.flatten(1).T @ key.flatten(1), dim=1)


@pytest.mark.parametrize("size", [(5, 7), (40, 41)])  # the second has more cells than one chunk of queries
def test_rows_and_columns_are_those_of_the_full_matrix(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    query, key = torch.randn(4, *size), torch.randn(4, *size)
    positions = [(0, 0), (3, 2), (size[0] - 1, size[1] - 1)]
    flat = [y * size[1] + x for y, x in positions]
    full = full_attention(query, key)
    rows, columns = attention_rows(query, key, positions), attention_columns(query, key, positions)
    assert rows.shape == columns.shape == (3, *size)
    torch.testing.assert_close(rows.flatten(1), full[flat])
    torch.testing.assert_close(columns.flatten(1), full[:, flat].T)
    torch.testing.assert_close(rows.sum(dim=(1, 2)), torch.ones(3))


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (40, 41), (3, 500)])
def test_what_cells_receive_is_the_sum_of_the_columns(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    query, key = 2 * torch.randn(4, *size), 2 * torch.randn(4, *size)
    received = full_attention(query.double(), key.double()).sum(dim=0).view(size)
    torch.testing.assert_close(attention_received(query, key).double(), received, rtol=1e-5, atol=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(attention_received(query, key).double(), received, rtol=1e-5, atol=1e-5)


def test_a_row_times_the_values_is_what_the_model_attends() -> None:
    torch.manual_seed(0)
    pam = PositionAttention(16).eval()
    pam.gate.data.fill_(1.0)
    features = torch.randn(1, 16, 6, 9)
    with torch.no_grad():
        attended = (pam(features) - features)[0]
        query, key, value = (m(features)[0] for m in (pam.query, pam.key, pam.value))
    row = attention_rows(query, key, [(4, 7)])[0]
    torch.testing.assert_close(torch.einsum("hw,chw->c", row, value), attended[:, 4, 7])
    columns = attention_columns(query, key, [(y, x) for y in range(6) for x in range(9)])
    torch.testing.assert_close(torch.einsum("nhw,cn->chw", columns, value.flatten(1)), attended)


def test_attention_is_float32_for_halves_and_under_autocast() -> None:
    torch.manual_seed(0)
    query, key = 30 * torch.randn(4, 5, 5), 30 * torch.randn(4, 5, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rows, columns = attention_rows(query, key, [(1, 1)]), attention_columns(query, key, [(1, 1)])
    torch.testing.assert_close(rows, attention_rows(query, key, [(1, 1)]))
    torch.testing.assert_close(columns, attention_columns(query, key, [(1, 1)]))
    assert attention_rows(query.half(), key.half(), [(1, 1)]).dtype == torch.float32


@pytest.mark.parametrize("measure", [attention_rows, attention_columns])
@pytest.mark.parametrize("cell", [(5, 0), (0, -1)])
def test_a_cell_outside_the_map_is_refused(measure: type, cell: tuple[int, int]) -> None:
    with pytest.raises(AnalysisError, match="outside the map of 5 x 7 cells"):
        measure(torch.zeros(2, 5, 7), torch.zeros(2, 5, 7), [cell])


def test_winning_branch() -> None:
    weights = np.array([[[0.2, 0.5]], [[0.7, 0.25]], [[0.1, 0.25]]])
    assert winning_branch(weights).tolist() == [[1, 0]]


@given(arrays(np.float32, (4, 5), elements=st.floats(0, 1, width=32)), st.floats(0.5, 8))
def test_overlap_of_a_map_with_itself_is_one_whatever_its_sum(map_: np.ndarray, factor: float) -> None:
    map_[0, 0] = 1
    assert overlap(map_, factor * map_) == pytest.approx(1, abs=1e-5)
    elsewhere = np.zeros_like(map_)
    elsewhere[1, 1] = 3
    assert overlap(map_, elsewhere) == pytest.approx(map_[1, 1] / map_.sum(), abs=1e-5)
    assert overlap(elsewhere, map_) == pytest.approx(overlap(map_, elsewhere))

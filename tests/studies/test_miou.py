"""Mean IoU by row weights: that of summed confusions, whatever the weights."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.errors import AnalysisError
from analysis.measures import confusion, iou, mean_iou
from analysis.studies.miou import class_iou, class_names, confusion_rows, difference, miou

CLASSES = ("a", "b", "c")


def maps(random: np.random.Generator, n: int) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(random.integers(0, 3, (4, 5)), random.choice([0, 1, 2, 255], (4, 5))) for _ in range(n)]


@given(st.integers(0, 10**6), st.lists(st.integers(0, 3), min_size=1, max_size=6).filter(any))
def test_weights_are_counts_of_images(seed: int, counts: list[int]) -> None:
    pairs = maps(np.random.default_rng(seed), len(counts))
    table = pd.DataFrame([confusion_rows(prediction, label, CLASSES) for prediction, label in pairs])
    total = sum(n * confusion(*pair, 3) for n, pair in zip(counts, pairs, strict=True))
    weights = np.array([counts, counts], float)
    assert class_names(table) == list(CLASSES)
    np.testing.assert_allclose(class_iou(table, weights), np.stack([iou(np.asarray(total))] * 2))
    np.testing.assert_allclose(miou(table, weights), mean_iou(np.asarray(total)))


def conditions() -> pd.DataFrame:
    """Eight blocks in which 'good' gets every pixel right and 'half' every second one of class a."""
    label = np.array([[0, 0, 1, 1]])
    rows = {"good": label, "half": np.array([[0, 1, 1, 1]])}
    return pd.DataFrame(
        [
            {"seed": 0, "image": f"{b}", "block": f"{b}", "condition": name, **confusion_rows(p, label, CLASSES)}
            for b in range(8)
            for name, p in rows.items()
        ]
    )


def test_a_difference_is_in_points_and_paired() -> None:
    found = difference(conditions(), "condition", "good", "half")
    assert found.effect == pytest.approx(100 * (1 - (1 / 2 + 2 / 3) / 2))
    assert found.high - found.low < 1e-9 and (found.n_blocks, found.n_objects) == (8, 8)
    assert difference(conditions(), "condition", "good", "half", "a").effect == pytest.approx(50)


def test_blocks_without_a_class_do_not_count_for_it() -> None:
    table, label = conditions(), np.array([[0, 0, 0, 0]])
    without = [
        {"seed": 0, "image": f"{b}", "block": f"{b}", "condition": name, **confusion_rows(label, label, CLASSES)}
        for b in range(8, 12)
        for name in ("good", "half")
    ]
    table = pd.concat([table, pd.DataFrame(without)], ignore_index=True)
    of = {name: difference(table, "condition", "good", "half", name) for name in ("a", "b")}
    assert (of["a"].n_blocks, of["b"].n_blocks) == (12, 8)
    with pytest.raises(AnalysisError, match="0 blocks with objects"):
        difference(table, "condition", "good", "half", "c")


def test_conditions_that_do_not_pair_are_refused() -> None:
    with pytest.raises(AnalysisError, match="there are: good, half"):
        difference(conditions(), "condition", "good", "best")
    with pytest.raises(AnalysisError, match="on the same images"):
        difference(conditions().iloc[:-1], "condition", "good", "half")

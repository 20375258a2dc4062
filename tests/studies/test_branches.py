"""Branches: CKA with known answers, planted differences between trainings, and the demo model against evaluate()."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ortho_group

from analysis.checkpoints import Checkpoint, open_checkpoint, save_checkpoint
from analysis.datasets import Dataset, open_dataset
from analysis.errors import AnalysisError
from analysis.evaluation import evaluate
from analysis.models import build
from analysis.studies.branches import (
    branches,
    distinct_scales,
)
from analysis.studies.branches.study import untrained
from analysis.studies.similarity import debiased_cka, mean_cka, told_apart
from analysis.studies.study import Result

BLOCKS = 12
CLASSES = ("road", "car")


def biased_cka(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x - x.mean(0), y - y.mean(0)
    return float(np.linalg.norm(x.T @ y) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)))


def song(k: np.ndarray, m: np.ndarray) -> float:
    """Equation 5 of Song et al., written out."""
    n, one = len(k), np.ones(len(k))
    k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
    cross = np.trace(k @ m) + (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2)) - 2 * one @ k @ m @ one / (n - 2)
    return cross / (n * (n - 3))


def test_independent_features_are_not_alike() -> None:
    rng = np.random.default_rng(0)
    pairs = [(rng.normal(size=(32, 8)), rng.normal(size=(32, 8))) for _ in range(400)]
    found = np.array([debiased_cka(x, y) for x, y in pairs])
    assert abs(found.mean()) < 3 * found.std() / np.sqrt(len(found))
    assert np.mean([biased_cka(x, y) for x, y in pairs]) == pytest.approx(0.2, abs=0.02)


def test_cka_is_the_published_formula() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(9, 3)), rng.normal(size=(9, 5))
    k, m = x @ x.T, y @ y.T
    assert debiased_cka(x, y) == pytest.approx(song(k, m) / np.sqrt(song(k, k) * song(m, m)))


@given(st.integers(0, 10**6), st.floats(1e-3, 1e3), st.floats(-100, 100))
def test_rotation_scale_and_shift_change_nothing(seed: int, factor: float, shift: float) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(12, 4)), rng.normal(size=(12, 3))
    turned = factor * x @ ortho_group.rvs(4, random_state=rng) + shift
    assert debiased_cka(x, turned) == pytest.approx(1)
    assert debiased_cka(turned, y) == pytest.approx(debiased_cka(x, y), abs=1e-6)


@given(st.integers(0, 10**6), st.integers(4, 15))
def test_objects_that_do_not_count_are_as_if_not_there(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(20, 4)), rng.normal(size=(20, 4)) + 1
    kept = rng.permutation(np.arange(20) < n)
    inside = mean_cka([x[None], y[None]], kept[None].astype(float))[0, 0, 1]
    assert inside == pytest.approx(debiased_cka(x[kept], y[kept]), nan_ok=True)


def test_too_few_objects_and_constant_features_have_no_cka() -> None:
    x = np.random.default_rng(0).normal(size=(6, 3))
    assert np.isnan(debiased_cka(x[:3], x[:3]))
    assert np.isnan(debiased_cka(x, np.ones((6, 3))))


def test_the_probe_tells_what_can_be_told() -> None:
    rng = np.random.default_rng(0)
    blocks = pd.Series(np.repeat(np.arange(10), 8))
    same = [rng.normal(size=(4, 80, 5)) for _ in range(3)]
    other = [x + 5 * i for i, x in enumerate(same)]
    assert (told_apart(other, blocks) == 1).all()
    assert told_apart(same, blocks).mean() == pytest.approx(1 / 3, abs=0.06)
    with pytest.raises(AnalysisError, match="two blocks"):
        told_apart(same, pd.Series(np.zeros(80)))


# The demo model


@pytest.fixture(scope="module")
def scenes() -> Dataset:
    whole = open_dataset("shapes", "val")
    return dataclasses.replace(whole, items=whole.items[:8])


@pytest.fixture(scope="module")
def demo() -> Checkpoint:
    return open_checkpoint("data/demo/shapes-scale")


@pytest.fixture(scope="module")
def result(demo: Checkpoint, scenes: Dataset) -> Result:
    return branches(demo, scenes, draws=2)


def test_the_fused_map_is_what_evaluate_measures(result: Result, demo: Checkpoint, scenes: Dataset) -> None:
    table = result["fusions"].set_index(["map", "class"]).miou
    expected = evaluate(demo.model, scenes, objects=False, progress=False)
    assert table["fused", "all"] == pytest.approx(100 * expected.mean_iou)
    assert table["fused", "ground"] == pytest.approx(100 * expected.iou["ground"])
    assert list(table.index.unique("map")) == ["x100", "x75", "x50", "fused", "average", "max"]


def test_features_are_one_position_of_all_branches(result: Result, scenes: Dataset) -> None:
    features = result["branch_features"]
    assert features.groupby(["image", "model"]).size().eq(3 * 2).all()
    assert len(result["similarity"]) == 2 * 3
    assert result["similarity"].cka.between(-1, 1.01).all()
    assert result["scale_probe"].groupby("model").size().eq(len(scenes)).all()


def test_parts_on_disk_give_the_same_tables(result: Result, demo: Checkpoint, scenes: Dataset, tmp_path: Path) -> None:
    stored = branches(demo, scenes, tmp_path, draws=2)
    assert isinstance(stored.sources["branches"], list)  # the rows of all images are still on disk only
    assert sorted(stored.tables) == sorted(result.tables)
    for name in ("branches", "fusions", "similarity", "scale_probe"):
        pd.testing.assert_frame_equal(stored[name], result[name])
    effects = [distinct_scales(one["branch_features"])[0].effect for one in (stored, result)]
    assert effects[0] == effects[1]


def test_a_folder_of_parts_is_continued_with_the_same_images_only(
    demo: Checkpoint, scenes: Dataset, tmp_path: Path
) -> None:
    few = dataclasses.replace(scenes, items=scenes.items[:4])
    branches(demo, few, tmp_path, draws=1, similar_images=4)
    with pytest.raises(AnalysisError, match="measured with similar"):
        branches(demo, few, tmp_path, draws=1, similar_images=2)


def test_one_block_has_all_but_a_probe(demo: Checkpoint, scenes: Dataset) -> None:
    items = tuple(dataclasses.replace(item, block="the only one") for item in scenes.items[:4])
    tables = branches(demo, dataclasses.replace(scenes, items=items), draws=1).tables
    assert set(tables) == {"branches", "branch_features", "fusions", "similarity"}


def test_the_untrained_model_is_the_runs_own_first_checkpoint(
    demo: Checkpoint, scenes: Dataset, tmp_path: Path
) -> None:
    torch.manual_seed(7)
    for model, step in ((build(demo.spec), 0), (demo.model, 512)):
        save_checkpoint(model, tmp_path / f"step_{step:06d}.safetensors", demo.classes, {"step": step})
    start, end = (open_checkpoint(tmp_path / f"step_{step:06d}.safetensors") for step in (0, 512))
    for mine, theirs in zip(untrained(end).parameters(), start.model.parameters(), strict=True):
        assert mine.equal(theirs)
    effect = distinct_scales(branches(start, scenes, draws=1)["branch_features"])[0].effect
    assert effect is not None
    assert effect.effect == 0


def test_without_a_first_checkpoint_the_imagenet_backbone_stays() -> None:
    checkpoint = open_checkpoint("data/demo/camvid-scale")
    once, again = untrained(checkpoint), untrained(checkpoint)
    assert all(a.equal(b) for a, b in zip(once.parameters(), again.parameters(), strict=True))
    trained = checkpoint.model.state_dict()["classifier.weight"]
    assert not once.state_dict()["classifier.weight"].equal(trained)


def test_other_models_and_classes_are_refused(demo: Checkpoint, scenes: Dataset) -> None:
    with pytest.raises(AnalysisError, match="no branches"):
        branches(open_checkpoint("data/demo/shapes-dual"), scenes)
    with pytest.raises(AnalysisError, match="5 classes and data set shapes 1"):
        branches(demo, dataclasses.replace(scenes, classes=("all",)))


def test_the_probe_is_tested_on_blocks_that_it_has_not_seen() -> None:
    """Each block tells its branches apart in a direction of its own: that is no help on another block."""
    rng = np.random.default_rng(0)
    blocks = pd.Series(np.repeat(np.arange(4), 10))
    own = np.eye(4)[blocks]
    features = [rng.normal(scale=0.1, size=(8, 40, 4)) + (1 - 2 * branch) * own for branch in range(2)]
    assert told_apart(features, blocks).mean() == pytest.approx(0.5, abs=0.1)


def test_no_probe_for_models_trained_to_be_told_apart(demo: Checkpoint, scenes: Dataset) -> None:
    demo.model.spec, kept = dataclasses.replace(demo.model.spec, extra_supervision="scale_classifier"), demo.model.spec
    try:
        few = dataclasses.replace(scenes, items=scenes.items[:4])
        assert "scale_probe" not in branches(demo, few, draws=1).tables
    finally:
        demo.model.spec = kept

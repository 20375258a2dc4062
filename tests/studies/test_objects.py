"""The objects table: regions and means against masks one by one, the rows of a real model, and the redrawn heads."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from analysis import open_checkpoint
from analysis.datasets import Sample, open_dataset, things_of
from analysis.errors import AnalysisError
from analysis.evaluation import RING
from analysis.measures import object_iou
from analysis.models import ScaleAttention, predict
from analysis.studies.object_scale import object_scale
from analysis.studies.object_scale.head import attending, redrawn_heads, redrawn_weights
from analysis.studies.object_scale.objects import ORDER, ObjectScale
from analysis.studies.object_scale.one_image import objects_of
from analysis.studies.object_scale.probe import chosen, probe_object, resized_in
from analysis.studies.object_scale.regions import outlines, placebo_means, regions_of

ROOT = Path(__file__).parents[2]
CAMVID = ROOT.parent / "shared" / "camvid"


def sample_of(label: np.ndarray) -> Sample:
    """Things are classes 1 and 2."""
    image = np.zeros((*label.shape, 3), np.uint8)
    return Sample("street", image, label.astype(np.uint8), "", "", None, frozenset({1, 2}))


def blocks(seed: int, height: int, width: int) -> np.ndarray:
    """A label map of squares of 6 pixels; 255 is void."""
    values = np.random.default_rng(seed).choice([0, 1, 2, 3, 255], size=(height, width))
    return values.repeat(6, axis=0).repeat(6, axis=1)


label_maps = st.builds(blocks, st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 6)).filter(
    lambda label: bool((label != 255).any())
)


@given(label_maps)
def test_regions_and_means_are_those_of_masks_one_by_one(label: np.ndarray) -> None:
    sample = sample_of(label)
    regions, maps = regions_of(sample, label), np.random.default_rng(0).random((2, *label.shape))
    np.testing.assert_array_equal(regions.map == 0, label == 255)
    assert regions.thing.sum() == len(sample.objects)
    for k in range(len(regions)):
        mask = regions.map == k + 1
        ys, xs = np.nonzero(mask)
        assert np.unique(label[mask]) == regions.classes[k] and regions.thing[k] == (regions.classes[k] in (1, 2))
        assert regions.area[k] == mask.sum()
        assert regions.bounds[k].tolist() == [ys.min(), ys.max() + 1, xs.min(), xs.max() + 1]
        np.testing.assert_allclose(regions.centroids[k], [ys.mean(), xs.mean()])
        np.testing.assert_allclose(regions.means(maps)[k], maps[:, mask].mean(axis=1))


@given(label_maps, st.integers(1, 5))
def test_interior_ring_and_contour_are_those_of_masks_one_by_one(label: np.ndarray, cell: int) -> None:
    regions, random = regions_of(sample_of(label), label), np.random.default_rng(0)
    maps, centres = random.random((2, *label.shape)), random.random(label.shape) < 0.5
    found = outlines(maps, regions, cell, centres)
    assert np.isnan(found.ring[~regions.thing]).all() and np.isnan(found.contour[~regions.thing]).all()
    for k in np.flatnonzero(regions.thing):
        mask, whole = regions.map == k + 1, (regions.map == k + 1).all()
        depth = np.full(label.shape, np.inf) if whole else ndimage.distance_transform_edt(mask)
        distance = ndimage.distance_transform_edt(~mask)
        assert found.contour[k] == np.mean(depth[mask] <= 1)
        for value, where in (
            (found.interior[k], mask & (depth > cell) & centres),
            (found.ring[k], (distance <= cell) & (label != regions.classes[k])),
        ):
            np.testing.assert_allclose(value, maps[:, where].mean(axis=1) if where.any() else np.nan)


def test_the_placebo_lies_at_the_same_height_beside_the_objects_of_the_class() -> None:
    label = np.zeros((40, 100), np.uint8)
    label[10:20, 30:40] = label[15:18, 60:80] = 1
    label[30:35, 5:10] = 2
    regions = regions_of(sample_of(label), label)
    height, on_cars = np.mgrid[:40, :100][0].astype(float), (label == 1).astype(float)
    moved = placebo_means(np.stack([height, on_cars]), regions, np.random.default_rng(0))
    np.testing.assert_allclose(moved[:3], [[14.5, 0], [16, 0], [32, 0]])
    assert np.isnan(moved[3:]).all()  # stuff


def test_what_a_placebo_cannot_avoid_is_left_out() -> None:
    label = np.zeros((20, 100), np.uint8)
    label[5:15, 10:80] = 1  # wider than what is free
    label[16:18] = 2  # as wide as the image
    moved = placebo_means((label == 1)[None].astype(float), regions_of(sample_of(label), label), _random())
    assert moved[0, 0] == 0 and np.isnan(moved[1, 0])


def _random() -> np.random.Generator:
    return np.random.default_rng(0)


@given(label_maps)
@settings(max_examples=20)
def test_a_map_that_is_the_same_along_rows_has_no_placebo_effect(label: np.ndarray) -> None:
    """Of an object that its own class does not crowd: what depends on height alone is the same at the placebo."""
    regions, rows = regions_of(sample_of(label), label), np.arange(len(label), dtype=float)[:, None]
    maps = (rows + np.zeros(label.shape))[None]
    inside, moved = regions.means(maps), placebo_means(maps, regions, _random())
    alone = regions.thing & ((regions.bounds[:, 1] - regions.bounds[:, 0]) == 6)  # one row of squares
    there = alone & ~np.isnan(moved[:, 0])
    np.testing.assert_allclose(moved[there], inside[there])


def test_rows_of_a_real_model() -> None:
    checkpoint = open_checkpoint(ROOT / "data/demo/shapes-scale")
    dataset = open_dataset("shapes", "val")
    sample = dataset[3]
    study = ObjectScale(attending(checkpoint), dataset.classes)
    assert sample.label is not None
    tables, again = (study.rows(sample, sample.label, study.see(sample)) for _ in range(2))
    objects = tables["objects"]
    pd.testing.assert_frame_equal(objects, again["objects"])
    assert tuple(objects) == ORDER and set(tables["objects_redrawn"]) < set(ORDER)
    np.testing.assert_allclose(objects.groupby("object")["weight_inside"].sum(), 1, atol=1e-6)
    np.testing.assert_allclose(objects.groupby("object")["wins"].sum(), 1)
    first = objects[objects["object"] == 1]
    mask = sample.objects.map == 1
    assert first["area"].tolist() == [mask.sum()] * 3
    maps = study.see(sample).weights[0]
    np.testing.assert_allclose(first["weight_inside"], maps[:, mask].mean(axis=1), rtol=1e-5)
    np.testing.assert_allclose(first["wins"], np.bincount(maps.argmax(0)[mask], minlength=3) / mask.sum())
    prediction = predict(checkpoint.model, sample.image).argmax(dim=0).numpy()
    assert first["iou"].iloc[0] == object_iou(prediction, sample.label, sample.objects, RING)[0]
    cells = 65 * 65 / 256**2
    np.testing.assert_allclose(first["cells"], mask.sum() * cells)


def test_redrawn_heads_have_the_spread_of_the_trained_one_and_know_nothing() -> None:
    model, generator = attending(open_checkpoint(ROOT / "data/demo/shapes-scale")), torch.Generator().manual_seed(0)
    heads, again = redrawn_heads(model), redrawn_heads(model)
    first = heads[0]
    assert isinstance(first, torch.nn.Conv2d)
    inputs = torch.randn(1, first.in_channels, 33, 33, generator=generator)
    for scale in (0.0, 3.0):
        logits = scale * torch.randn(1, 3, 33, 33, generator=generator) + torch.tensor([1.0, 0.0, -1.0]).view(
            1, 3, 1, 1
        )
        trained = logits.softmax(dim=1)
        each = redrawn_weights(heads, inputs, trained)
        assert torch.equal(each, redrawn_weights(again, inputs, trained))
        weights = each.mean(dim=0, keepdim=True)
        assert torch.allclose(weights.sum(dim=1), torch.ones(()))
        assert torch.allclose(weights.mean(dim=(2, 3)), trained.mean(dim=(2, 3)), atol=0.05)
        assert (weights.std(dim=(2, 3)) < 0.05).all()  # of one head it is that of ``trained``, up to 0.4


@pytest.mark.parametrize("fusion", ["average", "max"])
def test_models_without_learnt_weights_are_refused(fusion: str) -> None:
    checkpoint = open_checkpoint(ROOT / "data/demo/shapes-scale")
    model = ScaleAttention(classes=5, backbone="tiny", fusion=fusion)
    with pytest.raises(AnalysisError, match=f"fuses its scales by {fusion}, so no weight is learnt"):
        attending(dataclasses.replace(checkpoint, model=model))
    with pytest.raises(AnalysisError, match=r"shapes-dual.* has no attention over scales"):
        attending(open_checkpoint(ROOT / "data/demo/shapes-dual"))


def test_an_image_without_labels_is_refused() -> None:
    dataset = open_dataset("shapes", "val")
    blind = dataclasses.replace(
        dataset, items=dataset.items[:1], read=lambda d, item: dataclasses.replace(dataset.read(d, item), label=None)
    )
    with pytest.raises(AnalysisError, match="has no label"):
        object_scale(open_checkpoint(ROOT / "data/demo/shapes-scale"), blind)


def test_an_image_of_nothing_but_void_has_no_rows() -> None:
    void = sample_of(np.full((64, 64), 255))
    study = ObjectScale(attending(open_checkpoint(ROOT / "data/demo/shapes-scale")), ("a",) * 5)
    assert void.label is not None
    assert study.rows(void, void.label, study.see(void)) == {}


@pytest.mark.slow
def test_photographs_cost_little_more_than_their_forwards() -> None:
    if not CAMVID.is_dir():
        pytest.skip(f"needs the photographs in {CAMVID}")
    dataset = open_dataset(f"camvid:{CAMVID}", "blocks-odd")
    checkpoint = open_checkpoint(ROOT / "data/demo/camvid-scale")
    study = ObjectScale(attending(checkpoint), dataset.classes)
    ratios = []
    for sample in (dataset[i] for i in range(0, len(dataset), 20)):
        assert sample.label is not None
        seen = study.see(sample)
        rows = seconds(lambda one=sample, label=sample.label, seen=seen: study.rows(one, label, seen))
        ratios.append(rows / seconds(lambda one=sample: study.see(one)))
    assert np.median(ratios) < 0.25  # 0.11 on a quiet machine; this one is shared


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def test_objects_of_one_photograph_are_those_of_the_study() -> None:
    checkpoint = open_checkpoint(ROOT / "data/demo/shapes-scale")
    dataset = open_dataset("shapes", "val")
    sample, model = dataset[0], checkpoint.model
    assert isinstance(model, ScaleAttention) and sample.label is not None
    seen = objects_of(model, sample, sample.label, dataset.things, dataset.classes)
    study = ObjectScale(model, dataset.classes)
    wanted = study.rows(sample, sample.label, study.see(sample))["objects"]
    columns = ["object", "class", "area", "scale", "weight_inside", "weight_placebo", "wins", "iou"]
    pd.testing.assert_frame_equal(seen.table[columns], wanted[wanted["thing"]][columns].reset_index(drop=True))
    worth = seen.table.groupby("object")["shapley"].sum()
    assert worth.notna().all() and len(worth) == len(sample.objects)


def test_regions_of_a_prediction_stand_for_objects() -> None:
    checkpoint = open_checkpoint(ROOT / "data/demo/shapes-scale")
    sample, model = open_dataset("shapes", "val")[0], checkpoint.model
    assert isinstance(model, ScaleAttention)
    label = predict(model, sample.image).argmax(dim=0).byte().numpy()
    bare = dataclasses.replace(sample, label=None, instances=None, things=frozenset())
    seen = objects_of(model, bare, label, things_of(checkpoint.classes), checkpoint.classes)
    assert len(seen.objects) and (label[seen.objects.map == 1] == seen.objects.classes[0]).all()
    nothing = objects_of(model, bare, np.zeros_like(label), things_of(checkpoint.classes), checkpoint.classes)
    assert nothing.table.empty and "shapley" in nothing.table


def test_one_object_is_probed_as_the_study_does() -> None:
    checkpoint = open_checkpoint(ROOT / "data/demo/shapes-scale")
    sample, model = open_dataset("shapes", "val")[0], checkpoint.model
    assert isinstance(model, ScaleAttention) and sample.label is not None
    seen = objects_of(model, sample, sample.label, sample.things, checkpoint.classes)
    k = chosen(sample, seen.maps.cell, 1)[0][0]
    rows, shift = probe_object(model, sample, k, checkpoint.classes, seen.maps.cell)
    assert set(rows["kind"]) == {"object", "placebo"} and (rows.groupby(["kind", "factor"]).size() == 3).all()
    totals = rows.groupby(["kind", "factor"])["weight_inside"].sum()
    np.testing.assert_allclose(totals, 1, atol=1e-4)
    other = min(rows["factor"])
    same, changed = resized_in(sample, k, 1.0), resized_in(sample, k, other)
    mask = sample.objects.map == k
    assert np.abs(same[mask].astype(int) - sample.image[mask]).mean() < 2 < np.abs(changed.astype(int) - same).max()
    assert (resized_in(sample, k, other, shift)[mask] == sample.image[mask]).all()
    with pytest.raises(AnalysisError, match="object 1 touches the border, or is below a cell"):
        probe_object(model, sample, 1, checkpoint.classes, cell=1e9)

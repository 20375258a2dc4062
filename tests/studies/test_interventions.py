"""Interventions on the scale weights: the same as through the taps, and right about planted models."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from planted_branches import CLASSES, PlantedBranches, Rule, scenes
from torch import Tensor

from analysis import intervene, open_checkpoint
from analysis.checkpoints import Checkpoint
from analysis.datasets import Dataset, Sample, open_dataset
from analysis.evaluation import RING
from analysis.measures import object_iou
from analysis.models import predict
from analysis.statistics import judge
from analysis.studies.object_scale.donors import Donors, find_donors
from analysis.studies.object_scale.head import attending
from analysis.studies.object_scale.interventions import (
    flattened,
    intervention_rows,
    owners,
    weights_matter_intervened,
)
from analysis.studies.object_scale.maps import Maps, footprints, see_maps, weights_inside
from analysis.studies.object_scale.sizes import interventions
from analysis.studies.object_scale.whole import large_objects, object_scale, small_objects, weights_matter
from analysis.studies.study import Result

ROOT = Path(__file__).parents[2]
IDENTITY = {"checkpoint": "planted", "recipe": "planted", "seed": 0, "dataset": "planted", "split": "all"}
NOBODY = Donors(np.zeros((0, 3)), np.zeros(0, int), np.zeros(0, object))


def demo() -> Checkpoint:
    return open_checkpoint(ROOT / "data" / "demo" / "shapes-scale")


def of(rule: Rule, dataset: Dataset) -> tuple[PlantedBranches, Donors]:
    """The planted model, and the donors that it gives."""
    model = PlantedBranches(rule)
    checkpoint = dataclasses.replace(demo(), model=model, spec=model.spec)
    return model, find_donors(model, checkpoint, dataset)


def rows_of(maps: Maps, sample: Sample, donors: Donors) -> pd.DataFrame:
    assert sample.label is not None
    footprint = footprints(sample.objects, maps)
    return intervention_rows(maps, sample, sample.label, CLASSES, donors, footprint)


def measured(rule: Rule, dataset: Dataset) -> pd.DataFrame:
    """The table object_interventions of all images."""
    model, donors = of(rule, dataset)
    samples = map(dataset.__getitem__, range(len(dataset)))
    rows = [rows_of(see_maps(model, s.image), s, donors).assign(**IDENTITY, block=s.block) for s in samples]
    return pd.concat(rows)


@pytest.fixture(scope="module")
def following() -> pd.DataFrame:
    return measured("follow", scenes(40))


def test_the_ious_are_those_of_interventions_on_the_tap() -> None:
    model, sample = PlantedBranches("follow"), scenes(1)[0]
    maps = see_maps(model, sample.image)
    table = rows_of(maps, sample, NOBODY)
    footprint = footprints(sample.objects, maps)
    owner, own = owners(footprint), weights_inside(maps.weights, footprint)

    def iou(weights: np.ndarray) -> np.ndarray:
        def changed(tap: Tensor) -> Tensor:
            return flattened(tap[0], owner, weights)[None]

        with intervene(model, {"scale.weights": changed}):
            prediction = predict(model, sample.image).argmax(dim=0).numpy()
        assert sample.label is not None
        return object_iou(prediction, sample.label, sample.objects, RING)

    of = table.set_index(["intervention", "object"])["iou"]
    np.testing.assert_allclose(of["uniform"], iou(np.full_like(own, 1 / 3)))
    np.testing.assert_allclose(of["0.5x branch only"], iou(np.tile([0, 0, 1.0], (len(own), 1))))
    np.testing.assert_allclose(table[table["intervention"] == "uniform"]["iou_baseline"], iou(own))


def test_a_flattened_object_has_its_own_mean_everywhere() -> None:
    model, sample = PlantedBranches("ignore"), scenes(1)[0]
    maps = see_maps(model, sample.image)
    footprint = footprints(sample.objects, maps)
    owner, own = owners(footprint), weights_inside(maps.weights, footprint)
    flat = flattened(maps.weights, owner, own)
    untouched = torch.from_numpy(owner == 0).view(maps.grid)
    assert torch.equal(flat[:, untouched], maps.weights[:, untouched])
    assert torch.allclose(flat.sum(dim=0), torch.ones(()))
    for k in range(len(sample.objects)):
        cells = torch.from_numpy(owner == k + 1).view(maps.grid)
        assert torch.allclose(flat[:, cells], torch.from_numpy(own[k]).float()[:, None])
    assert {1, 2} <= set(owner)


def test_donors_are_of_the_class_and_from_other_blocks() -> None:
    dataset = scenes(40)
    _, donors = of("follow", dataset)
    assert len(donors.weights) == sum(len(dataset[i].objects) for i in range(7, 40, 8))
    sample = dataset[4]
    given = donors.given_to(sample)
    np.testing.assert_array_equal(given, donors.given_to(sample))
    for k, c in enumerate(sample.objects.classes):
        allowed = donors.weights[(donors.classes == c) & (donors.blocks != sample.block)]
        assert all((allowed == vector).all(axis=1).any() for vector in given[:, k])


def test_donors_in_files_are_those_in_memory(tmp_path: Path) -> None:
    checkpoint, val = demo(), open_dataset("shapes", "val")
    few = dataclasses.replace(val, items=val.items[:20])
    in_memory, in_files, again = (
        find_donors(attending(checkpoint), checkpoint, few, out) for out in (None, tmp_path, tmp_path)
    )
    for other in (in_files, again):
        for name in ("weights", "classes", "blocks"):
            np.testing.assert_array_equal(getattr(in_memory, name), getattr(other, name))


def test_without_a_donor_an_object_has_no_shuffled_row() -> None:
    model, sample = PlantedBranches("follow"), scenes(2)[0]
    assert set(rows_of(see_maps(model, sample.image), sample, NOBODY)["intervention"]) == {
        "untouched", "uniform", "1.0x branch only", "0.75x branch only", "0.5x branch only"
    }  # fmt: skip


def test_the_table_has_a_row_per_intervention_class_and_size(following: pd.DataFrame) -> None:
    table = interventions(Result({"object_interventions": following}))
    assert tuple(table) == (
        *IDENTITY, "block", "claim", "intervention", "class", "size_bin", "iou", "iou_baseline", "n_objects"
    )  # fmt: skip
    shuffled = table[(table["intervention"] == "shuffled") & (table["class"] == "circle")].set_index("size_bin")
    quartiles = [f"quartile {i}" for i in range(1, 5)]
    assert set(shuffled.index) == {"all", *quartiles}
    assert shuffled.loc[quartiles, "n_objects"].sum() == shuffled.loc["all", "n_objects"]
    assert shuffled["n_objects"].loc[quartiles].max() - shuffled["n_objects"].loc[quartiles].min() <= 3
    mine = following[(following["intervention"] == "shuffled") & (following["class"] == "circle")]
    assert shuffled.loc["all", "iou"] == pytest.approx(mine["iou"].mean())
    assert interventions(Result({"object_interventions": following.iloc[:0]})).empty


def test_small_objects_need_the_finest_branch_and_large_ones_the_coarsest(following: pd.DataFrame) -> None:
    table = interventions(Result({"object_interventions": following}))
    iou = table[table["class"] == "all"].set_index(["intervention", "size_bin"])["iou"]
    assert iou["1.0x branch only", "quartile 1"] > iou["0.5x branch only", "quartile 1"] + 0.2
    assert iou["1.0x branch only", "quartile 4"] < iou["0.5x branch only", "quartile 4"] - 0.2


def test_weights_that_follow_are_missed_when_shuffled(following: pd.DataFrame) -> None:
    found = weights_matter_intervened(following)
    assert [m.class_ for m in found] == ["all", "circle", "square"]
    assert found[0].effect is not None
    assert judge(found[0].effect, 1.0)[0] == "supported"


@pytest.mark.slow
@pytest.mark.parametrize(("rule", "verdict"), [("oppose", "contradicted"), ("ignore", "undecided")])
def test_weights_that_oppose_or_ignore_what_helps(rule: Rule, verdict: str) -> None:
    found = weights_matter_intervened(measured(rule, scenes(60)))[0]
    assert found.effect is not None
    assert judge(found.effect, 1.0)[0] == verdict
    assert rule == "oppose" or abs(found.effect.effect) < 5


@pytest.mark.parametrize("n_images", [1, 17])
def test_an_image_takes_one_forward_and_every_eighth_one_more(n_images: int) -> None:
    checkpoint, val, seen = demo(), open_dataset("shapes", "val"), []
    checkpoint.model.register_forward_hook(lambda *_: seen.append(1))
    object_scale(checkpoint, dataclasses.replace(val, items=val.items[:n_images]), probed_images=0)
    assert len(seen) == n_images + n_images // 8


def test_without_interventions_the_rest_is_the_same() -> None:
    checkpoint, val, seen = demo(), open_dataset("shapes", "val"), []
    few = dataclasses.replace(val, items=val.items[:9])
    whole = object_scale(checkpoint, few, probed_images=0)
    checkpoint.model.register_forward_hook(lambda *_: seen.append(1))
    observed = object_scale(checkpoint, few, probed_images=0, intervene=False)
    assert len(seen) == len(few)
    assert set(whole.tables) - set(observed.tables) == {"object_interventions", "interventions"}
    for name in observed.tables:
        pd.testing.assert_frame_equal(observed[name], whole[name])


@pytest.mark.slow
def test_the_whole_study_has_its_tables_and_measures_its_claims() -> None:
    val = open_dataset("shapes", "val")
    result = object_scale(demo(), dataclasses.replace(val, items=val.items[:8]), probed_images=8)
    rows = {"objects", "objects_redrawn", "objects_by_head", "shapley", "object_interventions", "probe"}
    names = {*rows, "size_bins", "interventions"}
    assert set(result.tables) == names
    assert all({*IDENTITY, "block"} <= set(result[name]) for name in names)
    same = result["objects"].merge(result["shapley"], on=["image", "object", "scale"], suffixes=("", "_again"))
    assert len(same) == len(result["shapley"])
    np.testing.assert_allclose(same["weight_inside"], same["weight_inside_again"], atol=1e-5)
    untouched = result["object_interventions"].query("intervention == 'untouched'")
    ious = result["objects"].query("thing and scale == 1").merge(untouched, on=["image", "object"])
    np.testing.assert_allclose(ious["iou_x"], ious["iou_y"])
    for found in (
        small_objects(result["objects"], result["objects_redrawn"], result["probe"]),
        large_objects(result["objects"], result["objects_redrawn"], result["probe"]),
        weights_matter(result["shapley"], result["object_interventions"]),
    ):
        assert {m.evidence for m in found if m.class_ == "all"} == {"observed", "intervention"}

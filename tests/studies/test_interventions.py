"""Interventions on the scale weights: the same as through the taps, and right about planted models."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from planted_branches import CLASSES, PlantedBranches, Rule, scenes, without_labels
from small_models import refused
from torch import Tensor

from analysis import intervene, open_checkpoint
from analysis.datasets import Dataset, open_dataset
from analysis.evaluation import RING
from analysis.measures import object_iou
from analysis.models import predict
from analysis.statistics import judge
from analysis.studies.object_scale.interventions import (
    COLUMNS,
    attention_fusion_swapped,
    find_donors,
    flattened,
    intervention_rows,
    interventions,
    owners,
    weights_matter_intervened,
)
from analysis.studies.object_scale.maps import footprints, see_maps, weights_inside
from analysis.studies.object_scale.whole import large_objects, object_scale, small_objects, weights_matter

ROOT = Path(__file__).parents[2]
IDENTITY = {"checkpoint": "planted", "recipe": "planted", "seed": 0, "dataset": "planted", "split": "all"}


def measured(rule: Rule, dataset: Dataset) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tables object_interventions and fusions of all images."""
    model = PlantedBranches(rule)
    donors = find_donors(model, dataset)
    rows = [
        {
            name: table.assign(**IDENTITY, block=sample.block)
            for name, table in intervention_rows(see_maps(model, sample.image), sample, CLASSES, donors).items()
        }
        for sample in map(dataset.__getitem__, range(len(dataset)))
    ]
    objects, fusions = (pd.concat([r[n] for r in rows]) for n in ("object_interventions", "fusions"))
    return objects, fusions


@pytest.fixture(scope="module")
def following() -> tuple[pd.DataFrame, pd.DataFrame]:
    return measured("follow", scenes(40))


def test_the_ious_are_those_of_interventions_on_the_tap() -> None:
    model, dataset = PlantedBranches("follow"), scenes(6)
    sample, donors = dataset[0], find_donors(model, dataset)
    maps = see_maps(model, sample.image)
    table = intervention_rows(maps, sample, CLASSES, donors)["object_interventions"]
    footprint = footprints(sample.objects, maps)
    owner, own = owners(footprint), weights_inside(maps, footprint)

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
    owner, own = owners(footprint), weights_inside(maps, footprint)
    flat = flattened(maps.weights, owner, own)
    untouched = torch.from_numpy(owner == 0).view(maps.grid)
    assert torch.equal(flat[:, untouched], maps.weights[:, untouched])
    assert torch.allclose(flat.sum(dim=0), torch.ones(()))
    for k in range(len(sample.objects)):
        cells = torch.from_numpy(owner == k + 1).view(maps.grid)
        assert torch.allclose(flat[:, cells], torch.from_numpy(own[k]).float()[:, None])
    assert {1, 2} <= set(owner)


def test_donors_are_of_the_class_and_from_other_blocks() -> None:
    model, dataset = PlantedBranches("follow"), scenes(12)
    donors = find_donors(model, dataset)
    assert len(donors.weights) == sum(len(dataset[i].objects) for i in range(12))
    sample = dataset[4]
    given = donors.given_to(sample)
    np.testing.assert_array_equal(given, donors.given_to(sample))
    for k, c in enumerate(sample.objects.classes):
        allowed = donors.weights[(donors.classes == c) & (donors.blocks != sample.block)]
        assert all((allowed == vector).all(axis=1).any() for vector in given[:, k])


def test_without_a_donor_an_object_has_no_shuffled_row() -> None:
    model, dataset = PlantedBranches("follow"), scenes(2)  # one block: its own
    sample = dataset[0]
    rows = intervention_rows(see_maps(model, sample.image), sample, CLASSES, find_donors(model, dataset))
    table = rows["object_interventions"]
    assert "shuffled" not in set(table["intervention"])
    assert set(table["intervention"]) == {
        "untouched", "uniform", "1.0x branch only", "0.75x branch only", "0.5x branch only", "average fusion",
        "max fusion",
    }  # fmt: skip


def test_no_label_is_an_error() -> None:
    model, dataset = PlantedBranches("follow"), scenes(2)
    sample = dataset[0]
    with refused("scene-000 has no label"):
        intervention_rows(see_maps(model, sample.image), without_labels(sample), CLASSES, find_donors(model, dataset))


def test_the_table_has_a_row_per_intervention_class_and_size(following: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    table = interventions(following[0])
    assert tuple(table) == COLUMNS
    shuffled = table[(table["intervention"] == "shuffled") & (table["class"] == "circle")].set_index("size_bin")
    quartiles = [f"quartile {i}" for i in range(1, 5)]
    assert set(shuffled.index) == {"all", *quartiles}
    assert shuffled.loc[quartiles, "n_objects"].sum() == shuffled.loc["all", "n_objects"]
    assert shuffled["n_objects"].loc[quartiles].max() - shuffled["n_objects"].loc[quartiles].min() <= 1
    assert set(table["claim"]) == {"weights-matter", "attention-fusion"}
    assert interventions(following[0].iloc[:0]).empty


def test_small_objects_need_the_finest_branch_and_large_ones_the_coarsest(
    following: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    table = interventions(following[0])
    iou = table[table["class"] == "all"].set_index(["intervention", "size_bin"])["iou"]
    assert iou["1.0x branch only", "quartile 1"] > iou["0.5x branch only", "quartile 1"] + 0.2
    assert iou["1.0x branch only", "quartile 4"] < iou["0.5x branch only", "quartile 4"] - 0.2


def test_weights_that_follow_are_missed_when_shuffled(following: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    found = weights_matter_intervened(following[0])
    assert [m.class_ for m in found] == ["all", "circle", "square"]
    assert found[0].effect is not None
    assert judge(found[0].effect, 1.0)[0] == "supported"


@pytest.mark.slow
@pytest.mark.parametrize(("rule", "verdict"), [("oppose", "contradicted"), ("ignore", "undecided")])
def test_weights_that_oppose_or_ignore_what_helps(rule: Rule, verdict: str) -> None:
    found = weights_matter_intervened(measured(rule, scenes(60))[0])[0]
    assert found.effect is not None
    assert judge(found.effect, 1.0)[0] == verdict
    assert rule == "oppose" or abs(found.effect.effect) < 5


def test_the_rule_of_fusion_swapped_at_test_time(following: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    found = attention_fusion_swapped(following[1])
    assert [m.class_ for m in found] == ["all", *CLASSES]
    assert found[0].effect is not None
    assert judge(found[0].effect, 0.5)[0] == "supported"
    assert (found[0].effect.n_objects, found[0].effect.n_blocks) == (40, 20)


@pytest.mark.slow
def test_the_whole_study_has_its_tables_and_measures_its_claims() -> None:
    checkpoint = open_checkpoint(ROOT / "data" / "demo" / "shapes-scale")
    val = open_dataset("shapes", "val")
    result = object_scale(checkpoint, dataclasses.replace(val, items=val.items[:8]), probed=1)
    names = {"objects", "objects_redrawn", "shapley", "interventions", "object_interventions", "fusions", "probe"}
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

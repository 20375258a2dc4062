"""Shapley values of branches: axioms, captum's, and a planted model whose branches are good for different objects."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from captum.attr import ShapleyValues
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from analysis.datasets import open_dataset
from analysis.datasets.sample import Objects, Sample
from analysis.models import ScaleAttention, predict
from analysis.models.resize import resize
from analysis.statistics import judge
from analysis.studies.object_scale.maps import Maps, footprints, see_maps, weights_inside
from analysis.studies.object_scale.shapley import (
    coalition_values,
    shapley_rows,
    shapley_values,
    weights_matter_observed,
)

CLASSES = ("sky", "ground", "circle", "square", "cross")


def seen_and_objects(seed: int, n_scales: int = 3) -> tuple[Maps, Objects]:
    """Random score maps and weights over two objects of an image of 20 x 30 pixels."""
    random = torch.Generator().manual_seed(seed)
    scores = 3 * torch.randn(n_scales, 5, 6, 8, generator=random)
    weights = torch.randn(n_scales, 6, 8, generator=random).softmax(dim=0)
    numbers = np.zeros((20, 30), np.int32)
    numbers[2:7, 3:9], numbers[10:18, 15:30] = 1, 2
    scales = (1.0, 0.75, 0.5, 0.25)[:n_scales]
    return Maps(scores, weights, scales, (20, 30), True), Objects(numbers, np.array([2, 4]))


def worth(maps: Maps, objects: Objects, k: int, coalition: Tensor) -> Tensor:
    """v of one coalition (a row of 0 and 1) for object k by the definition: fuse, enlarge, log-softmax, mean."""
    if not coalition.any():
        return torch.tensor([-math.log(5)])
    fused = (coalition.view(-1, 1, 1, 1) * maps.scores).sum(dim=0) / coalition.sum()
    log_p = resize(fused[None], maps.size, maps.align_corners)[0].log_softmax(dim=0)
    return log_p[int(objects.classes[k]), torch.from_numpy(objects.map == k + 1)].mean()[None]


@pytest.mark.parametrize("n_scales", [2, 3, 4])
def test_values_are_captums(n_scales: int) -> None:
    maps, objects = seen_and_objects(0, n_scales)
    values = shapley_values(coalition_values(maps, objects))
    for k in range(2):
        game = ShapleyValues(lambda coalition, k=k: worth(maps, objects, k, coalition[0]))
        theirs = game.attribute(torch.ones(1, n_scales))
        assert torch.allclose(values[:, k], theirs[0].double(), atol=2e-5)


def test_an_object_of_many_pixels_is_worth_what_the_definition_says() -> None:
    few, _ = seen_and_objects(1)
    numbers = 1 + (np.arange(90 * 120).reshape(90, 120) % 7 == 0).astype(np.int32)
    maps, objects = replace(few, size=(90, 120)), Objects(numbers, np.array([2, 4]))
    values = coalition_values(maps, objects)
    for coalition in range(8):
        players = torch.tensor([coalition >> s & 1 for s in range(3)])
        for k in range(2):
            assert torch.allclose(values[coalition, k], worth(maps, objects, k, players).double(), atol=1e-5)


@given(st.integers(0, 10_000), st.integers(1, 4))
def test_they_add_up_to_what_all_branches_are_worth(seed: int, n_scales: int) -> None:
    maps, objects = seen_and_objects(seed, n_scales)
    v = coalition_values(maps, objects)
    assert torch.allclose(shapley_values(v).sum(dim=0), v[-1] - v[0], atol=1e-9)
    assert torch.allclose(v[0], torch.full((2,), -math.log(5), dtype=torch.float64))


@given(st.integers(0, 10_000))
def test_equal_branches_are_worth_the_same_and_a_branch_of_no_use_nothing(seed: int) -> None:
    v = torch.from_numpy(np.random.default_rng(seed).normal(size=(8, 3)))
    for coalition in range(8):  # branch 2 adds nothing, branches 0 and 1 add the same
        v[coalition] = v[coalition & 3]
    v[2] = v[6] = v[1]
    v[5] = v[1]
    values = shapley_values(v)
    assert torch.allclose(values[2], torch.zeros(3, dtype=torch.float64))
    assert torch.allclose(values[0], values[1])


def test_values_do_not_depend_on_the_weights() -> None:
    maps, objects = seen_and_objects(3)
    other = Maps(maps.scores, maps.weights.flip(0), maps.scales, maps.size, maps.align_corners)
    assert torch.equal(coalition_values(maps, objects), coalition_values(other, objects))


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("size", [(20, 30), (6, 8), (41, 57)])
def test_a_footprint_gives_the_mean_of_the_enlarged_map(align_corners: bool, size: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    maps = Maps(torch.zeros(3, 5, 6, 8), torch.rand(3, 6, 8), (1.0, 0.75, 0.5), size, align_corners)
    numbers = random.integers(0, 4, size).astype(np.int32)
    objects = Objects(numbers, np.zeros(3, int))
    found = footprints(objects, maps)
    enlarged = resize(maps.weights[None], size, align_corners)[0].numpy()
    expected = [[float(m[numbers == k].mean()) for m in enlarged] for k in (1, 2, 3)]
    np.testing.assert_allclose(weights_inside(maps.weights, found), expected, atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=1), np.bincount(numbers.ravel())[1:])


def inside(maps: Maps, sample: Sample) -> np.ndarray:
    return weights_inside(maps.weights, footprints(sample.objects, maps))


def test_what_is_seen_is_what_the_model_computes() -> None:
    torch.manual_seed(0)
    model = ScaleAttention(5, backbone="tiny", skip=True, head_width=16)
    sample = open_dataset("shapes", "val")[0]
    maps = see_maps(model, sample.image)
    theirs = predict(model, sample.image).argmax(dim=0).numpy()
    assert (maps.prediction(maps.fused(maps.weights)) == theirs).mean() > 0.9999
    rows = shapley_rows(maps, sample, CLASSES, inside(maps, sample))
    assert list(rows) == ["image", "object", "class", "scale", "value", "weight_inside"]
    assert rows["weight_inside"].sum() == pytest.approx(1)


def planted(rule: str, n_images: int = 60, seed: int = 0) -> pd.DataFrame:
    """Images of one small and one large object. Branch 1.0x knows the small ones, 0.5x the large ones, and weights
    follow that, oppose it, or are drawn without looking."""
    random = np.random.default_rng(seed)
    tables = []
    for i in range(n_images):
        numbers = np.zeros((40, 60), np.int32)
        side = int(random.integers(4, 9))
        numbers[2 : 2 + side, 3 : 3 + side], numbers[10:36, 20:55] = 1, 2
        objects = Objects(numbers, np.array([2, 2]))
        label = np.where(numbers > 0, 2, 0).astype(np.uint8)
        truth = torch.from_numpy(np.eye(5)[label[::5, ::5]]).permute(2, 0, 1).float()
        large = torch.from_numpy(numbers[::5, ::5] == 2).float()
        quality = torch.stack([1 - large, torch.full_like(large, 0.5), large]) + 0.3 * torch.from_numpy(
            random.normal(size=(3, 1, 1))
        )
        scores = 4 * quality[:, None].float() * truth + 0.5 * torch.from_numpy(random.normal(size=(3, 5, 8, 12)))
        chance = torch.from_numpy(random.normal(size=quality.shape))
        logits = {"follow": 2 * quality, "oppose": -2 * quality, "ignore": 2 * chance}[rule]
        maps = Maps(scores.float(), logits.softmax(dim=0).float(), (1.0, 0.75, 0.5), (40, 60), False)
        image = np.zeros((40, 60, 3), np.uint8)
        sample = Sample(f"{i}", image, label, f"{i}", f"{i}", numbers, frozenset({2}))
        sample.__dict__["objects"] = objects
        tables.append(shapley_rows(maps, sample, CLASSES, inside(maps, sample)).assign(block=f"{i // 2}"))
    return pd.concat(tables, ignore_index=True).assign(seed=0, checkpoint="planted")


@pytest.mark.parametrize(("rule", "verdict"), [("follow", "supported"), ("oppose", "contradicted")])
def test_weights_that_follow_or_oppose_what_helps_are_found(rule: str, verdict: str) -> None:
    everything, circles = weights_matter_observed(planted(rule))
    assert (everything.class_, circles.class_) == ("all", "circle")
    assert everything.effect is not None
    assert everything.control is not None
    assert judge(everything.effect, 0.1, everything.control)[0] == verdict


def test_weights_drawn_without_looking_agree_with_nothing() -> None:
    found = weights_matter_observed(planted("ignore", n_images=250))[0]
    assert found.effect is not None
    assert found.control is not None
    assert judge(found.effect, 0.1, found.control)[0] == "negligible"


def test_how_easy_an_object_is_says_nothing() -> None:
    """Large objects are easy for every branch alike, and weights follow size: no branch helps where it has weight."""
    random = np.random.default_rng(0)
    n = 1500
    size = random.normal(size=(n, 1))
    logits = np.array([2.0, 0.0, 0.5]) + size * [-1.0, 0.4, 0.6] + random.normal(size=(n, 3))
    weights = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    values = np.array([0.8, 0.5, 0.3]) + size + 0.3 * random.normal(size=(n, 3))
    table = pd.DataFrame(
        {"value": values.ravel(), "weight_inside": weights.ravel(), "scale": np.tile([1, 0.75, 0.5], n)}
    )
    names = np.arange(n).repeat(3)
    table = table.assign(image=names, object=1, block=names // 25, seed=0, checkpoint="one")
    found = weights_matter_observed(table.assign(**{"class": "car"}))[0]
    assert found.effect is not None
    assert found.control is not None
    assert found.effect.n_objects == n
    assert judge(found.effect, 0.1, found.control)[0] == "negligible"


def test_too_few_blocks_are_a_reason() -> None:
    found = weights_matter_observed(planted("follow", n_images=4))[0]
    assert found.effect is None
    assert "2 blocks with objects are too few" in found.reason

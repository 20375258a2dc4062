"""Attribution on models whose answer is known: which cell, which branch, which map does not depend on weights."""

import dataclasses
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from analysis.checkpoints import open_checkpoint
from analysis.datasets import Dataset, open_dataset
from analysis.datasets.sample import Sample
from analysis.errors import AnalysisError
from analysis.models import InputSpec, Output, ScaleAttention, ScaleSpec
from analysis.models.tap import Tap
from analysis.studies.attribution import Attribution, attribution
from analysis.studies.attribution.maps import Cells
from analysis.studies.attribution.randomisation import cascade
from analysis.studies.attribution.regions import RegionScores, choose_regions, frozen_weights, region_score
from analysis.studies.attribution.study import rank_agreement

SIZE, SIDE = 64, 8
CLASSES = ("ground", "thing")
INPUT = InputSpec(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


class LooksElsewhere(nn.Module):
    """Its logits of class 1 are everywhere the brightness of one cell, row 2 and column 5: not where the object is."""

    def __init__(self) -> None:
        super().__init__()
        self.spec = ScaleSpec(classes=2, input=INPUT)
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, image: Tensor) -> Output:
        there = image[:, :, 2 * SIDE : 3 * SIDE, 5 * SIDE : 6 * SIDE].mean(dim=(1, 2, 3)) * self.weight
        thing = there[:, None, None].expand(-1, SIZE // 4, SIZE // 4)
        return Output(torch.stack([-thing, thing], dim=1), {})


class SeesEdges(nn.Module):
    """Its "attention" is an edge detector without weights; its logits come from convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.spec = ScaleSpec(classes=2, input=INPUT)
        self.weights_tap = Tap("scale.weights")
        self.branches = ("x100", "x50")
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 3, padding=1))

    def forward(self, image: Tensor) -> Output:
        grey = image.mean(dim=1, keepdim=True)
        edges = functional.max_pool2d(grey, 3, 1, 1) + functional.max_pool2d(-grey, 3, 1, 1)
        w = self.weights_tap(torch.cat([edges, 1 - edges], dim=1))
        return Output(self.layers(image) * (w[:, :1] + 0.5 * w[:, 1:]), {})


def sample(size: int = SIZE) -> Sample:
    """A noisy picture with one object, not in row 2, column 5."""
    rng = np.random.default_rng(0)
    label = np.zeros((size, size), np.uint8)
    label[40:56, 8:30] = 1
    image = rng.integers(60, 255, (size, size, 3)).astype(np.uint8)
    image[label == 1] //= 2
    return Sample("made", image, label, "", "made", None, frozenset({1}))


def rows_of(model: nn.Module, **options: object) -> Mapping[str, pd.DataFrame]:
    return Attribution(model, CLASSES, **options).rows(sample())  # ty: ignore[invalid-argument-type]


def tiny(seed: int = 0) -> ScaleAttention:
    torch.manual_seed(seed)
    return ScaleAttention(classes=2, backbone="tiny", head_width=8, input=INPUT).eval()


def last_convolution(model: ScaleAttention) -> nn.Conv2d:
    return [module for module in model.fusion.modules() if isinstance(module, nn.Conv2d)][-1]


def test_a_score_is_the_mean_logit_of_the_frozen_region() -> None:
    region = choose_regions(sample(), np.zeros((SIZE, SIZE), int), "label", 1)[0]
    image = torch.rand(1, 3, SIZE, SIZE)
    model = tiny()
    with torch.no_grad():
        logits = model(image).logits
        score = RegionScores(model, [region], image)(image)
    mask = torch.from_numpy(region.mask)
    assert score.item() == pytest.approx(region_score(logits, 1, mask, True).item(), abs=1e-5)
    assert score.shape == (1, 1)
    assert frozen_weights(mask[None].float(), (9, 7), True).sum().item() == pytest.approx(1)


def test_attributions_find_the_cell_that_decides() -> None:
    table = rows_of(LooksElsewhere(), methods=("integrated_gradients", "occlusion"), stages=0)["attribution"]
    assert set(table.method) == {"integrated_gradients", "occlusion"}
    assert table["map"].eq("").all()
    assert (table.deletion_auc < table.deletion_auc_random).all()
    assert (table.insertion_auc > table.insertion_auc_random).all()
    # All of the score goes with the first cells: the curve is at 0 after one step, at 1 in insertion.
    assert table.deletion_auc.to_numpy() == pytest.approx(0.5 / 5)
    assert table.insertion_auc.to_numpy() == pytest.approx(1 - 0.5 / 5)


def test_deletion_at_random_loses_as_it_goes() -> None:
    orders = {"random_orders": 200, "stages": 0, "methods": ("occlusion",), "batch": 64}
    row = rows_of(LooksElsewhere(), **orders)["attribution"].iloc[0]
    assert row.deletion_auc_random == pytest.approx(0.5, abs=0.06)
    assert row.insertion_auc_random == pytest.approx(0.5, abs=0.06)


def test_ablation_finds_the_branch_that_decides() -> None:
    model = tiny()
    last = last_convolution(model)
    with torch.no_grad():
        last.weight.zero_()
        last.bias = nn.Parameter(torch.tensor([0.0, 0.0, 60.0]))
    effects = rows_of(model, methods=("attention",), stages=0)["ablation"].set_index("part").effect
    image = torch.from_numpy(sample().image).permute(2, 0, 1)[None].float() / 255
    region = choose_regions(sample(), np.zeros((SIZE, SIZE), int), "label", 1)
    with torch.no_grad():
        score = RegionScores(model, region, image)(image).item()
    assert effects["x50"] == pytest.approx(score, rel=1e-4)
    assert effects[["x100", "x75"]].to_numpy() == pytest.approx(0, abs=1e-6)


def test_a_map_that_does_not_depend_on_weights_is_flagged() -> None:
    torch.manual_seed(0)
    table = rows_of(SeesEdges(), methods=("attention", "integrated_gradients"), stages=2)["randomisation"]
    last = table[table.layer == "layers.0"].set_index("method")
    attention = last[last.index.str.startswith("attention")]
    assert attention.similarity.to_numpy() == pytest.approx(1)
    assert attention.survives.all()
    assert list(table.layer.unique()) == ["layers.2", "layers.0"]


def test_a_map_made_by_weights_is_not_flagged() -> None:
    found = []
    for seed in range(6):
        model = tiny(seed)
        with torch.no_grad():  # as if trained: weights far from the average that they start at
            last_convolution(model).weight.normal_(std=1.0)
        table = rows_of(model, methods=("attention",), stages=3)["randomisation"]
        found.append(table.groupby("method").last().similarity.mean())
    assert np.nanmean(found) < 0.3


def test_randomising_starts_at_the_output_and_leaves_the_model_alone() -> None:
    model, image = tiny(), torch.rand(1, 3, SIZE, SIZE)
    before = {name: p.clone() for name, p in model.named_parameters()}
    changed = {}
    for layer, copy in cascade(model, image, 100, seed=0):
        changed[layer] = {n for n, p in copy.named_parameters() if not p.equal(before[n])}
    stages = list(changed.values())
    assert next(iter(changed)).startswith("fusion.attention")
    assert all(a <= b for a, b in pairwise(stages))
    assert any(name.startswith("backbone") for name in stages[-1])
    assert not any(name.startswith("backbone") for name in stages[1])
    assert all(p.equal(before[name]) for name, p in model.named_parameters())


def test_the_mask_is_recorded_and_frozen() -> None:
    row = rows_of(LooksElsewhere(), methods=("occlusion",), stages=0)["regions"].iloc[0]
    box = np.unpackbits(np.frombuffer(row["mask"], np.uint8), count=row.height * row.width)
    mask = np.zeros((SIZE, SIZE), bool)
    mask[row.top : row.top + row.height, row.left : row.left + row.width] = box.reshape(row.height, row.width)
    assert np.array_equal(mask, sample().label == 1)
    assert (row.area, row.region, row["class"]) == (mask.sum(), "label", "thing")


def test_regions_of_the_prediction_need_no_label() -> None:
    unlabelled = dataclasses.replace(sample(), label=None)
    bright = Attribution(LooksElsewhere(), CLASSES, ("occlusion",), region="prediction", stages=0)  # ty: ignore
    assert bright.rows(unlabelled)["regions"].area.tolist() == [SIZE * SIZE]
    with pytest.raises(AnalysisError, match="made has no label"):
        dataclasses.replace(bright, region="label").rows(unlabelled)


def test_cells_pool_what_they_paint() -> None:
    cells = Cells.over(torch.zeros(1, 3, 50, 70), 8)
    values = torch.rand(2, len(cells), dtype=torch.double)
    assert len(cells) == 6 * 8
    assert cells.pool(cells.paint(values)[:, 0], True) == pytest.approx(values.numpy())


def test_agreement_is_spearmans() -> None:
    x = np.array([3.0, 1.0, 2.0, 5.0])
    assert rank_agreement(x, x**3) == pytest.approx(1)
    assert rank_agreement(x, -x) == pytest.approx(-1)
    assert np.isnan(rank_agreement(x, np.ones(4)))


# The demo models


@pytest.fixture(scope="module")
def scenes() -> Dataset:
    return open_dataset("shapes", "val")


FEW: Any = {"images": 2, "steps": 3, "random_orders": 1, "stages": 0}


def test_attention_to_scale_gives_the_same_table_twice(scenes: Dataset) -> None:
    checkpoint = open_checkpoint("data/demo/shapes-scale")
    methods = ("attention", "grad_cam")
    once, again = (attribution(checkpoint, scenes, methods=methods, **FEW) for _ in range(2))
    table = once["attribution"]
    pd.testing.assert_frame_equal(table, again["attribution"])
    branches = {"weights x100", "weights x75", "weights x50"}
    assert set(table["map"]) == branches
    grad_cam = {f"grad_cam scale.scores.{b}" for b in ("x100", "x75", "x50")}
    assert set(table.method) == {"attention", *grad_cam}
    assert table[table.method == "attention"].agreement.isna().all()
    assert table.groupby(["image", "object"]).size().eq(3 + 3 * 3).all()


def test_parts_on_disk_give_the_same_tables(scenes: Dataset, tmp_path: Path) -> None:
    checkpoint = open_checkpoint("data/demo/shapes-scale")
    kept, stored = (attribution(checkpoint, scenes, out, methods=("attention",), **FEW) for out in (None, tmp_path))
    for name in ("attribution", "ablation", "regions"):
        pd.testing.assert_frame_equal(stored[name], kept[name])


def test_danet_has_rows_columns_and_channel_groups(scenes: Dataset) -> None:
    checkpoint = open_checkpoint("data/demo/shapes-dual")
    channels = checkpoint.model.backbone.attention_channels
    groups = tuple(c % 3 for c in range(int(channels)))
    result = attribution(checkpoint, scenes, methods=("grad_cam",), groups=groups, **FEW)
    assert set(result["attribution"]["map"]) == {"position row", "position column"}
    assert set(result["attribution"].method) == {"grad_cam fused"}
    assert set(result["ablation"].part) == {"group 0", "group 1", "group 2"}
    with pytest.raises(AnalysisError, match="groups has 2 numbers"):
        attribution(checkpoint, scenes, methods=(), groups=(0, 1), **FEW)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"methods": ("occlusions",)}, "no attribution 'occlusions'; closest: occlusion"),
        ({"stage": 2}, "no option 'stage'; closest: stages"),
        ({"layers": ("scale.weight",)}, "scale.weights"),
        ({"layers": ("backbone",)}, "not the name of one call"),
    ],
)
def test_what_is_not_known_is_said_before_anything_runs(scenes: Dataset, options: dict, reason: str) -> None:
    with pytest.raises(AnalysisError, match=reason):
        attribution(open_checkpoint("data/demo/shapes-scale"), scenes, **options)

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
from analysis.models import DualAttention, InputSpec, Output, ScaleAttention, ScaleSpec
from analysis.models.dual_attention import gates, permuted_gates
from analysis.models.tap import Tap
from analysis.studies.attribution import Attribution, attribution
from analysis.studies.attribution.agreement import part_agreement, rank_agreement, similarity
from analysis.studies.attribution.maps import Cells, occlusion
from analysis.studies.attribution.parts import correlated_groups
from analysis.studies.attribution.randomisation import cascade
from analysis.studies.attribution.regions import Region, RegionScores, choose_regions, frozen_weights
from analysis.studies.attribution.summary import summary
from analysis.taps import capture

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
    region = choose_regions(sample(), None, 1)[0]
    image = torch.rand(1, 3, SIZE, SIZE)
    model = tiny()
    with torch.no_grad():
        logits = model(image).logits
        score = RegionScores.of(model, [region], image)(image)
    upsampled = functional.interpolate(logits, (SIZE, SIZE), mode="bilinear", align_corners=True)
    mask = torch.from_numpy(region.mask)
    expected = upsampled[0, 1, mask].mean()
    assert score.item() == pytest.approx(expected.item(), abs=1e-5)
    assert score.shape == (1, 1)
    assert frozen_weights(mask[None].float(), (9, 7), True).sum().item() == pytest.approx(1)


@pytest.mark.parametrize("fields", [{}, {"position": False}, {"permuted_gates": True}])
def test_scores_by_themselves_leave_out_only_what_they_do_not_depend_on(fields: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = DualAttention(classes=2, backbone="tiny", input=INPUT, **fields).eval()
    for gate in (*gates(model).values(), *permuted_gates(model).values()):
        nn.init.constant_(gate, 2.0)
    image = torch.rand(1, 3, 2 * SIZE, 2 * SIZE, requires_grad=True)
    mask = np.zeros((2 * SIZE, 2 * SIZE), bool)
    mask[40:56, 8:30] = True
    scores = RegionScores.of(model, [Region(1, 1, mask)], image)
    alone = scores.by_themselves()
    torch.testing.assert_close(alone(image), scores(image))
    expected, found = (torch.autograd.grad(one(image).sum(), image)[0] for one in (scores, alone))
    torch.testing.assert_close(found, expected)
    if not fields:
        with capture(model, "position.attended") as taps:
            alone(image)
        attended = taps["position.attended"][0].any(dim=0)
        assert attended.sum() < attended.numel() / 4


def test_attributions_find_the_cell_that_decides() -> None:
    tables = rows_of(LooksElsewhere(), methods=("integrated_gradients", "occlusion"), stages=0)
    table = tables["curves"]
    assert set(table["map"]) == {"integrated_gradients", "occlusion"}
    assert (table.deletion < table.deletion_random).all()
    assert (table.insertion > table.insertion_random).all()
    # All of the score goes with the first cells: the curve is at the empty score after one step, in insertion at whole.
    change = table.score - table.score_empty
    assert (table.deletion - table.score_empty).to_numpy() == pytest.approx((change * 0.5 / 4).to_numpy())
    assert (table.score - table.insertion).to_numpy() == pytest.approx((change * 0.5 / 4).to_numpy())
    assert "agreement" not in tables


def test_deletion_at_random_loses_as_it_goes() -> None:
    orders = {"random_orders": 200, "stages": 0, "methods": ("occlusion",), "batch": 64}
    row = rows_of(LooksElsewhere(), **orders)["curves"].iloc[0]
    for column in ("deletion_random", "insertion_random"):
        assert (row[column] - row.score_empty) / (row.score - row.score_empty) == pytest.approx(0.5, abs=0.06)


def test_occlusion_is_the_loss_of_logits() -> None:
    model, image = LooksElsewhere(), torch.rand(1, 3, SIZE, SIZE)
    scores = RegionScores.of(model, choose_regions(sample(), None, 1), image)  # ty: ignore[invalid-argument-type]
    effect = occlusion(scores, image, Cells.over(image, 8), 2)[0]
    with torch.no_grad():
        whole = scores(image).item()
    assert effect[2 * SIDE, 5 * SIDE].item() == pytest.approx(whole)
    assert effect[0, 0].item() == pytest.approx(0, abs=1e-6)


def test_ablation_finds_the_branch_that_decides() -> None:
    model = tiny()
    last = last_convolution(model)
    with torch.no_grad():
        last.weight.zero_()
        last.bias = nn.Parameter(torch.tensor([0.0, 0.0, 60.0]))
    effects = rows_of(model, methods=("attention",), stages=0)["ablation"].set_index("part").effect
    image = torch.from_numpy(sample().image).permute(2, 0, 1)[None].float() / 255
    region = choose_regions(sample(), None, 1)
    with torch.no_grad():
        score = RegionScores.of(model, region, image)(image).item()
    assert effects["x50"] == pytest.approx(score, rel=1e-4)
    assert effects[["x100", "x75"]].to_numpy() == pytest.approx(0, abs=1e-6)


def test_two_objects_at_once_have_the_numbers_of_each_alone() -> None:
    label = np.array(sample().label)
    label[5:20, 40:60] = 1
    two = dataclasses.replace(sample(), label=label)
    alone, both = (Attribution(tiny(), CLASSES, objects=n, stages=0).rows(two) for n in (1, 2))
    for name, table in alone.items():
        mine = both[name][both[name]["object"] == table["object"][0]].reset_index(drop=True)
        assert len(both[name]) == 2 * len(mine)
        pd.testing.assert_frame_equal(mine, table, rtol=1e-4, atol=1e-5)


def test_a_map_that_does_not_depend_on_weights_is_flagged() -> None:
    torch.manual_seed(0)
    table = rows_of(SeesEdges(), methods=("attention", "integrated_gradients"), stages=2)["randomisation"]
    last = table[table.layer == "layers.0"].set_index("map")
    attention = last[last.index.str.startswith("weights")]
    assert attention.similarity.to_numpy() == pytest.approx(1)
    assert attention.survives.all()
    assert list(table.layer.unique()) == ["layers.2", "layers.0"]
    assert not table[table.layer == "layers.2"].survives.any()
    assert set(table[table["map"] == "integrated_gradients"].layer) == {"layers.0"}  # the dear one, where it counts
    flagged = summary({"randomisation": table.assign(seed=0, block="made")}).set_index("map").survives
    assert flagged[["weights x100", "weights x50"]].all()


def test_a_map_made_by_weights_is_not_flagged() -> None:
    found = []
    for seed in range(6):
        model = tiny(seed)
        with torch.no_grad():  # as if trained: weights far from the average that they start at
            last_convolution(model).weight.normal_(std=1.0)
        table = rows_of(model, methods=("attention",), stages=3)["randomisation"]
        found.append(table.groupby("map").last().similarity.mean())
    assert np.nanmean(found) < 0.3


def test_randomising_starts_at_the_output_and_leaves_the_model_alone() -> None:
    model, image = tiny(), torch.rand(1, 3, SIZE, SIZE)
    before = {name: p.clone() for name, p in model.named_parameters()}
    changed = {}
    for redrawn in cascade(model, image, 100, seed=0):
        changed[redrawn.layer] = {n for n, p in redrawn.model.named_parameters() if not p.equal(before[n])}
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
    assert rank_agreement(x, 6 - x) == pytest.approx(-1)
    assert rank_agreement(x, np.array([3.0, -1.0, 2.0, -5.0])) == pytest.approx(1)  # signs do not count
    assert np.isnan(rank_agreement(x, 1 / 3 + 1e-12 * x))
    assert similarity(x, np.zeros(4)) == 0
    assert np.isnan(similarity(np.zeros(4), x))


def test_maps_that_are_mirrored_are_turned_left_to_right() -> None:
    cells = Cells(2, 3, 1)
    assert cells.mirrored(np.arange(6.0)).tolist() == [2, 1, 0, 5, 4, 3]


def test_parts_agree_by_channel() -> None:
    """A group twice as large has twice the effect and twice the attention: that is no agreement."""
    parts = {"size": [1, 2, 4], "effect": [1.0, 2.2, 4.8], "attention": [0.3, 0.5, 0.9]}
    same = {"layer": "channel.features", "image": "a", "object": 1, "seed": 0, "block": "b"}
    assert part_agreement(pd.DataFrame(parts).assign(**same)).agreement.tolist() == [pytest.approx(-1)]


def agreements(n_blocks: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [
        {"block": f"b{i}", "agreement": 0.6 + 0.1 * rng.normal(), "agreement_mirrored": 0.2} for i in range(n_blocks)
    ]
    return pd.DataFrame(rows).assign(seed=0, method="occlusion", map="position row")


def test_what_is_compared_has_a_control_and_an_interval() -> None:
    row = summary({"agreement": agreements(8)}).iloc[0]
    assert row.low < 0.4 < row.high
    assert (row.control, row.n_objects, row.n_blocks) == (pytest.approx(0.2), 8, 8)
    assert row.difference == pytest.approx(row.value - row.control)
    few = summary({"agreement": agreements(3)}).iloc[0]
    assert np.isnan(few.low)
    assert "3 blocks" in few.reason


# The demo models


@pytest.fixture(scope="module")
def scenes() -> Dataset:
    return open_dataset("shapes", "val")


FEW: Any = {"images": 2, "steps": 3, "random_orders": 1, "stages": 0}


def test_attention_to_scale_gives_the_same_table_twice(scenes: Dataset) -> None:
    checkpoint = open_checkpoint("data/demo/shapes-scale")
    methods = ("attention", "grad_cam")
    once, again = (attribution(checkpoint, scenes, methods=methods, **FEW) for _ in range(2))
    for name in once.tables:
        pd.testing.assert_frame_equal(once[name], again[name])
    branches = [f"weights {b}" for b in ("x100", "x75", "x50")]
    grad_cam = [f"grad_cam scale.scores.{b}" for b in ("x100", "x75", "x50")]
    assert set(once["agreement"]["map"]) == set(branches)
    assert set(once["agreement"].method) == set(grad_cam)
    assert once["curves"]["map"].unique().tolist() == branches + grad_cam
    assert once["ablation"].groupby(["image", "object"]).attention.sum().to_numpy() == pytest.approx(1)
    found = once["attribution"]
    assert set(found.measure) == {"agreement", "deletion", "insertion", "ablation"}
    assert found.n_images.eq(2).all()
    assert found.of_images.eq(len(scenes)).all()


def test_parts_on_disk_give_the_same_tables(scenes: Dataset, tmp_path: Path) -> None:
    checkpoint = open_checkpoint("data/demo/shapes-scale")
    kept, stored = (attribution(checkpoint, scenes, out, methods=("attention",), **FEW) for out in (None, tmp_path))
    for name in ("attribution", "curves", "ablation", "regions"):
        pd.testing.assert_frame_equal(stored[name], kept[name])


def test_danet_has_rows_columns_and_channel_groups(scenes: Dataset) -> None:
    checkpoint = open_checkpoint("data/demo/shapes-dual")
    channels = checkpoint.model.backbone.attention_channels
    groups = tuple(c % 3 for c in range(int(channels)))
    result = attribution(checkpoint, scenes, methods=("attention", "grad_cam"), groups=groups, **FEW)
    assert set(result["agreement"]["map"]) == {"position row", "position column"}
    assert set(result["agreement"].method) == {"grad_cam fused"}
    parts = result["ablation"].drop_duplicates("part").set_index("part")
    assert set(parts.index) == {"group 0", "group 1", "group 2"}
    assert parts.attention.sum() == pytest.approx(1)
    with pytest.raises(AnalysisError, match="groups has 2 numbers"):
        attribution(checkpoint, scenes, methods=(), groups=(0, 1), **FEW)


def test_a_danet_without_channel_attention_has_no_groups(scenes: Dataset) -> None:
    model = DualAttention(5, backbone="tiny", channel=False).eval()
    assert correlated_groups(model, scenes) == ()


def test_channel_groups_need_not_be_given(scenes: Dataset) -> None:
    table = attribution(open_checkpoint("data/demo/shapes-dual"), scenes, methods=(), **FEW)["ablation"]
    assert 2 <= table.part.nunique() <= 8


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"methods": ("occlusions",)}, "no attribution 'occlusions'; closest: occlusion"),
        ({"stage": 2}, "no option 'stage'; closest: stages"),
        ({"layers": ("scale.weight",)}, "scale.weights"),
        ({"layers": ("backbone",)}, "not the name of one call"),
        ({"layers": ("backbone@x75",)}, "a forward calls once"),
    ],
)
def test_what_is_not_known_is_said_before_anything_runs(scenes: Dataset, options: dict, reason: str) -> None:
    with pytest.raises(AnalysisError, match=reason):
        attribution(open_checkpoint("data/demo/shapes-scale"), scenes, **options)

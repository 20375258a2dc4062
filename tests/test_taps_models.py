"""capture and intervene on the two models of this package."""

from __future__ import annotations

import pytest
import torch
from small_models import refused
from torch import Tensor, nn

from analysis.models.dual_attention import DualAttention
from analysis.models.scale_attention import ScaleAttention
from analysis.taps import capture, intervene

BRANCHES = ("x100", "x75", "x50")


@pytest.fixture
def image() -> Tensor:
    return torch.randn(1, 3, 65, 49, generator=torch.Generator().manual_seed(0))


def test_every_tap_of_scale_attention(image: Tensor) -> None:
    model = ScaleAttention(classes=5, backbone="tiny", scales=(1, 0.75, 0.5)).eval()
    with capture(model, "scale.*") as taps:
        out = model(image)
    maps = {f"scale.{kind}.{branch}" for kind in ("features", "scores") for branch in BRANCHES}
    assert set(taps) == maps | {"scale.logits", "scale.weights"}
    weights = taps["scale.weights"]
    assert torch.allclose(weights.sum(1), torch.ones_like(weights[:, 0]))
    fused = sum(weights[:, i : i + 1] * taps[f"scale.scores.{branch}"] for i, branch in enumerate(BRANCHES))
    assert torch.allclose(fused, out.logits, atol=1e-6)


def test_the_backbone_of_scale_attention_by_branch(image: Tensor) -> None:
    model = ScaleAttention(classes=5, backbone="tiny", scales=(1, 0.75, 0.5)).eval()
    with capture(model, "backbone@*", "classifier@x75", "backbone.trunk.conv4@x50") as taps:
        model(image)
    assert torch.equal(taps["classifier@x75"], model.classifier(taps["backbone@x75"]))
    heights = [taps[f"backbone@{branch}"].shape[-2] for branch in BRANCHES]
    assert heights == sorted(heights, reverse=True) and len(set(heights)) == 3
    with (
        refused("name one of backbone.trunk@x100, backbone.trunk@x75, backbone.trunk@x50"),
        capture(model, "backbone.trunk"),
    ):
        pass


def test_one_scale_only_by_intervention(image: Tensor) -> None:
    model = ScaleAttention(classes=5, backbone="tiny", scales=(1, 0.5)).eval()

    def first(weights: Tensor) -> Tensor:
        return torch.zeros_like(weights).index_fill(1, torch.tensor([0]), 1.0)

    with capture(model, "scale.scores.x100") as taps, intervene(model, {"scale.weights": first}):
        out = model(image)
    assert torch.equal(out.logits, taps["scale.scores.x100"])


def test_every_tap_of_dual_attention(image: Tensor) -> None:
    model = DualAttention(classes=5, backbone="tiny").eval()
    with capture(model, "position.*", "channel.*", "fused", dtype=torch.float16) as taps:
        out = model(image)
    assert {name for name in taps if name.startswith("channel.")} == {
        f"channel.{name}" for name in ("features", "energy", "affinity", "attended")
    }
    assert taps["channel.energy"].dtype == torch.float32 and taps["fused"].dtype == torch.float16
    with intervene(model, {"fused": torch.zeros_like}):
        silenced = model(image)
    assert not torch.equal(out.logits, silenced.logits)
    assert torch.equal(out.auxiliary["channel"], silenced.auxiliary["channel"])


def test_taps_under_distributed_data_parallel(image: Tensor, tmp_path_factory: pytest.TempPathFactory) -> None:
    store = torch.distributed.FileStore(str(tmp_path_factory.mktemp("ddp") / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        model = nn.parallel.DistributedDataParallel(ScaleAttention(classes=5, backbone="tiny").eval())
        with capture(model, "scale.weights", "module.backbone.trunk.conv4@x75") as taps:
            model(image).logits.sum().backward()
        assert len(taps) == 2
    finally:
        torch.distributed.destroy_process_group()

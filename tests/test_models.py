"""Known answers of both papers' models."""

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from timm.layers.conv2d_same import Conv2dSame
from torch import nn

from analysis import capture, intervene
from analysis.errors import AnalysisError
from analysis.models import (
    DualAttention,
    InputSpec,
    PositionAttention,
    ScaleAttention,
    build,
    gates,
    predict,
    spec_from_json,
    spec_to_json,
    to_input,
)
from analysis.models.backbones import SameConvolution, make_backbone, set_precision
from analysis.models.dual_attention import ChannelAttention
from analysis.models.inference import input_size
from analysis.models.kernels import position_attention
from analysis.models.resize import scaled_size
from analysis.models.scale_attention import AttentionFusion, weighted_sum


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def tiny_scale(**fields: object) -> ScaleAttention:
    torch.manual_seed(0)
    return ScaleAttention(classes=5, backbone="tiny", head_width=16, **fields).eval()


def tiny_dual(**fields: object) -> DualAttention:
    torch.manual_seed(0)
    return DualAttention(classes=5, backbone="tiny", **fields).eval()


# --- parameter counts of PAPERS ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("scales", "count"), [((1, 0.75, 0.5), 14_156_288 + 1_539), ((1, 0.5), 9_437_696 + 1_026)])
def test_head_parameters_on_1024_channels(scales: tuple[float, ...], count: int) -> None:
    assert parameters(ScaleAttention(classes=21, backbone="vgg16", scales=scales).fusion) == count


def test_danet_101_parameters() -> None:
    model = DualAttention(classes=19, backbone="resnet101", multi_grid=(4, 8, 16))
    assert parameters(model) == 66_454_779
    assert parameters(model.pam) == 328_321
    assert parameters(model.cam) == 1


def test_multi_grid_sets_the_dilations_of_layer4_literally() -> None:
    plain, grid = (DualAttention(19, backbone="resnet50", multi_grid=m).backbone for m in (None, (4, 8, 16)))
    assert [block.conv2.dilation[0] for block in plain.layer4] == [2, 4, 4]
    assert [block.conv2.dilation[0] for block in grid.layer4] == [4, 8, 16]
    assert [block.conv2.dilation[0] for block in plain.layer3] == [1, 2, 2, 2, 2, 2]


def test_largefov_trunk_is_that_of_the_caffe_net() -> None:
    backbone = ScaleAttention(classes=21, backbone="vgg16", scales=(1,)).backbone
    pools = [layer for layer in backbone.features if isinstance(layer, nn.MaxPool2d)]
    assert [(p.kernel_size, p.stride, p.padding) for p in pools] == [(3, 2, 1)] * 3 + [(3, 1, 1)] * 2
    convolutions = [layer for layer in backbone.features if isinstance(layer, nn.Conv2d)]
    assert [c.dilation[0] for c in convolutions] == [1] * 10 + [2] * 3
    assert (backbone.fc6[0].dilation, backbone.fc6[0].padding) == ((12, 12), (12, 12))
    with torch.no_grad():
        assert backbone(torch.zeros(1, 3, 321, 321)).shape == (1, 1024, 41, 41)


def test_branch_sizes_are_those_of_the_caffe_net() -> None:
    assert [scaled_size((321, 321), s, align_corners=True)[0] for s in (1, 0.75, 0.5)] == [321, 241, 161]


# --- Attention to Scale ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head_input", ["fc7", "fc8"])
@pytest.mark.parametrize("scales", [(1, 0.75, 0.5), (1, 0.5), (0.5, 1, 0.25, 0.75), (1,)])
def test_weights_sum_to_one_over_scales(scales: tuple[float, ...], head_input: str) -> None:
    model = tiny_scale(scales=scales, head_input=head_input)
    with capture(model, "scale.weights") as taps, torch.no_grad():
        model(torch.randn(2, 3, 65, 97))
    assert taps["scale.weights"].shape[1] == len(scales)
    torch.testing.assert_close(taps["scale.weights"].sum(dim=1), torch.ones(2, *taps["scale.weights"].shape[2:]))


def test_equal_attention_logits_give_the_average_fusion() -> None:
    attention, average = tiny_scale(), tiny_scale(fusion="average")
    average.load_state_dict(attention.state_dict(), strict=False)
    image = torch.randn(1, 3, 64, 80)
    with torch.no_grad(), intervene(attention, {"scale.logits": torch.zeros_like}):
        torch.testing.assert_close(attention(image).logits, average(image).logits)


def test_one_hot_weights_give_that_branch() -> None:
    model = tiny_scale()

    def only_half(w: torch.Tensor) -> torch.Tensor:
        one_hot = torch.zeros_like(w)
        one_hot[:, 2] = 1
        return one_hot

    with torch.no_grad(), intervene(model, {"scale.weights": only_half}):
        output = model(torch.randn(1, 3, 64, 64))
    torch.testing.assert_close(output.logits, output.auxiliary["x50"])


def test_max_fusion_takes_the_maximum_per_class_and_has_no_weights() -> None:
    model = tiny_scale(fusion="max")
    with torch.no_grad():
        output = model(torch.randn(1, 3, 64, 64))
    assert torch.equal(output.logits, torch.stack(list(output.auxiliary.values())).amax(dim=0))
    with pytest.raises(AnalysisError, match=r"scale\.weights"), capture(model, "scale.weights"):
        pass


def test_extra_supervision_outputs() -> None:
    image = torch.randn(2, 3, 64, 64)
    assert tiny_scale(extra_supervision="none")(image).auxiliary == {}
    assert list(tiny_scale()(image).auxiliary) == ["x100", "x75", "x50"]
    assert tiny_scale(extra_supervision="scale_classifier")(image).auxiliary["scale"].shape == (2, 4, 4)
    native = tiny_scale(native_loss=True)(torch.randn(1, 3, 65, 65)).auxiliary
    assert [native[name].shape[-1] for name in ("x100", "x75", "x50")] == [9, 9, 5]  # the Caffe net's grids


def test_scale_classifier_gradient_reaches_every_score_map() -> None:
    model = tiny_scale(extra_supervision="scale_classifier")
    scores: dict[str, torch.Tensor] = {}

    def keep(name: str):  # noqa: ANN202
        def function(x: torch.Tensor) -> torch.Tensor:
            scores[name] = x.detach().requires_grad_()
            return scores[name]

        return function

    with intervene(model, {f"scale.scores.{b}": keep(b) for b in model.branches}):
        model(torch.randn(1, 3, 64, 64)).auxiliary["scale"].square().sum().backward()
    assert all(tensor.grad is not None and tensor.grad.abs().sum() > 0 for tensor in scores.values())


@given(st.integers(17, 90), st.integers(17, 90))
def test_every_scale_tap_has_the_grid_of_the_finest_branch(height: int, width: int) -> None:
    model = tiny_scale(scales=(0.5, 1))
    with capture(model, "scale.*") as taps, torch.no_grad():
        logits = model(torch.randn(1, 3, height, width)).logits
    grid = (-(-height // 8), -(-width // 8))
    assert {tuple(tensor.shape[-2:]) for tensor in taps.values()} == {grid}
    assert tuple(logits.shape[-2:]) == grid


@pytest.mark.parametrize("scales", [(), (1, 1.001), (0,), (-1, 1)])
def test_impossible_scales_are_refused(scales: tuple[float, ...]) -> None:
    with pytest.raises(AnalysisError, match="scales must be"):
        tiny_scale(scales=scales)


# --- DANet ------------------------------------------------------------------------------------------------------------


def test_position_attention_is_torch_single_head_attention_with_scale_one() -> None:
    torch.manual_seed(1)
    pam = PositionAttention(32)
    nn.init.constant_(pam.gate, 0.7)
    features = torch.randn(2, 32, 5, 7)
    query, key, value = (conv(features).flatten(2).transpose(1, 2) for conv in (pam.query, pam.key, pam.value))
    expected = nn.functional.scaled_dot_product_attention(query, key, value, scale=1.0)
    torch.testing.assert_close(pam(features), 0.7 * expected.transpose(1, 2).view_as(features) + features)


def test_query_is_the_position_that_looks() -> None:
    """With keys that all agree with one query only, that row alone is concentrated (s_ji sums to 1 over i)."""
    query, key = torch.zeros(1, 2, 4), torch.zeros(1, 2, 4)
    query[0, :, 1] = 9.0
    key[0, :, 3] = 1.0
    value = torch.arange(4.0).view(1, 1, 4)
    attended = position_attention(query, key, value)[0, 0]
    assert attended[1] == pytest.approx(3.0, abs=1e-4)
    torch.testing.assert_close(attended[[0, 2, 3]], torch.full((3,), 1.5))


def test_gates_at_zero_make_the_paths_an_identity() -> None:
    both, none = tiny_dual(), tiny_dual(position=False, channel=False)
    assert {name: gate.item() for name, gate in gates(both).items()} == {"alpha": 0.0, "beta": 0.0}
    none.load_state_dict(both.state_dict(), strict=False)
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(both(image).logits, none(image).logits)


def test_switched_off_attention_changes_nothing_else() -> None:
    full = parameters(tiny_dual())
    assert full - parameters(tiny_dual(channel=False)) == 1
    assert full - parameters(tiny_dual(position=False)) == parameters(PositionAttention(32))
    assert list(tiny_dual(position=False)(torch.randn(1, 3, 32, 32)).auxiliary) == ["position", "channel"]


@pytest.mark.parametrize("form", ["paper", "released"])
def test_channel_attention_follows_its_equation(form: str) -> None:
    torch.manual_seed(0)
    cam = ChannelAttention(6, form)
    nn.init.constant_(cam.gate, -0.3)
    features = torch.randn(2, 6, 3, 4)
    a = features.flatten(2)
    energy = a @ a.transpose(1, 2)
    if form == "released":
        energy = energy.amax(dim=-1, keepdim=True) - energy  # literally the authors' line
    expected = -0.3 * (energy.softmax(dim=-1) @ a).view_as(features) + features
    torch.testing.assert_close(cam(features), expected)


def test_channel_energy_stays_float32_under_autocast() -> None:
    model = tiny_dual()
    with capture(model, "channel.*") as taps, torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        model(torch.randn(1, 3, 64, 64))
    assert taps["channel.energy"].dtype == taps["channel.affinity"].dtype == torch.float32
    torch.testing.assert_close(taps["channel.affinity"].sum(dim=-1), torch.ones(1, 32))


def test_projections_are_separate_convolutions() -> None:
    assert parameters(tiny_dual(projections=True)) - parameters(tiny_dual()) == 3 * (32 * 32 + 32)


@given(st.integers(17, 90), st.integers(17, 90))
def test_dual_taps_for_any_image_size(height: int, width: int) -> None:
    model = tiny_dual()
    with capture(model, "position.*", "channel.*", "fused") as taps, torch.no_grad():
        model(torch.randn(1, 3, height, width))
    grid = (-(-height // 8), -(-width // 8))
    square = {"channel.energy", "channel.affinity"}
    assert {tuple(t.shape[-2:]) for name, t in taps.items() if name not in square} == {grid}
    assert {tuple(taps[name].shape) for name in square} == {(1, 32, 32)}
    assert taps["position.query"].shape[1] == 4


# --- specs and inputs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model", [tiny_scale(scales=(1, 0.5), fusion="max"), tiny_dual(form="paper", projections=True, skip=True)]
)
def test_a_spec_rebuilds_its_model(model: ScaleAttention | DualAttention) -> None:
    rebuilt = build(spec_from_json(spec_to_json(model.spec)))
    assert rebuilt.spec == model.spec
    assert {k: v.shape for k, v in rebuilt.state_dict().items()} == {k: v.shape for k, v in model.state_dict().items()}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"fusoin": "max"}, "closest: fusion"),
        ({"fusion": "mean"}, "fusion must be one of attention, average, max"),
        ({"backbone": "resnet5"}, "closest: resnet50"),
        ({"backbone": "vgg16", "skip": True}, "light backbones"),
        ({"output_stride": 3, "backbone": "lite0"}, r"\[8, 16, 32\]"),
    ],
)
def test_impossible_fields_are_one_line(fields: dict[str, object], message: str) -> None:
    with pytest.raises(AnalysisError, match=message) as caught:
        ScaleAttention(classes=5, **fields)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("make", [tiny_scale, tiny_dual])
def test_bf16_is_the_backbone_and_leaves_attention_in_float32(
    make: Callable[..., ScaleAttention | DualAttention],
) -> None:
    exact, quick, image = make(), make(), torch.randn(1, 3, 65, 97)
    set_precision(quick, "bf16")
    trunk = "backbone.trunk.conv4.0" + ("@x100" if make is tiny_scale else "")
    taps = ("scale.weights",) if make is tiny_scale else ("position.query", "channel.affinity", "fused")
    with torch.no_grad(), capture(quick, trunk, *taps) as seen:
        found = quick(image).logits
    assert seen.pop(trunk).dtype == torch.bfloat16
    assert {tensor.dtype for tensor in seen.values()} == {torch.float32} == {found.dtype}
    with torch.no_grad():
        right = exact(image).logits
    assert not torch.equal(found, right)
    assert float((found - right).abs().max()) < 0.05 * float(right.abs().max())


@pytest.mark.parametrize("name", ["vgg16", "resnet50"])
def test_bf16_features_are_float32_in_every_backbone(name: str) -> None:
    torch.manual_seed(0)
    backbone, image, middle = make_backbone(name).eval(), torch.randn(1, 3, 65, 65), []
    more = () if name == "vgg16" else (middle,)
    with torch.no_grad():
        right = backbone(image, *more)
        set_precision(backbone, "bf16")
        found = backbone(image, *more)
    assert not torch.equal(found, right)
    assert {x.dtype for x in (found, *middle)} == {torch.float32}
    assert float((found - right).abs().max()) < 0.1 * float(right.abs().max())


@pytest.mark.parametrize("side", [7, 8, 33, 34])
@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(3, 2, 1), (5, 2, 1), (3, 1, 2), (5, 1, 1)])
def test_same_padding_is_timms(side: int, kernel: int, stride: int, dilation: int) -> None:
    theirs = Conv2dSame(3, 3, kernel, stride, dilation=dilation)
    ours = copy.deepcopy(theirs)
    ours.__class__ = SameConvolution
    x = torch.randn(2, 3, side, side + 1)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x))


def test_a_gradient_copied_together_is_the_same() -> None:
    fusion = AttentionFusion(6, 4, 2).eval()
    features = [torch.randn(1, 6, 5, 7, requires_grad=True) for _ in range(2)]
    scores = [torch.randn(1, 3, 5, 7) for _ in range(2)]
    fusion(features, scores).square().sum().backward()
    plain = [x.detach().requires_grad_() for x in features]
    weights = torch.softmax(fusion.attention(torch.cat(plain, dim=1)), dim=1)
    weighted_sum(weights, scores).square().sum().backward()
    for one, right in zip(features, plain, strict=True):
        assert one.grad is not None and right.grad is not None
        torch.testing.assert_close(one.grad, right.grad)


def test_input_follows_the_spec() -> None:
    image = np.zeros((4, 6, 3), np.uint8)
    image[..., 0] = 255
    caffe = InputSpec("BGR", 255.0, (104.008, 116.669, 122.675), (1.0, 1.0, 1.0))
    torch.testing.assert_close(to_input(image, caffe)[0, :, 0, 0], torch.tensor([-104.008, -116.669, 255 - 122.675]))
    plain = to_input(image, InputSpec(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)))
    torch.testing.assert_close(plain[0, :, 0, 0], torch.tensor([1.0, -1.0, -1.0]))


def test_input_size() -> None:
    assert input_size((360, 480), InputSpec(short_side=240)) == (240, 320)
    assert input_size((500, 375), InputSpec(size_multiple=32)) == (513, 385)
    assert input_size((500, 375), InputSpec(size_multiple=32, align_corners=False)) == (512, 384)


def test_predict_gives_logits_at_the_size_of_the_photograph_and_keeps_the_mode() -> None:
    model = tiny_dual().train()
    image = np.random.default_rng(0).integers(0, 255, (37, 53, 3), np.uint8)
    assert predict(model, image).shape == (5, 37, 53)
    assert model.training

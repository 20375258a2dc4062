"""Layouts are told from names and shapes alone; what fits nowhere is said."""

import dataclasses
from pathlib import Path

import conformance
import pytest
import torch
from torch import Tensor

from analysis import open_checkpoint
from analysis.checkpoints import save_checkpoint
from analysis.checkpoints.layouts import Match, recognise
from analysis.errors import AnalysisError
from analysis.models import DualAttention, ScaleAttention, build
from analysis.models.inference import to_input
from analysis.reading import Stored


def match(tensors: dict[str, Tensor], **metadata: object) -> Match:
    return recognise(Stored(Path("file"), "torch zip", tensors, metadata, ""))


def meta(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def danet(backbone: str = "pretrained.", depth: int = 50, stem: str = "plain") -> dict[str, Tensor]:
    """Names and shapes of the authors' DANet, without memory: the translation of our model's, reversed."""
    with torch.device("meta"):
        ours = DualAttention(19, backbone=f"resnet{depth}", stem=stem).state_dict()
    heads = {
        "position_in.": "head.conv5a.", "channel_in.": "head.conv5c.", "pam.gate": "head.sa.gamma",
        "pam.query.": "head.sa.query_conv.", "pam.key.": "head.sa.key_conv.", "pam.value.": "head.sa.value_conv.",
        "cam.gate": "head.sc.gamma", "position_out.": "head.conv51.", "channel_out.": "head.conv52.",
        "position_classifier.": "head.conv6.", "channel_classifier.": "head.conv7.", "classifier.": "head.conv8.",
        "backbone.": backbone,
    }  # fmt: skip
    prefixes = {name: next(p for p in heads if name.startswith(p)) for name in ours}
    return {heads[prefixes[name]] + name.removeprefix(prefixes[name]): tensor for name, tensor in ours.items()}


@pytest.mark.parametrize("depth", [50, 101, 152])
@pytest.mark.parametrize("stem", ["plain", "deep", "v1c"])
def test_depth_and_stem_are_inferred(depth: int, stem: str) -> None:
    found = match(danet(depth=depth, stem=stem))
    assert found.layout == "junfu1115/DANet"
    assert found.complete
    assert isinstance(found.model, DualAttention)
    assert (found.model.spec.backbone, found.model.spec.stem) == (f"resnet{depth}", stem)
    assert found.model.spec.multi_grid == (4, 8, 16)


def test_the_published_model_has_as_many_tensors_as_it_should() -> None:
    tensors = danet(depth=101)
    assert len(tensors) == 662  # PAPERS 2.6
    parameters = [t for name, t in tensors.items() if "running_" not in name and "num_batches" not in name]
    assert sum(t.numel() for t in parameters) == 66_454_779
    assert len(danet(depth=101, stem="deep")) == 674


def test_segmentron_is_the_same_head_on_another_name() -> None:
    found = match(danet(backbone="encoder.", depth=101))
    assert (found.layout, found.complete) == ("SegmenTron", True)


@pytest.mark.parametrize("wrapper", ["module.", "module.module.", "_orig_mod."])
def test_wrappers_come_off(wrapper: str) -> None:
    tensors = danet()
    found = match({wrapper + name: tensor for name, tensor in tensors.items()})
    assert found.complete
    assert found.names["pam.gate"] == f"{wrapper}head.sa.gamma"


def test_what_old_files_have_and_lack() -> None:
    """2018: a classifier of ImageNet, the fused classifier only, no counters in batch norms."""
    tensors = {name: t for name, t in danet().items() if "conv6" not in name and "conv7" not in name}
    tensors = {name: t for name, t in tensors.items() if not name.endswith("num_batches_tracked")}
    found = match(tensors | meta({"pretrained.fc.weight": (1000, 2048), "pretrained.fc.bias": (1000,)}))
    assert found.complete
    assert not found.left_over
    assert found.ignored == ("pretrained.fc.weight", "pretrained.fc.bias")
    assert isinstance(found.model, DualAttention)
    assert not found.model.spec.path_classifiers
    assert DualAttention(3, backbone="tiny", path_classifiers=False)(torch.zeros(1, 3, 32, 32)).auxiliary == {}


def test_what_is_missing_wrong_and_left_over_is_named() -> None:
    tensors = danet()
    del tensors["head.conv51.0.weight"]
    tensors |= meta({"head.sa.key_conv.weight": (32, 512, 1, 1), "head.extra.weight": (7, 7)})
    found = match(tensors)
    assert not found.complete
    assert found.missing == {"position_out.0.weight": (512, 512, 3, 3)}
    assert found.mismatched == {"pam.key.weight": ("head.sa.key_conv.weight", (64, 512, 1, 1), (32, 512, 1, 1))}
    assert found.left_over == {"head.extra.weight": (7, 7)}


def test_another_backbone_is_said() -> None:
    tensors = {name: t for name, t in danet().items() if not name.startswith("pretrained.layer3.5")}
    found = match(tensors)
    assert not found.complete
    assert "stages of (3, 4, 5, 3) blocks" in found.why


def test_a_file_of_something_else_gets_the_closest_layout() -> None:
    found = match({name: t for name, t in danet().items() if not name.startswith("head.s")})
    assert not found.complete
    assert found.spec is None
    assert found.layout == "junfu1115/DANet"
    assert "head.sa.gamma" in found.why
    assert not match({}).complete


def mmsegmentation() -> dict[str, Tensor]:
    return conformance.state_dict("mmseg_danet_resnetv1c50")


def test_what_mmsegmentation_keeps_beside_the_weights_is_used() -> None:
    classes = tuple(f"class {k}" for k in range(19))
    old = match(mmsegmentation(), meta={"CLASSES": classes, "config": "decode_head=dict(\n    align_corners=True,"})
    new = match(mmsegmentation(), meta={"dataset_meta": {"classes": list(classes)}})
    assert old.classes == new.classes == classes
    assert old.spec is not None
    assert new.spec is not None
    assert (old.spec.input.align_corners, new.spec.input.align_corners) == (True, False)


def test_numbered_and_named_parts_of_pytorchcv() -> None:
    tensors = conformance.state_dict("pytorchcv_danet_resnetd50b")
    named = {
        name.replace("backbone.0.", "backbone.init_block.") if ".0." in name[:12] else name: t
        for name, t in tensors.items()
    }
    for stage in "1234":
        named = {name.replace(f"backbone.{stage}.unit", f"backbone.stage{stage}.unit"): t for name, t in named.items()}
    assert match(tensors).complete
    assert match(named).complete
    assert set(named) != set(tensors)


def vgg_names() -> list[str]:
    return [f"conv{stage}_{k}" for stage, n in enumerate((2, 2, 3, 3, 3), start=1) for k in range(1, n + 1)]


def caffe(scales: int = 3, fc8: str = "fc8_voc12", classes: int = 21) -> dict[str, Tensor]:
    """The Caffe net of PAPERS 1.8, without memory."""
    widths = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    shapes: dict[str, tuple[int, ...]] = {
        name: (out, c_in, 3, 3) for name, c_in, out in zip(vgg_names(), widths, widths[1:], strict=False)
    }
    shapes |= {"fc6": (1024, 512, 3, 3), "fc7": (1024, 1024, 1, 1), fc8: (classes, 1024, 1, 1)}
    shapes |= {"att_conv1": (512, scales * 1024, 3, 3), "att_fc": (scales, 512, 1, 1)}
    weights = {f"{name}.weight": shape for name, shape in shapes.items()}
    return meta(weights | {f"{name}.bias": shape[:1] for name, shape in shapes.items()})


@pytest.mark.parametrize(("scales", "factors"), [(2, (1.0, 0.5)), (3, (1.0, 0.75, 0.5)), (4, (1.0, 0.75, 0.5, 0.25))])
def test_the_caffe_net(scales: int, factors: tuple[float, ...]) -> None:
    found = match(caffe(scales))
    assert found.complete, found
    assert isinstance(found.model, ScaleAttention)
    assert found.model.spec.scales == factors
    assert dataclasses.astuple(found.model.spec.input)[:5] == (
        "BGR", 255.0, (104.008, 116.669, 122.675), (1.0, 1.0, 1.0), 32
    )  # fmt: skip


def test_copies_in_a_caffe_file_tell_the_scales_and_are_dropped() -> None:
    tensors = caffe(2) | meta({"conv1_1_res075.weight": (64, 3, 3, 3), "conv1_1_res075.bias": (64,)})
    found = match(tensors)
    assert found.complete
    assert isinstance(found.model, ScaleAttention)
    assert found.model.spec.scales == (1.0, 0.75)
    assert found.ignored == ("conv1_1_res075.weight", "conv1_1_res075.bias")
    assert not found.left_over


def test_old_caffe_biases_have_four_dimensions() -> None:
    tensors = {name: t.view(1, 1, 1, -1) if name.endswith("bias") else t for name, t in caffe().items()}
    assert match(tensors).complete


def test_a_caffe_net_without_scores() -> None:
    found = match({name: t for name, t in caffe().items() if not name.startswith("fc8")})
    assert "fc8" in found.why


@pytest.mark.parametrize(
    "model",
    [
        DualAttention(3, backbone="tiny"),
        DualAttention(3, backbone="tiny", projections=True, skip=True),
        DualAttention(3, backbone="tiny", position=False),
        ScaleAttention(3, backbone="tiny"),
        ScaleAttention(3, backbone="tiny", scales=(1, 0.5), head_width=64, extra_supervision="scale_classifier"),
        ScaleAttention(3, backbone="tiny", head_input="fc8"),
    ],
    ids=lambda model: str(model.spec)[:90],
)
def test_our_models_saved_by_hand(model: DualAttention | ScaleAttention) -> None:
    found = match(dict(model.state_dict()))
    assert found.complete, found
    assert found.spec == model.spec


def test_overrides_and_what_refuses_them(tmp_path: Path) -> None:
    torch.save(DualAttention(11, backbone="tiny").state_dict(), tmp_path / "dual.pth")
    opened = open_checkpoint(tmp_path / "dual.pth", align_corners=False, form="paper", classes=[*"abcdefghijk"])
    assert (opened.spec.input.align_corners, opened.spec.form) == (False, "paper")
    assert opened.classes == tuple("abcdefghijk")
    assert opened.provenance["classes"] == "named"
    with pytest.raises(AnalysisError, match=r"2 class names were given, and .*dual.pth has 11"):
        open_checkpoint(tmp_path / "dual.pth", classes=["a", "b"])
    with pytest.raises(AnalysisError, match="multi_grid dilates a ResNet"):
        open_checkpoint(tmp_path / "dual.pth", multi_grid=(4, 8, 16))
    torch.save(ScaleAttention(11, backbone="tiny").state_dict(), tmp_path / "scale.pth")
    with pytest.raises(AnalysisError, match="form is an option of DANet"):
        open_checkpoint(tmp_path / "scale.pth", form="paper")


def test_names_of_classes_are_guessed_from_their_number(tmp_path: Path) -> None:
    for n, first in ((11, "Sky"), (19, "road"), (21, "background"), (150, "wall"), (7, "0")):
        torch.save(DualAttention(n, backbone="tiny").state_dict(), tmp_path / f"{n}.pth")
        assert open_checkpoint(tmp_path / f"{n}.pth").classes[0] == first


def test_a_sum_of_another_file_is_not_given(tmp_path: Path) -> None:
    model = DualAttention(3, backbone="tiny")
    path = tmp_path / "model.safetensors"
    save_checkpoint(model, path, "abc", {})
    opened = open_checkpoint(path)
    save_checkpoint(DualAttention(3, backbone="tiny"), path, "abc", {})
    with pytest.raises(AnalysisError, match="changed since"):
        _ = opened.provenance


def test_half_and_double_files_open_as_float32(tmp_path: Path) -> None:
    model = build(DualAttention(3, backbone="tiny").spec)
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        stored = {k: v.to(dtype) if v.is_floating_point() else v for k, v in model.state_dict().items()}
        torch.save(stored, tmp_path / "x")
        opened = open_checkpoint(tmp_path / "x").model.state_dict()
        assert {t.dtype for t in opened.values()} <= {torch.float32, torch.int64}
        expected = {k: stored[k].to(v.dtype) for k, v in model.state_dict().items()}
        assert all(torch.equal(opened[name], tensor) for name, tensor in expected.items())


def test_every_forward_uses_the_input_of_the_spec() -> None:
    found = match(caffe())
    assert found.spec is not None
    pixels = torch.arange(33 * 33 * 3, dtype=torch.uint8).view(33, 33, 3).numpy()
    seen = to_input(pixels, found.spec.input)
    assert seen.shape == (1, 3, 33, 33)
    blue = torch.from_numpy(pixels[..., 2]).float() - 104.008
    assert torch.allclose(seen[0, 0], blue)

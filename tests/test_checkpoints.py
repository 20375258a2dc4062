"""Checkpoints of this project, and pretrained weights."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from skimage import data

from analysis.checkpoints import Checkpoint, checkpoint_files, open_checkpoint, save_checkpoint
from analysis.checkpoints.pretrained import largefov_from_vgg16, lite0_state_dict, load_pretrained
from analysis.errors import AnalysisError
from analysis.forms import in_form, with_precision
from analysis.models import DualAttention, InputSpec, ScaleAttention, to_input
from analysis.taps import capture

CLASSES = ("sky", "road", "car")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "run" / "checkpoints" / "step_000007.safetensors"
    save_checkpoint(DualAttention(3, backbone="tiny"), path, CLASSES, {"step": 7, "recipe": "r"})
    return path


def test_round_trip_keeps_every_bit(saved: Path) -> None:
    opened = open_checkpoint(saved)
    assert opened.classes == CLASSES
    assert opened.provenance["step"] == 7
    assert len(opened.provenance["sha256"]) == 64
    stored = load_file(saved)
    assert all(torch.equal(stored[name], tensor) for name, tensor in opened.model.state_dict().items())
    assert not opened.model.training


def test_half_precision_files_open_as_float32(tmp_path: Path) -> None:
    model = ScaleAttention(3, backbone="tiny")
    save_checkpoint(model, tmp_path / "half.safetensors", CLASSES, {}, torch.float16)
    opened = open_checkpoint(tmp_path / "half.safetensors").model
    for name, tensor in model.state_dict().items():
        expected = tensor.half().float() if tensor.is_floating_point() else tensor
        assert torch.equal(opened.state_dict()[name], expected)


def test_a_run_directory_opens_at_its_last_checkpoint(saved: Path) -> None:
    later = saved.with_name("step_000100.safetensors")
    save_checkpoint(DualAttention(3, backbone="tiny"), later, CLASSES, {"step": 100})
    run = saved.parents[1]
    assert checkpoint_files(run) == [saved, later]
    assert open_checkpoint(run).provenance["step"] == 100


def test_saving_leaves_no_temporary_file(saved: Path) -> None:
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]


def refusal(path: Path) -> str:
    with pytest.raises(AnalysisError) as caught:
        open_checkpoint(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_bad_files_are_one_line(saved: Path, tmp_path: Path) -> None:
    assert "no checkpoint at" in refusal(tmp_path / "nothing.safetensors")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no checkpoint file in" in refusal(empty)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(saved.read_bytes()[:5000])
    assert "header declares" in refusal(cut)
    foreign = tmp_path / "foreign.safetensors"
    save_file({"a": torch.zeros(2)}, foreign)
    assert "has no known layout" in refusal(foreign)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("pam.gate"), "pam.gate is missing"),
        (lambda t: t.update({"pam.gate": torch.zeros(2)}), r"pam.gate has shape \[2\], the model needs \[1\]"),
        (lambda t: t.update(extra=torch.zeros(2)), "first extra"),
    ],
)
def test_tensors_that_do_not_fit_are_named(saved: Path, change, message: str) -> None:  # noqa: ANN001
    from safetensors import safe_open

    with safe_open(saved, framework="pt") as opened:
        metadata = opened.metadata()
    tensors = load_file(saved)
    change(tensors)
    save_file(tensors, saved, metadata)
    with pytest.raises(AnalysisError, match=message):
        open_checkpoint(saved)


def test_lite0_weights_classify_photographs() -> None:
    import timm

    weights = lite0_state_dict()
    assert len(weights) == 296
    network = timm.create_model("tf_efficientnet_lite0").eval()
    network.load_state_dict(weights)
    spec = InputSpec(short_side=224, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    with torch.no_grad():
        cat, coffee = (network(to_input(image, spec)).argmax().item() for image in (data.chelsea(), data.coffee()))
    assert 281 <= cat <= 285  # ImageNet's domestic cats
    assert coffee == 967  # espresso


def test_pretrained_lite0_fills_the_trunk_only() -> None:
    model = ScaleAttention(3, backbone="lite0")
    before = model.classifier.weight.clone()
    load_pretrained(model.backbone, "lite0")
    assert torch.equal(model.backbone.trunk.conv_stem.weight, lite0_state_dict()["conv_stem.weight"])
    assert torch.equal(model.classifier.weight, before)


def test_largefov_is_subsampled_from_vgg16() -> None:
    import torchvision

    torch.manual_seed(0)
    weights = torchvision.models.vgg16().state_dict()
    backbone = ScaleAttention(3, backbone="vgg16").backbone
    backbone.load_state_dict(largefov_from_vgg16(weights))
    fc6 = weights["classifier.0.weight"].view(4096, 512, 7, 7)
    assert torch.equal(backbone.fc6[0].weight[5, :, 2, 1], fc6[20, :, 6, 3])
    assert torch.equal(backbone.fc7[0].weight[3, 2, 0, 0], weights["classifier.3.weight"][12, 8])


def test_weights_from_a_local_file(tmp_path: Path) -> None:
    model, other = DualAttention(3, backbone="resnet50"), DualAttention(3, backbone="resnet50")
    torch.save({"state_dict": model.backbone.state_dict()}, tmp_path / "r50.pth")
    load_pretrained(other.backbone, "resnet50", str(tmp_path / "r50.pth"))
    assert torch.equal(other.backbone.conv1.weight, model.backbone.conv1.weight)


def test_weights_that_do_not_fit_are_one_line(tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "bad.pth")
    with pytest.raises(AnalysisError, match="do not fit"):
        load_pretrained(DualAttention(3, backbone="resnet50").backbone, "resnet50", str(tmp_path / "bad.pth"))
    with pytest.raises(AnalysisError, match="no weights at"):
        load_pretrained(DualAttention(3, backbone="resnet50").backbone, "resnet50", str(tmp_path / "none.pth"))


@pytest.fixture
def scale(tmp_path: Path) -> Checkpoint:
    torch.manual_seed(0)
    save_checkpoint(ScaleAttention(3, backbone="tiny", head_width=8), tmp_path / "one.safetensors", CLASSES, {})
    return open_checkpoint(tmp_path / "one.safetensors")


def test_another_form_shares_the_weights_and_says_so(scale: Checkpoint) -> None:
    checkpoint = scale
    assert isinstance(checkpoint.model, ScaleAttention)
    image = torch.rand(1, 3, 64, 64)
    changed = in_form(checkpoint, fusion="average")
    assert changed.provenance["changed"] == {"fusion": "average"} and "changed" not in checkpoint.provenance
    assert changed.model.backbone.state_dict().keys() == checkpoint.model.backbone.state_dict().keys()
    first = next(checkpoint.model.parameters())
    assert next(changed.model.parameters()).data_ptr() == first.data_ptr()
    with capture(checkpoint.model, "scale.scores.*") as taps, torch.no_grad():
        checkpoint.model(image)
    mean = torch.stack([taps[f"scale.scores.{branch}"] for branch in checkpoint.model.branches]).mean(0)
    with torch.no_grad():
        torch.testing.assert_close(changed.model(image).logits, mean)


def test_forms_add_up_and_a_file_cannot_state_one(tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_checkpoint(DualAttention(3, backbone="tiny"), tmp_path / "a.safetensors", CLASSES, {"changed": "x"})
    checkpoint = open_checkpoint(tmp_path / "a.safetensors")
    assert "changed" not in checkpoint.provenance
    both = in_form(in_form(checkpoint, form="paper"), channel=False)
    assert both.provenance["changed"] == {"form": "paper", "channel": False}


def test_precision_is_of_the_opened_checkpoint_and_never_of_its_file(scale: Checkpoint, tmp_path: Path) -> None:
    quick = with_precision(scale, "bf16")
    assert (scale.precision, quick.precision, in_form(quick, fusion="average").precision) == ("float32", "bf16", "bf16")
    assert quick.provenance["changed"] == {"precision": "bf16"}
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        exact, rounded = scale.model(image).logits, quick.model(image).logits
        assert not torch.equal(exact, rounded)
        save_checkpoint(quick.model, tmp_path / "again.safetensors", CLASSES, {})
        assert torch.equal(open_checkpoint(tmp_path / "again.safetensors").model(image).logits, exact)
    assert with_precision(scale, "float32") is scale
    with pytest.raises(AnalysisError, match="precision must be one of float32, bf16"):
        with_precision(scale, "half")  # ty: ignore[invalid-argument-type]


def test_what_has_changed_is_as_json_would_have_it(scale: Checkpoint) -> None:
    changed = in_form(scale, input=InputSpec(short_side=64), scales=(1.0, 0.75, 0.5)).provenance["changed"]
    assert changed["scales"] == [1.0, 0.75, 0.5] and changed["input"]["short_side"] == 64
    assert json.loads(json.dumps(changed)) == changed


def test_a_form_that_needs_other_weights_is_refused(scale: Checkpoint) -> None:
    checkpoint = scale
    with pytest.raises(AnalysisError, match=r"has no weights .* as {'head_width': 1} needs them: train it so"):
        in_form(checkpoint, head_width=1)
    with pytest.raises(AnalysisError, match="fusion must be one of"):
        in_form(checkpoint, fusion="avarage")
    with pytest.raises(AnalysisError, match="no field 'fuson'; closest: fusion"):
        in_form(checkpoint, fuson="max")

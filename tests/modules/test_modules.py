"""Anybody's own network: how it is built and filled, what of it is attention, and what stays as it was."""

from __future__ import annotations

import copy
import importlib
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import conformance
import numpy as np
import own_networks
import pytest
import torch
from small_models import hooks, refused
from torch import Tensor, nn

from analysis import capture, intervene, open_module
from analysis.measures import attention_rows
from analysis.models import InputSpec, gates, predict
from analysis.models.dual_attention import ChannelAttention, PositionAttention
from analysis.models.resize import resize
from analysis.modules.opening import OwnCheckpoint
from analysis.modules.own_module import OwnModule

IMAGE = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))


def opened(name: str, **arguments: object) -> OwnCheckpoint:
    return open_module(f"own_networks:{name}", arguments=arguments, size=(64, 96))


def kinds(checkpoint: OwnCheckpoint) -> dict[str, tuple[str, bool]]:
    return {one.path: (one.kind, one.replaced) for one in checkpoint.spec.found}


def original(name: str, **arguments: object) -> nn.Module:
    return getattr(own_networks, name)(**arguments).eval()


# ----- attention that is replaced


@pytest.mark.parametrize("names", [("query", "key"), ("key", "query"), ("b", "a"), ("a", "b"), ("q_conv", "k_conv")])
@pytest.mark.parametrize("gate", [0.5, 0.0])
def test_position_attention_is_found_whatever_its_convolutions_are_called(names: tuple[str, str], gate: float) -> None:
    checkpoint = opened("dual", names=names, gate=gate)
    assert kinds(checkpoint) == {"blocks.where": ("position", True), "blocks.which.0": ("channel", True)}
    theirs = original("dual", names=names, gate=gate)
    ours = checkpoint.model.get_submodule("blocks.where")
    assert isinstance(ours, PositionAttention)
    assert torch.equal(ours.query.weight, theirs.get_submodule(f"blocks.where.{names[0]}").weight)
    assert ours.gate.shape == (1,) and ours.gate.item() == gate


@pytest.mark.parametrize("form", ["paper", "released"])
@pytest.mark.parametrize("gate", [0.5, 0.0])
def test_the_form_of_channel_attention_is_the_one_it_computes(form: str, gate: float) -> None:
    ours = opened("dual", form=form, gate=gate).model.get_submodule("blocks.which.0")
    assert isinstance(ours, ChannelAttention) and ours.form == form


@pytest.mark.parametrize("form", ["paper", "released"])
def test_channel_attention_with_projections(form: str) -> None:
    torch.manual_seed(0)
    network = own_networks.Dual(own_networks.Position(8), own_networks.Channel(8, form, projections=True))
    maps = list(network.blocks["which"][0].maps)
    ours = open_module(network, size=(64, 96)).model.get_submodule("blocks.which.0")
    assert isinstance(ours, ChannelAttention) and ours.form == form
    for role, theirs in zip(("query", "key", "value"), maps, strict=True):
        assert torch.equal(ours.projections[role].weight, theirs.weight)


def test_the_network_computes_what_it_did() -> None:
    checkpoint, theirs = opened("dual"), original("dual")
    with torch.no_grad():
        output, wanted = checkpoint.model(IMAGE), theirs(IMAGE)
    assert list(output.auxiliary) == ["position", "channel"]
    for ours, expected in zip((output.logits, *output.auxiliary.values()), wanted, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-6)


def test_every_tap_shows_what_was_there_when_attention_read_it() -> None:
    checkpoint, theirs = opened("dual", gate=0.5), original("dual", gate=0.5)
    with torch.no_grad(), capture(checkpoint.model, "position.*", "channel.*") as taps:
        checkpoint.model(IMAGE)
    with torch.no_grad():
        features = theirs.get_submodule("stem")(IMAGE)
        query = theirs.get_submodule("blocks.where.query")(features)
    for name in ("position.features", "channel.features"):  # the network writes into both afterwards
        torch.testing.assert_close(taps[name], features)
    torch.testing.assert_close(taps["position.query"], query)
    assert {"position.attended", "channel.energy", "channel.affinity"} <= taps.keys()


def test_paths_are_the_users_own_but_inside_a_replaced_attention() -> None:
    checkpoint = opened("dual")
    outside = {name for name in original("dual").state_dict() if not name.startswith("blocks.")}
    assert outside | {"blocks.where.gate", "blocks.which.0.gate"} <= checkpoint.model.state_dict().keys()
    with torch.no_grad(), capture(checkpoint.model, "stem.0", "heads.1") as taps:
        output = checkpoint.model(IMAGE)
    assert torch.equal(taps["heads.1"], output.auxiliary["position"])
    with torch.no_grad(), intervene(checkpoint.model, {"channel.affinity": torch.zeros_like}):
        changed = checkpoint.model(IMAGE)
    assert not torch.equal(changed.logits, output.logits)
    assert torch.equal(changed.auxiliary["position"], output.auxiliary["position"])


def test_energies_beyond_the_precision_of_float32_hide_no_attention() -> None:
    network = own_networks.dual(c=64)  # released form: there -E and max(E) - E round to other channels
    torch.manual_seed(0)
    sizes = 1e4 * 10 ** (6 * torch.rand(64))
    network.stem[0].weight.data.mul_(sizes.view(-1, 1, 1, 1))
    network.stem[0].bias.data.add_(2 * sizes)
    assert all(one.replaced for one in open_module(network, size=(64, 96)).spec.found)


def test_a_module_that_is_used_at_two_places_is_replaced_at_both() -> None:
    torch.manual_seed(0)
    network = own_networks.Dual(shared := own_networks.Position(8), nn.Identity())
    network.blocks["which"] = shared
    checkpoint = open_module(network, size=(64, 96))
    assert checkpoint.model.get_submodule("blocks.which") is checkpoint.model.get_submodule("blocks.where")
    assert kinds(checkpoint) == {"blocks.where": ("position", True)}


def test_our_own_model_is_found_in_itself() -> None:
    arguments = {"classes": 4, "backbone": "tiny", "form": "paper"}
    checkpoint = open_module("analysis.models:DualAttention", arguments=arguments)
    assert kinds(checkpoint) == {"pam": ("position", True), "cam": ("channel", True)}
    assert "paper" in checkpoint.spec.found[1].how and checkpoint.spec.note is None


# ----- attention that is not


def test_position_attention_of_another_kind_is_read_only() -> None:
    checkpoint, theirs = opened("dual", power=0.5, names=("key", "query")), original("dual", power=0.5)
    found = {one.kind: one for one in checkpoint.spec.found}
    assert not found["position"].replaced and found["channel"].replaced
    assert (
        "% off" in found["position"].how
        and "query for the query and key for the key by their names" in found["position"].how
    )
    with torch.no_grad(), capture(checkpoint.model, "position.query", "position.key", "blocks.where.query") as taps:
        checkpoint.model(IMAGE)
        features = theirs.get_submodule("stem")(IMAGE)
        query = theirs.get_submodule("blocks.where.query")(features)
    torch.testing.assert_close(taps["position.query"], query)  # the network writes into it afterwards
    assert isinstance(checkpoint.model.get_submodule("blocks.where"), own_networks.Position)
    assert list(gates(checkpoint.model)) == ["beta"]


def test_unnamed_query_and_key_of_another_kind_are_a_guess_and_called_so() -> None:
    assert (
        "a for the query and b for the key by their order, which is a guess"
        in opened("dual", power=0.5, names=("b", "a")).spec.found[0].how
    )


@pytest.mark.parametrize("name", ["LayerScale", "bottleneck", "Dictionary"])
def test_what_only_looks_like_attention_is_left_alone(name: str) -> None:
    checkpoint = opened(name)
    assert checkpoint.spec.found == () and checkpoint.spec.note is None
    assert hooks(checkpoint.model) == []


class Nosy(own_networks.Dual):
    """Uses what only its own attention has."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(y * self.blocks["where"].scaling for y in super().forward(x))


class Hidden(own_networks.Dual):
    """Calls its attention past the tree of modules."""

    def __init__(self) -> None:
        super().__init__(own_networks.Position(8), own_networks.Channel(8))
        self.aliases = [self.blocks["where"]]

    def forward(self, x: Tensor) -> Tensor:
        return self.heads[0](self.aliases[0](self.stem(x)))


@pytest.mark.parametrize("network", [Nosy(own_networks.Position(8), own_networks.Channel(8)), Hidden()])
def test_attention_that_cannot_be_replaced_where_it_sits_is_put_back(network: nn.Module) -> None:
    checkpoint = open_module(network, size=(64, 96))
    others = {"blocks.which.0": ("channel", True)} if isinstance(network, Nosy) else {}
    assert kinds(checkpoint) == {"blocks.where": ("position", False)} | others
    assert "alone it computes that, but not in its place" in checkpoint.spec.found[0].how
    with torch.no_grad(), capture(checkpoint.model, "position.query"):
        checkpoint.model(IMAGE)


# ----- attention to scale


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "raw"])
@pytest.mark.parametrize("classes", [3, 5])
def test_attention_to_scale(activation: str, classes: int) -> None:
    checkpoint = opened("Scales", activation=activation, classes=classes)
    assert [(one.kind, one.path, one.activation) for one in checkpoint.spec.found] == [
        ("scale", "attention.2", activation)
    ]
    with torch.no_grad(), capture(checkpoint.model, "scale.logits", "attention") as taps:
        checkpoint.model(IMAGE)
    assert torch.equal(taps["scale.logits"], taps["attention"]) and taps["scale.logits"].shape[1] == 3


def test_a_classifier_of_the_same_shape_is_no_attention_to_scale() -> None:
    assert opened("Scales", activation="none", classes=3).spec.found == ()


def test_scales_are_one_a_branch() -> None:
    with refused(r"2 scales were given, and own_networks:Scales's attention.2 has 3"):
        open_module("own_networks:Scales", scales=(1, 0.5), size=(64, 96))


# ----- outputs


def test_a_dictionary_of_logits() -> None:
    checkpoint = opened("Dictionary")
    output = checkpoint.model(IMAGE)
    assert torch.equal(output.auxiliary["aux"], -output.logits)
    assert checkpoint.spec.classes == 4 and checkpoint.classes == ("0", "1", "2", "3")


@pytest.mark.parametrize(
    ("returns", "described"),
    [
        ("", r"own_networks:Wrong fails on an image \[1, 3, 64, 96\] \(RuntimeError: .*mat1 and mat2 shapes"),
        ("text", "own_networks:Wrong returned a str; it must return logits"),
        ("nothing", "returned a tuple of nothing"),
        ("flat", r"returned a Tensor of shape \[1, 3\]"),
        ("dict", "returned a dict of boxes"),
    ],
)
def test_a_network_without_images_or_logits_is_refused(returns: str, described: str) -> None:
    with refused(described):
        opened("Wrong", returns=returns)


def test_errors_inside_a_capture_are_those_of_the_capture() -> None:
    checkpoint = opened("dual")
    with refused("over the budget"), capture(checkpoint.model, "stem", max_bytes=1):
        checkpoint.model(IMAGE)


# ----- targets


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("own_networks", "names nothing to call; write it as package.module:function"),
        ("own_netwroks:dual", "there is no module 'own_netwroks'; closest: own_networks"),
        ("analysis.modles:x", r"there is no module .analysis.modles.; closest: .*analysis.models"),
        ("own_networks.dual:x", "there is no module 'own_networks.dual'"),
        ("own_networks:daul", "own_networks has no 'daul'; closest: dual"),
        ("own_networks:Dual.froward", "Dual has no 'froward'; closest: forward"),
        ("own_networks:NUMBER", "own_networks:NUMBER is a int; name a function or class"),
        ("own_networks:broken", r"own_networks:broken\(\) raised RuntimeError: the weights; check"),
        ("own_networks:Dual", r"own_networks:Dual\(\) raised TypeError: .*position"),
        ("builtins:dict", "builtins:dict returned a dict, not a torch.nn.Module"),
    ],
)
def test_a_target_that_builds_no_network_is_refused_in_one_line(target: str, message: str) -> None:
    with refused(message) as caught:
        open_module(target)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import nothing_like_it", "importing users_own raised ModuleNotFoundError: No module named 'nothing_like_it'"),
        ("1 / 0", "importing users_own raised ZeroDivisionError: division by zero"),
        ("raise SystemExit", "importing users_own raised SystemExit"),
        ("def f(:", "importing users_own raised SyntaxError"),
    ],
)
def test_code_that_does_not_import_is_refused(
    source: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "users_own.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    with refused(message):
        open_module("users_own:f")


# ----- weights


def save(tmp_path: Path, change: Callable[[dict[str, Tensor]], object]) -> Path:
    torch.save(change(original("dual", form="paper").state_dict()), tmp_path / "own.pth")
    return tmp_path / "own.pth"


@pytest.mark.parametrize("prefix", ["", "module."])
def test_weights_are_loaded_by_name(prefix: str, tmp_path: Path) -> None:
    def changed(tensors: dict[str, Tensor]) -> object:
        return {"state_dict": {prefix + name: torch.full_like(tensor, 0.25) for name, tensor in tensors.items()}}

    file = save(tmp_path, changed)
    checkpoint = open_module("own_networks:dual", file, size=(64, 96), classes=list("abcde"))
    assert all((tensor == 0.25).all() for tensor in checkpoint.model.state_dict().values())
    assert checkpoint.path == file and checkpoint.classes == tuple("abcde")
    assert checkpoint.provenance["layout"] == "own module" and len(checkpoint.provenance["sha256"]) == 64


def test_without_weights_the_file_is_that_of_the_class() -> None:
    checkpoint = opened("dual")
    assert checkpoint.path == Path(own_networks.__file__)
    assert checkpoint.provenance["weights"] == "as the code made them"


def test_weights_that_do_not_fit_are_refused_with_all_that_does_not(tmp_path: Path) -> None:
    def changed(tensors: dict[str, Tensor]) -> object:
        tensors["extra.weight"] = tensors.pop("stem.0.bias")
        return tensors | {"heads.0.weight": torch.zeros(7, 8, 1, 1)}

    message = (
        r"own.pth are not those of own_networks:dual: 1 missing, first stem.0.bias \[8\]; "
        r"1 left over, first extra.weight \[8\]; "
        r"1 of another shape, first heads.0.weight \[7, 8, 1, 1\] for \[5, 8, 1, 1\]$"
    )
    with refused(message):
        open_module("own_networks:dual", save(tmp_path, changed))


def test_class_names_are_one_a_class() -> None:
    with refused("2 class names were given, and own_networks:dual has 5"):
        open_module("own_networks:dual", classes=["a", "b"], size=(64, 96))


# ----- the wrapper


def test_the_wrapper_and_the_network_are_one() -> None:
    checkpoint = opened("dual")
    model = checkpoint.model
    assert isinstance(model, OwnModule) and not model.training and not model.module.training
    assert model.train().module.training and not model.eval().module.training
    model.to(torch.float64)
    assert model.module.get_submodule("stem.0").weight.dtype == torch.float64
    assert list(model.state_dict()) == list(model.module.state_dict())


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_is_whole_and_apart(copied: Callable[[OwnModule], OwnModule]) -> None:
    model = opened("dual", power=0.5).model
    assert isinstance(model, OwnModule)
    twin = copied(model)
    with torch.no_grad(), capture(twin, "position.query") as taps:
        assert torch.equal(twin(IMAGE).logits, model(IMAGE).logits)
    assert taps["position.query"].shape == (1, 4, 8, 12)
    for tensor in twin.state_dict().values():
        tensor.zero_()
    assert all(tensor.any() for tensor in model.state_dict().values())


def test_hooks_are_gone_after_opening_but_for_those_of_taps() -> None:
    assert len(hooks(opened("dual").model)) == 2  # the copies of what both paths read
    assert len(hooks(opened("Scales").model)) == 1


# ----- public networks


def assert_close(ours: Tensor, theirs: np.ndarray) -> None:
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-4, atol=1e-4)


def test_pytorchcv(tmp_path: Path) -> None:
    case = "pytorchcv_danet_resnetd50b"
    weights = conformance.write(case, tmp_path)
    target = "pytorchcv.models.danet:danet_resnetd50b_cityscapes"
    checkpoint = open_module(target, weights, arguments={"fixed_size": False}, size=(64, 96))
    assert kinds(checkpoint) == {"head.branch_pa.att": ("position", True), "head.branch_ca.att": ("channel", True)}
    expected = conformance.expected(case)
    with torch.no_grad(), capture(checkpoint.model, "head", "backbone.4") as taps:
        output = checkpoint.model(conformance.image(case))
    assert_close(taps["backbone.4"][:, ::32], expected["features"])
    for i, name in enumerate(("logits", "logits_position", "logits_channel")):
        assert_close(taps["head"][i], expected[name])
    assert_close(output.logits, expected["logits_upsampled"])
    assert gates(checkpoint.model)["alpha"].item() == pytest.approx(expected["gamma_position"].item())


@pytest.fixture
def mmseg(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """mmsegmentation. Its compiled operators, which mmcv-lite lacks and DANet does not use, are replaced by nothing."""
    reason = "mmsegmentation (with mmcv-lite, mmengine, opencv: 216 MB) is not installed; the case runs where it is"
    pytest.importorskip("mmengine", reason=reason)

    class Operators(ModuleType):
        def __init__(self) -> None:
            super().__init__("mmcv.ops")
            self.__path__ = []

        def __getattr__(self, name: str) -> type:
            if name.startswith("__"):
                raise AttributeError(name)
            return type(name, (), {})

    monkeypatch.setitem(sys.modules, "mmcv.ops", Operators())
    return importlib.import_module("mmseg.models")


@pytest.mark.filterwarnings("ignore")
def test_mmsegmentation(mmseg: ModuleType, tmp_path: Path) -> None:
    case = "mmseg_danet_resnetv1c50"
    weights = conformance.write(case, tmp_path)
    both = {"norm_cfg": {"type": "BN"}, "num_classes": 19, "align_corners": False}
    network = mmseg.EncoderDecoder(
        backbone={
            "type": "ResNetV1c",
            "depth": 50,
            "dilations": (1, 1, 2, 4),
            "strides": (1, 2, 1, 1),
            "contract_dilation": True,
        },
        decode_head={"type": "DAHead", "in_channels": 2048, "in_index": 3, "channels": 512, "pam_channels": 64, **both},
        auxiliary_head={
            "type": "FCNHead",
            "in_channels": 1024,
            "in_index": 2,
            "channels": 256,
            "num_convs": 1,
            "concat_input": False,
            **both,
        },
    )
    checkpoint = open_module(network, weights, input=InputSpec(align_corners=False), size=(64, 96))
    assert kinds(checkpoint) == {"decode_head.pam": ("position", True), "decode_head.cam": ("channel", True)}
    expected, image = conformance.expected(case), conformance.image(case)
    names = ("position.query", "position.key", "channel.affinity", "backbone.layer3", "backbone.layer4")
    with torch.no_grad(), capture(checkpoint.model, *names) as taps:
        output = checkpoint.model(image)
        auxiliary = network.auxiliary_head([None, None, taps["backbone.layer3"], None])
    width = taps["position.query"].shape[-1]
    positions = [divmod(j, width) for j in range(0, taps["position.query"][0, 0].numel(), 9)]
    rows = attention_rows(taps["position.query"][0], taps["position.key"][0], positions)
    for name, ours in {
        "features": taps["backbone.layer4"][:, ::32],
        "logits": output.logits,
        "logits_position": output.auxiliary["position"],
        "logits_channel": output.auxiliary["channel"],
        "logits_auxiliary": auxiliary,
        "logits_upsampled": resize(output.logits, image.shape[-2:], align_corners=False),
        "position_attention_rows": rows.flatten(1)[None],
        "channel_attention_rows": taps["channel.affinity"][:, ::32],
    }.items():
        assert_close(ours, expected[name])


def test_torchvision() -> None:
    arguments = {"weights": None, "weights_backbone": None, "num_classes": 3, "aux_loss": True}
    checkpoint = open_module("torchvision.models.segmentation:fcn_resnet50", arguments=arguments, size=(64, 96))
    assert checkpoint.spec.found == ()  # its heads are 3x3 and 1x1 convolutions to 3 maps, and classify
    image = np.zeros((40, 60, 3), np.uint8)
    assert predict(checkpoint.model, image).shape == (3, 40, 60)
    assert list(checkpoint.model(IMAGE).auxiliary) == ["aux"]

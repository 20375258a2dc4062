"""Shared networks: torchvision and timm models, dilated to the wanted output stride.

    vgg16   DeepLab-LargeFOV (Chen et al., section 3.1; as in the public Caffe net): features are fc7, 1024 channels
    resnet50, 101, 152   dilated, multi-grid on request (Fu et al., sections 3.1 and 4.1): 2048 channels
    lite0      timm's tf_efficientnet_lite0, reduced by a 1x1 convolution to 128 channels, which serve as its fc7
    tiny       four convolutions, for the embedded demo: 32 channels

Each is a module from images ``[B, 3, H, W]`` to features ``[B, channels, h, w]``. ``channels`` is that number, and
``attention_channels`` the width C of DANet's two paths (a quarter of a ResNet's or VGG's; all of a light backbone's).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Literal, get_args

import timm
import torch
from timm.layers import get_same_padding
from timm.layers.conv2d_same import Conv2dSame
from timm.models.resnet import Bottleneck, ResNet
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.vgg import cfgs, make_layers

from analysis.errors import AnalysisError, closest
from analysis.models.resize import resize
from analysis.models.spec import Stem

#: Blocks of the four stages, by depth.
RESNET_BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
NAMES = ("vgg16", *(f"resnet{depth}" for depth in RESNET_BLOCKS), "lite0", "tiny")
MultiGrid = tuple[int, int, int] | None
Precision = Literal["float32", "bf16"]


def in_precision(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A module's forward in the arithmetic that its ``precision`` says; what it gives is float32 in each."""

    @wraps(forward)
    def run(module: Any, x: Tensor, *more: Any) -> Tensor:
        if module.precision == "float32":
            return forward(module, x, *more)
        with torch.autocast(x.device.type, torch.bfloat16):  # only channels last is it faster
            return forward(module, x.contiguous(memory_format=torch.channels_last), *more).float()

    return run


def set_precision(model: nn.Module, precision: Precision) -> None:
    """With ``bf16`` the backbone's convolutions and DANet's 3x3 ones multiply in bfloat16 (torch.autocast).

    A CPU that knows it takes a third to three quarters of the time; ``benchmarks/inference.py`` says what it does to
    labels. Attention, gates and logits stay float32; modules inside the backbone give bfloat16.
    """
    if precision not in get_args(Precision):
        raise AnalysisError(f"precision must be one of {', '.join(get_args(Precision))}, not {precision!r}")
    for module in model.modules():
        if hasattr(module, "precision"):
            module.precision = precision  # ty: ignore[invalid-assignment]


class LargeFOV(nn.Module):
    """VGG-16 made fully convolutional, output stride 8 (DeepLab-LargeFOV as the Caffe net writes it).

    Max pools are 3x3 with padding 1 and Caffe's ceil rule; pool4 and pool5 keep the resolution, conv5 is dilated by 2,
    fc6 is a 3x3 convolution dilated by 12 to 1024 channels, fc7 a 1x1 convolution; ReLU and dropout 0.5 after both.
    """

    channels = 1024
    attention_channels = 256
    precision: Precision = "float32"

    def __init__(self) -> None:
        super().__init__()
        self.features = make_layers(cfgs["D"], batch_norm=False)
        pools = [i for i, layer in enumerate(self.features) if isinstance(layer, nn.MaxPool2d)]
        for number, i in enumerate(pools, start=1):
            self.features[i] = nn.MaxPool2d(3, stride=2 if number <= 3 else 1, padding=1, ceil_mode=True)
        for layer in self.features[pools[3] :]:
            if isinstance(layer, nn.Conv2d):
                _dilate(layer, 2)
        self.fc6 = nn.Sequential(nn.Conv2d(512, 1024, 3, padding=12, dilation=12), nn.ReLU(), nn.Dropout(0.5))
        self.fc7 = nn.Sequential(nn.Conv2d(1024, 1024, 1), nn.ReLU(), nn.Dropout(0.5))

    @in_precision
    def forward(self, image: Tensor) -> Tensor:
        """``[B, 3, H, W]`` to fc7 ``[B, 1024, h, w]``."""
        return self.fc7(self.fc6(self.features(image)))


class DilatedResNet(ResNet):
    """timm's ResNet without its classifier; the last stages keep the resolution and dilate instead.

    Dilations of layer4's three blocks are 2, 4, 4 as in the released DANet, or those of ``multi_grid``, literally.
    Stems: ``plain`` is one 7x7 convolution; ``v1c`` (mmsegmentation) and ``deep`` (PyTorch-Encoding, pytorchcv) are
    three 3x3 convolutions of 32, 32, 64 and 64, 64, 128 channels.
    """

    channels = 2048
    middle_channels = 1024
    attention_channels = 512
    precision: Precision = "float32"
    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential
    layer4: nn.Sequential

    def __init__(self, depth: int, output_stride: int = 8, multi_grid: MultiGrid = None, stem: Stem = "plain") -> None:
        width = {"plain": 64, "v1c": 32, "deep": 64}[stem]
        stem_type = "" if stem == "plain" else "deep"
        super().__init__(
            Bottleneck,  # ty: ignore[invalid-argument-type]  (timm annotates an instance and means the class)
            RESNET_BLOCKS[depth],
            num_classes=0,
            output_stride=output_stride,
            stem_width=width,
            stem_type=stem_type,
            zero_init_last=False,
        )
        del self.global_pool, self.fc
        if multi_grid and not (len(multi_grid) == 3 and all(type(d) is int and 0 < d <= 64 for d in multi_grid)):
            raise AnalysisError(f"multi_grid is three dilations of at least 1, such as 4 8 16, not {multi_grid}")
        for block, dilation in zip(self.layer4, multi_grid or (), strict=multi_grid is not None):
            _dilate(block.get_submodule("conv2"), dilation)

    @in_precision
    def forward(self, x: Tensor, middle: list[Tensor] | None = None) -> Tensor:
        """``[B, 3, H, W]`` to ``[B, 2048, h, w]``; layer3's ``[B, 1024, h, w]`` is appended to ``middle``."""
        x = self.maxpool(self.act1(self.bn1(self.conv1(x))))
        x = self.layer3(self.layer2(self.layer1(x)))
        if middle is not None:
            middle.append(x.float() if self.precision == "bf16" else x)
        return self.layer4(x)


class Light(nn.Module):
    """A light trunk and its 1x1 reduction; with ``skip`` the trunk's stride-4 features are added on their grid."""

    precision: Precision = "float32"

    def __init__(self, trunk: nn.Module, trunk_channels: tuple[int, int], channels: int, skip: bool) -> None:
        super().__init__()
        self.channels = self.attention_channels = channels
        self.trunk = trunk
        self.reduce = nn.Sequential(nn.Conv2d(trunk_channels[1], channels, 1, bias=False), nn.BatchNorm2d(channels))
        self.lateral: nn.Module | None = None
        if skip:
            lateral = nn.Conv2d(trunk_channels[0], channels, 1, bias=False)
            self.lateral = nn.Sequential(lateral, nn.BatchNorm2d(channels))

    @in_precision
    def forward(self, image: Tensor) -> Tensor:
        """``[B, 3, H, W]`` to ``[B, channels, h, w]``."""
        fine, deep = self.trunk(image.contiguous(memory_format=torch.channels_last))  # 4/5 of the time; a ResNet's not
        features = self.reduce(deep)
        if self.lateral is not None:
            features = resize(features, fine.shape[-2:], align_corners=True) + self.lateral(fine)
        return torch.relu(features)


class TinyTrunk(nn.Module):
    """Four 3x3 convolutions: strides 2, 2, 2, 1, the last dilated; returns features of strides 4 and 8."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _convolution(3, 16, stride=2)
        self.conv2 = _convolution(16, 24, stride=2)
        self.conv3 = _convolution(24, 32, stride=2)
        self.conv4 = _convolution(32, 48, dilation=2)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """``[B, 3, H, W]`` to ``[B, 24, H/4, W/4]`` and ``[B, 48, H/8, W/8]``."""
        fine = self.conv2(self.conv1(image))
        return fine, self.conv4(self.conv3(fine))


Backbone = LargeFOV | DilatedResNet | Light


def make_backbone(
    name: str, output_stride: int = 8, multi_grid: MultiGrid = None, skip: bool = False, stem: Stem = "plain"
) -> Backbone:
    """The named backbone with random weights; ``analysis.checkpoints.pretrained`` loads trained ones.

    Raises AnalysisError for an unknown name, or an option that the backbone does not have.
    """
    if (multi_grid or stem != "plain") and not name.startswith("resnet"):
        option = "multi_grid dilates a ResNet's layer4" if multi_grid else f"stem {stem!r} is a ResNet's"
        raise AnalysisError(f"{option}; backbone {name!r} has none: leave it out")
    if skip and name not in ("lite0", "tiny"):
        raise AnalysisError(f"skip is an option of the light backbones lite0 and tiny, not of {name!r}")
    if name in NAMES and name.startswith("resnet"):
        _check_stride(output_stride)
        return DilatedResNet(int(name.removeprefix("resnet")), output_stride, multi_grid, stem)
    if name == "lite0":
        return _lite0(output_stride, skip)
    if name not in NAMES:
        raise AnalysisError(f"unknown backbone {name!r}{closest(name, NAMES)}")
    if output_stride != 8:
        raise AnalysisError(f"backbone {name!r} has output stride 8, not {output_stride}")
    return LargeFOV() if name == "vgg16" else Light(TinyTrunk(), (24, 48), 32, skip)


def _lite0(output_stride: int, skip: bool) -> Light:
    _check_stride(output_stride)
    trunk = timm.create_model(
        "tf_efficientnet_lite0", features_only=True, out_indices=(1, 4), output_stride=output_stride
    )
    for module in trunk.modules():
        if isinstance(module, Conv2dSame):
            module.__class__ = SameConvolution
    return Light(trunk, (24, 320), 128, skip)


class SameConvolution(Conv2dSame):
    """TensorFlow's padding. An odd side needs as much before as behind: the convolution can pad by itself then, and
    no padded copy of its input is made, which took 3 % of a training step."""

    def forward(self, x: Tensor) -> Tensor:
        """As timm's."""
        sides = zip(x.shape[-2:], self.kernel_size, self.stride, self.dilation, strict=True)
        pads = [get_same_padding(*side) for side in sides]
        if any(pad % 2 for pad in pads):
            return super().forward(x)
        both = [pad // 2 for pad in pads]
        return functional.conv2d(x, self.weight, self.bias, self.stride, both, self.dilation, self.groups)


def _convolution(c_in: int, c_out: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(c_in, c_out, 3, stride=stride, padding=dilation, dilation=dilation, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(c_out), nn.ReLU())


def _dilate(conv: nn.Module, dilation: int) -> None:
    assert isinstance(conv, nn.Conv2d)
    conv.dilation = conv.padding = (dilation, dilation)


def _check_stride(output_stride: int) -> None:
    if output_stride not in (8, 16, 32):
        raise AnalysisError(f"output_stride must be one of [8, 16, 32], not {output_stride}")

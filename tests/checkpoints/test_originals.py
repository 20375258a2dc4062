"""Beyond the stored cases: ours beside the original code of larger models, and beside the Caffe net layer by layer."""

from pathlib import Path

import conformance
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from analysis import capture, open_checkpoint
from analysis.models.resize import resize

from .test_layouts import caffe

IMAGE = torch.randn(1, 3, 65, 97, generator=torch.Generator().manual_seed(0))


@pytest.mark.slow
@pytest.mark.parametrize("depth", [50, 101])
def test_pytorchcv(depth: int, tmp_path: Path) -> None:
    from pytorchcv.models import danet

    network = getattr(danet, f"danet_resnetd{depth}b_cityscapes")(fixed_size=False).eval()
    weights = conformance.filled({name: list(tensor.shape) for name, tensor in network.state_dict().items()})
    network.load_state_dict(weights)
    torch.save(network.state_dict(), tmp_path / "danet.pth")
    opened = open_checkpoint(tmp_path / "danet.pth")
    with torch.no_grad():
        output, originals = opened.model(IMAGE), network(IMAGE)
    assert opened.provenance["layout"] == "pytorchcv"
    for ours, theirs in zip((output.logits, *output.auxiliary.values()), originals, strict=True):
        torch.testing.assert_close(resize(ours, IMAGE.shape[-2:], align_corners=True), theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_the_caffe_net(tmp_path: Path) -> None:
    """The prototxt of PAPERS 1.1 and 1.8 layer by layer, on shapes 32 k + 1."""
    shapes = {name: list(tensor.shape) for name, tensor in caffe().items()}
    weights = {name: tensor * 1.5 for name, tensor in conformance.filled(shapes).items()}
    torch.save(weights, tmp_path / "net")  # the layout is told from names, whatever the container
    opened = open_checkpoint(tmp_path / "net")
    with torch.no_grad(), capture(opened.model, "scale.weights") as taps:
        logits = opened.model(IMAGE).logits
        fused, attention = caffe_forward(weights, IMAGE)
    assert opened.provenance["layout"] == "Caffe DeepLab attention"
    torch.testing.assert_close(taps["scale.weights"], attention, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(logits, fused, rtol=1e-4, atol=1e-5)
    assert attention.std() > 0.01


def caffe_forward(weights: dict[str, Tensor], data: Tensor) -> tuple[Tensor, Tensor]:
    """``fc8_fusion`` and ``attention``; Interp is the align-corners kind, pools have Caffe's ceil rule."""
    sizes = [[(n - 1) * k // 4 + 1 for n in data.shape[-2:]] for k in (4, 3, 2)]
    inputs = [data, *(interpolated(data, size) for size in sizes[1:])]
    fc7 = [trunk(weights, x) for x in inputs]
    fc8 = [conv(weights, "fc8_voc12", x) for x in fc7]
    grid = fc7[0].shape[-2:]
    concat = torch.cat([interpolated(x, grid) for x in fc7], dim=1)
    hidden = functional.relu(conv(weights, "att_conv1", concat, padding=1))
    attention = conv(weights, "att_fc", hidden).softmax(dim=1)
    products = [w * interpolated(x, grid) for w, x in zip(attention.split(1, dim=1), fc8, strict=True)]
    return products[0] + products[1] + products[2], attention


def trunk(weights: dict[str, Tensor], x: Tensor) -> Tensor:
    for stage, layers in enumerate((2, 2, 3, 3, 3), start=1):
        dilation = 2 if stage == 5 else 1
        for k in range(1, layers + 1):
            x = functional.relu(conv(weights, f"conv{stage}_{k}", x, padding=dilation, dilation=dilation))
        x = functional.max_pool2d(x, 3, stride=2 if stage < 4 else 1, padding=1, ceil_mode=True)
    x = functional.relu(conv(weights, "fc6", x, padding=12, dilation=12))
    return functional.relu(conv(weights, "fc7", x))


def conv(weights: dict[str, Tensor], name: str, x: Tensor, **options: int) -> Tensor:
    return functional.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], **options)


def interpolated(x: Tensor, size: list[int] | torch.Size) -> Tensor:
    return functional.interpolate(x, size, mode="bilinear", align_corners=True)

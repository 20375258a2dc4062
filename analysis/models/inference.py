"""From a photograph to a prediction of its own size, as the model's ``spec.input`` says."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from analysis.models.resize import resize
from analysis.models.spec import InputSpec


def input_size(size: tuple[int, int], spec: InputSpec) -> tuple[int, int]:
    """Height and width at which a photograph of the given size enters the model."""
    factor = 1.0 if spec.short_side is None else spec.short_side / min(size)
    multiple, extra = spec.size_multiple, int(spec.align_corners and spec.size_multiple > 1)
    height, width = (max(1, round((n * factor - extra) / multiple)) * multiple + extra for n in size)
    return height, width


def to_input(image: np.ndarray, spec: InputSpec) -> Tensor:
    """``image [H, W, 3]`` uint8 RGB to ``[1, 3, h, w]`` float32, resized (antialiased) and normalised."""
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()
    size = input_size((image.shape[0], image.shape[1]), spec)
    if pixels.shape[-2:] != size:
        pixels = functional.interpolate(pixels, size, mode="bilinear", antialias=True, align_corners=False)
    return normalise(pixels, spec)


def normalise(pixels: Tensor, spec: InputSpec) -> Tensor:
    """``[B, 3, H, W]`` RGB in 0..255 to the model's channel order, range, mean and standard deviation."""
    if spec.channel_order == "BGR":
        pixels = pixels.flip(1)
    mean, std = (pixels.new_tensor(v).view(3, 1, 1) for v in (spec.mean, spec.std))
    return (pixels * (spec.value_range / 255) - mean) / std


@torch.no_grad()
def predict(model: nn.Module, image: np.ndarray) -> Tensor:
    """Logits ``[K, H, W]`` of a photograph ``[H, W, 3]`` uint8 RGB, at the photograph's size.

    ``model`` is one of ours or an OwnModule: its ``spec.input`` says how images enter, and its call gives an Output.
    Runs in evaluation mode on the model's device; hooks set by ``capture`` and ``intervene`` see this one forward.
    """
    device, spec = next(model.parameters()).device, cast(InputSpec, cast(Any, model).spec.input)
    was_training = model.training
    model.eval()
    try:
        logits = model(to_input(image, spec).to(device)).logits
    finally:
        model.train(was_training)
    return resize(logits.float(), image.shape[:2], spec.align_corners)[0]

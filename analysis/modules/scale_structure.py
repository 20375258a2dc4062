"""Attention to scale in anybody's network, found by shape and confirmed by what it does to the logits.

The shape is that of Chen et al., section 4.1: a 3x3 and a 1x1 convolution, with one output map a branch. Many a
classifier has it too. What tells them apart is what becomes of the logits where the maps are set to constants:
equation (1) makes an average of score maps, a classifier a constant.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from analysis.errors import AnalysisError
from analysis.models.tap import Tap
from analysis.modules.own_module import Activation, Found, OwnModule, through_tap
from analysis.taps import intervene

_BRANCHES = range(2, 6)
_HOW = {
    "softmax": "the softmax of its output over the branches",
    "sigmoid": "the sigmoid of its output, so they do not sum to 1",
    "raw": "its output as it is, so they do not sum to 1",
}


@torch.no_grad()
def find_scale_attention(model: OwnModule, image: Tensor) -> tuple[Found, ...]:
    """Find it in forwards of ``image [1, 3, H, W]``; its output becomes the tap ``scale.logits``, all else stays."""
    convs = [(path, module) for path, module in model.named_modules() if isinstance(module, nn.Conv2d)]
    found = []
    for (_, first), (path, last) in pairwise(convs):
        if _head_like(first, last) and (activation := _activation(model, image, path)):
            given = len(model.spec.scales)
            if given not in (0, last.out_channels) and not found:
                counts = f"{given} scales were given, and {model.spec.target}'s {path} has {last.out_channels}"
                raise AnalysisError(f"{counts}; give one for each or none")
            tap = Tap("scale.logits")
            last.add_module("scale_logits_tap", tap)
            last.register_forward_hook(partial(through_tap, tap))
            how = f"read-only; weights are {_HOW[activation]}"
            found.append(Found("scale", path, False, how, activation, last.out_channels))
    return tuple(found)


def _head_like(first: nn.Conv2d, last: nn.Conv2d) -> bool:
    sizes = first.kernel_size == (3, 3) and last.kernel_size == (1, 1) and first.out_channels == last.in_channels
    return sizes and last.out_channels in _BRANCHES and first.in_channels % last.out_channels == 0


def _activation(model: OwnModule, image: Tensor, path: str) -> Activation | None:
    """What turns a head's output h into weights; None where it weighs nothing.

    A softmax over branches is what a shift of them all leaves alone; logits are linear in weights that are h itself;
    sigmoids are twice as large at a great h as at 0.
    """

    def logits(change: Callable[[Tensor], Tensor]) -> Tensor:
        with intervene(model, {path: change}):
            return model(image).logits

    try:
        one, tilted = logits(torch.ones_like), logits(_tilted)
        if _close(tilted, tilted[..., :1, :1]) or _close(tilted, one):
            return None  # it makes the logits, or has no part in them
        plain, shifted = logits(torch.clone), logits(lambda h: h + 10)
        if _close(shifted, plain):
            return "softmax"
        if _close(shifted, plain + 10 * one):
            return "raw"
        at_zero, at_most = logits(torch.zeros_like), logits(lambda h: torch.full_like(h, 50))
        return "sigmoid" if _close(at_most, 2 * at_zero) else None
    except AnalysisError:  # it is not called, or several times
        return None


def _tilted(h: Tensor) -> Tensor:
    """Constants 0, 1, 2, ... over the branches."""
    return torch.arange(h.shape[1], dtype=h.dtype, device=h.device).view(1, -1, 1, 1).expand_as(h)


def _close(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).abs().max() <= 1e-4 * a.abs().max())

"""Channels that are dead by their weights: a batch norm and a ReLU after it, whose output is 0 whatever comes in.

With scale g, shift b, running mean m and variance v, a channel is y = g (x - m) / sqrt(v + eps) + b. It is dead for
sure if y is a constant of at most 0 (g = 0, or a convolution of zeros before it), or if y can only fall from there:
x is a sum of w times features, and after a ReLU no feature is below 0, so that g w <= 0 everywhere is enough.

Scale and shift both at most 0 is only a hint: a negative scale lets through what lies well below the mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from analysis.inspection.tree import batch_norms

EPS = 1e-5  # of every public layout and of ours
#: The convolutions of DANet's two paths, each before a batch norm and a ReLU; whether a ReLU comes before them too.
HEAD = {"position_in": True, "channel_in": True, "position_out": False, "channel_out": False}


@dataclass(frozen=True)
class DeadChannels:
    """Of ``channels`` in ``layers`` batch norms: those ``certain`` to be dead, and those with scale and shift
    ``at_most_0``.
    """

    layers: int
    channels: int
    certain: int
    at_most_0: int


def dead_in_head(tensors: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, DeadChannels]:
    """The dead channels of each convolution of :data:`HEAD` that the file has. ``names``: our tensor to the file's."""
    found = {}
    for layer, rectified in HEAD.items():
        needed = ("0.weight", "1.weight", "1.bias", "1.running_mean", "1.running_var")
        if all(f"{layer}.{leaf}" in names for leaf in needed):
            weight, *norm = (tensors[names[f"{layer}.{leaf}"]].float() for leaf in needed)
            scale, shift, mean, variance = (vector.flatten() for vector in norm)
            dead = certain(weight, scale, shift, mean, variance, rectified=rectified)
            found[layer] = _count(scale, shift, dead)
    return found


def dead_anywhere(tensors: Mapping[str, Tensor]) -> DeadChannels:
    """Over all batch norms of a file, whatever follows them; certain are those of scale 0 and shift at most 0."""
    counts = []
    for name in batch_norms(tensors):
        scale, shift = tensors[f"{name}.weight"].float().flatten(), tensors[f"{name}.bias"].float().flatten()
        if scale.shape == shift.shape:
            counts.append(_count(scale, shift, (scale == 0) & (shift <= 0)))
    return DeadChannels(
        len(counts),
        sum(count.channels for count in counts),
        sum(count.certain for count in counts),
        sum(count.at_most_0 for count in counts),
    )


def certain(weight: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, variance: Tensor, *, rectified: bool) -> Tensor:
    """Which channels ``[C]`` are 0 for every input of a convolution ``weight [C, in, kh, kw]`` without bias, batch norm
    and ReLU (for every input without a negative value where ``rectified``).
    """
    slopes = scale.sign()[:, None] * weight.flatten(1)
    constant = shift - scale * mean / (variance + EPS).sqrt()
    never_rises = (slopes <= 0).all(1) if rectified else (slopes == 0).all(1)
    return never_rises & (constant <= 0)


def _count(scale: Tensor, shift: Tensor, dead: Tensor) -> DeadChannels:
    return DeadChannels(1, len(scale), int(dead.sum()), int(((scale <= 0) & (shift <= 0)).sum()))

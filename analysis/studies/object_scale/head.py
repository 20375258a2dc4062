"""Who has learnt scale weights, and the control for them: attention heads that have learnt nothing, on its features.

A head as a training starts with it gives w = 1/S almost everywhere, so that it has no effect of size whatever is wrong
with the measure. The control's heads therefore get what the trained one has in each image: the mean of every branch's
logits, and how much they vary over positions. Where they are high is left to chance.

One such head has an effect of size, of either sign, because what it reads differs with size (of 16 on CamVid from -0.16
to +0.25, the trained head's being -0.08). So the control is the mean weight of many, each with its mirror image, whose
logits are high where its own are low. What is linear in the logits is gone then. What stays is what the softmax makes
of positions at which any head's logits are extreme, more often inside large objects: +0.02 to +0.03 on CamVid, of all
classes. That must lie within delta, or the measure finds size in heads that do not know it. How far the single heads
reach is kept beside it (:mod:`.chance`): a trained head's effect may be real and yet owed to no training.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from analysis.checkpoints import Checkpoint
from analysis.errors import AnalysisError
from analysis.models import ScaleAttention
from analysis.models.scale_attention import AttentionFusion

#: With them the control is known to about 0.01 on CamVid.
HEADS = 16
_SMALLEST = 1e-12


def attending(checkpoint: Checkpoint) -> ScaleAttention:
    """The model, if it has scale weights that are learnt. AnalysisError otherwise."""
    model = checkpoint.model
    if not isinstance(model, ScaleAttention):
        raise AnalysisError(f"{checkpoint.name} has no attention over scales: give an Attention to Scale model")
    if not isinstance(model.fusion, AttentionFusion):
        raise AnalysisError(
            f"{checkpoint.name} fuses its scales by {model.spec.fusion}, so no weight is learnt: "
            "give a model with fusion=attention"
        )
    return model


def redrawn_heads(model: ScaleAttention) -> nn.Sequential:
    """``HEADS`` heads of random weights on one first layer, always the same: logits ``[1, HEADS S, h, w]``."""
    fusion, n_scales = cast(AttentionFusion, model.fusion), len(model.spec.scales)
    first = cast(nn.Conv2d, fusion.attention[0])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        hidden = nn.Conv2d(first.in_channels, first.out_channels, 3, padding=1)
        heads = nn.Sequential(hidden, nn.ReLU(), nn.Conv2d(first.out_channels, HEADS * n_scales, 1))
    return heads.to(first.weight.device).eval()


@torch.no_grad()
def redrawn_weights(heads: nn.Module, inputs: Tensor, trained: Tensor) -> Tensor:
    """Weights ``[2 HEADS, S, h, w]`` of heads and of their mirror images, from what the trained head read,
    ``[1, C, h, w]``.

    ``trained``: its weights ``[1, S, h, w]``, whose logits give the mean and the spread over positions.
    """
    mean, spread, _ = _standardised(trained.clamp_min(_SMALLEST).log())
    pattern = _standardised(heads(inputs).float().view(-1, *trained.shape[1:]))[2]
    mirrored = torch.cat([mean + spread * pattern, mean - spread * pattern])
    return mirrored.softmax(dim=1)


def _standardised(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and spread over positions of each branch's logits less their mean over branches, and what is left."""
    logits = logits - logits.mean(dim=1, keepdim=True)
    mean = logits.mean(dim=(2, 3), keepdim=True)
    spread = logits.std(dim=(2, 3), keepdim=True)
    return mean, spread, (logits - mean) / spread.clamp_min(_SMALLEST)

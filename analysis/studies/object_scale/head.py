"""Who has learnt scale weights, and the control for them: an attention head of random weights."""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

from analysis.checkpoints import Checkpoint
from analysis.errors import AnalysisError
from analysis.models import ScaleAttention
from analysis.models.scale_attention import AttentionFusion


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


def redrawn_head(model: ScaleAttention, seed: int = 0) -> nn.Module:
    """The attention head as a training with this ``seed`` would start with it: it has learnt nothing.

    It starts near the average, w = 1/S. The effect is linear in w, so random heads give nothing on average however they
    are drawn; one of wider spread gives something of either sign.
    """
    if not isinstance(model.fusion, AttentionFusion):
        raise AnalysisError(f"a model that fuses its scales by {model.spec.fusion} has no attention head to redraw")
    n_scales, first = len(model.spec.scales), cast(nn.Conv2d, model.fusion.attention[0])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = AttentionFusion(first.in_channels // n_scales, first.out_channels, n_scales)
    return fresh.attention.to(first.weight.device).eval()

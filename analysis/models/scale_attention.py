"""Attention to Scale (Chen, Yang, Wang, Xu, Yuille, CVPR 2016), with taps.

The image is resized to every scale s; one shared network gives features (fc7) and score maps f^s per scale; all are
brought to the grid of the finest branch; an attention head on the concatenated features gives h^s, and

    w^s_i = exp h^s_i / sum_t exp h^t_i        (2)
    g_ic  = sum_s w^s_i * f^s_ic               (1)

so one weight per position and scale is shared by all classes. Taps: ``scale.features.<b>``, ``scale.scores.<b>``,
``scale.logits`` (h), ``scale.weights`` (w), with branches named by the input scale in per cent: x100, x75, x50.

    model = ScaleAttention(classes=11, backbone="lite0", scales=(1, 0.75, 0.5))
    with capture(model, "scale.weights") as taps:
        logits = model(image).logits
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from analysis.errors import AnalysisError
from analysis.models.backbones import make_backbone
from analysis.models.output import Output
from analysis.models.resize import resize, scaled_size
from analysis.models.spec import ScaleSpec, spec_from_fields
from analysis.models.tap import Tap


class ScaleAttention(nn.Module):
    """``ScaleAttention(classes=11, **fields)``; the fields are those of :class:`~analysis.models.spec.ScaleSpec`.

    ``fusion="average"`` is w^s = 1/S, so it has the tap ``scale.weights`` but no head; ``"max"`` takes the maximum per
    class, which weights shared by all classes cannot do, so it has neither (section 3.2).

    ``extra_supervision="per_scale"`` is the paper's (section 3.3): each branch's score map carries a loss of its own,
    1 + S in all. ``"scale_classifier"`` is not the paper's: a small classifier must tell the fused scores (0) from
    each branch's (1..S), so that branches become distinguishable; its logits are ``auxiliary["scale"]``,
    ``[B, S + 1, S + 1]``, one row per map.
    """

    def __init__(self, classes: int, **fields: Any) -> None:
        super().__init__()
        self.spec = spec = spec_from_fields(ScaleSpec, {"classes": classes, **fields})
        self.branches = branch_names(spec.scales)
        self.backbone = make_backbone(spec.backbone, spec.output_stride, skip=spec.skip)
        self.classifier = nn.Conv2d(self.backbone.channels, spec.classes, 1)  # fc8
        _start_near_zero(self.classifier)
        # Both are called once per branch: captures name the calls, as in backbone.layer4@x75.
        self.call_names = {"backbone": self.branches, "classifier": self.branches}
        self.features_taps = nn.ModuleList(Tap(f"scale.features.{branch}") for branch in self.branches)
        self.scores_taps = nn.ModuleList(Tap(f"scale.scores.{branch}") for branch in self.branches)
        self.fusion = _fusion(spec, self.backbone.channels)
        self.scale_classifier: nn.Module | None = None
        if spec.extra_supervision == "scale_classifier":
            self.scale_classifier = ScaleClassifier(spec.classes, len(spec.scales))

    def forward(self, image: Tensor) -> Output:
        """``image [B, 3, H, W]`` as ``spec.input`` says. Logits are on the grid of the finest branch's features."""
        native = {
            branch: self._branch(image, scale) for branch, scale in zip(self.branches, self.spec.scales, strict=True)
        }
        finest = self.branches[self.spec.scales.index(max(self.spec.scales))]
        grid = native[finest][0].shape[-2:]
        align = self.spec.input.align_corners
        pairs = list(native.values())
        features = [tap(resize(f, grid, align)) for tap, (f, _) in zip(self.features_taps, pairs, strict=True)]
        scores = [tap(resize(f, grid, align)) for tap, (_, f) in zip(self.scores_taps, pairs, strict=True)]
        fused = self.fusion(features if self.spec.head_input == "fc7" else scores, scores)
        return Output(fused, self._auxiliary(fused, scores, [f for _, f in pairs]))

    def _branch(self, image: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        align = self.spec.input.align_corners
        features = self.backbone(resize(image, scaled_size(image.shape[-2:], scale, align), align))
        return features, self.classifier(features)

    def _auxiliary(self, fused: Tensor, scores: list[Tensor], native: list[Tensor]) -> dict[str, Tensor]:
        if self.scale_classifier is not None:
            maps = [fused, *scores]
            return {"scale": torch.stack([self.scale_classifier(m) for m in maps], dim=1)}
        if self.spec.extra_supervision != "per_scale":
            return {}
        return {
            branch: native[i] if self.spec.native_loss and _has_native_labels(self.spec.scales[i]) else scores[i]
            for i, branch in enumerate(self.branches)
        }


class AttentionFusion(nn.Module):
    """The attention head and equations (1), (2): 3x3 convolution, ReLU, dropout, 1x1 convolution, softmax over scales.

    The paper gives the two convolutions (section 4.1); ReLU and dropout 0.5 are the public Caffe net's. The last
    convolution starts near 0, that is at the average of the branches.
    """

    def __init__(self, channels: int, width: int, n_scales: int) -> None:
        super().__init__()
        first, last = nn.Conv2d(n_scales * channels, width, 3, padding=1), nn.Conv2d(width, n_scales, 1)
        _start_near_zero(last)
        self.attention = nn.Sequential(first, nn.ReLU(), nn.Dropout(0.5), last)
        self.logits_tap = Tap("scale.logits")
        self.weights_tap = Tap("scale.weights")

    def forward(self, inputs: list[Tensor], scores: list[Tensor]) -> Tensor:
        """``inputs`` per scale ``[B, C, h, w]`` and ``scores`` per scale ``[B, K, h, w]`` to ``[B, K, h, w]``."""
        h = self.logits_tap(self.attention(torch.cat([_with_dense_gradient(x) for x in inputs], dim=1)))
        w = self.weights_tap(torch.softmax(h, dim=1))
        return weighted_sum(w, scores)


class AverageFusion(nn.Module):
    """Equation (1) with w^s = 1/S."""

    def __init__(self) -> None:
        super().__init__()
        self.weights_tap = Tap("scale.weights")

    def forward(self, inputs: list[Tensor], scores: list[Tensor]) -> Tensor:
        """``scores`` per scale ``[B, K, h, w]`` to their mean ``[B, K, h, w]``; ``inputs`` are not used."""
        batch, _, height, width = scores[0].shape
        w = scores[0].new_full((batch, len(scores), height, width), 1 / len(scores))
        return weighted_sum(self.weights_tap(w), scores)


class MaxFusion(nn.Module):
    """The maximum over scales, per class and position."""

    def forward(self, inputs: list[Tensor], scores: list[Tensor]) -> Tensor:
        """``scores`` per scale ``[B, K, h, w]`` to their maximum ``[B, K, h, w]``; ``inputs`` are not used."""
        return torch.stack(scores).amax(dim=0)


class ScaleClassifier(nn.Module):
    """Which of the S + 1 score maps is this? Two 3x3 convolutions and global pooling."""

    def __init__(self, classes: int, n_scales: int, width: int = 64) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(classes, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1), nn.ReLU()
        )
        self.scale = nn.Linear(width, n_scales + 1)

    def forward(self, scores: Tensor) -> Tensor:
        """``[B, K, h, w]`` to ``[B, S + 1]``."""
        return self.scale(self.features(scores).mean(dim=(2, 3)))


def weighted_sum(weights: Tensor, scores: list[Tensor]) -> Tensor:
    """Equation (1): ``weights [B, S, h, w]`` and S score maps ``[B, K, h, w]`` to ``[B, K, h, w]``."""
    return sum((weights[:, s : s + 1] * f for s, f in enumerate(scores[1:], start=1)), weights[:, :1] * scores[0])


def branch_names(scales: tuple[float, ...]) -> tuple[str, ...]:
    """Names of the branches: the input scale in per cent, ``x100`` for 1.0."""
    sound = 0 < len(scales) <= 16 and all(0.01 <= scale <= 4 for scale in scales)  # 0.01 is the last of two digits
    names = tuple(f"x{round(100 * scale)}" for scale in scales if sound)
    if not sound or len(set(names)) < len(names):
        raise AnalysisError(f"scales must be different positive factors such as (1, 0.75, 0.5), not {scales}")
    return names


def _fusion(spec: ScaleSpec, feature_channels: int) -> nn.Module:
    if spec.fusion == "average":
        return AverageFusion()
    if spec.fusion == "max":
        return MaxFusion()
    channels = feature_channels if spec.head_input == "fc7" else spec.classes
    return AttentionFusion(channels, spec.head_width, len(spec.scales))


def _with_dense_gradient(x: Tensor) -> Tensor:
    """``x``, whose gradient is copied together: resizing takes that of a concatenation's part 7 times as long back."""
    if x.requires_grad:
        x = x.view_as(x)  # not x itself, which others may use
        x.register_hook(lambda g: g.contiguous(memory_format=torch.channels_last))
    return x


def _has_native_labels(scale: float) -> bool:
    """The Caffe net can shrink labels by whole factors only: a 0.75x branch is supervised on the finest grid."""
    return (1 / scale) % 1 == 0


def _start_near_zero(convolution: nn.Conv2d) -> None:
    """Gaussian of 0.01, no bias: the Caffe net's start for layers that give scores."""
    nn.init.normal_(convolution.weight, std=0.01)
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)

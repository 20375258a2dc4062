"""pytorchcv's danet_resnetd50b_cityscapes and danet_resnetd101b_cityscapes: deep stem, no multi-grid.

A bare state dict. The trunk's parts are numbered (``backbone.0``, ``backbone.1``) or named (``backbone.init_block``,
``backbone.stage1``), depending on pytorchcv's version; units count from 1. Its "D" is for dilated: downsampling is by
strided 1x1 convolutions, there is no average pool (pytorchcv/models/resnetd.py, 0.0.74).
"""

from __future__ import annotations

import re

from analysis.checkpoints.layouts.layout import Layout, by_prefix, dual_spec
from analysis.models.spec import InputSpec

_LAYERS = {"conv": 0, "bn": 1}
_HEAD = by_prefix(
    {
        **{
            f"head.branch_{branch}.conv{k}.{part}.": f"{ours}_{side}.{n}."
            for branch, ours in (("pa", "position"), ("ca", "channel"))
            for k, side in ((1, "in"), (2, "out"))
            for part, n in _LAYERS.items()
        },
        **{f"head.branch_pa.att.{name}_conv.": f"pam.{name}." for name in ("query", "key", "value")},
        "head.branch_pa.att.scale.alpha": "pam.gate",
        "head.branch_ca.att.scale.alpha": "cam.gate",
        "head.branch_pa.conv3.": "position_classifier.1.",
        "head.branch_ca.conv3.": "channel_classifier.1.",
        "head.conv.": "classifier.1.",
    }
)
_STEM = re.compile(r"backbone\.(?:0|init_block)\.conv([123])\.(conv|bn)\.(.+)")
_UNIT = re.compile(r"backbone\.(?:stage)?([1-4])\.unit(\d+)\.(?:body\.conv([123])|identity_conv)\.(conv|bn)\.(.+)")


def _translate(name: str) -> str | None:
    if stem := _STEM.fullmatch(name):
        k, part, leaf = stem.groups()
        if (k, part) == ("3", "bn"):
            return f"backbone.bn1.{leaf}"
        return f"backbone.conv1.{3 * (int(k) - 1) + _LAYERS[part]}.{leaf}"
    if unit := _UNIT.fullmatch(name):
        stage, number, k, part, leaf = unit.groups()
        layer = f"{part}{k}" if k else f"downsample.{_LAYERS[part]}"
        return f"backbone.layer{stage}.{int(number) - 1}.{layer}.{leaf}"
    return _HEAD(name)


LAYOUT = Layout(
    name="pytorchcv",
    source="the package pytorchcv, models/danet.py",
    signature={
        "head.branch_pa.conv1.conv.weight": 4,
        "head.branch_pa.att.scale.alpha": 1,
        "head.branch_ca.att.scale.alpha": 1,
        "head.conv.weight": 4,
    },
    translate=_translate,
    describe=lambda shapes, metadata: dual_spec(shapes, input=InputSpec()),
)

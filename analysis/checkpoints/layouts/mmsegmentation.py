"""mmsegmentation's danet_r50-d8 and danet_r101-d8: ResNetV1c, no multi-grid, an FCN head on layer3.

``meta`` may hold the class names, and the config, which says align_corners (True for the 769 x 769 models); without it
align_corners is False as in ``configs/_base_/models/danet_r50-d8.py``. Mean and standard deviation are of 0..255.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from analysis.checkpoints.layouts.layout import Layout, Shapes, by_prefix, dual_spec
from analysis.models.spec import DualSpec, InputSpec

_HEAD = "decode_head."
TABLE = {
    "backbone.": "backbone.",
    "backbone.stem.": "backbone.conv1.",
    "backbone.stem.7.": "backbone.bn1.",
    **{
        f"{_HEAD}{theirs}_{side}_conv.{part}.": f"{ours}_{side}.{n}."
        for theirs, ours in (("pam", "position"), ("cam", "channel"))
        for side in ("in", "out")
        for n, part in enumerate(("conv", "bn"))
    },
    **{f"{_HEAD}pam.{name}_project.": f"pam.{name}." for name in ("query", "key", "value")},
    f"{_HEAD}pam.gamma.scale": "pam.gate",
    f"{_HEAD}cam.gamma.scale": "cam.gate",
    f"{_HEAD}pam_conv_seg.": "position_classifier.1.",
    f"{_HEAD}cam_conv_seg.": "channel_classifier.1.",
    f"{_HEAD}conv_seg.": "classifier.1.",
    "auxiliary_head.convs.0.conv.": "backbone_classifier.0.0.",
    "auxiliary_head.convs.0.bn.": "backbone_classifier.0.1.",
    "auxiliary_head.conv_seg.": "backbone_classifier.1.1.",
}


def _describe(shapes: Shapes, metadata: Mapping[str, Any]) -> DualSpec:
    meta = _meta(metadata)
    config = str(meta.get("cfg") or meta.get("config"))  # of mmsegmentation 1.x, and before
    aligned = re.search(r"align_corners\s*=\s*True", config) is not None
    pixels = InputSpec(
        value_range=255.0, mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375), align_corners=aligned
    )
    return dual_spec(shapes, input=pixels)


def _classes(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """mmsegmentation 0.x keeps ``CLASSES``, 1.x ``dataset_meta``."""
    meta = _meta(metadata)
    dataset = meta.get("dataset_meta")
    names = meta.get("CLASSES") or (dataset.get("classes") if isinstance(dataset, Mapping) else None) or ()
    return tuple(map(str, names)) if isinstance(names, list | tuple) else ()


def _meta(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    meta = metadata.get("meta")
    return meta if isinstance(meta, Mapping) else {}


LAYOUT = Layout(
    name="mmsegmentation",
    source="github.com/open-mmlab/mmsegmentation configs/danet",
    signature={
        "decode_head.pam_in_conv.conv.weight": 4,
        "decode_head.pam.gamma.scale": 0,
        "decode_head.cam.gamma.scale": 0,
        "decode_head.conv_seg.weight": 4,
        "backbone.layer4.0.conv2.weight": 4,
    },
    translate=by_prefix(TABLE),
    describe=_describe,
    classes=_classes,
)

"""Our own names without our metadata: a bare state dict of one of this project's models, saved by hand.

What weights don't show (scales, multi-grid, the CAM form, how images enter) follows the defaults of our specs.
"""

from __future__ import annotations

from analysis.checkpoints.layouts.caffe import SCALES
from analysis.checkpoints.layouts.layout import Layout, Shapes, backbone_fields, dual_spec
from analysis.models.spec import ScaleSpec


def _scale_spec(shapes: Shapes) -> ScaleSpec:
    weigher = shapes["fusion.attention.3.weight"]
    classes, features = shapes["classifier.weight"][:2]
    return ScaleSpec(
        classes=classes,
        scales=SCALES.get(weigher[0], SCALES[3]),
        head_input="fc7" if shapes["fusion.attention.0.weight"][1] == weigher[0] * features else "fc8",
        head_width=weigher[1],
        extra_supervision="scale_classifier" if "scale_classifier.scale.weight" in shapes else "per_scale",
        **backbone_fields(shapes),
    )


_PARTS = ("backbone", "position_", "channel_", "pam.", "cam.", "classifier.", "fusion.", "scale_classifier.")


def _translate(name: str) -> str | None:
    return name if name.startswith(_PARTS) else None


DUAL = Layout(
    name="attention-analysis, without metadata",
    source="this project",
    signature={"position_in.0.weight": 4, "channel_in.0.weight": 4, "classifier.1.weight": 4},
    translate=_translate,
    describe=lambda shapes, metadata: dual_spec(shapes),
)
SCALE = Layout(
    name="attention-analysis, without metadata",
    source="this project",
    signature={"fusion.attention.0.weight": 4, "fusion.attention.3.weight": 4, "classifier.weight": 4},
    translate=_translate,
    describe=lambda shapes, metadata: _scale_spec(shapes),
)

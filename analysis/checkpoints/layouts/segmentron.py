"""SegmenTron's DANet: the authors' head on ``encoder.*`` (github.com/LikeLy-Journey/SegmenTron).

Its ``cityscapes_danet_resnet.yaml`` asks for multi-grid 4, 8, 16 and normalises as ImageNet; outputs are upsampled
with align_corners.
"""

from analysis.checkpoints.layouts.junfu1115 import HEAD, SIGNATURE
from analysis.checkpoints.layouts.layout import Layout, by_prefix, dual_spec
from analysis.models.spec import InputSpec

LAYOUT = Layout(
    name="SegmenTron",
    source="github.com/LikeLy-Journey/SegmenTron",
    signature={**SIGNATURE, "encoder.layer4.0.conv2.weight": 4},
    translate=by_prefix({**HEAD, "encoder.": "backbone."}),
    describe=lambda shapes, metadata: dual_spec(shapes, multi_grid=(4, 8, 16), input=InputSpec()),
    ignored=("encoder.fc.", "auxlayer."),
)

"""The authors' DANet: ``pretrained.*`` is the ResNet, ``head.*`` the rest (github.com/junfu1115/DANet).

A torch.save file called ``.pth.tar`` (no tar), weights under ``state_dict``; files of 2018 may hold ``pretrained.fc``
and lack conv6 and conv7. Multi-grid dilations 4, 8, 16 and align_corners are those of the published command; neither
is in the weights.
"""

from analysis.checkpoints.layouts.layout import Layout, by_prefix, dual_spec
from analysis.models.spec import InputSpec

#: Also SegmenTron's and gluon-cv's names.
HEAD = {
    "head.conv5a.": "position_in.",
    "head.conv5c.": "channel_in.",
    "head.sa.query_conv.": "pam.query.",
    "head.sa.key_conv.": "pam.key.",
    "head.sa.value_conv.": "pam.value.",
    "head.sa.gamma": "pam.gate",
    "head.sc.gamma": "cam.gate",
    "head.conv51.": "position_out.",
    "head.conv52.": "channel_out.",
    "head.conv6.": "position_classifier.",
    "head.conv7.": "channel_classifier.",
    "head.conv8.": "classifier.",
}
SIGNATURE = {
    "head.conv5a.0.weight": 4,
    "head.conv5c.0.weight": 4,
    "head.sa.gamma": 1,
    "head.sc.gamma": 1,
    "head.conv8.1.weight": 4,
}

LAYOUT = Layout(
    name="junfu1115/DANet",
    source="github.com/junfu1115/DANet",
    signature={**SIGNATURE, "pretrained.layer4.0.conv2.weight": 4},
    translate=by_prefix({**HEAD, "pretrained.": "backbone."}),
    describe=lambda shapes, metadata: dual_spec(shapes, multi_grid=(4, 8, 16), input=InputSpec()),
    ignored=("pretrained.fc.", "auxlayer."),
)

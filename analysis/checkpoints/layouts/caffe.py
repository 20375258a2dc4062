"""DeepLab's Caffe net of Attention to Scale: VGG-16 LargeFOV, score maps ``fc8_*``, head ``att_conv1``, ``att_fc``.

The copies of the shared network for other scales carry a suffix (``conv1_1_res075``) and, sharing their weights, are
stored again or not at all; they tell the scales. The net reads BGR, 0..255 minus the mean, at sizes 32k + 1, and
resizes with corners aligned. (The names are those of the public copy in LIP_SSL, PAPERS 1.8.)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from analysis.checkpoints.layouts.layout import Layout, Shapes
from analysis.errors import AnalysisError
from analysis.models.spec import InputSpec, ScaleSpec

SCALES = {2: (1.0, 0.5), 3: (1.0, 0.75, 0.5), 4: (1.0, 0.75, 0.5, 0.25)}  # the paper's, by their number
_CONVOLUTIONS = ("1_1", "1_2", "2_1", "2_2", "3_1", "3_2", "3_3", "4_1", "4_2", "4_3", "5_1", "5_2", "5_3")
_INDICES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)  # in torchvision's VGG-16
_LAYERS = {
    **{f"conv{name}": f"backbone.features.{i}" for name, i in zip(_CONVOLUTIONS, _INDICES, strict=True)},
    "fc6": "backbone.fc6.0",
    "fc7": "backbone.fc7.0",
    "att_conv1": "fusion.attention.0",
    "att_fc": "fusion.attention.3",
}
_COPY = re.compile(r".+_res0(\d+)\.(?:weight|bias)")
_COPIES = "copies."  # no tensor of ours: under it the copies of the shared network are known, and dropped


def _translate(name: str) -> str | None:
    layer, _, leaf = name.rpartition(".")
    if _COPY.fullmatch(name):
        return _COPIES + name
    ours = "classifier" if layer == "fc8" or layer.startswith("fc8_") else _LAYERS.get(layer)
    return None if ours is None else f"{ours}.{leaf}"


def _describe(shapes: Shapes, metadata: Mapping[str, Any]) -> ScaleSpec:
    if "classifier.weight" not in shapes:
        raise AnalysisError("its score layer fc8 or fc8_* is missing")
    n_scales, classes = shapes["fusion.attention.3.weight"][0], shapes["classifier.weight"][0]
    width, joined = shapes["fusion.attention.0.weight"][:2]
    return ScaleSpec(
        classes=classes,
        backbone="vgg16",
        scales=_scales(shapes, n_scales),
        head_input="fc8" if joined == n_scales * classes else "fc7",
        head_width=width,
        input=InputSpec(
            channel_order="BGR",
            value_range=255.0,
            mean=(104.008, 116.669, 122.675),
            std=(1.0, 1.0, 1.0),
            size_multiple=32,
        ),
    )


def _scales(shapes: Shapes, n_scales: int) -> tuple[float, ...]:
    copies = {match[1] for name in shapes if (match := _COPY.fullmatch(name.removeprefix(_COPIES)))}
    named = (1.0, *sorted((float(f"0.{digits}") for digits in copies), reverse=True))
    if len(named) == n_scales:
        return named
    if n_scales not in SCALES:
        raise AnalysisError(f"its attention head weighs {n_scales} scales, and their factors are not in the file")
    return SCALES[n_scales]


LAYOUT = Layout(
    name="Caffe DeepLab attention",
    source="liangchiehchen.com/projects/DeepLab.html",
    signature={"conv1_1.weight": 4, "fc7.weight": 4, "att_conv1.weight": 4, "att_fc.weight": 4},
    translate=_translate,
    describe=_describe,
    ignored=(_COPIES,),
)

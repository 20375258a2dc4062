"""What a layout is, and how the fields of a model are read off shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from analysis.errors import AnalysisError
from analysis.models.backbones import RESNET_BLOCKS
from analysis.models.spec import DualSpec, Spec, Stem

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Layout:
    """How one public code names and shapes its tensors.

    ``signature``: tensors, with the number of their dimensions, that together only this layout has. ``translate``
    turns a name of the file into ours, or None. ``ignored``: prefixes that are dropped on purpose. ``describe`` gives
    the spec from shapes under our names and the file's metadata. ``source``: where the code is published.
    """

    name: str
    source: str
    signature: Mapping[str, int]
    translate: Callable[[str], str | None]
    describe: Callable[[Shapes, Mapping[str, Any]], Spec]
    ignored: tuple[str, ...] = ()
    classes: Callable[[Mapping[str, Any]], tuple[str, ...]] = lambda metadata: ()


def by_prefix(table: Mapping[str, str]) -> Callable[[str], str | None]:
    """A translation that replaces the longest prefix of ``table`` that fits."""
    prefixes = sorted(table, key=len, reverse=True)

    def translate(name: str) -> str | None:
        prefix = next((p for p in prefixes if name.startswith(p)), None)
        return None if prefix is None else table[prefix] + name.removeprefix(prefix)

    return translate


def dual_spec(shapes: Shapes, **known: Any) -> DualSpec:
    """The DANet on a ResNet whose tensors, under our names, have these shapes; ``known`` are fields shapes don't show.

    AnalysisError: a backbone that is no ResNet-50, 101 or 152.
    """

    def has(part: str) -> bool:  # any of its tensors: then one that is not there is missing, and no option
        return any(name.startswith(part) for name in shapes)

    return DualSpec(
        classes=shapes["classifier.1.weight"][0],
        position=has("pam."),
        channel=has("cam."),
        projections=has("cam.projections."),
        path_classifiers=has("position_classifier.") or has("channel_classifier."),
        auxiliary_head=has("backbone_classifier."),
        **backbone_fields(shapes),
        **known,
    )


def backbone_fields(shapes: Shapes) -> dict[str, Any]:
    """The fields of a spec that its backbone's shapes show. AnalysisError: no backbone of this project."""
    light = {"backbone.trunk.conv4.0.weight": "tiny", "backbone.trunk.conv_stem.weight": "lite0"}
    for name, backbone in light.items():
        if name in shapes:
            return {"backbone": backbone, "skip": "backbone.lateral.0.weight" in shapes}
    if "backbone.fc6.0.weight" in shapes:
        return {"backbone": "vgg16"}
    return {"backbone": f"resnet{_depth(shapes)}", "stem": _stem(shapes)}


def _depth(shapes: Shapes) -> int:
    blocks = tuple(_count(shapes, f"backbone.layer{stage}.") for stage in (1, 2, 3, 4))
    for depth, known in RESNET_BLOCKS.items():
        if blocks == known:
            return depth
    depths = ", ".join(map(str, RESNET_BLOCKS))
    raise AnalysisError(f"its backbone has stages of {blocks} blocks, which is no ResNet of depth {depths}")


def _count(shapes: Shapes, prefix: str) -> int:
    """How many blocks a stage has: the numbers that follow its prefix."""
    return len({name.removeprefix(prefix).split(".")[0] for name in shapes if name.startswith(prefix)})


def _stem(shapes: Shapes) -> Stem:
    if "backbone.conv1.weight" in shapes:
        return "plain"
    return "v1c" if shapes.get("backbone.conv1.0.weight", ())[:1] == (32,) else "deep"

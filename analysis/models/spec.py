"""Specs: what rebuilds a model, and what its forward needs from outside.

A spec is a frozen dataclass of plain values. It is stored as JSON beside the weights of every checkpoint.
"""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any, Literal, get_args, get_origin, get_type_hints

from analysis.errors import AnalysisError, closest

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Fusion = Literal["attention", "average", "max"]
ExtraSupervision = Literal["none", "per_scale", "scale_classifier"]
ChannelForm = Literal["paper", "released"]
Stem = Literal["plain", "v1c", "deep"]


@dataclasses.dataclass(frozen=True)
class InputSpec:
    """How an RGB photograph becomes the tensor that a model was trained on.

    ``mean`` and ``std`` are in units of ``value_range`` (1 or 255) and in the order of ``channel_order``.
    ``short_side`` is the length in pixels to which the shorter side is resized first; None keeps the size.
    Both sides then become multiples of ``size_multiple`` (plus one where ``align_corners``, so that corners meet).
    ``align_corners`` also says how logits are brought to the size of the labels.
    """

    channel_order: Literal["RGB", "BGR"] = "RGB"
    value_range: float = 1.0
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    size_multiple: int = 1
    align_corners: bool = True
    short_side: int | None = None


@dataclasses.dataclass(frozen=True)
class ScaleSpec:
    """Fields of :class:`~analysis.models.scale_attention.ScaleAttention` (Chen et al., sections 3.1 to 3.3)."""

    classes: int
    backbone: str = "lite0"
    scales: tuple[float, ...] = (1.0, 0.75, 0.5)
    fusion: Fusion = "attention"
    extra_supervision: ExtraSupervision = "per_scale"
    native_loss: bool = False  # per_scale logits on each branch's own grid, as the Caffe net does where it can
    head_input: Literal["fc7", "fc8"] = "fc7"
    head_width: int = 512
    output_stride: int = 8
    skip: bool = False  # light backbones: add features of stride 4
    input: InputSpec = InputSpec()


@dataclasses.dataclass(frozen=True)
class DualSpec:
    """Fields of :class:`~analysis.models.dual_attention.DualAttention` (Fu et al., sections 3.1 to 3.4)."""

    classes: int
    backbone: str = "resnet101"
    multi_grid: tuple[int, int, int] | None = None
    position: bool = True
    channel: bool = True
    form: ChannelForm = "released"
    projections: bool = False
    permuted_gates: bool = False  # a control in the same training: a second gate on the attended path permuted
    output_stride: int = 8
    skip: bool = False
    stem: Stem = "plain"  # of a ResNet: one 7x7 convolution, or three 3x3
    path_classifiers: bool = True  # the first released code had the fused classifier only
    auxiliary_head: bool = False  # mmsegmentation's FCN head on a ResNet's layer3
    input: InputSpec = InputSpec()


Spec = ScaleSpec | DualSpec
KINDS: dict[str, type[ScaleSpec] | type[DualSpec]] = {"scale_attention": ScaleSpec, "dual_attention": DualSpec}


def spec_from_fields(kind: type[Any], fields: dict[str, Any]) -> Any:
    """Make a spec of the given class; an unknown field is an error that lists the closest ones."""
    known = [field.name for field in dataclasses.fields(kind)]
    for name in fields:
        if name not in known:
            raise AnalysisError(f"{kind.__name__} has no field {name!r}{closest(name, known)}")
    for name, hint in get_type_hints(kind).items():
        if get_origin(hint) is Literal and name in fields and fields[name] not in get_args(hint):
            raise AnalysisError(f"{name} must be one of {', '.join(map(str, get_args(hint)))}, not {fields[name]!r}")
    return kind(**{name: _tuples(value) for name, value in fields.items()})


def spec_to_json(spec: Spec) -> str:
    """One line of JSON: the kind of model and every field."""
    kind = next(name for name, cls in KINDS.items() if isinstance(spec, cls))
    return json.dumps({"kind": kind, **dataclasses.asdict(spec)})


def spec_from_json(text: str) -> Spec:
    """The inverse of :func:`spec_to_json`."""
    fields = json.loads(text)
    if not isinstance(fields, dict) or fields.get("kind") not in KINDS:
        raise AnalysisError(f"not a model spec of this project: {text[:60]!r}")
    kind = KINDS[fields.pop("kind")]
    fields["input"] = check_input(spec_from_fields(InputSpec, dict(fields.get("input") or {})))
    flags = [field.name for field in dataclasses.fields(kind) if isinstance(field.default, bool)]
    if not all(type(fields.get(name, False)) is bool for name in flags):
        raise AnalysisError(f"not a model spec of this project: one of {', '.join(flags)} is neither true nor false")
    return spec_from_fields(kind, fields)


def check_input(spec: InputSpec) -> InputSpec:
    """The same spec. AnalysisError: a field with which no image can enter a model."""
    numbers = (spec.value_range, *spec.mean, *spec.std)
    sound = {
        "channel_order": spec.channel_order in ("RGB", "BGR"),
        "mean and std": len(spec.mean) == len(spec.std) == 3 and all(_finite(n) for n in numbers) and 0 not in spec.std,
        "size_multiple": type(spec.size_multiple) is int and 1 <= spec.size_multiple <= 1024,
        "align_corners": type(spec.align_corners) is bool,
        "short_side": spec.short_side is None or (type(spec.short_side) is int and 1 <= spec.short_side <= 8192),
    }
    if wrong := [name for name, is_sound in sound.items() if not is_sound]:
        raise AnalysisError(f"not an input spec: {wrong[0]} of {spec}"[:300])
    return spec


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _tuples(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value

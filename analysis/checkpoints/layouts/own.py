"""This project's own: a safetensors file whose metadata hold the spec and the class names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from analysis.checkpoints.layouts.layout import Layout, Shapes
from analysis.errors import AnalysisError
from analysis.models import Spec, spec_from_json

NAME = "attention-analysis/1"


def layout(metadata: Mapping[str, Any]) -> Layout | None:
    """The layout of a file with our metadata; None for others."""
    if metadata.get("layout") != NAME:
        return None
    return Layout(NAME, "this project", {}, lambda name: name, _describe, classes=_classes)  # every name is ours


def _describe(shapes: Shapes, metadata: Mapping[str, Any]) -> Spec:
    try:
        return spec_from_json(metadata["spec"])
    except (KeyError, TypeError, ValueError) as error:
        raise AnalysisError(f"its metadata do not describe a model of this project ({error})") from None


def _classes(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    try:
        return tuple(map(str, json.loads(metadata["classes"])))
    except (KeyError, TypeError, ValueError) as error:
        raise AnalysisError(f"its metadata do not name its classes ({error})") from None

"""This project's checkpoints: one safetensors file; spec, class names and origin in its metadata."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from analysis.checkpoints.layouts import own
from analysis.errors import AnalysisError
from analysis.models import Model, spec_to_json
from analysis.store import replacing


def save_checkpoint(
    model: Model, path: Path, classes: Sequence[str], provenance: dict[str, Any], dtype: torch.dtype | None = None
) -> None:
    """Write weights and metadata to a temporary name, then rename. ``dtype`` converts floating tensors (half files)."""
    tensors = {name: _stored(tensor, dtype) for name, tensor in model.state_dict().items()}
    metadata = {
        "layout": own.NAME,
        "spec": spec_to_json(model.spec),
        "classes": json.dumps(list(classes)),
        "provenance": json.dumps(provenance),
    }
    with replacing(path) as temporary:
        try:
            save_file(tensors, temporary, metadata)
        except SafetensorError as error:
            raise AnalysisError(f"cannot write {path}: {error}") from None
        temporary.chmod(0o644)  # safetensors makes files that only their owner can read


def _stored(tensor: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
    tensor = tensor.detach().cpu().contiguous()
    if dtype is None or not tensor.is_floating_point():
        return tensor
    smaller = tensor.to(dtype)
    if (smaller.isinf() & ~tensor.isinf()).any():
        raise AnalysisError(f"values beyond the range of {dtype} cannot be stored so; keep float32")
    return smaller

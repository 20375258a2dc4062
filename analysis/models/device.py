"""Where a model runs, by the names that --device takes."""

from __future__ import annotations

import torch

from analysis.errors import AnalysisError


def find_device(name: str) -> torch.device:
    """``auto`` (CUDA where there is a GPU), ``cpu``, ``cuda`` or ``cuda:N``; AnalysisError for what is not here."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise AnalysisError(f"unknown device {name!r}; use auto, cpu, cuda or cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise AnalysisError(f"device {name!r} is not supported; use auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise AnalysisError(f"device {name!r}: torch sees {torch.cuda.device_count()} GPUs here; use cpu")
    return device

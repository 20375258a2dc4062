"""What both models return."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Output(NamedTuple):
    """``logits [B, K, h, w]`` at the model's own resolution, and the named extra logits that carry a loss."""

    logits: Tensor
    auxiliary: dict[str, Tensor]

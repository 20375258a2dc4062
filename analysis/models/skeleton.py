"""A model without values, in milliseconds and without memory: what a checkpoint's tensors then become."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from analysis.models import Model, Spec, build


def skeleton(spec: Spec) -> Model:
    """The model that a spec describes, on the meta device."""
    with torch.device("meta"), _NoDraws():
        return build(spec)


class _NoDraws(TorchFunctionMode):
    """Leaves out the drawing of initial weights: on the meta device that is most of the time, and gives nothing."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func in (torch.Tensor.normal_, torch.Tensor.uniform_):
            return args[0]
        return func(*args, **(kwargs or {}))

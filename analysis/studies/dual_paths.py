"""One forward of a DANet, and what it would have predicted with another position or channel path: no second forward."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from analysis.errors import AnalysisError
from analysis.models import DualAttention, predict
from analysis.models.dual_attention import attentions, gated
from analysis.models.resize import resize
from analysis.tap_names import Names
from analysis.taps import Taps, capture

_ENDS = ("position_out", "channel_out")  # the last modules that belong to one path alone


@dataclass(frozen=True, eq=False)
class Paths:
    """A forward of ``model`` on a photograph of ``size`` (H, W): its ``taps``, and ``prediction`` int64 ``[H, W]``."""

    model: DualAttention
    taps: Taps
    size: tuple[int, int]
    prediction: np.ndarray

    @torch.no_grad()
    def end(self, path: str, attended: Tensor, without: Literal["gate", "permuted_gate"] | None = None) -> Tensor:
        """How ``position`` or ``channel`` ends, had it attended to this, or with a gate at 0: ``[1, C, h, w]``.

        As an intervention on the tap ``<path>.attended`` would compute it. Needs the tap ``<path>.features``.
        """
        features = self.taps[f"{path}.features"]
        given = gated(attentions(self.model)[path], attended.to(features.dtype), features, without)
        return self.model.get_submodule(f"{path}_out")(given)

    @torch.no_grad()
    def predicted(self, position: Tensor | None = None, channel: Tensor | None = None) -> np.ndarray:
        """The prediction, int64 ``[H, W]``, had a path ended in this ``[1, C, h, w]``; None: in what it did.

        The rest of :meth:`~analysis.models.dual_attention.DualAttention.forward`.
        """
        model = self.model
        first = self.taps["position_out"] if position is None else position
        second = self.taps["channel_out"] if channel is None else channel
        logits = model.classifier(first + second)
        return _classes(resize(logits.float(), self.size, model.spec.input.align_corners)[0])


def run_paths(model: DualAttention, image: np.ndarray, names: tuple[str, ...]) -> Paths:
    """Run ``model`` on ``image`` uint8 ``[H, W, 3]`` and keep the named taps and the ends of both paths."""
    with capture(model, *names, *_ENDS) as taps:
        prediction = _classes(predict(model, image))
    return Paths(model, taps, (image.shape[0], image.shape[1]), prediction)


def _classes(logits: Tensor) -> np.ndarray:
    """The class of every pixel. numpy's argmax takes a quarter of the time of torch's along the first dimension."""
    return logits.cpu().numpy().argmax(axis=0)


def dual_model(model: nn.Module, *needed: str) -> DualAttention:
    """``model``, if it is a DANet with the taps ``needed``; else AnalysisError."""
    if not isinstance(model, DualAttention):
        raise AnalysisError(f"this model is a {type(model).__name__} and has no dual attention head: open a DANet")
    there = Names(model).taps if needed else ()
    for name in needed:
        if name not in there:
            raise AnalysisError(f"this model has no {name.split('.')[0]} attention (no tap {name}): open one with it")
    return model

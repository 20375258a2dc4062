"""What one photograph looks like inside a model: every attention tensor worth drawing, captured in one forward.

seen = view(model, image)
seen.weights, seen.winner            Attention to Scale
seen.row((120, 300)), seen.affinity  DANet
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from analysis.errors import AnalysisError
from analysis.measures import attention_rows, relative_contribution, winning_branch
from analysis.models import DualAttention, Model, ScaleAttention, gates, predict
from analysis.models.dual_attention import GATED_PATHS
from analysis.models.spec import ChannelForm
from analysis.taps import Taps, capture


@dataclass(frozen=True)
class Gate:
    """A gate's learned ``value``, and its relative contribution ||value * attended|| / ||input|| on this photograph."""

    value: float
    contribution: float


@dataclass(frozen=True, eq=False)
class View:
    """Arrays of one forward; None where the model has no such tensor.

    ``image`` uint8 ``[H, W, 3]``; ``prediction`` int64 ``[H, W]``, a class a pixel. ``align_corners`` says how cells of
    the maps below lie over the photograph. ``gates``: ``alpha`` and ``beta``, as far as the model has them.
    """

    image: np.ndarray
    prediction: np.ndarray
    align_corners: bool
    gates: dict[str, Gate]
    branches: tuple[str, ...] = ()  # "1.0x branch", in the order of the weights
    weights: np.ndarray | None = None  # float32 [S, h, w], sum 1 over S; none with max fusion
    winner: np.ndarray | None = None  # int64 [h, w], index of a branch; none with average fusion, where all are equal
    query: Tensor | None = None  # float32 [d, h, w]
    key: Tensor | None = None
    energy: np.ndarray | None = None  # float32 [C, C]
    affinity: np.ndarray | None = None
    form: ChannelForm | None = None  # that of channel attention

    def cell(self, pixel: tuple[int, int]) -> tuple[int, int]:
        """The cell (y, x) of position attention over which a pixel (y, x) of the photograph lies."""
        if self.query is None:
            raise _no_position()
        return cell_of(pixel, self.image.shape[:2], self.query.shape[1:], self.align_corners)

    def row(self, pixel: tuple[int, int]) -> np.ndarray:
        """Where does this pixel look? Its row of position attention, float32 ``[h, w]`` of sum 1."""
        if self.query is None or self.key is None:
            raise _no_position()
        return attention_rows(self.query, self.key, [self.cell(pixel)])[0].numpy()


def view(model: Model, image: np.ndarray) -> View:
    """Run ``model`` on ``image`` uint8 ``[H, W, 3]`` RGB and keep what there is to see, on the CPU."""
    with capture(model, *_tap_names(model), device="cpu") as taps:
        prediction = predict(model, image).argmax(dim=0).cpu().numpy()
    if isinstance(model, ScaleAttention):
        return _scale_view(model, image, prediction, taps)
    return _dual_view(model, image, prediction, taps)


def branch_labels(scales: tuple[float, ...]) -> tuple[str, ...]:
    """How branches are named to people: by the input scale, as "large scale" is read both ways."""
    return tuple(f"{float(scale)}x branch" for scale in scales)


def cell_of(
    pixel: tuple[int, int], size: tuple[int, ...], grid: tuple[int, ...], align_corners: bool
) -> tuple[int, int]:
    """The cell (y, x) of a ``grid`` (h, w) nearest to a pixel (y, x) of a photograph of ``size`` (H, W)."""
    if not all(0 <= p < n for p, n in zip(pixel, size, strict=True)):
        raise AnalysisError(f"pixel {pixel} is outside the photograph of {size[0]} x {size[1]} pixels (y, x from 0)")
    if align_corners:
        y, x = (round(p * (cells - 1) / max(1, n - 1)) for p, n, cells in zip(pixel, size, grid, strict=True))
    else:
        y, x = (int((p + 0.5) * cells / n) for p, n, cells in zip(pixel, size, grid, strict=True))
    return y, x


def _no_position() -> AnalysisError:
    return AnalysisError("this model has no position attention; its pixels look nowhere: open a DANet with PAM")


def _tap_names(model: Model) -> list[str]:
    if isinstance(model, ScaleAttention):
        return ["scale.scores.*" if model.spec.fusion == "max" else "scale.weights"]
    position = [f"position.{name}" for name in ("query", "key", "features", "attended")]
    channel = [f"channel.{name}" for name in ("energy", "affinity", "features", "attended")]
    return position * model.spec.position + channel * model.spec.channel


def _scale_view(model: ScaleAttention, image: np.ndarray, prediction: np.ndarray, taps: Taps) -> View:
    spec, weights, winner = model.spec, None, None
    if spec.fusion == "max":
        # The fused score of the predicted class is the greatest score of all; the branch it comes from wins.
        best = torch.cat([taps[f"scale.scores.{branch}"].amax(dim=1) for branch in model.branches])
        winner = winning_branch(best.numpy())
    else:
        weights = taps["scale.weights"][0].numpy()
        winner = winning_branch(weights) if spec.fusion == "attention" else None
    labels = branch_labels(spec.scales)
    return View(image, prediction, spec.input.align_corners, {}, labels, weights, winner)


def _dual_view(model: DualAttention, image: np.ndarray, prediction: np.ndarray, taps: Taps) -> View:
    spec = model.spec
    seen_gates = {
        name: Gate(gate.item(), _contribution(gate, GATED_PATHS[name], taps)) for name, gate in gates(model).items()
    }
    return View(
        image,
        prediction,
        spec.input.align_corners,
        seen_gates,
        query=taps["position.query"][0] if spec.position else None,
        key=taps["position.key"][0] if spec.position else None,
        energy=taps["channel.energy"][0].numpy() if spec.channel else None,
        affinity=taps["channel.affinity"][0].numpy() if spec.channel else None,
        form=spec.form if spec.channel else None,
    )


def _contribution(gate: Tensor, path: str, taps: Taps) -> float:
    return relative_contribution(gate.cpu(), taps[f"{path}.attended"], taps[f"{path}.features"]).item()

"""What one photograph looks like inside a model: every attention tensor worth drawing, captured in one forward.

seen = view(model, image)
seen.weights, seen.winner            Attention to Scale
seen.row((120, 300)), seen.affinity  DANet
seen.mean_row(seen.cells_in((100, 280, 140, 320))), seen.mean_column(...)
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch
from torch import Tensor

from analysis.errors import AnalysisError
from analysis.measures import (
    attention_columns,
    attention_rows,
    log_normalisers,
    relative_contribution,
    rows_at_a_time,
    winning_branch,
)
from analysis.models import Model, gates, predict
from analysis.models.dual_attention import GATED_PATHS, ChannelAttention
from analysis.models.spec import ChannelForm
from analysis.modules.own_module import OwnModule
from analysis.tap_names import Names
from analysis.taps import capture

_PATH_TAPS = (
    *(f"position.{name}" for name in ("query", "key", "features", "attended")),
    *(f"channel.{name}" for name in ("energy", "affinity", "features", "attended")),
)


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
    weights: np.ndarray | None = None  # float32 [S, h, w], sum 1 over S unless the note says so; none with max fusion
    winner: np.ndarray | None = None  # int64 [h, w], index of a branch; none with average fusion, where all are equal
    query: Tensor | None = None  # float32 [d, h, w]
    key: Tensor | None = None
    energy: np.ndarray | None = None  # float32 [C, C]
    affinity: np.ndarray | None = None
    form: ChannelForm | None = None  # that of channel attention
    note: str | None = None  # of a user's own network: what is only approximate, and which of several is shown

    def cell(self, pixel: tuple[int, int]) -> tuple[int, int]:
        """The cell (y, x) of position attention over which a pixel (y, x) of the photograph lies."""
        if self.query is None:
            raise _no_position()
        return cell_of(pixel, self.image.shape[:2], self.query.shape[1:], self.align_corners)

    def cells_in(self, box: tuple[int, int, int, int]) -> list[tuple[int, int]]:
        """The cells from that of the pixel (top, left) to that of (bottom, right) of a box of the photograph."""
        (top, left), (bottom, right) = self.cell((box[0], box[1])), self.cell((box[2], box[3]))
        return [(y, x) for y in range(top, bottom + 1) for x in range(left, right + 1)]

    def row(self, pixel: tuple[int, int]) -> np.ndarray:
        """Where does this pixel look? Its row of position attention, float32 ``[h, w]`` of sum 1."""
        return self.mean_row([self.cell(pixel)])

    def mean_row(self, cells: Sequence[tuple[int, int]]) -> np.ndarray:
        """Where do these cells look? The mean of their rows, float32 ``[h, w]`` of sum 1."""
        return self._mean(cells, attention_rows)

    def mean_column(self, cells: Sequence[tuple[int, int]]) -> np.ndarray:
        """Who looks at these cells? The mean of their columns, float32 ``[h, w]``; 1/N where all look everywhere."""
        return self._mean(cells, partial(attention_columns, normalisers=self._normalisers))

    @cached_property
    def _normalisers(self) -> Tensor | None:
        return None if self.query is None or self.key is None else log_normalisers(self.query, self.key)

    def _mean(self, cells: Sequence[tuple[int, int]], maps: Callable[..., Tensor]) -> np.ndarray:
        if self.query is None or self.key is None:
            raise _no_position()
        total, some = torch.zeros(self.query.shape[1:]), rows_at_a_time(self.key[0].numel())
        for start in range(0, len(cells), some):
            total += maps(self.query, self.key, cells[start : start + some]).sum(dim=0)
        return (total / len(cells)).numpy()


def view(model: Model | OwnModule, image: np.ndarray) -> View:
    """Run ``model`` on ``image`` uint8 ``[H, W, 3]`` RGB and keep what there is to see, on the CPU.

    What there is to see are the model's taps: the first of each name, in its first call.
    """
    paths = {name: f"{found[0]}@0" for name, found in Names(model).taps.items()}
    paths = {name: paths[name] for name in _shown(paths)}
    with capture(model, *paths.values(), device="cpu") as kept:
        prediction = predict(model, image).max(dim=0).indices.cpu().numpy()
    taps = {name: kept[path][0] for name, path in paths.items()}  # of the one image
    weights = _weights(model, taps)
    energy, affinity = taps.get("channel.energy"), taps.get("channel.affinity")
    return View(
        image,
        prediction,
        model.spec.input.align_corners,
        _gates(model, taps),
        _branches(model, weights),
        weights,
        _winner(model, weights, taps),
        query=taps.get("position.query"),
        key=taps.get("position.key"),
        energy=None if energy is None else energy.numpy(),
        affinity=None if affinity is None else affinity.numpy(),
        form=next((module.form for module in model.modules() if isinstance(module, ChannelAttention)), None),
        note=model.spec.note if isinstance(model, OwnModule) else None,
    )


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


def innermost(labels: np.ndarray, c: int) -> tuple[int, int]:
    """The pixel (y, x) of class ``c`` in ``labels [H, W]`` that is farthest from other classes and the border.

    AnalysisError: no pixel of that class.
    """
    from scipy.ndimage import distance_transform_edt

    if not (labels == c).any():
        raise AnalysisError(f"no pixel is of class {c}; there are {', '.join(map(str, np.unique(labels)))}")
    depth = np.asarray(distance_transform_edt(np.pad(labels == c, 1)))[1:-1, 1:-1]
    y, x = np.unravel_index(depth.argmax(), labels.shape)
    return int(y), int(x)


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """How much of two maps >= 0 of the same shape lies on the same cells, 0..1, each taken as a share of its sum.

    The sum of the smaller of both: 1 minus their total variation distance.
    """
    return float(np.minimum(one / one.sum(), other / other.sum()).sum())


def _no_position() -> AnalysisError:
    return AnalysisError("this model has no position attention; its pixels look nowhere: open a DANet with PAM")


def _shown(taps: Collection[str]) -> list[str]:
    """Of the taps that a model has those that a view needs; of attention to scale that nearest to the weights."""
    scores = [name for name in taps if name.startswith("scale.scores.")]
    scale = next(([name] for name in ("scale.weights", "scale.logits") if name in taps), scores)
    return [name for name in _PATH_TAPS if name in taps] + scale


def _gates(model: Model | OwnModule, taps: Mapping[str, Tensor]) -> dict[str, Gate]:
    found = {}
    for name, gate in gates(model).items():
        attended, features = (taps[f"{GATED_PATHS[name]}.{tap}"] for tap in ("attended", "features"))
        found[name] = Gate(gate.item(), relative_contribution(gate.cpu(), attended, features).item())
    return found


def _weights(model: Model | OwnModule, taps: Mapping[str, Tensor]) -> np.ndarray | None:
    """Scale weights ``[S, h, w]``, of a user's network by what it applies to its attention's output."""
    if "scale.logits" in taps and isinstance(model, OwnModule):
        activation = model.spec.of("scale")[0].activation
        h = taps["scale.logits"]
        return (h.softmax(dim=0) if activation == "softmax" else h.sigmoid() if activation == "sigmoid" else h).numpy()
    return taps["scale.weights"].numpy() if "scale.weights" in taps else None


def _winner(model: Model | OwnModule, weights: np.ndarray | None, taps: Mapping[str, Tensor]) -> np.ndarray | None:
    """The branch that wins at each position; none with average fusion, where all are equal."""
    if weights is not None:
        return None if getattr(model.spec, "fusion", None) == "average" else winning_branch(weights)
    # With max fusion the fused score of the predicted class is the greatest of all; the branch it comes from wins.
    best = [scores.amax(dim=0) for name, scores in taps.items() if name.startswith("scale.scores.")]
    return winning_branch(torch.stack(best).numpy()) if best else None


def _branches(model: Model | OwnModule, weights: np.ndarray | None) -> tuple[str, ...]:
    """Labels of the branches; numbers where the scales of a user's network are not known."""
    scales = getattr(model.spec, "scales", ())
    return branch_labels(scales) or tuple(f"branch {i + 1}" for i in range(0 if weights is None else len(weights)))

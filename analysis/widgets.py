"""Explorers for notebooks: the dashboard's views as ipywidgets, and a photograph to click in.

    explore_scales(checkpoint, dataset)      as the last line of a cell

Where no front end is (nbconvert, GitHub, a script) an explorer is the picture of its present state, and its controls
can be set by hand: ``explorer.controls["photograph"].value = 3``.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets
import numpy as np
import torch
import traitlets
from matplotlib.figure import Figure
from PIL import Image

from analysis.checkpoints import Checkpoint, checkpoint_files, open_checkpoint
from analysis.datasets.sample import Dataset
from analysis.errors import AnalysisError
from analysis.figures import click
from analysis.figures.attention import attention_row, gate_bars
from analysis.figures.channels import channel_steps, correlation_matrix
from analysis.figures.maps import label_map, weight_maps
from analysis.measures import confusion, mean_iou
from analysis.models import DualAttention, ScaleAttention
from analysis.studies.channel_groups.one_image import channels_of
from analysis.studies.object_scale.maps import see_maps
from analysis.views import branch_labels, view

KEPT = 4  # photographs whose tensors stay in memory
Draw = Callable[..., tuple[Sequence[Figure], str]]


class PixelPicker(anywidget.AnyWidget):
    """A photograph in which a pixel is picked, by click or arrow keys: ``value``, y and x from 0.

    ``picture``: as :func:`analysis.figures.click.shown` gives it.
    """

    _esm = (
        click.SCRIPT
        + """
export default { render({ model, el }) {
  const picker = mountPicker(el);
  const show = () => picker.show(model.get("picture"), (pixel) => {
    model.set("value", pixel);
    model.save_changes();
  });
  model.on("change:picture", show);
  show();
  return () => { model.off("change:picture", show); picker.destroy(); };
} };
"""
    )
    picture = traitlets.Dict().tag(sync=True)
    value = traitlets.Tuple(traitlets.Int(), traitlets.Int(), default_value=(0, 0)).tag(sync=True)

    @classmethod
    def of(cls, image: np.ndarray, step: int, **options: Any) -> PixelPicker:
        """With a photograph uint8 ``[H, W, 3]``, its centre picked; an arrow key moves by ``step`` pixels."""
        return cls(**_centred(image, step), **options)

    def show(self, image: np.ndarray, step: int) -> None:
        """Another photograph, as in :meth:`of`."""
        with self.hold_sync():
            for name, value in _centred(image, step).items():
                setattr(self, name, value)


def _centred(image: np.ndarray, step: int) -> dict[str, Any]:
    size = image.shape[:2]
    pixel = (size[0] // 2, size[1] // 2)
    url = click.photograph_url(image)
    return {"picture": click.shown(url, size, pixel, "Photograph: click a pixel", step=step), "value": pixel}


@dataclass(frozen=True, eq=False)
class Explorer:
    """``controls`` by name, the pictures that follow them, and a ``caption``; ``box`` holds all of it."""

    controls: Mapping[str, Any]  # each with a ``value``
    pictures: Sequence[ipywidgets.Image]
    caption: ipywidgets.Label
    box: ipywidgets.VBox

    @property
    def png(self) -> bytes:
        """The pictures as they are now, one below the other."""
        shown = [Image.open(BytesIO(picture.value)).convert("RGB") for picture in self.pictures]
        tops = np.cumsum([0, *(image.height for image in shown)])
        sheet = Image.new("RGB", (max(image.width for image in shown), int(tops[-1])), "white")
        for image, top in zip(shown, tops, strict=False):
            sheet.paste(image, (0, int(top)))
        stream = BytesIO()
        sheet.save(stream, "PNG")
        return stream.getvalue()

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        """The widgets, and for those who cannot show them a picture."""
        bundle = self.box._repr_mimebundle_(**kwargs) or {}
        return {**bundle, "image/png": base64.b64encode(self.png).decode()}


def explore_scales(checkpoint: Checkpoint, dataset: Dataset) -> Explorer:
    """Scale weights of a photograph, on one scale or each panel on its own; the prediction with other weights.

    AnalysisError: a checkpoint without scale weights.
    """
    model = checkpoint.model
    if not isinstance(model, ScaleAttention) or model.spec.fusion == "max":
        raise AnalysisError(f"{checkpoint.name} has no scale weights; explore a scale model with attention fusion")
    branches = branch_labels(model.spec.scales)
    weights = {"as trained": None, "uniform": np.full(len(branches), 1 / len(branches))}
    weights |= {f"{branch} only": row for branch, row in zip(branches, np.eye(len(branches)), strict=True)}
    maps_of = lru_cache(KEPT)(lambda i: see_maps(model, dataset[i].image))

    def draw(photograph: int, panels: str, weight: str) -> tuple[Sequence[Figure], str]:
        maps, sample, chosen = maps_of(photograph), dataset[photograph], weights[weight]
        given = maps.weights if chosen is None else _everywhere(chosen, maps.weights)
        prediction = maps.prediction(maps.fused(given))
        title = f"prediction, weights {weight}"
        figures = [
            weight_maps(maps.weights.numpy(), branches, sample.image, "common" if panels == _COMMON else "panel"),
            label_map(prediction, dataset.classes, dataset.palette, title),
        ]
        return figures, f"{sample.name}: {title}{_score(prediction, sample.label, dataset)}"

    controls = {
        "photograph": _photographs(dataset),
        "panels": ipywidgets.ToggleButtons(options=[_COMMON, _EACH], description="maps"),
        "weight": ipywidgets.Dropdown(options=list(weights), description="weights"),
    }
    return _explorer(controls, draw)


def explore_rows(checkpoint: Checkpoint, dataset: Dataset) -> Explorer:
    """Click a pixel: where position attention looks from there, or who looks at it.

    AnalysisError: a checkpoint without position attention.
    """
    model = checkpoint.model
    if not isinstance(model, DualAttention) or not model.spec.position:
        raise AnalysisError(f"{checkpoint.name} has no position attention; explore a DANet with position=True")
    seen_of = lru_cache(KEPT)(lambda i: view(model, dataset[i].image))
    photographs = _photographs(dataset)

    def chosen() -> tuple[np.ndarray, int]:
        seen = seen_of(photographs.value)
        assert seen.query is not None
        return seen.image, max(1, seen.image.shape[0] // seen.query.shape[1])

    def draw(photograph: int, see: str, pixel: Sequence[int]) -> tuple[Sequence[Figure], str]:
        seen, (y, x) = seen_of(photograph), pixel
        cell = seen.cell((y, x))
        values = seen.mean_row([cell]) if see == _ROW else seen.mean_column([cell])
        title = "Where the marked pixel looks" if see == _ROW else "Who looks at the marked pixel"
        said = f"{dataset[photograph].name}, row {y}, column {x}, predicted {dataset.classes[seen.prediction[y, x]]}"
        figures = [attention_row(seen.image, values, (y, x), seen.align_corners, title=title)]
        return figures, f"{said}: at most {values.max() * values.size:.1f} times uniform attention"

    picker = PixelPicker.of(*chosen(), layout={"max_width": "480px"})
    # Before the pictures follow, so that the pixel lies in the new photograph.
    photographs.observe(lambda _: picker.show(*chosen()), "value")
    see = ipywidgets.ToggleButtons(options=[_ROW, _COLUMN], description="see")
    return _explorer({"photograph": photographs, "see": see, "pixel": picker}, draw)


def explore_channels(checkpoint: Checkpoint, dataset: Dataset) -> Explorer:
    """One channel's way from energies to weights, in the form in force, and the groups that channels fall into.

    AnalysisError: a checkpoint without channel attention.
    """
    model = checkpoint.model
    if not isinstance(model, DualAttention) or not model.spec.channel:
        raise AnalysisError(f"{checkpoint.name} has no channel attention; explore a DANet with channel=True")
    form = model.spec.form
    seen_of = lru_cache(KEPT)(lambda i: channels_of(model, dataset[i].image))

    def draw(photograph: int, channel: int, groups: int) -> tuple[Sequence[Figure], str]:
        seen = seen_of(photograph)
        group = seen.groups(min(groups, int(seen.alive.sum()) - 1))
        weight = seen.affinity[channel]
        most = f"{weight.max():.1%} on channel {weight.argmax()}, {weight[channel]:.1%} on itself"
        figures = [
            channel_steps(seen.energy, seen.affinity, channel, seen.order, form),
            correlation_matrix(seen.correlation, seen.order, group),
        ]
        return figures, f"{dataset[photograph].name}, {form} form: channel {channel} puts {most}"

    controls = {
        "photograph": _photographs(dataset),
        "channel": _slider("channel", 0, len(seen_of(0).affinity) - 1),
        "groups": _slider("groups", 2, 12, 6),
    }
    return _explorer(controls, draw)


def explore_gates(folder: str | Path, dataset: Dataset) -> Explorer:
    """One checkpoint of a training after the other: its gates, and where the photograph's centre looks by then.

    AnalysisError: no checkpoint in ``folder``; one without position attention.
    """
    files = checkpoint_files(folder)
    opened = lru_cache(KEPT)(lambda i: open_checkpoint(files[i]))
    seen_of = lru_cache(KEPT)(lambda photograph, i: view(opened(i).model, dataset[photograph].image))

    def draw(photograph: int, checkpoint: int) -> tuple[Sequence[Figure], str]:
        seen, name = seen_of(photograph, checkpoint), opened(checkpoint).name
        height, width = seen.image.shape[:2]
        pixel = (height // 2, width // 2)
        row = attention_row(seen.image, seen.row(pixel), pixel, seen.align_corners)
        return [gate_bars(seen.gates), row], f"{dataset[photograph].name}, {name}, {checkpoint + 1} of {len(files)}"

    last = len(files) - 1
    controls = {"photograph": _photographs(dataset), "checkpoint": _slider("checkpoint", 0, last, last)}
    return _explorer(controls, draw)


_COMMON, _EACH = "all from 0 to 1", "each its own range"
_ROW, _COLUMN = "where it looks", "who looks at it"


def _explorer(controls: Mapping[str, Any], draw: Draw) -> Explorer:
    """Pictures that are drawn again with the values of all controls when one of them changes.

    Widgets are made with what they show: an update right after, while the page still connects, may get lost.
    """

    def drawn() -> tuple[list[bytes], str]:
        figures, text = draw(**{name: control.value for name, control in controls.items()})
        return [_png(figure) for figure in figures], text

    def update(_: Mapping[str, Any]) -> None:
        pngs, caption.value = drawn()
        for picture, png in zip(shown, pngs, strict=True):
            picture.value = png

    pngs, text = drawn()
    size = {"max_width": "100%", "object_fit": "contain", "align_self": "flex-start"}  # its own, not the column's
    shown = [ipywidgets.Image(value=png, format="png", layout=size) for png in pngs]
    caption = ipywidgets.Label(text)
    for control in controls.values():
        control.observe(update, "value")
    return Explorer(controls, shown, caption, ipywidgets.VBox([*controls.values(), *shown, caption]))


def _photographs(dataset: Dataset) -> ipywidgets.IntSlider:
    return _slider("photograph", 0, len(dataset) - 1)


def _slider(name: str, low: int, high: int, value: int = 0) -> ipywidgets.IntSlider:
    """It reports where it is let go: a forward at every step of the way would lag behind."""
    return ipywidgets.IntSlider(max(low, value), low, high, description=name, continuous_update=False)


def _everywhere(weights: np.ndarray, like: torch.Tensor) -> torch.Tensor:
    """One weight a branch ``[S]`` at every position ``[S, h, w]``."""
    return torch.as_tensor(weights, dtype=like.dtype).view(-1, 1, 1).expand_as(like)


def _score(prediction: np.ndarray, label: np.ndarray | None, dataset: Dataset) -> str:
    if label is None:
        return ""
    return f", mIoU {100 * mean_iou(confusion(prediction, label, len(dataset.classes))):.1f} % on this photograph"


def _png(figure: Figure) -> bytes:
    stream = BytesIO()
    figure.savefig(stream, format="png", dpi=90)
    return stream.getvalue()

"""Photograph, prediction and truth, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from analysis.checkpoints import Checkpoint
from analysis.datasets import palette_of, things_of
from analysis.datasets.sample import Objects, connected_objects
from analysis.figures.maps import label_map
from analysis.figures.overlay import colour_labels
from analysis.measures import confusion, iou, mean_iou
from analysis.views import View
from dashboard.opened import key_of
from dashboard.photographs import Photograph
from dashboard.shown import downloads, legend, origin, plain


@dataclass(frozen=True, eq=False)
class Look:
    """What one page shows: a photograph seen through a checkpoint."""

    checkpoint: Checkpoint
    photo: Photograph
    seen: View

    @property
    def key(self) -> tuple[str, str]:
        """What every picture of this look depends on."""
        return key_of(self.checkpoint), self.photo.digest

    @property
    def truth(self) -> np.ndarray | None:
        """Labels of the classes that the model knows, uint8 ``[H, W]``."""
        return self.photo.label if self.photo.classes == self.checkpoint.classes else None

    @property
    def labels(self) -> np.ndarray:
        """The truth, and where there is none the prediction in its place: uint8 ``[H, W]``."""
        return self.seen.prediction.astype(np.uint8) if self.truth is None else self.truth

    @property
    def objects(self) -> Objects:
        """Those of the labels, or where there are none the connected regions of the prediction, things only."""
        if self.truth is None:
            return connected_objects(self.labels, things_of(self.checkpoint.classes))
        return self.photo.sample.objects

    def class_at(self, pixel: tuple[int, int]) -> str:
        """The name of a pixel's class by ``labels``."""
        c = self.labels[pixel]
        return self.checkpoint.classes[c] if c < len(self.checkpoint.classes) else "ignored"

    @property
    def code(self) -> tuple[str, ...]:
        """Lines that give ``checkpoint`` and ``sample`` in a notebook."""
        opened = "from analysis.checkpoints import open_checkpoint"
        return (opened, f"checkpoint = open_checkpoint({str(self.checkpoint.path)!r})", *self.photo.code)

    @property
    def origin(self) -> str:
        """Provenance of a downloaded figure."""
        return f"{origin(self.checkpoint)} · {self.photo.name}"


def side_by_side(photo: Photograph, count: int, height: int) -> list[DeltaGenerator]:
    """Columns for pictures of a photograph that are at most ``height`` pixels high on a wide screen."""
    width = round(height * photo.image.shape[1] / photo.image.shape[0])
    return st.container(width=count * (width + 16)).columns(count)


def show(look: Look) -> None:
    """The pictures, a legend of their classes, and how well the prediction does where there is a truth."""
    palette, truth = palette_of(look.checkpoint.classes), look.truth
    shown = {"Photograph": look.photo.image, "Prediction": colour_labels(look.seen.prediction, palette)}
    if truth is not None:
        shown["Truth (black: ignored)"] = colour_labels(truth, palette)
    columns = side_by_side(look.photo, len(shown), 360)
    for column, (name, picture) in zip(columns, shown.items(), strict=True):
        column.image(picture, name, width="stretch", output_format="PNG", alt=f"{name} of {look.photo.name}")
    _score(look, palette)
    classes = look.checkpoint.classes
    figures = {"prediction": partial(label_map, look.seen.prediction, classes, palette, "Prediction")}
    if truth is not None:
        figures["truth"] = partial(label_map, truth, classes, palette, "Truth")
    downloads(figures, look.origin)


def beside(look: Look, predictions: Mapping[str, np.ndarray]) -> None:
    """Predictions ``[H, W]`` by name, side by side."""
    palette = palette_of(look.checkpoint.classes)
    columns = side_by_side(look.photo, len(predictions), 300)
    for column, (name, prediction) in zip(columns, predictions.items(), strict=True):
        picture = colour_labels(prediction, palette)
        column.image(picture, name, width="stretch", output_format="PNG", alt=f"Prediction: {name}")


def _score(look: Look, palette: np.ndarray) -> None:
    classes, truth = look.checkpoint.classes, look.truth
    shares = np.bincount(look.seen.prediction.ravel(), minlength=len(classes)) / look.seen.prediction.size
    notes = {c: f"{shares[c]:.0%}" for c in range(len(classes)) if shares[c] >= 0.005}
    said = f"{look.photo.name}. Beside each class: its share of the prediction."
    if truth is not None:
        table = confusion(look.seen.prediction, truth, len(classes))
        ious = iou(table)
        notes = {c: f"{ious[c]:.2f}" for c in range(len(classes)) if not np.isnan(ious[c])}
        said = f"{look.photo.name}. mIoU {mean_iou(table):.3f} over {len(notes)} classes; beside each class: its IoU."
    elif look.photo.classes:
        said += " Its labels have other classes than the model, so there is no truth to compare with."
    legend(classes, palette, list(notes), notes)
    st.caption(plain(" ".join([said, look.photo.note])))

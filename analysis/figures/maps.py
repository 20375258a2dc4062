"""Photographs, label maps, and the weight maps of Attention to Scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from analysis.figures.overlay import colour_labels
from analysis.figures.style import CATEGORIES, SEQUENTIAL, axes_for, inches, picture_axes
from analysis.measures import IGNORE

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
PANEL = 3.1  # inches, longer side of one of several pictures


def photograph(image: np.ndarray, ax: Axes | None = None) -> Figure:
    """``image`` uint8 ``[H, W, 3]``."""
    figure, ax = picture_axes(ax, image.shape)
    ax.imshow(image)
    return figure


def label_map(
    labels: np.ndarray, classes: Sequence[str], palette: np.ndarray, title: str, ax: Axes | None = None
) -> Figure:
    """Labels or a prediction ``[H, W]`` in the colours of the data set, with a legend of the classes in it."""
    figure, ax = picture_axes(ax, labels.shape, beside=1.6)
    ax.imshow(colour_labels(labels, palette), interpolation="nearest")
    ax.set_title(title)
    present = np.unique(labels)
    handles = [Patch(facecolor=palette[c] / 255, edgecolor="0.3", label=classes[c]) for c in present if c != IGNORE]
    if IGNORE in present:
        handles.append(Patch(facecolor="black", label="ignored"))
    _legend_beside(ax, handles)
    return figure


def weight_maps(
    weights: np.ndarray,
    branches: Sequence[str],
    image: np.ndarray | None = None,
    scale: Literal["common", "panel"] = "common",
) -> Figure:
    """The scale weights ``[S, h, w]``, one panel a branch, beside the photograph where it is given.

    ``scale="common"`` draws all from 0 to 1 with one colour bar, so that panels can be compared; ``"panel"`` gives each
    its own range and bar, as the paper's figures do.
    """
    count = len(weights) + (image is not None)
    width, height = inches(weights.shape[1:], PANEL)
    figure = Figure(figsize=(width * count + 0.6, height + 0.5), layout="constrained")
    panels = list(figure.subplots(1, count, squeeze=False)[0])
    if image is not None:
        photograph(image, panels[0])
        panels[0].set_title("photograph")
    maps = panels[-len(weights) :]
    for ax, values, branch in zip(maps, weights, branches, strict=True):
        limits = {"vmin": 0, "vmax": 1} if scale == "common" else {}
        shown = ax.imshow(values, cmap=SEQUENTIAL, interpolation="nearest", **limits)
        ax.set(xticks=[], yticks=[], title=branch)
        if scale == "panel":
            figure.colorbar(shown, ax=ax, shrink=0.75)
    if scale == "common":
        figure.colorbar(maps[-1].images[0], ax=maps, label="weight", shrink=0.75, pad=0.015)
    return figure


def weights_and_winner(image: np.ndarray, weights: np.ndarray, winner: np.ndarray, branches: Sequence[str]) -> Figure:
    """Photograph and winning branch ``[h, w]`` above, below the weights ``[S, h, w]`` of all branches from 0 to 1."""
    columns = max(3, len(weights))
    width, height = inches(image.shape, PANEL)
    figure = Figure(figsize=(columns * width + 0.9, 2 * height + 1.0), layout="constrained")
    panels = figure.subplots(2, columns, squeeze=False)
    photograph(image, panels[0, 0])
    panels[0, 0].set_title("photograph")
    marks = _winners(panels[0, 1], winner, branches)
    panels[0, 1].set(xticks=[], yticks=[], title="winning branch")
    panels[0, 2].legend(handles=marks, loc="upper left", frameon=False)
    for ax in (*panels[0, 2:], *panels[1, len(weights) :]):
        ax.set_axis_off()
    for ax, values, branch in zip(panels[1], weights, branches, strict=False):
        ax.imshow(values, cmap=SEQUENTIAL, interpolation="nearest", vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[], title=branch)
    figure.colorbar(panels[1, 0].images[0], ax=list(panels[1]), label="weight", shrink=0.9, pad=0.015)
    return figure


def _winners(ax: Axes, winner: np.ndarray, branches: Sequence[str]) -> list[Patch]:
    """Draw them, and give their marks for a legend."""
    colours = [CATEGORIES[i % len(CATEGORIES)] for i in range(len(branches))]
    ax.imshow(winner, cmap=ListedColormap(colours), vmin=-0.5, vmax=len(branches) - 0.5, interpolation="nearest")
    shares = [f"{branch}: {(winner == i).mean():.1%}" for i, branch in enumerate(branches)]
    return [Patch(facecolor=colour, label=text) for colour, text in zip(colours, shares, strict=True)]


def winner_map(winner: np.ndarray, branches: Sequence[str], title: str, ax: Axes | None = None) -> Figure:
    """The winning branch of every cell, int ``[h, w]``, with each branch's share of the cells in the legend."""
    figure, ax = picture_axes(ax, winner.shape, beside=2.0)
    marks = _winners(ax, winner, branches)
    ax.set_title(title)
    _legend_beside(ax, marks)
    return figure


def object_scatter(rows: pd.DataFrame, value: str, label: str, selected: int = 0, ax: Axes | None = None) -> Figure:
    """Area against ``value`` of every object, by class; ``rows`` of one scale of the table ``objects``."""
    figure, ax = axes_for(ax, 6.5, 4.2)
    for i, (name, mine) in enumerate(rows.groupby("class", observed=True)):
        colour, marker = CATEGORIES[i % len(CATEGORIES)], MARKERS[i % len(MARKERS)]
        ax.scatter(mine["area"], mine[value], color=colour, marker=marker, s=28, label=str(name))
    chosen = rows[rows["object"] == selected]
    ax.scatter(chosen["area"], chosen[value], s=160, facecolors="none", edgecolors="black", linewidths=1.5)
    ax.set_xscale("log")
    ax.set(xlabel="area (pixels)", ylabel=label)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    return figure


def _legend_beside(ax: Axes, handles: list[Patch]) -> None:
    columns = 1 + len(handles) // 20
    ax.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0, frameon=False, ncols=columns
    )

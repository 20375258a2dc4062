"""Two maps of the same thing and their difference, for two models or two forms of one."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from analysis.figures.overlay import blend, grey, heat, share
from analysis.figures.style import DIVERGING, SEQUENTIAL, inches

PANEL = 3.6  # inches, longer side of each of the three


def difference_maps(one: np.ndarray, other: np.ndarray, names: tuple[str, str], label: str) -> Figure:
    """Maps ``[h, w]`` of one size: both on one scale from 0, and ``other`` minus ``one``, symmetric round 0."""
    width, height = inches(one.shape, PANEL)
    figure = Figure(figsize=(3 * width + 1.2, height + 0.6), layout="constrained")
    first, second, third = figure.subplots(1, 3)
    top, most = max(one.max(), other.max()), np.abs(other - one).max()
    for ax, values, name in ((first, one, names[0]), (second, other, names[1])):
        shown = _map(ax, values, name, SEQUENTIAL, 0, top)
    figure.colorbar(shown, ax=[first, second], label=label, shrink=0.75, pad=0.015)
    difference = _map(third, other - one, "second minus first", DIVERGING, -most, most)
    figure.colorbar(difference, ax=third, label=f"difference of {label}", shrink=0.75)
    return figure


def difference_overlay(image: np.ndarray, difference: np.ndarray, most: float) -> np.ndarray:
    """A signed map ``[H, W]`` over the grey photograph uint8 ``[H, W, 3]``, from ``-most`` to ``most``."""
    return blend(grey(image), heat(difference, -most, most, cmap=DIVERGING), 0.75 * share(np.abs(difference), 0, most))


def _map(ax: Axes, values: np.ndarray, name: str, cmap: str, low: float, high: float) -> AxesImage:
    shown = ax.imshow(values, cmap=cmap, vmin=low, vmax=high, interpolation="nearest")
    ax.set(xticks=[], yticks=[], title=name)
    return shown

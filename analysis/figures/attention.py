"""DANet's tensors: a row of position attention, channel energy and affinity, and the gates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from analysis.figures.overlay import enlarge, map_overlay
from analysis.figures.style import CATEGORIES, DIVERGING, GATES, SEQUENTIAL, axes_for, inches, picture_axes
from analysis.models.spec import ChannelForm
from analysis.views import Gate

FORMS = {"paper": "paper's, softmax(energy)", "released": "released, softmax(-energy)"}


def row_overlay(image: np.ndarray, row: np.ndarray, top: float, align_corners: bool) -> np.ndarray:
    """A row ``[h, w]`` over the grey photograph, uint8 ``[H, W, 3]``; from 0 to ``top``, which covers most."""
    return map_overlay(image, enlarge(row, (image.shape[0], image.shape[1]), align_corners), top)


def attention_row(
    image: np.ndarray,
    row: np.ndarray,
    pixel: tuple[int, int],
    align_corners: bool,
    ax: Axes | None = None,
    title: str = "Where the marked pixel looks",
) -> Figure:
    """Where the marked pixel (y, x) of the photograph looks: its row ``[h, w]`` of position attention, or as ``title``
    says who looks at it.

    The colour bar counts in uniform attention, 1/N: at 5 a cell gets five times the weight it would get if the pixel
    looked everywhere alike.
    """
    figure, ax = picture_axes(ax, image.shape, beside=1.0)
    top = float(row.max())
    ax.imshow(row_overlay(image, row, top, align_corners))
    _mark(ax, pixel)
    ax.set_title(f"{title} ({row.shape[0]} x {row.shape[1]} cells)")
    colours = ScalarMappable(Normalize(0, top * row.size), SEQUENTIAL)
    figure.colorbar(colours, ax=ax, label="attention, in multiples of uniform (1/N)", shrink=0.85)
    return figure


def attention_rows(
    image: np.ndarray,
    rows: np.ndarray,
    pixels: Sequence[tuple[int, int]],
    titles: Sequence[str],
    align_corners: bool,
) -> Figure:
    """Where several pixels (y, x) look, side by side: their rows ``[n, h, w]`` over the photograph, on one scale.

    The scale is logarithmic and starts at uniform attention, 1/N: a few cells may get a thousand times that.
    """
    width, height = inches(image.shape, 3.1)
    figure = Figure(figsize=(len(rows) * width + 0.8, height + 0.5), layout="constrained")
    panels = figure.subplots(1, len(rows), squeeze=False)[0]
    times = np.maximum(rows * rows[0].size, 1.0)
    top = max(2.0, float(times.max()))
    for ax, row, pixel, title in zip(panels, np.log(times), pixels, titles, strict=True):
        ax.imshow(row_overlay(image, row, math.log(top), align_corners))
        _mark(ax, pixel, 6)
        ax.set(xticks=[], yticks=[], title=title)
    colours = ScalarMappable(LogNorm(1, top), SEQUENTIAL)
    bar = figure.colorbar(colours, ax=list(panels), label="times uniform", shrink=0.9, pad=0.015)
    bar.ax.yaxis.set_major_formatter("{x:,.0f}")
    bar.ax.yaxis.set_minor_formatter(NullFormatter())
    return figure


def _mark(ax: Axes, pixel: tuple[int, int], size: float = 11) -> None:
    for colour, width in (("black", 0.32 * size), ("white", 0.16 * size)):  # white on black: seen on any colour
        ring = ax.plot(pixel[1], pixel[0], "o", markersize=size, markerfacecolor="none")
        ring[0].set(markeredgecolor=colour, markeredgewidth=width)


def class_mass(table: pd.DataFrame, title: str, ax: Axes | None = None) -> Figure:
    """Of ``by_class``: the attention on every class, against its share of the cells and what its distances give it."""
    figure, ax = axes_for(ax, 6.5, 1.2 + 0.28 * len(table))
    y = np.arange(len(table))
    ax.barh(y, 100 * table["mass"], color=CATEGORIES[0], height=0.6, label="attention")
    ax.plot(100 * table["base_rate"], y, "|", color="0.5", markersize=14, markeredgewidth=3, label="share of cells")
    at_distance = "attention, if only distance counted"
    ax.plot(100 * table["distance_matched_rate"], y, "D", color=CATEGORIES[1], label=at_distance)
    ax.set_yticks(y, list(table["class"]))
    ax.invert_yaxis()
    ax.set_xlim(left=0)
    ax.set(xlabel="% of the map, beyond two cells", title=title)
    ax.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize="small")
    return figure


def affinity_matrix(
    affinity: np.ndarray, form: ChannelForm, order: np.ndarray | None = None, ax: Axes | None = None
) -> Figure:
    """Channel affinity ``[C, C]``: row j says which channels i make up output channel j. ``order`` permutes both."""
    figure, ax = axes_for(ax, 6.0, 5.2)
    shown = ax.imshow(_ordered(affinity, order), cmap=SEQUENTIAL, vmin=0, interpolation="nearest")
    ax.set_title(f"Channel affinity (form in force: {FORMS[form]})", fontsize="medium")
    _label_channels(ax, order)
    figure.colorbar(shown, ax=ax, label="affinity (rows sum to 1)")
    return figure


def energy_matrix(
    energy: np.ndarray, form: ChannelForm, order: np.ndarray | None = None, ax: Axes | None = None
) -> Figure:
    """Channel energy ``[C, C]``, the Gram matrix before the softmax; symmetric round 0 where it has signs."""
    figure, ax = axes_for(ax, 6.0, 5.2)
    top = float(np.abs(energy).max())
    signed = energy.min() < 0
    cmap, low = (DIVERGING, -top) if signed else (SEQUENTIAL, 0.0)
    shown = ax.imshow(_ordered(energy, order), cmap=cmap, vmin=low, vmax=top, interpolation="nearest")
    ax.set_title(f"Channel energy (form in force: {FORMS[form]})", fontsize="medium")
    _label_channels(ax, order)
    figure.colorbar(shown, ax=ax, label="energy (sum over positions)")
    return figure


def gate_bars(gates: Mapping[str, Gate]) -> Figure:
    """Each gate's value, and beside it what its path adds to this photograph's features, in per cent of them."""
    figure = Figure(figsize=(7.0, 1.0 + 0.4 * len(gates)), layout="constrained")
    values, contributions = figure.subplots(1, 2, sharey=True)
    names = [GATES[name] for name in gates]
    colours = [CATEGORIES[list(GATES).index(name)] for name in gates]
    _bars(values, names, [gate.value for gate in gates.values()], colours, "{:+.4f}", "gate's value")
    shares = [100 * gate.contribution for gate in gates.values()]
    _bars(contributions, names, shares, colours, "{:.2f} %", "relative contribution (%)")
    values.invert_yaxis()
    return figure


def _bars(ax: Axes, names: list[str], values: list[float], colours: list[str], number: str, label: str) -> None:
    bars = ax.barh(names, values, color=colours, height=0.6)
    ax.bar_label(bars, labels=[number.format(value) for value in values], padding=4)
    ax.axvline(0, color="black", linewidth=0.8)
    ax.margins(x=0.45)  # room for the numbers beside the bars
    ax.set_xlabel(label)
    ax.spines[["top", "right"]].set_visible(False)


def _ordered(matrix: np.ndarray, order: np.ndarray | None) -> np.ndarray:
    return matrix if order is None else matrix[np.ix_(order, order)]


def _label_channels(ax: Axes, order: np.ndarray | None) -> None:
    suffix = "" if order is None else ", reordered"
    ax.set(xlabel=f"channel i, looked at{suffix}", ylabel=f"channel j, output{suffix}")

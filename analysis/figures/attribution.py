"""Attention maps beside attributions of one object's score, the curves that test them, and what is left of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.overlay import grey, outlined
from analysis.figures.style import CATEGORIES, DIVERGING, SEQUENTIAL, axes_for, inches
from analysis.views import branch_labels

PANEL, COLUMNS = 2.9, 4  # inches, longer side of each map; panels in a row
_TITLES = {
    "integrated_gradients": "integrated gradients",
    "position row": "position attention, row",
    "position column": "position attention, column",
}


def map_title(name: str) -> str:
    """What people call a map of the study attribution; branches by their input scale.

    >>> map_title("grad_cam scale.scores.x75")
    'Grad-CAM, 0.75x branch'
    """
    kind, _, rest = name.partition(" ")
    branch = rest.rpartition(".")[2]
    if branch[:1] == "x" and branch[1:].isdecimal():
        rest = branch_labels((int(branch[1:]) / 100,))[0]
    if kind == "weights":
        return f"weight of the {rest}"
    return f"Grad-CAM, {rest}" if kind == "grad_cam" else _TITLES.get(name, name)


def attribution_maps(
    image: np.ndarray, mask: np.ndarray, maps: Mapping[str, np.ndarray], cell: tuple[float, float]
) -> Figure:
    """Every map ``[rows, columns]`` over the grey photograph, with the object's outline; each has its own range.

    ``cell``: height and width of a cell in pixels of the photograph; those at the right and below may be cut. Units
    differ, so that only places can be compared: maps without signs from 0, others symmetric round 0.
    """
    shown = {"object": None, **maps}
    height, width = inches(image.shape, PANEL)[::-1]
    n_rows, n_columns = -(-len(shown) // COLUMNS), min(COLUMNS, len(shown))
    figure = Figure(figsize=(n_columns * width, n_rows * (height + 0.35)), layout="constrained")
    panels = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    outline = outlined(grey(image), mask.astype(int))
    for ax, (name, values) in zip(panels, shown.items(), strict=False):
        ax.imshow(outlined(image, mask.astype(int)) if values is None else outline)
        ax.set(xticks=[], yticks=[])
        ax.set_title(map_title(name), fontsize="small")
        if values is not None:
            _over(ax, values, image.shape, cell)
    for ax in panels[len(shown) :]:
        ax.set_visible(False)
    return figure


def _over(ax: Axes, values: np.ndarray, size: tuple[int, ...], cell: tuple[float, float]) -> None:
    top = float(np.abs(values).max()) or 1.0
    signed = values.min() < 0
    cmap, low = (DIVERGING, -top) if signed else (SEQUENTIAL, 0.0)
    rows, columns = values.shape
    extent = (-0.5, columns * cell[1] - 0.5, rows * cell[0] - 0.5, -0.5)
    opacity = 0.25 + 0.5 * np.abs(values) / top
    ax.imshow(values, cmap=cmap, vmin=low, vmax=top, alpha=opacity, extent=extent, interpolation="nearest")
    ax.set(xlim=(-0.5, size[1] - 0.5), ylim=(size[0] - 0.5, -0.5))


def score_curves(curves: pd.DataFrame) -> Figure:
    """Deletion and insertion: the score in logits against the share of cells, a line a map, grey for random orders."""
    figure = Figure(figsize=(9.0, 3.2), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for ax, kind in zip(panels, ("deletion", "insertion"), strict=True):
        for name, colour, mine in _by_map(curves[curves["curve"] == kind]):
            ax.plot(mine["share"], mine["score"], color=colour, marker=".", label=map_title(name))
        ax.set(xlabel=f"share of cells {'taken away' if kind == 'deletion' else 'put in'}", title=kind)
        ax.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("score (logit)")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize="small")
    return figure


def survival(randomised: pd.DataFrame, threshold: float, ax: Axes | None = None) -> Figure:
    """How alike a map stays while weights are re-drawn from the output down; above ``threshold`` at 1 it survives."""
    figure, ax = axes_for(ax, 7.5, 3.2)
    for name, colour, mine in _by_map(randomised):
        ax.plot(mine["share"], mine["similarity"], color=colour, marker=".", label=map_title(name))
    ax.axhline(threshold, color="0.5", linestyle="--", linewidth=1, label="survives above")
    ax.axhline(0, color="0.8", linewidth=0.8, zorder=0)
    ax.set(xlabel="share of modules re-drawn, from the output down", ylabel="rank correlation\nwith the map")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize="small")
    return figure


def _by_map(rows: pd.DataFrame) -> list[tuple[str, str, pd.DataFrame]]:
    """Name, colour and rows of every map; ``random`` is grey."""
    names = [name for name in dict.fromkeys(rows["map"]) if name != "random"]
    colours = {name: CATEGORIES[i % len(CATEGORIES)] for i, name in enumerate(names)} | {"random": "0.6"}
    return [(name, colours[name], rows[rows["map"] == name]) for name in dict.fromkeys(rows["map"])]

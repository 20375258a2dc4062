"""Channels of channel attention: their correlation in groups, one channel's way to its weights, groups' maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from analysis.figures.overlay import blend, enlarge, grey, heat, share
from analysis.figures.style import CATEGORIES, DIVERGING, SEQUENTIAL, axes_for, inches
from analysis.models.spec import ChannelForm

STEPS: dict[ChannelForm, tuple[str, str, str]] = {
    "paper": ("energy $e_{ji}$", r"$e_{ji} - \max_i e_{ji}$", r"weight $x_{ji} = \mathrm{softmax}_i(e_{ji})$"),
    "released": ("energy $e_{ji}$", r"$\max_i e_{ji} - e_{ji}$", r"weight $x_{ji} = \mathrm{softmax}_i(-e_{ji})$"),
}


def correlation_matrix(correlation: np.ndarray, order: np.ndarray, group: np.ndarray, ax: Axes | None = None) -> Figure:
    """Correlation of channels ``[C, C]`` in the ``order`` of a tree, with lines between its groups ``[C]``."""
    figure, ax = axes_for(ax, 6.0, 5.2)
    shown = ax.imshow(correlation[np.ix_(order, order)], DIVERGING, vmin=-1, vmax=1, interpolation="nearest")
    for edge in np.flatnonzero(np.diff(group[order])) + 0.5:
        ax.axhline(edge, color="black", linewidth=0.6)
        ax.axvline(edge, color="black", linewidth=0.6)
    ax.set(title="Correlation of channels, clustered", xlabel="channel i, reordered", ylabel="channel j, reordered")
    figure.colorbar(shown, ax=ax, label="correlation over positions")
    return figure


def channel_clusters(
    correlation: np.ndarray,
    affinity: np.ndarray,
    order: np.ndarray,
    group: np.ndarray,
    top_class: Sequence[str],
    colours: Mapping[str, np.ndarray],
    form: ChannelForm,
) -> Figure:
    """Correlation and affinity ``[C, C]`` in one ``order``, with lines between groups ``[C]``, and beside each channel
    a strip in the colour of its class; ``top_class`` names it, empty for a dead channel. ``colours``: uint8 RGB.
    """
    figure = Figure(figsize=(11.0, 7.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    related = left.imshow(correlation[np.ix_(order, order)], DIVERGING, vmin=-1, vmax=1, interpolation="nearest")
    top = float(np.quantile(affinity, 0.995))
    weight = right.imshow(affinity[np.ix_(order, order)], SEQUENTIAL, vmin=0, vmax=top, interpolation="nearest")
    left.set_title("correlation over positions")
    right.set_title(f"affinity ({form} form)")
    strip = np.array([colours.get(name, np.array([255, 255, 255])) for name in np.asarray(top_class)[order]], np.uint8)
    for ax in (left, right):
        for edge in np.flatnonzero(np.diff(group[order])) + 0.5:
            ax.axhline(edge, color="black", linewidth=0.5)
            ax.axvline(edge, color="black", linewidth=0.5)
        _strip(ax, strip)
        ax.set_xlabel("channel i, in the order of the tree")
    left.set_ylabel("channel j, in the order of the tree", labelpad=10)
    figure.colorbar(related, ax=left, location="bottom", shrink=0.9, label="correlation", ticks=(-1, -0.5, 0, 0.5, 1))
    figure.colorbar(weight, ax=right, location="bottom", shrink=0.9, extend="max", label="affinity (rows sum to 1)")
    there = [name for name in colours if name in set(top_class)]
    marks = [Patch(facecolor=colours[name] / 255, edgecolor="0.3", label=name) for name in there]
    figure.legend(handles=marks, loc="outside lower center", ncols=6, frameon=False)
    return figure


def _strip(ax: Axes, colours: np.ndarray) -> None:
    """Beside the rows and above the columns of a matrix: uint8 ``[C, 3]``."""
    beside, above = ax.inset_axes((-0.045, 0, 0.03, 1)), ax.inset_axes((0, 1.015, 1, 0.03))
    beside.imshow(colours[:, None], aspect="auto", interpolation="nearest")
    above.imshow(colours[None], aspect="auto", interpolation="nearest")
    for one in (beside, above):
        one.set(xticks=[], yticks=[])
    ax.set_yticks([])
    ax.set_title(ax.get_title(), pad=12)


def entering(energy: np.ndarray, form: ChannelForm) -> np.ndarray:
    """What of a row of energies ``[C]`` enters the softmax, as :data:`STEPS` writes it."""
    return energy - energy.max() if form == "paper" else energy.max() - energy


def channel_steps(energy: np.ndarray, weight: np.ndarray, j: int, order: np.ndarray, form: ChannelForm) -> Figure:
    """Row ``j`` of energy and affinity ``[C, C]``: energy, what enters the softmax, and the weights, in ``order``."""
    figure = Figure(figsize=(11, 2.9), layout="constrained")
    steps = (energy[j], entering(energy[j], form), weight[j])
    for ax, values, title in zip(figure.subplots(1, 3), steps, STEPS[form], strict=True):
        ax.plot(values[order], color=CATEGORIES[0], linewidth=0.9)
        own = int(np.flatnonzero(order == j)[0])
        ax.plot(own, values[j], "o", color=CATEGORIES[5], label=f"itself, channel {j}")
        ax.set(title=title, xlabel="channel i, reordered")
        ax.spines[["top", "right"]].set_visible(False)
    figure.axes[0].legend(frameon=False)
    return figure


def group_maps(image: np.ndarray, maps: np.ndarray, titles: Sequence[str], align_corners: bool) -> Figure:
    """Where the channels of every group respond ``[G, h, w]``, over the grey photograph, each from 0 up to its top."""
    columns = min(4, len(maps))
    rows = -(-len(maps) // columns)
    width, height = inches(image.shape, 3.0)
    figure = Figure(figsize=(columns * width, rows * (height + 0.4)), layout="constrained")
    for ax in figure.subplots(rows, columns, squeeze=False).ravel()[len(maps) :]:
        ax.set_visible(False)
    for ax, values, title in zip(figure.axes, maps, titles, strict=False):
        large = enlarge(values, (image.shape[0], image.shape[1]), align_corners)
        top = float(values.max())
        ax.imshow(blend(grey(image), heat(large, 0, top), 0.15 + 0.65 * share(large, 0, top)))
        ax.set_title(title, fontsize="small")
        ax.set(xticks=[], yticks=[])
    return figure

"""Channels of channel attention: their correlation in groups, one channel's way to its weights, groups' maps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.overlay import blend, enlarge, grey, heat, share
from analysis.figures.style import CATEGORIES, DIVERGING, axes_for, inches
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

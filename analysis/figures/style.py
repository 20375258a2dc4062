"""What all figures share: colours that colour-blind readers tell apart, new axes, and saving."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.errors import AnalysisError
from analysis.store import replacing

SEQUENTIAL = "viridis"  # perceptually uniform
DIVERGING = "RdBu_r"  # always symmetric round 0
#: Okabe and Ito's categories, for branches and for alpha (first) and beta (second).
CATEGORIES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
#: How gates are written in figures.
GATES = {"alpha": r"$\alpha$ (position)", "beta": r"$\beta$ (channel)"}
LONG_SIDE = 6.0  # inches, of a picture alone in its figure
SUFFIXES = ("png", "svg", "pdf")


def axes_for(ax: Axes | None, width: float, height: float) -> tuple[Figure, Axes]:
    """The given axes and their figure, or new ones of that many inches."""
    if ax is not None:
        figure = ax.get_figure(root=True)
        assert figure is not None
        return figure, ax
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def picture_axes(ax: Axes | None, size: tuple[int, ...], beside: float = 0.0) -> tuple[Figure, Axes]:
    """Axes without ticks for a picture of ``size`` (H, W), with ``beside`` inches to its right for a legend."""
    width, height = inches(size, LONG_SIDE)
    figure, ax = axes_for(ax, max(width, 0.6 * LONG_SIDE) + beside, height + 0.4)  # no narrower than a title
    ax.set_xticks([])
    ax.set_yticks([])
    return figure, ax


def inches(size: tuple[int, ...], long_side: float) -> tuple[float, float]:
    """Width and height on paper of a picture of ``size`` (H, W) whose longer side takes ``long_side`` inches."""
    return long_side * size[1] / max(size), long_side * size[0] / max(size)


def save(figure: Figure, path: Path, dpi: int = 150) -> None:
    """Write a figure as PNG, SVG or PDF by the path's suffix, to a temporary name first.

    AnalysisError: another suffix, or a folder that cannot be written.
    """
    kind = path.suffix.removeprefix(".").lower()
    if kind not in SUFFIXES:
        raise AnalysisError(f"{path}: figures are written as {', '.join(SUFFIXES)}; choose one of these suffixes")
    with replacing(path) as temporary:
        figure.savefig(temporary, format=kind, dpi=dpi, bbox_inches="tight")

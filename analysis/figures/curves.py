"""A training as curves: gates, their gradients and contributions, losses. ``history`` has one row a step (DESIGN 5)."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from analysis.errors import AnalysisError
from analysis.figures.style import CATEGORIES, GATES, axes_for

SMOOTHED = 50  # at most this many steps go into one point of a smoothed curve


def gate_values(history: pd.DataFrame, ax: Axes | None = None) -> Figure:
    """Alpha and beta at every step; a gate that stayed at 0 says so."""
    figure, ax = axes_for(ax, 7.0, 3.0)
    names = {name: label + _never_moved(history[name]) for name, label in _gates(history).items()}
    _lines(ax, history, names)
    _finish(ax, "gate")
    return figure


def gate_gradients(history: pd.DataFrame, ax: Axes | None = None) -> Figure:
    """The gradients of the loss by alpha and beta, every step faint and smoothed over it."""
    figure, ax = axes_for(ax, 7.0, 3.0)
    _noisy_lines(ax, history, {f"{name}_grad": label for name, label in _gates(history).items()})
    _zero(ax)
    _finish(ax, "gradient")
    return figure


def gate_contributions(history: pd.DataFrame, ax: Axes | None = None) -> Figure:
    """Relative contributions of both paths in per cent of their inputs, comparable between alpha and beta."""
    figure, ax = axes_for(ax, 7.0, 3.0)
    columns = {
        column: label for name, label in _gates(history).items() if _known(history, column := f"{name}_contribution")
    }
    _lines(ax, history.assign(**{column: 100 * history[column] for column in columns}), columns)
    _finish(ax, "relative\ncontribution (%)")
    return figure


def losses(history: pd.DataFrame, ax: Axes | None = None) -> Figure:
    """The loss and its parts, every step faint and smoothed over it, on a logarithmic scale."""
    figure, ax = axes_for(ax, 7.0, 3.0)
    parts = {name: name.removeprefix("loss_") for name in history.columns if name.startswith("loss_")}
    _noisy_lines(ax, history, {"loss": "total"} | (parts if len(parts) > 1 else {}))
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter(NullFormatter())
    _finish(ax, "loss")
    return figure


def learning_rate(history: pd.DataFrame, ax: Axes | None = None) -> Figure:
    """The learning rate at every step."""
    figure, ax = axes_for(ax, 7.0, 2.0)
    ax.plot(history["step"], history["learning_rate"], color="black")
    _finish(ax, "learning rate")
    return figure


def training(history: pd.DataFrame) -> Figure:
    """All of a training under one axis of steps: gates, losses, learning rate, as far as the history has them."""
    gates = _gates(history)
    wanted = {
        gate_values: list(gates),
        gate_gradients: [f"{gate}_grad" for gate in gates],
        gate_contributions: [f"{gate}_contribution" for gate in gates],
        losses: ["loss"],
        learning_rate: ["learning_rate"],
    }
    draws = [draw for draw, columns in wanted.items() if any(_known(history, column) for column in columns)]
    if not draws:
        raise AnalysisError("the history has neither gates, losses nor a learning rate; there is nothing to draw")
    figure = Figure(figsize=(7.0, 2.0 * len(draws)), layout="constrained")
    panels = figure.subplots(len(draws), 1, sharex=True, squeeze=False)[:, 0]
    for draw, ax in zip(draws, panels, strict=True):
        draw(history, ax)
    for ax in panels[:-1]:
        ax.set_xlabel("")
    return figure


def _gates(history: pd.DataFrame) -> dict[str, str]:
    """Column and label of the gates that the model has."""
    return {name: label for name, label in GATES.items() if _known(history, name)}


def _known(history: pd.DataFrame, column: str) -> bool:
    """Whether a column has a number: in someone else's history most may be missing."""
    return column in history and bool(history[column].notna().any())


def _never_moved(values: pd.Series) -> str:
    return ", never moved" if (values.dropna() == values.dropna().iloc[0]).all() else ""


def _lines(ax: Axes, history: pd.DataFrame, names: Mapping[str, str]) -> None:
    _zero(ax)
    for column, label in names.items():
        if _known(history, column):
            known = history[["step", column]].dropna()
            ax.plot(known["step"], known[column], color=_colour(column, names), label=label, linewidth=1.6)


def _noisy_lines(ax: Axes, history: pd.DataFrame, names: Mapping[str, str]) -> None:
    for column, label in names.items():
        if _known(history, column):
            known, colour = history[["step", column]].dropna(), _colour(column, names)
            window = max(1, min(SMOOTHED, len(known) // 20))
            ax.plot(known["step"], known[column], color=colour, alpha=0.25, linewidth=0.7)
            smooth = known[column].rolling(window, min_periods=1, center=True).mean()
            ax.plot(known["step"], smooth, color=colour, label=label, linewidth=1.6)


def _colour(column: str, names: Mapping[str, str]) -> str:
    """Alpha is always the first colour and beta the second, also where one is missing."""
    gates = list(GATES)
    gate = column.split("_")[0]
    return CATEGORIES[(gates.index(gate) if gate in gates else list(names).index(column)) % len(CATEGORIES)]


def _zero(ax: Axes) -> None:
    ax.axhline(0, color="0.6", linewidth=0.8, zorder=0)


def _finish(ax: Axes, label: str) -> None:
    ax.set(xlabel="step", ylabel=label)
    ax.spines[["top", "right"]].set_visible(False)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)

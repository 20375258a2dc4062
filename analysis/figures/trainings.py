"""Several trainings in one picture: gates by recipe with a band over seeds, and what a model loses without gates."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.errors import AnalysisError
from analysis.figures.curves import SMOOTHED
from analysis.figures.style import CATEGORIES, GATES, axes_for
from analysis.studies.pairing import family

#: Column suffixes of ``history``, and what they are called.
QUANTITIES = {"": "gate", "_grad": "gradient", "_contribution": "relative contribution (%)"}
#: Rows of the table ``gates``: which gates are at 0.
ZEROED = {"none": "as trained", "alpha": r"$\alpha$ at 0", "beta": r"$\beta$ at 0", "both": "both at 0"}


def gate_bands(history: pd.DataFrame, quantity: str = "") -> Figure:
    """Alpha and beta of many trainings, a colour a recipe: each training thin, their mean, and lowest to highest.

    ``history``: of any number of trainings, one below the other, told apart by ``checkpoint``. ``quantity``: of
    :data:`QUANTITIES`; gradients are smoothed. Folds of one recipe have one colour; trainings without gates are left
    out. AnalysisError: nothing of the kind was logged.
    """
    names = [gate for gate in GATES if f"{gate}{quantity}" in history and history[f"{gate}{quantity}"].notna().any()]
    if not names:
        raise AnalysisError(f"these trainings have no {QUANTITIES[quantity]}: there is nothing to draw")
    logged = history[history[[f"{gate}{quantity}" for gate in names]].notna().any(axis=1)]
    recipes = logged.groupby(logged["recipe"].map(family), sort=False)
    figure = Figure(figsize=(4.6 * len(names), 3.0 + 0.2 * recipes.ngroups), layout="constrained")
    panels = figure.subplots(1, len(names), squeeze=False)[0]
    for ax, gate in zip(panels, names, strict=True):
        for i, (recipe, mine) in enumerate(recipes):
            _band(ax, mine, f"{gate}{quantity}", CATEGORIES[i % len(CATEGORIES)], str(recipe))
        ax.axhline(0, color="0.6", linewidth=0.8, zorder=0)
        ax.set(xlabel="step", ylabel=QUANTITIES[quantity], title=GATES[gate])
        ax.spines[["top", "right"]].set_visible(False)
    known = {text: line for ax in panels for line, text in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(known.values(), known.keys(), loc="outside lower center", frameon=False, fontsize="small")
    return figure


def _band(ax: Axes, history: pd.DataFrame, column: str, colour: str, recipe: str) -> None:
    """The trainings of one recipe; mean and band over the steps that all have, where there are such."""
    values = history.dropna(subset=column).pivot_table(column, "step", "checkpoint")
    if values.empty:
        return
    values = values.interpolate(limit_area="inside")  # trainings may have logged at other steps
    if column.endswith("_contribution"):
        values = 100 * values
    if column.endswith("_grad"):
        window = max(1, min(SMOOTHED, len(values) // 20))
        values = values.rolling(window, min_periods=1, center=True).mean()
    n = values.shape[1]
    for name in values if n > 1 else ():
        ax.plot(values.index, values[name], color=colour, alpha=0.35, linewidth=0.7)
    shared = values.dropna() if len(values.dropna()) else values  # a mean over fewer trainings would jump
    ax.plot(shared.index, shared.mean(axis=1), color=colour, linewidth=1.8, label=f"{recipe} ({n})")
    if n > 1:
        ax.fill_between(shared.index, shared.min(axis=1), shared.max(axis=1), color=colour, alpha=0.15, linewidth=0)


def miou_without_gates(reliance: pd.DataFrame, step: int | None = None, ax: Axes | None = None) -> Figure:
    """mIoU with gates at 0 along a training, of :func:`analysis.studies.gates.reliance`; ``step`` is marked."""
    figure, ax = axes_for(ax, 7.0, 3.2)
    styles = {"none": ("black", "o"), "alpha": (CATEGORIES[0], "s"), "beta": (CATEGORIES[1], "^"), "both": ("0.5", "D")}
    for zeroed, (colour, marker) in styles.items():
        mine = reliance[reliance["zeroed"] == zeroed]
        if len(mine):
            ax.plot(mine["step"], 100 * mine["miou"], color=colour, marker=marker, label=ZEROED[zeroed])
    if step is not None:
        ax.axvline(step, color="0.5", linestyle="--", linewidth=1.2, label="this checkpoint")
    ax.set(xlabel="step", ylabel="mIoU (%)")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    return figure

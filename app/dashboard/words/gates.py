"""Gates, on one photograph and over a training."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from analysis.views import Gate
from dashboard.words.models import FU, SYMBOLS

GATES = rf"""
What each attention adds to its input: the gate's value, and the relative contribution
$\lVert \alpha \sum_i s_{{ji}} v_i \rVert \,/\, \lVert A \rVert$ (for $\beta$ likewise), which alone can be compared
between the two *(gates: {FU}, equations 2 and 4)*."""

GATE_VALUES = rf"""
The gates $\alpha$ and $\beta$ start at 0, where the attention is the identity, and are learned
*({FU}, sections 3.2 and 3.3)*."""

GATE_GRADIENTS = r"""
The gradients $\partial L / \partial \alpha$ and $\partial L / \partial \beta$ at every step. A gate at 0 moves because
its gradient, the attended features times what comes back from the loss, is not 0 there."""

GATE_CONTRIBUTIONS = r"""
What the gates really add: $\lVert \alpha \sum_i s_{ji} v_i \rVert \,/\, \lVert A \rVert$, and for $\beta$ likewise,
over the training batch. $(\alpha, W_v)$ and $(c\,\alpha, W_v / c)$ are the same function, so the size of $\alpha$ says
little by itself."""


def gates_caption(gates: Mapping[str, Gate]) -> str:
    """What each gate adds on this photograph; a gate that is exactly 0 adds nothing."""
    said = [
        f"{SYMBOLS[name]} = {gate.value:+.4f} adds {gate.contribution:.2%} to its path"
        if gate.value
        else f"{SYMBOLS[name]} is exactly 0: its path is the identity"
        for name, gate in gates.items()
    ]
    return f"On this photograph {', '.join(said)}."


def values_caption(history: pd.DataFrame, step: int | None) -> str:
    """The gates when the training was at ``step``, and whether they ever moved."""
    row = _row_at(history, step)
    said = [
        f"{symbol} = {row[name]:+.4f}" + (", which never moved" if history[name].nunique() == 1 else "")
        for name, symbol in _symbols(history).items()
    ]
    return f"At step {int(row['step'])} of {int(history['step'].max())}: {'; '.join(said)}."


def gradients_caption(history: pd.DataFrame, step: int | None) -> str:
    """The gates' gradients at ``step``, and the largest of the training."""
    row = _row_at(history, step)
    columns = {symbol: f"{name}_grad" for name, symbol in _symbols(history).items()}
    said = [
        f"that of {symbol} is {row[column]:+.2g} (at most {history[column].abs().max():.2g} in size)"
        for symbol, column in columns.items()
    ]
    return f"At step {int(row['step'])} {' and '.join(said)}."


def contributions_caption(history: pd.DataFrame, step: int | None) -> str:
    """What both paths add at ``step``, and at most."""
    row = _row_at(history, step)
    columns = {symbol: f"{name}_contribution" for name, symbol in _symbols(history).items()}
    said = [
        f"the path of {symbol} adds {row[column]:.2%} (at most {history[column].max():.2%})"
        for symbol, column in columns.items()
    ]
    return f"At step {int(row['step'])} {' and '.join(said)}."


def _row_at(history: pd.DataFrame, step: int | None) -> pd.Series:
    """The last row up to ``step``, the last of all where it is unknown."""
    rows = history if step is None else history[history["step"] <= step]
    return (rows if len(rows) else history).iloc[-1]


def _symbols(history: pd.DataFrame) -> dict[str, str]:
    """The gates that the history has."""
    return {name: symbol for name, symbol in SYMBOLS.items() if name in history and history[name].notna().any()}

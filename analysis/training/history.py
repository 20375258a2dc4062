"""The history of a training: one row a step, with both gates, their gradients and what they really add.

Columns: step, epoch, loss, loss_<name>, learning_rate, alpha, beta, alpha_grad, beta_grad, alpha_contribution,
beta_contribution, and the same of alpha_permuted and beta_permuted where the recipe has ``model.permuted_gates``; gate
columns are absent where the model has no such gate. Values are those before the update.
A relative contribution is |gate * attended| / |input| over the batch (DESIGN 1), the first
process's where there are several.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from torch import Tensor, nn

from analysis.measures import relative_contribution
from analysis.models import gates
from analysis.models.dual_attention import GATED_PATHS, permuted_gates

#: The columns of the table that hold numbers, besides loss_<name> (DESIGN 5).
NUMBERS = (
    "loss",
    "learning_rate",
    *(f"{gate}{kind}" for kind in ("", "_grad", "_contribution") for gate in ("alpha", "beta")),
)
#: The identity of a training that nothing is known of.
UNKNOWN = {"checkpoint": "unknown", "recipe": "unknown", "seed": None, "dataset": "unknown", "split": "unknown"}


def contribution_taps(model: nn.Module) -> list[str]:
    """The taps that :func:`gate_columns` needs: attended and input of every gated path."""
    return [f"{GATED_PATHS[name]}.{end}" for name in gates(model) for end in ("attended", "features")]


def gate_columns(model: nn.Module, taps: Mapping[str, Tensor]) -> dict[str, float]:
    """Value, gradient and relative contribution of every gate, after the backward pass; permuting keeps the norm."""
    columns: dict[str, float] = {}
    for name, gate in (gates(model) | permuted_gates(model)).items():
        path = GATED_PATHS[name]
        added = relative_contribution(gate.detach(), taps[f"{path}.attended"], taps[f"{path}.features"])
        columns[name] = gate.item()
        columns[f"{name}_grad"] = 0.0 if gate.grad is None else gate.grad.item()
        columns[f"{name}_contribution"] = float(added)
    return columns


def history_table(rows: list[dict[str, float]], identity: Mapping[str, Any]) -> pd.DataFrame:
    """The rows as a table that carries the run's identity (checkpoint, recipe, seed, dataset, split, block)."""
    return pd.DataFrame(rows).assign(**identity).astype({"step": "int64", "epoch": "int64"})


def foreign_table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows of someone else's training as a ``history`` with every column; what a row lacks is missing, never invented.

    A row needs ``step``; ``epoch``, numbers and the identity may be absent.
    """
    names = ["step", "epoch", *NUMBERS, *UNKNOWN]
    table = pd.DataFrame([{**UNKNOWN, **row, "block": "all"} for row in rows]).reindex(columns=[*names, "block"])
    whole = {"step": "int64", "epoch": "Int64", "seed": "Int64"}
    return table.astype({**whole, **dict.fromkeys(NUMBERS, "float64")})

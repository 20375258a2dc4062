"""From a training's ``history`` to words: when each gate left where it began, and where it settled."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from analysis.errors import AnalysisError

GATES = ("alpha", "beta", "alpha_permuted", "beta_permuted")
FIRST_STEPS = 20  # whose increments say how far chance carries a gate; and for so many it must be outside
BAND = 5.0  # standard deviations
GROWN = 0.01  # relative contribution: what a path must add to be more than its input
SETTLED = 0.05  # of the whole range
_LEFT = {"contribution": f"added more than {100 * GROWN:g} %", "value": "left its first band"}  # by ``left_by``
_TRAINING = ["checkpoint", "recipe", "seed", "dataset", "split", "block"]


def movements(history: pd.DataFrame) -> pd.DataFrame:
    """One row a training and gate of ``history`` (DESIGN 5), of any number of seeds, ours or someone else's.

    The first band lies around the first value: 5 standard deviations of a random walk so far, whose steps are as wide
    as the first 20 were (``band``: its half width after 20 steps). ``left_step``: the first of 20 steps in a row whose
    relative contribution is above 1 %, or, where that was not logged, whose value is outside the band (``left_by``);
    missing where there are none, and then the gate never ``moved``. Fewer than 40 steps tell nothing, unless the value
    is the same in all. ``returned``: the last 20 steps are inside again. ``settled_step``: from where on the value
    stays within 5 % of its range of the last one. ``sign_changes`` of the value, outside the band. ``first_gradient``,
    ``last_gradient``: mean size over the first and last tenth. ``says`` puts it all in words. What was not logged, and
    what nothing tells, is missing.

    AnalysisError: a history without a gate.
    """
    if not any(gate in history and history[gate].notna().any() for gate in GATES):
        raise AnalysisError(
            "this history has neither alpha nor beta: it is of a model without gates, or none was logged"
        )
    keys = [name for name in _TRAINING if name in history]
    rows = []
    for _, training in history.groupby(keys, dropna=False, sort=False) if keys else [((), history)]:
        training = training.sort_values("step")
        identity = training[keys].iloc[0].to_dict()
        rows += [{**identity, **row} for row in _of_training(training)]
    return pd.DataFrame(rows)


def summary(movements: pd.DataFrame | None, gate: str) -> str:
    """What a table of :func:`movements` says of one gate over all its trainings, in a few words; empty of none."""
    rows = movements[movements["gate"] == gate] if movements is not None else pd.DataFrame()
    if not len(rows):
        return ""
    still = rows["lowest"] == rows["highest"]  # whatever a gate adds that does not move, it did not begin to
    if still.all():
        return f"never moved in {len(rows)} of {len(rows)} trainings"
    moved, changed = rows[rows["moved"].eq(True)], int((rows["sign_changes"] > 0).sum())
    by = "value" if rows["left_by"].eq("value").any() else "contribution"
    words = [f"{_LEFT[by]} in {len(moved)} of {len(rows)} trainings"]
    if len(moved):
        first, last = moved["left_step"].min(), moved["left_step"].max()
        words = [f"{words[0]}, first at step {first:.0f}" + (f" to {last:.0f}" if last > first else "")]
    never = int((rows["moved"].eq(False) & ~still).sum())
    words += [f"never in {never}"] if never else []
    words += [f"never moved in {still.sum()}"] if still.any() else []
    return "; ".join([*words, *([f"changed sign in {changed}"] if changed else [])])


def _of_training(training: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for gate in GATES:
        logged = training[training[gate].notna()] if gate in training else training[:0]
        if len(logged):
            yield {"gate": gate, **_movement(gate, logged)}


def _movement(gate: str, logged: pd.DataFrame) -> dict[str, Any]:
    step, value = logged["step"].to_numpy(), logged[gate].to_numpy(float)
    contribution, gradient = (_column(logged, f"{gate}_{kind}") for kind in ("contribution", "grad"))
    band, constant = _band(value), bool(np.all(value == value[0]))
    inside = np.zeros(len(value)) if band is None else band
    by = None if band is None else "value" if contribution is None else "contribution"
    outside = np.abs(value - value[0]) > inside if contribution is None else contribution > GROWN
    left = None if by is None else _leaves(outside)
    tenth = max(1, len(value) // 10)
    row = {
        "steps": int(step[-1]),
        "first": value[0],
        "last": value[-1],
        "lowest": value.min(),
        "highest": value.max(),
        "band": np.nan if band is None else band[FIRST_STEPS],
        "left_step": np.nan if left is None else float(step[left]),
        "left_by": by,
        "settled_step": float(step[_stays(np.abs(value - value[-1]) <= SETTLED * np.ptp(value)) or 0]),
        "sign_changes": _sign_changes(value, inside),
        "first_gradient": np.nan if gradient is None else np.nanmean(np.abs(gradient[:tenth])),
        "last_gradient": np.nan if gradient is None else np.nanmean(np.abs(gradient[-tenth:])),
        "last_contribution": np.nan if contribution is None else contribution[-1],
        "moved": False if constant else None if by is None else left is not None,
        "returned": left is not None and not outside[-FIRST_STEPS:].any(),
    }
    return {**row, "says": _words(gate, row)}


def _column(logged: pd.DataFrame, name: str) -> np.ndarray | None:
    """A column as numbers; None where nothing was logged."""
    return logged[name].to_numpy(float) if name in logged and logged[name].notna().any() else None


def _band(value: np.ndarray) -> np.ndarray | None:
    """How far chance alone would have carried the gate, ``[steps]``; None where the steps are too few to tell."""
    if len(value) < 2 * FIRST_STEPS:
        return None
    width = float(np.diff(value[: FIRST_STEPS + 1]).std(ddof=1))
    return BAND * width * np.sqrt(np.maximum(np.arange(len(value)), FIRST_STEPS))


def _leaves(outside: np.ndarray) -> int | None:
    """The first index of a stretch of 20 outside; None where there is no such stretch."""
    starts = np.flatnonzero(np.lib.stride_tricks.sliding_window_view(outside, FIRST_STEPS).all(axis=1))
    return int(starts[0]) if len(starts) else None


def _stays(condition: np.ndarray) -> int | None:
    """The first index from which on ``condition`` holds to the end; None where it does not hold at the end."""
    if not condition[-1]:
        return None
    return int(len(condition) - np.argmin(condition[::-1])) if not condition.all() else 0


def _sign_changes(value: np.ndarray, band: np.ndarray) -> int:
    signs = np.sign(value[np.abs(value) > band])
    return int((np.diff(signs) != 0).sum())


def _words(gate: str, row: dict[str, Any]) -> str:
    if row["moved"] is None:
        said = f"went from {row['first']:+.3g} to {row['last']:+.3g}; too few steps to tell when"
    elif not row["moved"]:
        never = "moved" if row["lowest"] == row["highest"] else f"{_LEFT[row['left_by']]} for long"
        said = f"never {never}: it ends at {row['last']:+.3g}" + _added(row)
    else:
        back = " and came back" if row["returned"] else ""
        said = f"left at step {row['left_step']:.0f}{back}, settled at step {row['settled_step']:.0f} at "
        said += f"{row['last']:+.3g}" + _added(row)
    changes = row["sign_changes"]
    return f"{gate} {said}" + (f"; changed sign {'once' if changes == 1 else f'{changes} times'}" if changes else "")


def _added(row: dict[str, Any]) -> str:
    share = row["last_contribution"]
    return "" if np.isnan(share) else f", where its path adds {100 * share:.1f} % of its input"

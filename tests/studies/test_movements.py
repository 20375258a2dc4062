"""What histories of gates, simulated ones and the demo's, are said to have done."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.errors import AnalysisError
from analysis.store import read_table
from analysis.studies.gates import movements
from analysis.studies.gates.movements import summary
from analysis.training.history import foreign_table

DEMO = Path(__file__).parents[2] / "data/demo/shapes-dual"


def walk(steps: int, seed: int, size: float = 1e-4) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, size, steps).cumsum()


def history(seed: int = 0, **columns: np.ndarray) -> pd.DataFrame:
    steps = len(next(iter(columns.values())))
    return pd.DataFrame({"checkpoint": f"run-{seed}", "seed": seed, "step": np.arange(steps), **columns})


def growing(at: int, to: float, steps: int = 300, seed: int = 0) -> np.ndarray:
    """Noise, then a ramp of 50 steps from step ``at`` on, then a plateau."""
    return walk(steps, seed) + to * np.clip((np.arange(steps) - at) / 50, 0, 1)


def test_a_gate_that_grows_leaves_and_settles_where_it_does() -> None:
    table = movements(history(alpha=growing(100, 0.5), beta=growing(200, -0.3, seed=1)))
    alpha, beta = (table[table.gate == gate].iloc[0] for gate in ("alpha", "beta"))
    assert 100 <= alpha.left_step <= 105 and 145 <= alpha.settled_step <= 150 and alpha.left_by == "value"
    assert 200 <= beta.left_step <= 205 and beta["last"] < 0 and alpha.moved and beta.moved
    assert alpha.says.startswith("alpha left at step 10") and np.isnan(alpha.last_contribution)


@pytest.mark.parametrize(
    ("value", "words"),
    [(np.zeros(300), "never moved"), (np.zeros(9), "never moved"), (walk(300, 3), "never left its first band")],
    ids=["zero", "series", "noise"],
)
def test_a_gate_that_never_moved_is_said_not_to_have(value: np.ndarray, words: str) -> None:
    row = movements(history(alpha=value)).iloc[0]
    assert not row.moved and np.isnan(row.left_step) and words in row.says and row.sign_changes == 0


def test_relative_contribution_decides_where_it_was_logged() -> None:
    contribution = np.where(np.arange(300) < 120, 0.002, 0.08)
    table = movements(history(alpha=growing(10, 0.5), alpha_contribution=contribution, alpha_grad=-np.ones(300)))
    row = table.iloc[0]
    assert (row.left_step, row.left_by, row.last_contribution, row.first_gradient) == (120, "contribution", 0.08, 1)
    small = movements(history(alpha=growing(10, 0.5), alpha_contribution=np.full(300, 0.002))).iloc[0]
    assert not small.moved and "never added more than 1 % for long: it ends at +0.499" in small.says
    assert "0.2 % of its input" in small.says


def test_a_change_of_sign_counts_beyond_the_band_and_does_not_undo_the_leaving() -> None:
    value = growing(50, -0.2) + growing(150, 0.5, seed=1)
    row = movements(history(beta=value)).iloc[0]
    assert row.sign_changes == 1 and "changed sign once" in row.says and 50 <= row.left_step <= 55
    logged = movements(history(beta=value, beta_contribution=np.abs(value))).iloc[0]
    assert 50 <= logged.left_step <= 55 and not logged.returned


def test_a_gate_that_comes_back_is_said_to() -> None:
    row = movements(history(alpha=growing(50, 0.2) - growing(150, 0.2, seed=1))).iloc[0]
    assert row.moved and row.returned and "and came back" in row.says


def test_one_step_outside_is_noise() -> None:
    contribution = np.where(np.arange(300) == 299, 0.02, 0.002)
    assert not movements(history(alpha=walk(300, 0), alpha_contribution=contribution)).iloc[0].moved


def test_seeds_are_told_apart_and_foreign_histories_have_what_they_have() -> None:
    three = pd.concat([history(seed, alpha=growing(100, 0.5, seed=seed)) for seed in range(3)])
    assert movements(three).seed.tolist() == [0, 1, 2]
    series = foreign_table([{"checkpoint": "theirs", "step": s, "beta": -0.1 * s} for s in range(6)])
    row = movements(series).iloc[0]
    assert row.gate == "beta" and row.moved is None and "too few steps" in row.says
    with pytest.raises(AnalysisError, match="neither alpha nor beta"):
        movements(series.drop(columns=["alpha", "beta"]))


@given(st.floats(1e-3, 1e3), st.integers(30, 200), st.booleans())
def test_scale_and_sign_of_a_gate_change_no_step(scale: float, at: int, flipped: bool) -> None:
    value = growing(at, 0.5)
    one, other = (movements(history(alpha=v)).iloc[0] for v in (value, (-scale if flipped else scale) * value))
    assert (one.left_step, one.settled_step, one.sign_changes) == (
        other.left_step,
        other.settled_step,
        other.sign_changes,
    )


def test_the_demo_moved() -> None:
    table = movements(read_table(DEMO / "history.parquet"))
    assert table.moved.all() and (table.left_by == "contribution").all()
    assert (table.left_step < table.settled_step).all() and (table.last_gradient > 0).all()
    assert summary(table, "alpha") == "added more than 1 % in 1 of 1 trainings, first at step 50; changed sign in 1"
    assert summary(table, "beta") == "added more than 1 % in 1 of 1 trainings, first at step 31"


def test_many_trainings_in_a_few_words() -> None:
    three = [
        history(0, alpha=growing(100, 0.5)),
        history(1, alpha=growing(150, -0.5, seed=1)),
        history(2, alpha=walk(300, 3)),
    ]
    said = summary(movements(pd.concat(three)), "alpha")
    assert said == "left its first band in 2 of 3 trainings, first at step 101 to 151; never in 1"
    assert summary(None, "alpha") == ""


def test_a_gate_that_stands_still_is_not_said_to_add_nothing() -> None:
    """One that is not learnt, or starts at 1 and stays there, adds much and never moved."""
    grown = np.full(300, 0.2)
    still = [history(seed, alpha=np.ones(300), alpha_contribution=grown) for seed in range(2)]
    assert summary(movements(pd.concat(still)), "alpha") == "never moved in 2 of 2 trainings"
    mixed = [*still, history(2, alpha=growing(100, 0.5), alpha_contribution=grown)]
    said = summary(movements(pd.concat(mixed)), "alpha")
    assert said == "added more than 1 % in 1 of 3 trainings, first at step 0; never moved in 2"

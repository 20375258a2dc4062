"""Curves of a training."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis.errors import AnalysisError
from analysis.figures import curves

STEPS = np.arange(200)
HISTORY = pd.DataFrame(
    {
        "step": STEPS,
        "loss": 2 - STEPS / 200,
        "loss_fused": 1 - STEPS / 400,
        "loss_position": 1 - STEPS / 400,
        "learning_rate": 1e-3,
        "alpha": 0.0,
        "beta": STEPS / 1000,
        "alpha_grad": 0.0,
        "beta_grad": np.sin(STEPS),
        "alpha_contribution": 0.0,
        "beta_contribution": STEPS / 400,
    }
)
SCALE_HISTORY = HISTORY[["step", "loss", "learning_rate"]].assign(alpha=np.nan, beta=np.nan)


def legend(figure: Figure) -> list[str]:
    drawn = figure.axes[0].get_legend()
    return [] if drawn is None else [text.get_text() for text in drawn.get_texts()]


def lines(figure: Figure) -> dict[str, np.ndarray]:
    return {str(line.get_label()): np.asarray(line.get_ydata()) for line in figure.axes[0].get_lines()}


def colours(figure: Figure) -> dict[str, object]:
    return {str(line.get_label()): line.get_color() for line in figure.axes[0].get_lines()}


def test_gates_are_drawn_as_they_are_and_a_gate_that_never_moved_says_so() -> None:
    figure = curves.gate_values(HISTORY)
    assert legend(figure) == [r"$\alpha$ (position), never moved", r"$\beta$ (channel)"]
    np.testing.assert_array_equal(lines(figure)[r"$\beta$ (channel)"], HISTORY["beta"])


def test_contributions_are_in_per_cent() -> None:
    figure = curves.gate_contributions(HISTORY)
    np.testing.assert_allclose(lines(figure)[r"$\beta$ (channel)"], 100 * HISTORY["beta_contribution"])


def test_a_gate_that_the_model_does_not_have_is_not_drawn_and_colours_stay() -> None:
    only_beta, both = curves.gate_gradients(HISTORY.assign(alpha=np.nan)), curves.gate_gradients(HISTORY)
    assert legend(only_beta) == [r"$\beta$ (channel)"]
    assert colours(only_beta)[r"$\beta$ (channel)"] == colours(both)[r"$\beta$ (channel)"]


@pytest.mark.parametrize(("history", "panels"), [(HISTORY, 5), (SCALE_HISTORY, 2)])
def test_a_whole_training(history: pd.DataFrame, panels: int) -> None:
    assert len(curves.training(history).axes) == panels


def test_losses_show_the_parts_where_there_are_several() -> None:
    assert legend(curves.losses(HISTORY)) == ["total", "fused", "position"]
    assert legend(curves.losses(SCALE_HISTORY)) == ["total"]


def test_a_training_of_one_step_can_be_drawn() -> None:
    curves.training(HISTORY.iloc[:1]).canvas.draw()


def test_given_axes_are_used() -> None:
    figure = Figure()
    ax = figure.add_subplot()
    assert curves.gate_values(HISTORY, ax) is figure and ax.get_lines()


def test_a_sparse_history_of_someone_else_is_drawn_as_far_as_it_goes() -> None:
    sparse = HISTORY[["step", "beta", "loss"]].copy()
    sparse.loc[sparse["step"] % 10 != 0, "beta"] = np.nan
    sparse = sparse.assign(alpha=np.nan, learning_rate=np.nan, beta_grad=np.nan, beta_contribution=np.nan)
    figure = curves.training(sparse)
    assert [ax.get_ylabel() for ax in figure.axes] == ["gate", "loss"]
    assert len(lines(figure)[r"$\beta$ (channel)"]) == 20
    assert curves.gate_contributions(sparse).axes
    with pytest.raises(AnalysisError, match="nothing to draw"):
        curves.training(sparse[["step"]])

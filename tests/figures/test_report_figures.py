"""Figures that papers need: they show the numbers they are given."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from analysis.figures.attention import attention_rows
from analysis.figures.branches import branch_scores, branch_similarity
from analysis.figures.channels import channel_clusters
from analysis.figures.claims import forest
from analysis.figures.maps import weights_and_winner
from analysis.figures.sizes import iou_by_size, weight_by_size, weight_by_size_of_classes

RANDOM = np.random.default_rng(0)
IMAGE = RANDOM.integers(0, 255, (24, 36, 3), np.uint8)


def sizes(**more: object) -> pd.DataFrame:
    columns = {"area": [100.0, 900.0], "mean": [0.2, 0.6], "low": [0.1, 0.5], "high": [0.3, np.nan]}
    return pd.DataFrame({**columns, "class": "all", "value": "weight_inside", **more})


def test_weights_are_drawn_on_one_scale_beside_the_winner() -> None:
    weights = np.stack([np.full((3, 4), w) for w in (0.1, 0.2, 0.7)])
    figure = weights_and_winner(IMAGE, weights, np.full((3, 4), 2), ("1.0x branch", "0.75x branch", "0.5x branch"))
    maps = [ax for ax in figure.axes if ax.get_title().endswith("x branch")]
    assert [ax.images[0].get_clim() for ax in maps] == [(0, 1)] * 3
    legend = next(ax.get_legend() for ax in figure.axes if ax.get_legend())
    assert [text.get_text() for text in legend.get_texts()][2] == "0.5x branch: 100.0%"
    two = weights_and_winner(IMAGE, weights[:2], np.zeros((3, 4), int), ("1.0x branch", "0.5x branch"))
    assert len([ax for ax in two.axes if ax.images and ax.get_title().endswith("x branch")]) == 2


def test_points_lie_at_their_means_and_a_missing_interval_has_no_bar() -> None:
    rows = pd.concat([sizes(scale=1.0), sizes(scale=0.5)])
    ax = weight_by_size(rows).axes[0]
    drawn = {container.get_label(): container for container in ax.containers}
    assert list(drawn) == ["1.0x branch", "0.5x branch"]
    points, _, (bars,) = drawn["1.0x branch"]
    assert_allclose(np.asarray(points.get_ydata(), float), [0.2, 0.6])
    assert_allclose(np.array([segment[:, 1] for segment in bars.get_segments()], float), [[0.1, 0.3], [0.5, 0.6]])


def test_every_class_has_a_panel_and_there_is_one_legend() -> None:
    rows = pd.concat([sizes(scale=1.0).assign(**{"class": name}) for name in ("all", "car", "sign")])
    figure = weight_by_size_of_classes(rows)
    assert [ax.get_title() for ax in figure.axes if ax.get_visible()] == ["all classes", "car", "sign"]
    assert len(figure.legends) == 1


def test_interventions_come_in_one_order() -> None:
    names = ("0.5x branch only", "1.0x branch only", "uniform", "untouched")
    ax = iou_by_size(pd.concat([sizes(intervention=name) for name in names])).axes[0]
    drawn = [container.get_label() for container in ax.containers]
    assert drawn == ["untouched", "uniform", "1.0x branch only", "0.5x branch only"]


def test_branches_have_a_line_each_and_a_mark_for_each_checkpoint() -> None:
    maps = ["x100", "x50", "fused"]
    fusions = pd.DataFrame({"map": maps, "class": "all", "miou": [50.0, 40.0, 60.0], "recipe": "r split=blocks-odd"})
    ax = branch_scores(pd.concat([fusions, fusions.assign(miou=55.0)])).axes[0]
    assert [text.get_text() for text in ax.get_yticklabels()] == [
        "1.0x branch alone",
        "0.5x branch alone",
        "fused, as trained",
    ]
    (marks,) = ax.get_lines()
    assert sorted(marks.get_xdata()) == [40, 50, 55, 55, 55, 60] and marks.get_label() == "r"


def test_untrained_branches_are_hollow() -> None:
    table = pd.DataFrame({"branch_a": ["x100"] * 2, "branch_b": ["x75"] * 2, "cka": [0.9, 0.5], "recipe": "r"})
    ax = branch_similarity(table.assign(model=["untrained", "trained"])).axes[0]
    assert [text.get_text() for text in ax.figure.legends[0].get_texts()] == ["r", "hollow: untrained"]
    untrained, trained = ax.get_lines()[:2]
    assert untrained.get_markerfacecolor() == "none" and list(untrained.get_xdata()) == [0.9]
    assert trained.get_markerfacecolor() != "none" and list(trained.get_xdata()) == [0.5]


def test_rows_share_a_scale_and_mark_their_pixels() -> None:
    rows = np.stack([np.full((4, 6), 1 / 24), np.full((4, 6), 1 / 24)])
    rows[1, 0, 0] = 0.5
    figure = attention_rows(IMAGE, rows, [(3, 4), (10, 20)], ["sky", "road"], True)
    panels = [ax for ax in figure.axes if ax.get_title()]
    assert [tuple(ax.get_lines()[0].get_xydata()[0]) for ax in panels] == [(4, 3), (20, 10)]
    assert figure.axes[-1].get_ylim() == pytest.approx((1, 12))  # 0.5 of 24 cells, from uniform on


def test_channels_are_drawn_in_order_with_the_class_of_each_beside_them() -> None:
    matrix, order = np.arange(16.0).reshape(4, 4) / 16, np.array([2, 0, 3, 1])
    colours = {"sky": np.array([0, 0, 255], np.uint8), "road": np.array([9, 9, 9], np.uint8)}
    figure = channel_clusters(
        matrix, matrix, order, np.array([0, 1, 0, 1]), ["sky", "road", "", "sky"], colours, "paper"
    )
    left = figure.axes[0]
    assert_allclose(np.asarray(left.images[0].get_array()), matrix[np.ix_(order, order)])
    strip = np.asarray(left.child_axes[0].images[0].get_array())[:, 0]
    assert strip.tolist() == [[255] * 3, [0, 0, 255], [0, 0, 255], [9, 9, 9]]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["sky", "road"]
    assert "paper form" in figure.axes[1].get_title()


def claim_rows(**more: object) -> pd.DataFrame:
    row = {"claim": "a", "class": "all", "evidence": "observed", "effect": 30.0, "low": 20.0, "high": 40.0}
    row |= {"smallest_effect": 1.0, "verdict": "supported", "control_low": -0.2, "control_high": 0.3}
    return pd.DataFrame([row | more])


def test_an_effect_beyond_the_axis_is_one_arrow_on_its_side() -> None:
    (beyond,) = [line for line in forest(claim_rows()).axes[0].get_lines() if line.get_marker() in ("<", ">")]
    assert beyond.get_marker() == ">" and list(beyond.get_xdata()) == [8]


def test_controls_are_drawn_where_asked_and_classes_go_without_the_claims_name() -> None:
    rows = pd.concat([claim_rows(), claim_rows(**{"class": "car"}, control_low=np.nan, control_high=np.nan)])
    plain, with_controls = forest(rows), forest(rows, controls=True)
    assert [text.get_text() for text in plain.axes[0].get_yticklabels()] == ["all, observed", "car, observed"]
    dashed = [line for line in with_controls.axes[0].get_lines() if line.get_marker() == "|"]
    assert [list(line.get_xdata()) for line in dashed] == [[-0.2, 0.3]]
    assert not [line for line in plain.axes[0].get_lines() if line.get_marker() == "|"]

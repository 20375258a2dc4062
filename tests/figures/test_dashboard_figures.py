"""Figures of one photograph's objects, channels and classes: they show the numbers they are given."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from analysis.errors import AnalysisError
from analysis.figures.attention import class_mass
from analysis.figures.attribution import attribution_maps, map_title, score_curves, survival
from analysis.figures.channels import channel_steps, correlation_matrix, group_maps
from analysis.figures.difference import difference_maps, difference_overlay
from analysis.figures.maps import object_scatter
from analysis.figures.overlay import grey, outlined
from analysis.figures.trainings import gate_bands, miou_without_gates
from analysis.models.spec import ChannelForm


def test_outlines_lie_inside_their_regions() -> None:
    image = np.full((20, 30, 3), 100, np.uint8)
    regions = np.zeros((20, 30), int)
    regions[5:15, 5:15], regions[5:15, 15:25] = 1, 2  # two that touch
    drawn = outlined(image, regions)
    lit = (drawn == (240, 228, 66)).all(axis=2)
    assert (regions[lit] > 0).all() and lit[5, 5:25].all() and lit[5:15, 14:16].all()
    assert (drawn[7:13, 7:13] == 100).all() and (drawn[0] == 100).all() and (image == 100).all()


def test_class_mass_has_a_bar_and_two_marks_a_class() -> None:
    columns = {"class": ["road", "sky"], "mass": [0.5, 0.2], "base_rate": [0.3, 0.4]}
    table = pd.DataFrame({**columns, "distance_matched_rate": [0.4, 0.1]})
    ax = class_mass(table, "a row").axes[0]
    assert_allclose([bar.get_width() for bar in ax.patches], [50, 20])
    assert_allclose([line.get_xdata() for line in ax.get_lines()], [[30, 40], [40, 10]])


def test_correlation_is_drawn_in_order_with_lines_between_groups() -> None:
    correlation = np.arange(16).reshape(4, 4) / 16
    order, group = np.array([2, 0, 3, 1]), np.array([0, 1, 0, 1])
    ax = correlation_matrix(correlation, order, group).axes[0]
    assert_allclose(np.asarray(ax.images[0].get_array()), correlation[np.ix_(order, order)])
    assert len(ax.get_lines()) == 2
    assert len(correlation_matrix(correlation, np.arange(4), group).axes[0].get_lines()) == 6


@pytest.mark.parametrize("form", ["paper", "released"])
def test_the_three_steps_of_a_channel_are_those_of_its_form(form: ChannelForm) -> None:
    energy = np.random.default_rng(0).normal(size=(5, 5))
    entering = energy if form == "paper" else -energy
    weight = np.exp(entering) / np.exp(entering).sum(axis=1, keepdims=True)
    first, second, third = channel_steps(energy, weight, 2, np.arange(5), form).axes
    shown = [np.asarray(ax.get_lines()[0].get_ydata()) for ax in (first, second, third)]
    assert_allclose(shown[0], energy[2])
    assert_allclose(np.exp(shown[1]) / np.exp(shown[1]).sum(), shown[2])
    assert shown[1].max() == 0 if form == "paper" else shown[1].min() == 0


def test_every_group_has_a_map() -> None:
    image = np.zeros((20, 30, 3), np.uint8)
    figure = group_maps(image, np.random.default_rng(0).normal(size=(5, 4, 6)), list("abcde"), True)
    assert [ax.get_title() for ax in figure.axes if ax.get_visible()] == list("abcde")


def test_the_picked_object_is_ringed() -> None:
    rows = pd.DataFrame({"object": [1, 2], "class": ["car", "pole"], "area": [10, 1000], "weight": [0.2, 0.8]})
    ax = object_scatter(rows, "weight", "weight", selected=2).axes[0]
    assert_allclose(np.asarray(ax.collections[-1].get_offsets()), [[1000, 0.8]])
    assert ax.get_xscale() == "log"


def test_a_difference_is_symmetric_round_nothing_and_both_maps_have_one_scale() -> None:
    one, two = np.array([[0.0, 0.2], [0.4, 0.6]]), np.array([[0.0, 0.2], [0.1, 0.9]])
    figure = difference_maps(one, two, ("a", "b"), "weight")
    first, second, third = (ax.images[0] for ax in figure.axes[:3])
    assert first.get_clim() == second.get_clim() == (0, 0.9)
    assert_allclose(third.get_clim(), (-0.3, 0.3))
    assert_allclose(np.asarray(third.get_array()), two - one)


def test_no_difference_leaves_the_photograph_grey() -> None:
    image = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    drawn = difference_overlay(image, np.zeros((4, 5)), 0.0)
    assert (drawn == grey(image)).all()
    drawn = difference_overlay(image, np.full((4, 5), -0.2), 0.2)
    assert (drawn[..., 2] > drawn[..., 0]).all()  # less is blue


def test_every_attribution_has_a_panel_and_signs_have_two_colours() -> None:
    image, mask = np.zeros((20, 30, 3), np.uint8), np.zeros((20, 30), bool)
    mask[5:10, 5:10] = True
    maps = {"attention": np.arange(6.0).reshape(2, 3), "occlusion": np.array([[-1.0, 0, 2], [0, 0, 0]])}
    figure = attribution_maps(image, mask, maps, (12.0, 10.0))
    shown = [ax for ax in figure.axes if ax.get_visible()]
    assert [ax.get_title() for ax in shown] == ["object", "attention", "occlusion"]
    assert shown[1].images[1].get_clim() == (0, 5) and shown[2].images[1].get_clim() == (-2, 2)
    assert shown[1].images[1].get_extent() == [-0.5, 29.5, 23.5, -0.5]  # the last row of cells is cut
    assert shown[1].get_ylim() == (19.5, -0.5)


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("weights x100", "weight of the 1.0x branch"),
        ("grad_cam scale.scores.x75", "Grad-CAM, 0.75x branch"),
        ("grad_cam fused", "Grad-CAM, fused"),
        ("position row", "position attention, row"),
        ("occlusion", "occlusion"),
    ],
)
def test_maps_are_named_by_the_input_scale(name: str, title: str) -> None:
    assert map_title(name) == map_title(title) == title


def test_curves_and_what_survives_have_a_line_a_map() -> None:
    rows = [
        {"map": name, "curve": kind, "share": share, "score": share}
        for name in ("random", "a", "b")
        for kind in ("deletion", "insertion")
        for share in (0.0, 0.5, 1.0)
    ]
    figure = score_curves(pd.DataFrame(rows))
    assert [line.get_label() for line in figure.axes[0].get_lines()] == ["random", "a", "b"]
    stages = pd.DataFrame([{"map": "a", "share": s, "similarity": 1 - s} for s in (0.0, 0.5, 1.0)])
    (ax,) = survival(stages, 0.5).axes
    assert [line.get_label() for line in ax.get_lines()][:2] == ["a", "survives above"]


def test_bands_go_from_the_lowest_to_the_highest_training() -> None:
    step = np.arange(4)
    rows = [
        pd.DataFrame({"step": step, "alpha": k * step, "beta": 1.0, "recipe": "r", "checkpoint": f"r-{k}"})
        for k in (1, 2, 3)
    ]
    figure = gate_bands(pd.concat(rows))
    alpha, _ = figure.axes
    (mean,) = (line for line in alpha.get_lines() if line.get_label() == "r (3)")
    assert_allclose(mean.get_ydata(), 2 * step)
    band = alpha.collections[0].get_paths()[0].vertices
    assert band[band[:, 0] == 3][:, 1].min() == 3 and band[band[:, 0] == 3][:, 1].max() == 9
    with pytest.raises(AnalysisError, match="have no gradient"):
        gate_bands(pd.concat(rows), "_grad")


def test_reliance_has_a_line_for_each_gate_at_zero() -> None:
    rows = [{"step": step, "zeroed": z, "miou": 0.1 * step} for step in (1, 2) for z in ("none", "alpha")]
    (ax,) = miou_without_gates(pd.DataFrame(rows), 2).axes
    assert [line.get_label() for line in ax.get_lines()] == ["as trained", r"$\alpha$ at 0", "this checkpoint"]
    assert_allclose(ax.get_lines()[0].get_ydata(), [10, 20])

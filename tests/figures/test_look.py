"""The figures of one photograph, from models of every kind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from analysis.datasets import open_dataset
from analysis.errors import AnalysisError
from analysis.figures import save
from analysis.figures.attention import affinity_matrix, energy_matrix
from analysis.figures.look import draw
from analysis.figures.maps import label_map, weight_maps, winner_map
from analysis.figures.style import CATEGORIES
from analysis.models import DualAttention, Model, ScaleAttention
from analysis.views import view

DATA = open_dataset("shapes", "val")
IMAGE = DATA[0].image
BRANCHES = ("1.0x branch", "0.5x branch")
WEIGHTS = np.stack([np.linspace(0.2, 0.4, 12).reshape(3, 4), np.linspace(0.8, 0.6, 12).reshape(3, 4)])


def scale(**fields: object) -> ScaleAttention:
    return ScaleAttention(classes=5, backbone="tiny", head_width=16, **fields)


def dual(**fields: object) -> DualAttention:
    return DualAttention(classes=5, backbone="tiny", **fields)


def titles(figure: Figure) -> list[str]:
    return [ax.get_title() for ax in figure.axes if ax.get_title()]


def legend(figure: Figure) -> list[str]:
    drawn = figure.axes[0].get_legend()
    return [] if drawn is None else [text.get_text() for text in drawn.get_texts()]


CHANNEL = {"channel_affinity", "channel_energy"}


@pytest.mark.parametrize(
    ("model", "names"),
    [
        (scale(), {"weights", "winner"}),
        (scale(fusion="average"), {"weights"}),
        (scale(fusion="max", scales=(1, 0.5)), {"winner"}),
        (dual(), {"attention_row", "gates", *CHANNEL}),
        (dual(position=False, projections=True), {"gates", *CHANNEL}),
        (dual(channel=False), {"attention_row", "gates"}),
        (dual(position=False, channel=False), set()),
    ],
)
def test_look_draws_what_the_model_has(model: Model, names: set[str], tmp_path: Path) -> None:
    figures = draw(view(model, IMAGE), DATA.classes, DATA.palette, position=(10, 20))
    assert set(figures) == {"prediction", *names}
    for name, figure in figures.items():
        save(figure, tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_common_scale_has_one_bar_from_0_to_1() -> None:
    figure = weight_maps(WEIGHTS, BRANCHES, IMAGE)
    assert titles(figure) == ["photograph", *BRANCHES]
    assert [ax.images[0].get_clim() for ax in figure.axes[1:3]] == [(0, 1), (0, 1)]
    assert len(figure.axes) == 4  # photograph, two maps, one colour bar


def test_panel_scale_has_a_bar_and_a_range_for_each_map() -> None:
    figure = weight_maps(WEIGHTS, BRANCHES, scale="panel")
    assert len(figure.axes) == 4
    assert [ax.images[0].get_clim() for ax in figure.axes[:2]] == [(0.2, 0.4), (0.6, 0.8)]


def test_the_winner_legend_gives_shares() -> None:
    figure = winner_map(np.array([[0, 1, 1, 1]]), BRANCHES, "Winning branch")
    assert legend(figure) == ["1.0x branch: 25.0%", "0.5x branch: 75.0%"]
    shown = figure.axes[0].images[0]
    assert shown.to_rgba(np.array([1.0]))[0, :3] == pytest.approx(to_rgb(CATEGORIES[1]))


def test_the_legend_names_the_classes_that_are_there() -> None:
    labels = np.array([[0, 0, 3], [255, 3, 3]])
    assert legend(label_map(labels, DATA.classes, DATA.palette, "Labels")) == ["sky", "square", "ignored"]


@pytest.mark.parametrize(
    ("form", "text"),
    [("paper", "form in force: paper's, softmax(energy)"), ("released", "form in force: released, softmax(-energy)")],
)
def test_every_figure_of_channel_attention_states_the_form(form: str, text: str) -> None:
    figures = draw(view(dual(form=form), IMAGE), DATA.classes)
    assert text in titles(figures["channel_affinity"])[0] and text in titles(figures["channel_energy"])[0]


def test_energy_with_signs_is_symmetric_round_0_and_order_permutes_both_axes() -> None:
    energy = np.array([[1.0, -4.0], [2.0, 3.0]])
    shown = energy_matrix(energy, "paper").axes[0].images[0]
    assert shown.get_clim() == (-4, 4) and shown.get_cmap().name == "RdBu_r"
    assert energy_matrix(np.abs(energy), "paper").axes[0].images[0].get_clim() == (0, 4)
    ordered = affinity_matrix(energy, "paper", order=np.array([1, 0])).axes[0].images[0]
    assert np.asarray(ordered.get_array()).tolist() == [[3, 2], [-4, 1]]


def test_the_marked_pixel_is_where_it_was_asked_for() -> None:
    torch.manual_seed(0)
    figure = draw(view(dual(), IMAGE), DATA.classes, position=(30, 200))["attention_row"]
    marks = np.stack([line.get_xydata() for line in figure.axes[0].get_lines()])
    assert (marks == (200, 30)).all()


def test_a_pixel_outside_is_refused() -> None:
    with pytest.raises(AnalysisError, match=r"pixel \(300, 0\) is outside"):
        draw(view(dual(), IMAGE), DATA.classes, position=(300, 0))


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_saving_leaves_the_figure_and_nothing_else(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "deep" / f"weights.{suffix}"
    save(weight_maps(WEIGHTS, BRANCHES), path)
    assert [p.name for p in path.parent.iterdir()] == [path.name] and path.stat().st_size > 1000


def test_what_cannot_be_saved_is_one_clear_line(tmp_path: Path) -> None:
    figure = weight_maps(WEIGHTS, BRANCHES)
    with pytest.raises(AnalysisError, match="written as png, svg, pdf"):
        save(figure, tmp_path / "weights.bmp")
    (tmp_path / "file").write_text("")
    with pytest.raises(AnalysisError, match="cannot write into"):
        save(figure, tmp_path / "file" / "weights.png")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_pyplot_is_never_imported() -> None:
    code = "import sys, analysis.figures.look, analysis.figures.curves; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""The dashboard's parts by themselves: photographs, figures as files, what sessions share."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from dashboard.opened import opened_checkpoint, seen_through
from dashboard.photographs import BUNDLED, MAX_PIXELS, bundled, from_dataset, photograph
from dashboard.picker import Picked, _inside
from dashboard.shown import _darken, plain, written
from dashboards import dual, save, scale
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from analysis.datasets import Sample, open_dataset
from analysis.errors import AnalysisError
from analysis.views import view


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_photographs_need_no_download(name: str) -> None:
    photo = bundled(name)
    assert photo.image.ndim == 3 and photo.image.dtype == np.uint8 and min(photo.image.shape[:2]) >= 250
    assert photo.label is None and photo.classes == () and not photo.note


def test_no_other_photograph_is_bundled() -> None:
    with pytest.raises(AnalysisError, match=r"no bundled photograph '\.\./coffee'; closest: coffee"):
        bundled("../coffee")


def test_a_labelled_image_comes_with_its_classes() -> None:
    dataset = open_dataset("shapes", "val")
    photo = from_dataset(dataset, "val-00002", "shapes")
    assert photo.classes == dataset.classes and photo.name == "val-00002 (shapes, val)"
    assert photo.label is not None and (photo.label == dataset[2].label).all()
    assert photo.digest != from_dataset(dataset, "val-00003", "shapes").digest
    with pytest.raises(AnalysisError, match="no image 'val-2' in shapes val"):
        from_dataset(dataset, "val-2", "shapes")


def test_what_is_too_large_for_a_page_shrinks_with_its_labels() -> None:
    label = np.zeros((2000, 4000), np.uint8)
    label[:, 2000:] = 3
    sample = Sample("large", np.zeros((2000, 4000, 3), np.uint8), label, "", "", label.astype(np.int32), frozenset({3}))
    photo = photograph("large", sample, tuple("abcd"))
    assert photo.image.shape == (1024, 2048, 3) and photo.image.shape[0] * photo.image.shape[1] <= MAX_PIXELS
    assert photo.label is not None and photo.label.shape == (1024, 2048)
    assert (photo.label[:, :1024] == 0).all() and (photo.label[:, 1024:] == 3).all()
    assert photo.sample.instances is not None and (photo.sample.instances == photo.label).all()
    assert photo.note == "shown at 2048 x 1024 pixels, made smaller from 4000 x 2000"


def curve() -> Figure:
    figure = Figure()
    ax = figure.add_subplot()
    ax.plot([0, 1], [0, 1], color="black", label="total")
    ax.plot([0, 1], [1, 0], color="#0072B2")
    ax.plot([0.5], [0.5], "o", color="black")
    ax.set_xlabel("step")
    ax.legend()
    return figure


def test_downloads_say_where_they_come_from() -> None:
    origin = "runs/one · sha256 0123"
    image = Image.open(BytesIO(written(curve, "png", origin)))
    assert image.format == "PNG" and image.info["Description"] == origin
    assert origin in written(curve, "svg", origin).decode() and "<svg" in written(curve, "svg", origin).decode()
    assert written(curve, "pdf", origin).startswith(b"%PDF-")


def test_in_the_dark_ink_becomes_light_and_colours_stay() -> None:
    figure = curve()
    _darken(figure)
    (ax,) = figure.axes
    assert [to_hex(line.get_color()) for line in ax.get_lines()] == ["#fafafa", "#0072b2", "#000000"]
    legend = ax.get_legend()
    assert legend is not None and to_hex(legend.get_texts()[0].get_color()) == "#fafafa"
    assert to_hex(ax.xaxis.label.get_color()) == "#fafafa"
    assert {to_hex(label.get_color()) for label in ax.get_xticklabels()} == {"#fafafa"}
    assert {to_hex(spine.get_edgecolor()) for spine in ax.spines.values()} == {"#fafafa"}


@given(st.text(max_size=40))
def test_escaped_text_is_the_text(text: str) -> None:
    assert re.sub(r"\\(.)", r"\1", plain(text)) == text
    assert not re.search(r"(?<!\\)[`*_\[\]<>$:]", plain(text).replace("\\\\", ""))


@pytest.mark.parametrize("pixel", [None, "1,2", [1], [1, 2, 3], [1.0, 2.0], ["1", "2"], [-1, 0], [0, 9], [True, 0]])
def test_what_the_browser_sends_is_a_pixel_of_the_photograph_or_nothing(pixel: object) -> None:
    assert _inside([pixel, None], (9, 9)) is None and _inside(pixel, (9, 9)) is None
    assert _inside([[8, 0], None], (9, 9)) == Picked((8, 0))


@pytest.mark.parametrize("box", [[3, 3, 2, 4], [0, 0, 9, 1], [0, 0, 1], [0, 0, 1, "1"], "0,0,1,1", [-1, 0, 1, 1]])
def test_a_box_that_is_none_is_not_taken(box: object) -> None:
    assert _inside([[1, 1], box], (9, 9)) is None
    assert _inside([[1, 1], [0, 0, 2, 8]], (9, 9)) == Picked((1, 1), (0, 0, 2, 8))


@given(st.text(max_size=50), st.text(max_size=50))
def test_an_address_names_a_place_of_the_photograph_whatever_it_says(pixel: str, box: str) -> None:
    found = Picked.parse(pixel, box, (9, 12))
    assert (0 <= found.pixel[0] < 9 and 0 <= found.pixel[1] < 12 and found.box is None) or "," in box


@given(st.integers(0, 8), st.integers(0, 8), st.integers(0, 11), st.integers(0, 11))
def test_an_address_gives_back_what_was_picked(y0: int, y1: int, x0: int, x1: int) -> None:
    box = (min(y0, y1), min(x0, x1), max(y0, y1), max(x0, x1))
    for picked in (Picked((y0, x0)), Picked(((y0 + y1) // 2, (x0 + x1) // 2), box)):
        assert Picked.parse(*picked.text, (9, 12)) == picked


def test_sessions_share_a_checkpoint_until_its_file_changes(tmp_path: Path) -> None:
    file = save(scale(), tmp_path / "one") / "checkpoints" / "step_000000.safetensors"
    first = opened_checkpoint(file)
    assert opened_checkpoint(file) is first
    save(scale(fusion="max"), tmp_path / "one")
    assert opened_checkpoint(file) is not first and "fusion='max'" in repr(opened_checkpoint(file).spec)


def test_sessions_that_look_at_once_do_not_see_each_other(tmp_path: Path) -> None:
    file = save(dual(), tmp_path / "one", steps=(0, 1)) / "checkpoints" / "step_000001.safetensors"
    checkpoint = opened_checkpoint(file)
    photos = [from_dataset(open_dataset("shapes", "val"), f"val-{i:05d}", "shapes") for i in range(6)]
    with ThreadPoolExecutor(6) as sessions:
        seen = list(sessions.map(lambda photo: seen_through(checkpoint, photo.image, photo.digest), photos))
    for photo, one in zip(photos, seen, strict=True):
        alone = view(checkpoint.model, photo.image)
        assert (one.image == photo.image).all() and (one.prediction == alone.prediction).all()
        np.testing.assert_allclose(one.row((50, 60)), alone.row((50, 60)), rtol=1e-4)
    assert not any(module._forward_hooks for module in checkpoint.model.modules())

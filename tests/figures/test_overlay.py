"""Maps as RGB arrays."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps

from analysis.figures.overlay import blend, colour_labels, enlarge, grey, heat

PHOTO = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


def test_heat_runs_over_the_sequential_scale_and_clips() -> None:
    scale = (colormaps["viridis"](np.arange(256))[:, :3] * 255).astype(np.uint8)
    picture = heat(np.array([[-5.0, 0.0, 1.0, 2.0, 9.0]]), 0, 2)
    assert picture.dtype == np.uint8 and picture.shape == (1, 5, 3)
    assert (picture[0, [0, 1]] == scale[0]).all() and (picture[0, [3, 4]] == scale[255]).all()
    assert (picture[0, 2] == scale[128]).all()


def test_heat_of_a_constant_map_does_not_divide_by_zero() -> None:
    assert len(np.unique(heat(np.ones((3, 3)), 1, 1).reshape(-1, 3), axis=0)) == 1


def test_heat_enlarges_to_the_size_of_the_photograph() -> None:
    assert heat(np.eye(3), 0, 1, size=(6, 9)).shape == (6, 9, 3)


def test_enlarge_keeps_corners_where_they_are_aligned() -> None:
    large = enlarge(np.array([[0.0, 1.0], [2.0, 3.0]]), (5, 5), align_corners=True)
    np.testing.assert_allclose(large[[0, 0, 4, 4, 2], [0, 4, 0, 4, 2]], [0, 1, 2, 3, 1.5])


def test_blend_runs_from_the_photograph_to_the_colours() -> None:
    colours = 255 - PHOTO
    assert (blend(PHOTO, colours, 0.0) == PHOTO).all() and (blend(PHOTO, colours, 1.0) == colours).all()
    opacity = np.zeros((6, 9))
    opacity[2, 3] = 1
    mixed = blend(PHOTO, colours, opacity)
    assert (mixed[2, 3] == colours[2, 3]).all() and (np.delete(mixed, 2, axis=0) == np.delete(PHOTO, 2, axis=0)).all()


def test_grey_has_no_colour() -> None:
    picture = grey(PHOTO)
    assert picture.dtype == np.uint8 and (picture == picture[..., :1]).all()
    assert grey(np.full((1, 1, 3), 200, np.uint8)).tolist() == [[[200, 200, 200]]]


def test_labels_take_the_colours_of_the_data_set_and_ignored_pixels_are_black() -> None:
    palette = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
    assert colour_labels(np.array([[1, 0, 255]]), palette).tolist() == [[[4, 5, 6], [1, 2, 3], [0, 0, 0]]]

"""The made scenes: exact areas, and a size that is independent of everything else."""

import dataclasses
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis.datasets import open_dataset
from analysis.datasets.sample import connected_objects
from analysis.datasets.shapes import MARGIN, MAX_AREA, MIN_AREA, SIZE, THINGS, Shape, make_scene, mask, render
from analysis.errors import AnalysisError


def test_samples_are_scenes_with_exact_masks() -> None:
    dataset = open_dataset("shapes", "val")
    for i in range(20):
        sample = dataset[i]
        assert sample.image.shape == (SIZE, SIZE, 3) and sample.image.dtype == np.uint8
        assert sample.label is not None and sample.label.dtype == np.uint8 and sample.label.max() < len(dataset.classes)
        assert sample.instances is not None and sample.instances.dtype == np.int32
        (shape,) = make_scene(1, i).shapes
        assert sample.objects.classes.tolist() == [shape.kind]
        assert int((sample.objects.map == 1).sum()) == shape.area
        assert np.array_equal(sample.objects.map > 0, np.isin(sample.label, list(THINGS)))
    assert {dataset[i].block for i in range(5)} == {f"val-{i:05d}" for i in range(5)}


def test_scenes_are_the_same_every_time_and_the_splits_differ() -> None:
    train, val = open_dataset("shapes", "train"), open_dataset("shapes", "val")
    assert (len(train), len(val)) == (512, 128)
    assert np.array_equal(train[7].image, train[7].image)
    images = {data[i].image.tobytes() for data in (train, val) for i in range(128)}
    assert len(images) == 256


@given(
    kind=st.sampled_from(sorted(THINGS)),
    y=st.floats(MARGIN, SIZE - 1 - MARGIN),
    x=st.floats(MARGIN, SIZE - 1 - MARGIN),
    area=st.integers(MIN_AREA, MAX_AREA),
)
@settings(max_examples=150, deadline=None)
def test_every_size_fits_everywhere_whole_and_exact(kind: int, y: float, x: float, area: int) -> None:
    inside = mask(Shape(kind, (y, x), area, (0.0, 0.0, 0.0)))
    assert int(inside.sum()) == area
    assert not (inside[0].any() or inside[-1].any() or inside[:, 0].any() or inside[:, -1].any())
    assert len(connected_objects(inside.astype(np.uint8), frozenset({1}))) == 1
    larger = mask(Shape(kind, (y, x), min(MAX_AREA, 2 * area), (0.0, 0.0, 0.0)))
    assert not (inside & ~larger).any()


def test_an_object_rendered_at_another_size_changes_nothing_else() -> None:
    scene = make_scene(0, 5)
    (shape,) = scene.shapes
    grown = dataclasses.replace(scene, shapes=(dataclasses.replace(shape, area=2 * shape.area),))
    before, after = render(scene), render(grown)
    outside = after.instances == 0
    assert np.array_equal(before.image[outside], after.image[outside])
    both = before.instances == 1
    assert np.array_equal(before.image[both], after.image[both])
    assert int((after.label == shape.kind).sum()) == 2 * shape.area


def test_several_objects_are_drawn_in_order_with_their_own_numbers() -> None:
    first, second = Shape(2, (70.0, 70.0), 400, (200.0, 0.0, 0.0)), Shape(3, (180.0, 180.0), 900, (0.0, 0.0, 200.0))
    drawn = render(dataclasses.replace(make_scene(0, 0), shapes=(first, second)))
    assert np.bincount(drawn.instances.ravel()).tolist() == [SIZE * SIZE - 1300, 400, 900]
    assert set(drawn.label[drawn.instances == 2].tolist()) == {3}


def test_an_area_that_does_not_fit_is_refused() -> None:
    for area in (0, MAX_AREA + 1):
        with pytest.raises(AnalysisError, match=f"an object of {area} pixels"):
            mask(Shape(2, (128.0, 128.0), area, (0.0, 0.0, 0.0)))


def test_size_is_log_uniform_and_independent_of_all_else() -> None:
    """Known answers on 4,000 scenes: Kolmogorov-Smirnov for the laws, rank tests for independence, at 0.1 % each."""
    scenes = [make_scene(12345, i) for i in range(4000)]
    shapes = [scene.shapes[0] for scene in scenes]
    size = np.log([shape.area for shape in shapes])
    low, high = np.log(MIN_AREA), np.log(MAX_AREA)
    assert stats.kstest(size, stats.uniform(low, high - low).cdf).pvalue > 0.001
    assert min(shape.area for shape in shapes) >= MIN_AREA and max(shape.area for shape in shapes) <= MAX_AREA
    for axis in (0, 1):
        centre = [shape.centre[axis] for shape in shapes]
        assert stats.kstest(centre, stats.uniform(MARGIN, SIZE - 1 - 2 * MARGIN).cdf).pvalue > 0.001
    others = {
        "y": [s.centre[0] for s in shapes],
        "x": [s.centre[1] for s in shapes],
        "from the middle": [max(abs(s.centre[0] - 127.5), abs(s.centre[1] - 127.5)) for s in shapes],
        "horizon": [s.horizon for s in scenes],
        "slope": [s.slope for s in scenes],
        "red": [s.shapes[0].colour[0] for s in scenes],
        "sky": [s.sky[2] for s in scenes],
        "on the ground": [float(s.shapes[0].centre[0] > s.horizon) for s in scenes],
    }
    for name, values in others.items():
        assert stats.spearmanr(size, values).pvalue > 0.001, name
    groups = [size[[shape.kind == kind for shape in shapes]] for kind in sorted(THINGS)]
    assert stats.kruskal(*groups).pvalue > 0.001
    assert stats.chisquare([len(group) for group in groups]).pvalue > 0.001


def test_scenes_are_quick() -> None:
    """Well under 10 ms a scene on an idle machine; the best of several, as other work may run beside the tests."""
    times = []
    for i in range(20):
        start = time.perf_counter()
        render(make_scene(0, i))
        times.append(time.perf_counter() - start)
    assert min(times) < 0.010

"""Objects of label maps, and the one type of every data set."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from skimage import measure

from analysis.datasets import NAMES, open_dataset, splits
from analysis.datasets.sample import Sample, connected_objects, objects_of_instances
from analysis.errors import AnalysisError

SMALL_LABELS = arrays(
    np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.sampled_from([0, 1, 2, 255])
)


def flood(label: np.ndarray, things: frozenset[int]) -> list[tuple[int, frozenset[tuple[int, int]]]]:
    """(class, pixels) of every 8-connected region of a thing class, the slow and obvious way."""
    unseen = {(int(y), int(x)) for y, x in np.argwhere(np.isin(label, list(things)))}
    regions = []
    while unseen:
        todo, region = [min(unseen)], set()
        kind = int(label[todo[0]])
        while todo:
            y, x = todo.pop()
            if (y, x) not in unseen or label[y, x] != kind:
                continue
            unseen.remove((y, x))
            region.add((y, x))
            todo += [(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
        regions.append((kind, frozenset(region)))
    return regions


@given(SMALL_LABELS)
@settings(max_examples=300, deadline=None)
def test_connected_objects_are_those_of_a_flood_fill(label: np.ndarray) -> None:
    things = frozenset({1, 2})
    objects = connected_objects(label, things)
    pixels = [frozenset(map(tuple, np.argwhere(objects.map == k).tolist())) for k in range(1, len(objects) + 1)]
    assert list(zip(objects.classes.tolist(), pixels, strict=True)) == flood(label, things)
    assert objects.map.dtype == np.int32 and objects.classes.dtype == np.int64
    assert int(objects.map.max(initial=0)) == len(objects)


@pytest.mark.parametrize("classes", [2, 3, 20])
def test_connected_objects_are_those_of_scikit_image(classes: int) -> None:
    label = np.random.default_rng(classes).integers(0, classes, (211, 307)).astype(np.uint8)
    found = measure.label(label + 1, background=0, connectivity=2)
    assert np.array_equal(connected_objects(label, frozenset(range(classes))).map, found)


@given(SMALL_LABELS, st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_instances_of_things_are_kept_and_renumbered(label: np.ndarray, random) -> None:  # noqa: ANN001
    """Instances that are the regions, under other numbers, come back as the regions."""
    regions = connected_objects(label, frozenset({1, 2}))
    numbers = random.sample(range(1, 200), len(regions))
    instances = np.array([0, *numbers], np.int32)[regions.map]
    objects = objects_of_instances(label, instances, frozenset({2}))
    kept = sorted(numbers[k] for k in range(len(regions)) if regions.classes[k] == 2)
    assert objects.classes.tolist() == [2] * len(kept)
    for k, number in enumerate(kept, start=1):
        assert np.array_equal(objects.map == k, instances == number)


def test_an_instance_takes_the_class_of_most_of_its_labelled_pixels() -> None:
    label = np.array([[1, 1, 2, 255, 255, 255]], np.uint8)
    objects = objects_of_instances(label, np.array([[7, 7, 7, 7, 7, 7]], np.int32), frozenset({1}))
    assert objects.classes.tolist() == [1]
    only_void = objects_of_instances(np.full((1, 2), 255, np.uint8), np.ones((1, 2), np.int32), frozenset({1}))
    assert len(only_void) == 0 and not only_void.map.any()


def test_a_sample_without_labels_has_no_objects() -> None:
    sample = Sample("a", np.zeros((3, 4, 3), np.uint8), None, "a", "a", None, frozenset({1}))
    assert len(sample.objects) == 0
    assert sample.objects.map.shape == (3, 4)


def test_a_dataset_is_found_by_name_and_travels_to_workers() -> None:
    dataset = open_dataset("shapes", "val")
    assert dataset.index("val-00003") == 3
    there = pickle.loads(pickle.dumps(dataset))
    assert np.array_equal(there[3].image, dataset[3].image)
    assert dataset[3].objects is not dataset[3].objects  # read anew each time; a sample keeps its own
    with pytest.raises(IndexError):
        dataset[len(dataset)]
    with pytest.raises(AnalysisError, match="no image 'val-0003' in shapes val; closest: val-00"):
        dataset.index("val-0003")


@pytest.mark.parametrize(
    ("spec", "split", "message"),
    [
        ("camvit", "train", "no data set 'camvit'; closest: camvid"),
        ("shapes", "test", "no split 'test'; splits: train, val"),
        ("shapes:/tmp", "train", "take no path"),
        ("camvid:nowhere", "train", "data fetch camvid"),
        ("voc:nowhere", "train", "data fetch voc"),
        ("folder:nowhere", "all", "nowhere: no such folder"),
    ],
)
def test_what_cannot_be_opened_is_one_line(spec: str, split: str, message: str) -> None:
    with pytest.raises(AnalysisError, match=message) as caught:
        open_dataset(spec, split)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "shapes"])
def test_an_empty_folder_is_one_line(name: str, tmp_path) -> None:  # noqa: ANN001
    with pytest.raises(AnalysisError) as caught:
        open_dataset(f"{name}:{tmp_path}", "train")
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_splits_of_shapes() -> None:
    assert splits("shapes") == ("train", "val")

"""How well a model does on a split: mean IoU, IoU of every class, and IoU by object size.

evaluation = evaluate(model, open_dataset("camvid:PATH", "val"))
evaluation.mean_iou, evaluation.table
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from tqdm import tqdm

from analysis.datasets.sample import Dataset, Sample
from analysis.errors import AnalysisError
from analysis.measures import confusion, iou, mean_iou, object_iou
from analysis.models import Model, predict

SizeBins = Literal["quartiles", "coco"]
COCO_CUTS = (0.0, 32.0**2, 96.0**2, float("inf"))
MEAN = "mean of all classes"
RING = 8  # pixels round an object in which a false positive counts against it: one cell of an output stride of 8


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The result of :func:`evaluate`.

    ``confusion`` int64 ``[K, K]``, rows truth, over ``n_images`` images. ``table`` has the columns ``class`` (name),
    ``size_bin``, ``iou`` (0..1), ``pixels``, ``n_objects``, ``area_low``, ``area_high``. Rows with size_bin ``all``
    hold the IoU of a class and its labelled pixels. The other rows hold the mean of
    :func:`~analysis.measures.object_iou` over the objects of a thing class with area_low <= area < area_high (the
    largest quartile includes its area_high), in pixels of the labels. ``n_objects`` is missing where none are counted.
    """

    classes: tuple[str, ...]
    confusion: np.ndarray
    n_images: int
    table: pd.DataFrame

    @property
    def mean_iou(self) -> float:
        """The mean over the classes that are in labels or predictions, 0..1; NaN where nothing is labelled."""
        return mean_iou(self.confusion)

    @property
    def iou(self) -> dict[str, float]:
        """Class name to IoU, NaN for a class in neither labels nor predictions."""
        return dict(zip(self.classes, map(float, iou(self.confusion)), strict=True))

    @property
    def pixels(self) -> int:
        """How many labelled pixels were compared."""
        return int(self.confusion.sum())


@dataclass
class _ObjectNumbers:
    """Class, area in pixels and IoU of every object so far: all that is kept besides the confusion matrix.

    In three buffers, as thousands of small arrays that stay would keep the allocator from using again what lies
    between them: 150 MiB after 1,000 images.
    """

    classes: array[int] = field(default_factory=partial(array, "q"))
    areas: array[int] = field(default_factory=partial(array, "q"))
    ious: array[float] = field(default_factory=partial(array, "d"))

    def add(self, prediction: np.ndarray, sample: Sample, label: np.ndarray) -> None:
        objects = sample.objects
        self.classes.frombytes(objects.classes.astype(np.int64).tobytes())
        self.areas.frombytes(np.bincount(objects.map.ravel(), minlength=len(objects) + 1)[1:].tobytes())
        self.ious.frombytes(object_iou(prediction, label, objects, RING).tobytes())

    def of_class(self, c: int) -> tuple[np.ndarray, np.ndarray]:
        """Areas and IoUs of the objects of class c."""
        mine = np.frombuffer(self.classes, np.int64) == c
        return np.frombuffer(self.areas, np.int64)[mine], np.frombuffer(self.ious)[mine]


def evaluate(
    model: Model,
    dataset: Dataset,
    *,
    size_bins: SizeBins = "quartiles",
    limit: int | None = None,
    objects: bool = True,
    progress: bool = True,
) -> Evaluation:
    """Predict every image of ``dataset`` at the size of its label and compare; memory does not grow with the images.

    ``size_bins``: ``quartiles`` of the areas within each class over the evaluated images, or ``coco``'s cuts at 32 and
    96 pixels squared. ``limit`` evaluates that many images, evenly spaced over the split. ``objects=False`` leaves the
    rows by size out. AnalysisError: a data set without labels, or with another number of classes than the model.
    """
    if size_bins not in get_args(SizeBins):
        raise AnalysisError(f"size_bins must be one of {', '.join(get_args(SizeBins))}, not {size_bins!r}")
    n_classes = _same_classes(model, dataset)
    total, numbers = np.zeros((n_classes, n_classes), np.int64), _ObjectNumbers()
    chosen = _chosen(dataset, limit)
    for i in tqdm(chosen, desc=f"{dataset.name} {dataset.split}", unit="image", leave=False, disable=not progress):
        sample = dataset[i]
        label = _label(dataset, sample)
        prediction = predict(model, sample.image).max(dim=0).indices.cpu().numpy()
        total += confusion(prediction, label, n_classes)
        if objects:
            numbers.add(prediction, sample, label)
    table = _table(dataset, total, numbers if objects else None, size_bins)
    return Evaluation(dataset.classes, total, len(chosen), table)


def _same_classes(model: Model, dataset: Dataset) -> int:
    n_classes = len(dataset.classes)
    if model.spec.classes != n_classes:
        raise AnalysisError(
            f"the model has {model.spec.classes} classes and data set {dataset.name} {n_classes}; "
            "give the data set that the model was trained on"
        )
    return n_classes


def _chosen(dataset: Dataset, limit: int | None) -> Sequence[int]:
    if limit is not None and limit < 1:
        raise AnalysisError(f"limit must be at least 1 image, not {limit}")
    if not len(dataset):
        raise AnalysisError(f"{dataset.name} {dataset.split} has no image to evaluate; choose another split")
    if limit is None or limit >= len(dataset):
        return range(len(dataset))
    return [int(i) for i in np.linspace(0, len(dataset) - 1, limit).round()]


def _label(dataset: Dataset, sample: Sample) -> np.ndarray:
    if sample.label is None:
        raise AnalysisError(f"{dataset.name} {dataset.split}: {sample.name} has no label; IoU needs a labelled split")
    return sample.label


def _table(dataset: Dataset, total: np.ndarray, numbers: _ObjectNumbers | None, size_bins: SizeBins) -> pd.DataFrame:
    rows = list(_class_rows(dataset, total, numbers))
    if numbers is not None:
        for c in sorted(dataset.things):
            areas, ious = numbers.of_class(c)
            rows += [{"class": dataset.classes[c], **row} for row in _size_rows(areas, ious, size_bins)]
    return pd.DataFrame(rows).astype({"n_objects": "Int64"})


def _class_rows(dataset: Dataset, total: np.ndarray, numbers: _ObjectNumbers | None) -> Iterator[dict[str, Any]]:
    pixels = total.sum(axis=1)
    for c, value in enumerate(iou(total)):
        counted = len(numbers.of_class(c)[0]) if numbers is not None and c in dataset.things else None
        yield {
            "class": dataset.classes[c],
            "size_bin": "all",
            "iou": value,
            "pixels": int(pixels[c]),
            "n_objects": counted,
            "area_low": np.nan,
            "area_high": np.nan,
        }


def _size_rows(areas: np.ndarray, ious: np.ndarray, size_bins: SizeBins) -> Iterator[dict[str, Any]]:
    """One row for each size bin that has objects."""
    if not len(areas):
        return
    quartiles = size_bins == "quartiles"
    cuts = np.quantile(areas, [0, 0.25, 0.5, 0.75, 1]) if quartiles else np.array(COCO_CUTS)
    names = [f"quartile {i}" for i in (1, 2, 3, 4)] if quartiles else ["small", "medium", "large"]
    bins = np.searchsorted(cuts[1:-1], areas, side="right")
    for i, name in enumerate(names):
        inside = bins == i
        if inside.any():
            yield {
                "size_bin": name,
                "iou": float(ious[inside].mean()),
                "pixels": int(areas[inside].sum()),
                "n_objects": int(inside.sum()),
                "area_low": cuts[i],
                "area_high": cuts[i + 1],
            }


def compare_predictions(
    predictions: Mapping[str, np.ndarray], truth: np.ndarray | None, classes: Sequence[str]
) -> pd.DataFrame:
    """Several predictions ``[H, W]`` of one image: a row a class that any of them, or the truth, has; per cent.

    Columns ``class``; of every prediction ``IoU NAME``, or without a truth ``share NAME`` of its pixels; and of all but
    the first ``change NAME``. With a truth (255 ignored) the last row is the mean of all classes.
    """
    values = {name: 100 * _class_values(one, truth, len(classes)) for name, one in predictions.items()}
    what, first = "share" if truth is None else "IoU", next(iter(values.values()))
    columns = {f"{what} {name}": value for name, value in values.items()}
    columns |= {f"change {name}": value - first for name, value in list(values.items())[1:]}
    names = [*classes] if truth is None else [*classes, MEAN]
    rows = pd.DataFrame({"class": names, **columns})
    there = np.any([~np.isnan(value) & ((value > 0) | (truth is not None)) for value in values.values()], axis=0)
    return rows[there | (rows["class"] == MEAN)].reset_index(drop=True)


def _class_values(prediction: np.ndarray, truth: np.ndarray | None, n: int) -> np.ndarray:
    """IoU of every class and their mean, or the share of every class: 0..1."""
    if truth is None:
        return np.bincount(prediction.ravel(), minlength=n) / prediction.size
    counts = confusion(prediction, truth, n)
    return np.append(iou(counts), mean_iou(counts))

"""COCO's annotation files: where the annotations of each image lie in one, and label maps painted from them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from analysis.datasets.images import IGNORED
from analysis.errors import AnalysisError

_BETWEEN = re.compile(r"[\s,:]*")
_AGAIN = "get the file again"


@dataclass(frozen=True, eq=False)
class Annotations:
    """Where the annotations of N images are in the file ``path``; ``classes`` turns a category id into a class.

    ``sizes`` int64 ``[N, 2]`` are the images' (H, W). Annotation j is the bytes ``spans[j, 0]`` to ``spans[j, 1]`` of
    the file, and image i has the annotations ``first[i]`` to ``first[i + 1]``, ends excluded, in the file's order.
    """

    path: Path
    classes: Mapping[int, int]
    sizes: np.ndarray
    first: np.ndarray
    spans: np.ndarray

    def paint(self, row: int, image: Path, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Label uint8 and instances int32 ``[H, W]`` of image ``row``, which was read from ``image`` and has ``size``.

        AnalysisError: another size than the annotations', annotations that changed since or cannot be drawn.
        """
        high, wide = (int(pixels) for pixels in self.sizes[row])
        if size != (high, wide):
            raise AnalysisError(
                f"{image}: the image is {size[0]} x {size[1]} pixels (height x width) and its annotations are for "
                f"{high} x {wide}; put the original image there"
            )
        try:
            return _painted(self._read(row), self.classes, size)
        except OSError as error:
            raise AnalysisError(f"{self.path}: {error.strerror}; {_AGAIN}") from None
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            shown = f"{type(error).__name__}: {error}"[:120]
            raise AnalysisError(f"{self.path}: an annotation of {image.name} is damaged ({shown}); {_AGAIN}") from None

    def _read(self, row: int) -> list[dict[str, Any]]:
        with self.path.open("rb") as file:
            return [_span(file, *span) for span in self.spans[self.first[row] : self.first[row + 1]]]


def _span(file: BinaryIO, start: int, stop: int) -> dict[str, Any]:
    file.seek(start)
    return json.loads(file.read(stop - start))


def read_annotations(
    path: Path, categories: Mapping[int, str], classes: Mapping[int, int]
) -> tuple[list[Path], Annotations]:
    """The file names of the images in an annotation file, and where their annotations are.

    AnalysisError: no readable JSON, none of COCO's, other ``categories`` (id to name) than these.
    """
    try:
        return _indexed(path, path.read_bytes().decode("latin-1"), categories, classes)
    except AnalysisError:
        raise
    except OSError as error:
        raise AnalysisError(f"{path}: {error.strerror}; {_AGAIN}") from None
    except (ValueError, TypeError, KeyError, IndexError, OverflowError, RecursionError) as error:
        shown = f"{type(error).__name__}: {error}"[:120]
        raise AnalysisError(f"{path}: no COCO annotations, or cut off ({shown}); {_AGAIN}") from None


def _indexed(
    path: Path, text: str, categories: Mapping[int, str], classes: Mapping[int, int]
) -> tuple[list[Path], Annotations]:
    """``text`` is the file with one character a byte, so that places in it are places in the file."""
    names, sizes, spans, owners, found = [], [], [], [], {}
    for part, value, start, stop in _elements(text):
        if part == "images":
            names.append((value["id"], Path(json.loads(text[start:stop].encode("latin-1"))["file_name"])))
            sizes.append((value["height"], value["width"]))
        elif part == "annotations":
            owners.append(value["image_id"])
            spans.append((start, stop))
        elif part == "categories":
            found[value["id"]] = value["name"]
    if found != categories:
        raise AnalysisError(f"{path}: its categories are not COCO's 80; make masks of it and open them as folder:PATH")
    rows = {number: row for row, (number, _) in enumerate(names)}
    of_image = np.array([rows[owner] for owner in owners], np.int64)
    first = np.concatenate(([0], np.bincount(of_image, minlength=len(names)).cumsum()))
    ordered = np.array(spans, np.int64).reshape(-1, 2)[of_image.argsort(kind="stable")]
    sized = np.array(sizes, np.int64).reshape(-1, 2)
    return [name for _, name in names], Annotations(path, classes, sized, first, ordered)


def _elements(text: str) -> Iterator[tuple[str, Any, int, int]]:
    """Name of the list, value, start and end of every element of the lists in an object; one element in memory."""
    decode = json.JSONDecoder().raw_decode
    at = _next(text, text.find("{") + 1)
    while text[at] != "}":
        part, at = decode(text, at)
        at = _next(text, at)
        if text[at] != "[":
            _, at = decode(text, at)
        else:
            at = _next(text, at + 1)
            while text[at] != "]":
                start = at
                value, at = decode(text, start)
                yield part, value, start, at
                at = _next(text, at)
            at += 1
        at = _next(text, at)


def _next(text: str, at: int) -> int:
    """The place after the blanks, commas and colons at ``at``."""
    found = _BETWEEN.match(text, at)
    return found.end() if found else at


def _painted(
    annotations: list[dict[str, Any]], classes: Mapping[int, int], size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Crowds first, then the objects, the largest first."""
    label, instances = np.zeros(size, np.uint8), np.zeros(size, np.int32)
    shapes = [(_mask(a["segmentation"], size), classes[a["category_id"]], a["iscrowd"] == 1) for a in annotations]
    shapes.sort(key=lambda shape: (not shape[2], -int(shape[0].sum())))
    for k, (inside, kind, crowd) in enumerate(shapes, start=1):
        label[inside] = IGNORED if crowd else kind
        instances[inside] = 0 if crowd else k
    return label, instances


def _mask(segmentation: list[list[float]] | dict[str, Any], size: tuple[int, int]) -> np.ndarray:
    """Bool ``[H, W]`` of polygons or run lengths, compressed or not, as pycocotools draws them.

    ValueError, TypeError, KeyError or OverflowError for what cannot be drawn.
    """
    rle = rasteriser()
    packed = _run_lengths(segmentation, size) if isinstance(segmentation, dict) else _polygons(segmentation, size)
    inside = rle.decode(packed)
    if int(inside.sum()) != int(rle.area(packed)):  # runs that end early leave the rest of the array unwritten
        raise ValueError("run lengths that do not fill the image")
    return inside.astype(bool)


def _polygons(polygons: list[list[float]], size: tuple[int, int]) -> dict[str, Any]:
    """The run lengths of polygons; those of fewer than three corners are left out."""
    sound = [polygon for polygon in polygons if len(polygon) >= 6]
    for polygon in sound:
        # The library's memory grows with the outline's length, without bound for NaN.
        if not (np.abs(np.asarray(polygon, np.float64)) <= 2 * max(size)).all():
            raise ValueError("a corner far outside the image")
    rle = rasteriser()
    return rle.merge(rle.frPyObjects(sound, *size)) if sound else rle.encode(np.zeros(size, np.uint8, order="F"))


def _run_lengths(segmentation: dict[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    if list(segmentation["size"]) != list(size):
        raise ValueError(f"run lengths for the size {segmentation['size']}")
    compressed = isinstance(segmentation["counts"], str)
    return segmentation if compressed else rasteriser().frPyObjects(segmentation, *size)


def rasteriser() -> Any:
    """The mask module of pycocotools. AnalysisError where it is not installed."""
    try:
        from pycocotools import mask
    except ImportError:
        raise AnalysisError(
            "COCO's annotations are drawn by pycocotools; get it with: pip install pycocotools"
        ) from None
    return mask

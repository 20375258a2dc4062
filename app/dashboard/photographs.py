"""Photographs to look at: from a data set, bundled with scikit-image or scikit-learn, or uploaded."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from analysis.datasets import Dataset, read_image
from analysis.errors import AnalysisError, closest

MAX_PIXELS = 2048 * 1024  # a prediction holds a float32 a class and pixel
#: Photographs that lie in the wheels of scikit-learn and scikit-image, so that none is downloaded.
BUNDLED = {
    "china": ("sklearn", "datasets/images/china.jpg"),
    "flower": ("sklearn", "datasets/images/flower.jpg"),
    "astronaut": ("skimage", "data/astronaut.png"),
    "chelsea": ("skimage", "data/chelsea.png"),
    "coffee": ("skimage", "data/coffee.png"),
    "motorcycle": ("skimage", "data/motorcycle_left.png"),
    "rocket": ("skimage", "data/rocket.jpg"),
}


@dataclass(frozen=True, eq=False)
class Photograph:
    """``image`` uint8 ``[H, W, 3]``, its ``digest`` (SHA-256), and its label map with class names, where there is one.

    ``note`` says what was done to it, if anything.
    """

    name: str
    image: np.ndarray
    digest: str
    label: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    note: str = ""


def bundled(name: str) -> Photograph:
    """A photograph of :data:`BUNDLED`. AnalysisError: another name, or its package is not installed."""
    if name not in BUNDLED:
        raise AnalysisError(f"no bundled photograph {name!r}{closest(name, BUNDLED)}")
    package, path = BUNDLED[name]
    spec = find_spec(package)  # finds the folder without importing the package
    if spec is None or not spec.submodule_search_locations:
        raise AnalysisError(f"photograph {name!r} comes with {package}, which is not installed; choose another image")
    return photograph(f"{name} ({package})", read_image(Path(spec.submodule_search_locations[0]) / path, name))


def from_dataset(dataset: Dataset, name: str) -> Photograph:
    """An image of a data set with its labels. AnalysisError: an unknown name, a missing or damaged file."""
    sample = dataset[dataset.index(name)]
    return photograph(f"{name} ({dataset.name}, {dataset.split})", sample.image, sample.label, dataset.classes)


def uploaded(name: str, content: bytes) -> Photograph:
    """An uploaded file. AnalysisError: no image, cut off, or too large (seen before decoding)."""
    return photograph(f"{name} (upload)", read_image(BytesIO(content), name))


def photograph(
    name: str, image: np.ndarray, label: np.ndarray | None = None, classes: tuple[str, ...] = ()
) -> Photograph:
    """Image and label, made smaller where they have more pixels than a page can show."""
    note = ""
    if image.shape[0] * image.shape[1] > MAX_PIXELS:
        height, width = image.shape[:2]
        image, label = _shrunk(image, label)
        note = f"shown at {image.shape[1]} x {image.shape[0]} pixels, made smaller from {width} x {height}"
    digest = hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()
    return Photograph(name, image, digest, label, classes if label is not None else (), note)


def _shrunk(image: np.ndarray, label: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
    factor = (MAX_PIXELS / (image.shape[0] * image.shape[1])) ** 0.5
    size = (max(1, int(image.shape[1] * factor)), max(1, int(image.shape[0] * factor)))
    smaller = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))
    return smaller, None if label is None else np.asarray(Image.fromarray(label).resize(size, Image.Resampling.NEAREST))

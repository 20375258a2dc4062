"""Photographs to look at: from a data set, bundled with scikit-image or scikit-learn, or uploaded."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from analysis.datasets import Dataset, read_image
from analysis.datasets.sample import Sample
from analysis.errors import AnalysisError, closest

MAX_BYTES = 50 << 20  # of an upload, as the server's maxUploadSize
UPLOADED = ("JPEG", "PNG", "WEBP")
MAX_PIXELS = 2048 * 1024  # a prediction holds a float32 a class and pixel
#: Checkpoints of which the first that is there is opened where nothing else is asked for.
FIRST = ("data/demo/camvid-scale", "data/demo/shapes-dual", "data/demo/shapes-scale")
#: Where data sets are looked for; below the project's folder, and beside it.
PLACES = {"camvid": ("data/camvid", "../shared/camvid"), "voc": ("data/voc", "../shared/voc_sample")}
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
    """``name`` for people; the ``sample`` with image and labels, ``digest`` (SHA-256 of the image), class names.

    ``classes`` are empty where there are no labels. ``note`` says what was done to it, if anything. ``code``: lines
    that give ``sample`` in a notebook.
    """

    name: str
    sample: Sample
    digest: str
    classes: tuple[str, ...] = ()
    note: str = ""
    code: tuple[str, ...] = ()

    @property
    def image(self) -> np.ndarray:
        """uint8 ``[H, W, 3]``."""
        return self.sample.image

    @property
    def label(self) -> np.ndarray | None:
        """uint8 ``[H, W]``, where there is one."""
        return self.sample.label


_CODE = ("from pathlib import Path", "from analysis.datasets import read_image", "from analysis.datasets import Sample")
_READ = 'sample = Sample(path.stem, read_image(path), None, "", "", None, frozenset())'


def datasets() -> list[str]:
    """NAME[:PATH] of the data sets that are there."""
    places = [f"{name}:{place}" for name, places in PLACES.items() for place in places if Path(place).is_dir()]
    return ["shapes", *places]


def suitable(trained_on: str) -> dict[str, str]:
    """What the address says of the first photograph: the data set trained on, where it is there, else a bundled one."""
    spec = next((spec for spec in datasets() if spec.partition(":")[0] == trained_on), None)
    return {"photo": "china"} if spec is None else {"data": spec}


def first_split(names: Sequence[str]) -> str:
    """The split that is opened where none is asked for."""
    return "val" if "val" in names else names[0]


def bundled(name: str) -> Photograph:
    """A photograph of :data:`BUNDLED`. AnalysisError: another name, or its package is not installed."""
    if name not in BUNDLED:
        raise AnalysisError(f"no bundled photograph {name!r}{closest(name, BUNDLED)}")
    package, path = BUNDLED[name]
    spec = find_spec(package)  # finds the folder without importing the package
    if spec is None or not spec.submodule_search_locations:
        raise AnalysisError(f"photograph {name!r} comes with {package}, which is not installed; choose another image")
    file = Path(spec.submodule_search_locations[0]) / path
    code = (*_CODE, f"import {package}", f'path = Path({package}.__file__).parent / "{path}"', _READ)
    return replace(unlabelled(f"{name} ({package})", read_image(file, name)), code=code)


def from_dataset(dataset: Dataset, name: str, spec: str) -> Photograph:
    """An image of a data set opened by ``spec``, with its labels. AnalysisError: an unknown name, a damaged file."""
    sample = dataset[dataset.index(name)]
    found = photograph(f"{name} ({dataset.name}, {dataset.split})", sample, dataset.classes)
    code = (
        "from analysis.datasets import open_dataset",
        f"dataset = open_dataset({spec!r}, {dataset.split!r})",
        f"sample = dataset[dataset.index({name!r})]",
    )
    return replace(found, code=code)


def uploaded(name: str, content: bytes) -> Photograph:
    """An uploaded JPEG, PNG or WebP. AnalysisError: another file, cut off, or too large (seen before decoding)."""
    code = (*_CODE, f"path = Path({name!r})", _READ)
    if len(content) > MAX_BYTES:
        raise AnalysisError(f"{name}: more than {MAX_BYTES >> 20} MB; make the photograph smaller first")
    return replace(unlabelled(f"{name} (upload)", read_image(BytesIO(content), name, UPLOADED)), code=code)


def unlabelled(name: str, image: np.ndarray) -> Photograph:
    """An image that nobody labelled."""
    return photograph(name, Sample(name, image, None, "", "", None, frozenset()))


def photograph(name: str, sample: Sample, classes: tuple[str, ...] = ()) -> Photograph:
    """Image and label, made smaller where they have more pixels than a page can show."""
    note, (height, width) = "", sample.image.shape[:2]
    if height * width > MAX_PIXELS:
        sample = _shrunk(sample)
        note = (
            f"shown at {sample.image.shape[1]} x {sample.image.shape[0]} pixels, made smaller from {width} x {height}"
        )
    digest = hashlib.sha256(repr(sample.image.shape).encode() + sample.image.tobytes()).hexdigest()
    return Photograph(name, sample, digest, classes if sample.label is not None else (), note)


def _shrunk(sample: Sample) -> Sample:
    height, width = sample.image.shape[:2]
    factor = (MAX_PIXELS / (height * width)) ** 0.5
    size = (max(1, int(width * factor)), max(1, int(height * factor)))

    def thinned(ids: np.ndarray | None) -> np.ndarray | None:
        return None if ids is None else np.asarray(Image.fromarray(ids).resize(size, Image.Resampling.NEAREST))

    smaller = np.asarray(Image.fromarray(sample.image).resize(size, Image.Resampling.BOX))
    return replace(sample, image=smaller, label=thinned(sample.label), instances=thinned(sample.instances))

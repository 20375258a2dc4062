"""Shapes: the embedded data set, 256 x 256 scenes made on the fly from (seed, index), with exact masks (DESIGN 7).

A scene is sky above ground, both *stuff*, and one object in front: a circle, a square or a cross, of 16 to 16,000
pixels. The area is log-uniform and drawn independently of everything else: class, centre, colour, background. The
centre is uniform where the largest object of any class fits, so an object can be rendered again at any size, and every
size occurs at every place.

One object, and not several, is what that independence costs. Centres where 16,000 pixels fit lie 74 to 181; an object
of 16,000 pixels at the middle covers all of that square but its corners, so a second object could only be
where the first is small or away from the middle: having a neighbour would say something about one's size, and so
would one's place. Scenes with several objects can be made by hand and rendered (:class:`Scene`).

An object's class shows in its outline, its stripes and, not surely, its colour. The stripes have a period of 6 pixels
whatever the size, so that the smaller input scales see less of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from analysis.datasets.sample import Dataset, Item, Sample
from analysis.errors import AnalysisError

CLASSES = ("sky", "ground", "circle", "square", "cross")
THINGS = frozenset({2, 3, 4})
PALETTE = np.array([[120, 170, 220], [110, 120, 70], [214, 69, 65], [65, 88, 208], [240, 180, 40]], np.uint8)
SIZE = 256
MIN_AREA, MAX_AREA = 16, 16_000
MARGIN = 74.0  # how far an object of MAX_AREA reaches from its centre along an axis (the cross: 73.03), rounded up
SPLITS = {"train": (0, 512), "val": (1, 128)}  # seed and number of scenes

# Typical colours; each object's own differs by COLOUR_SPREAD per channel, so that colours of classes overlap.
_COLOURS = {2: (180, 95, 90), 3: (95, 115, 185), 4: (180, 160, 90)}
_SKY, _GROUND = (150, 165, 185), (120, 125, 95)
COLOUR_SPREAD = 35.0
PIXEL_NOISE = 14.0
SKY_RAMP, GROUND_GRAIN = np.float32(40.0), np.float32(12.0)  # grey levels
STRIPE_PERIOD, STRIPE_HEIGHT = 6.0, 30.0  # pixels, grey levels
# Less than a ten-thousandth of a pixel: orders equal gauges, so that a smaller object lies within a larger one.
_TIES = np.linspace(0, 1e-4, SIZE * SIZE).reshape(SIZE, SIZE)
_Y, _X = np.ogrid[: np.float32(SIZE), : np.float32(SIZE)]


@dataclass(frozen=True)
class Shape:
    """One object: ``kind`` is its class, ``centre`` (y, x) in pixels, ``area`` in pixels, ``colour`` RGB 0..255."""

    kind: int
    centre: tuple[float, float]
    area: int
    colour: tuple[float, float, float]


@dataclass(frozen=True)
class Scene:
    """All that a scene is rendered from. ``seed`` fixes grain and noise, so a changed shape changes nothing else.

    The horizon passes the image's middle column at height ``horizon`` (pixels from the top) with ``slope``.
    ``shapes`` are drawn in order; change one with :func:`dataclasses.replace`.
    """

    seed: tuple[int, int]
    horizon: float
    slope: float
    sky: tuple[float, float, float]
    ground: tuple[float, float, float]
    shapes: tuple[Shape, ...]


class Rendered(NamedTuple):
    """``image`` uint8 ``[256, 256, 3]``, ``label`` uint8 ``[256, 256]``, ``instances`` int32 ``[256, 256]``."""

    image: np.ndarray
    label: np.ndarray
    instances: np.ndarray


def splits() -> tuple[str, ...]:
    """The splits there are."""
    return tuple(SPLITS)


def open_shapes(split: str) -> Dataset:
    """The split train (512 scenes) or val (128 others). AnalysisError for another split."""
    if split not in SPLITS:
        raise AnalysisError(f"shapes has no split {split!r}; splits: {', '.join(SPLITS)}")
    seed, n = SPLITS[split]
    items = tuple(_item(f"{split}-{index:05d}", (seed, index)) for index in range(n))
    return Dataset("shapes", split, CLASSES, THINGS, PALETTE, items, read_shapes)


def _item(name: str, seed: tuple[int, int]) -> Item:
    return Item(name, sequence=name, block=name, seed=seed)


def read_shapes(dataset: Dataset, item: Item) -> Sample:
    """Make and render the scene of an item."""
    if item.seed is None:
        raise AnalysisError(f"{dataset.name} {item.name}: a made scene needs a seed")
    image, label, instances = render(make_scene(*item.seed))
    return Sample(item.name, image, label, item.sequence, item.block, instances, dataset.things)


def make_scene(seed: int, index: int) -> Scene:
    """Scene ``index`` of the series ``seed``: always the same one."""
    random = np.random.default_rng([seed, index])
    kind = int(random.integers(2, len(CLASSES)))
    low, high = MARGIN, SIZE - 1 - MARGIN
    centre = (float(random.uniform(low, high)), float(random.uniform(low, high)))
    area = round(float(np.exp(random.uniform(np.log(MIN_AREA), np.log(MAX_AREA)))))
    return Scene(
        seed=(seed, index),
        horizon=float(random.uniform(0.25 * SIZE, 0.75 * SIZE)),
        slope=float(random.uniform(-0.3, 0.3)),
        sky=_near(random, _SKY),
        ground=_near(random, _GROUND),
        shapes=(Shape(kind, centre, area, _near(random, _COLOURS[kind])),),
    )


def _near(random: np.random.Generator, colour: tuple[int, int, int]) -> tuple[float, float, float]:
    r, g, b = np.asarray(colour) + random.normal(0.0, COLOUR_SPREAD, 3)
    return float(r), float(g), float(b)


def render(scene: Scene) -> Rendered:
    """Image, label and instances of a scene. AnalysisError for an area that does not fit everywhere."""
    noise = np.random.default_rng([*scene.seed, 1])
    below = scene.horizon + scene.slope * (_X - SIZE / 2) < _Y
    grey = np.where(below, _grain(noise), SKY_RAMP * (_Y / SIZE - 0.5))
    label, instances = below.astype(np.uint8), np.zeros((SIZE, SIZE), np.int32)
    surface = label.astype(np.intp)  # 0 sky, 1 ground, k + 1 the k-th object
    for k, shape in enumerate(scene.shapes, start=1):
        inside = mask(shape)
        label[inside], instances[inside], surface[inside] = shape.kind, k, k + 1
        grey[inside] = _stripes(shape.kind)[inside]
    grey += np.float32(PIXEL_NOISE) * noise.standard_normal((SIZE, SIZE), dtype=np.float32)
    colours = np.array([scene.sky, scene.ground, *(shape.colour for shape in scene.shapes)], np.float32)
    paint = colours.take(surface, axis=0) + grey[..., None]
    return Rendered(np.clip(paint, 0, 255, out=paint).astype(np.uint8), label, instances)


def mask(shape: Shape) -> np.ndarray:
    """Bool ``[256, 256]`` with exactly ``shape.area`` pixels: those with the smallest gauge of the class's outline."""
    if not 0 < shape.area <= MAX_AREA:
        raise AnalysisError(f"an object of {shape.area} pixels; shapes have 1 to {MAX_AREA}")
    gauge = _gauge(shape.kind, np.abs(_Y - shape.centre[0]), np.abs(_X - shape.centre[1])) + _TIES
    inside = np.zeros(SIZE * SIZE, bool)
    inside[np.argpartition(gauge.ravel(), shape.area - 1)[: shape.area]] = True
    return inside.reshape(SIZE, SIZE)


def _gauge(kind: int, dy: np.ndarray, dx: np.ndarray) -> np.ndarray:
    """By how much an outline of unit size must grow to reach each pixel (Minkowski's gauge), ``[256, 256]``."""
    if CLASSES[kind] == "circle":
        return np.hypot(dy, dx)
    if CLASSES[kind] == "square":
        return np.maximum(dy, dx)
    return np.minimum(np.maximum(2 * dy, dx), np.maximum(dy, 2 * dx))  # a cross whose arms are half as wide as it is


def _stripes(kind: int) -> np.ndarray:
    """Grey levels to add, ``[256, 256]``: none on circles, level stripes on squares, upright ones on crosses."""
    along = {"circle": np.zeros_like(_Y), "square": _Y, "cross": _X}[CLASSES[kind]]
    wave = STRIPE_HEIGHT * np.sin(2 * np.pi * along / STRIPE_PERIOD)
    return np.broadcast_to(np.float32(wave), (SIZE, SIZE))


def _grain(noise: np.random.Generator) -> np.ndarray:
    """The ground's texture, grey levels ``[256, 256]``: squares of 4 pixels, lighter or darker."""
    squares = GROUND_GRAIN * noise.standard_normal((SIZE // 4, SIZE // 4), dtype=np.float32)
    return squares.repeat(4, axis=0).repeat(4, axis=1)

"""The object probe: the same object in the same place at another size, and what its scale weights do (DESIGN 5, 6).

Kinds of row: ``object``, the cut-out resized and pasted (of ``shapes`` the scene rendered again); ``placebo``, the same
done to the object's mask in another column, where no object is (of ``shapes`` only measured there); ``image``, the
whole image zoomed, at factor 1 untouched; ``blur``, the image only blurred as much as that zoom blurs it. Factor 1 of
``object`` is the cut-out pasted as it was, on the same fill as at every factor.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional

from analysis.datasets import shapes
from analysis.datasets.sample import Sample
from analysis.errors import AnalysisError
from analysis.measures import IGNORE
from analysis.models import ScaleAttention, to_input
from analysis.models.inference import input_size
from analysis.models.resize import resize
from analysis.studies.object_scale.maps import Maps
from analysis.studies.object_scale.paste import Box, box_of, erased, pasted
from analysis.taps import capture

FACTORS = (0.5, 2**-0.5, 1.0, 2**0.5, 2.0)
#: Objects of an image that are probed: ten forwards each.
OBJECTS = 2
#: Columns that are tried for the placebo.
COLUMNS = 64
#: Pixels that enter a model on a GPU at once. On a CPU images enter one by one: ten together took 1.25 times as long.
BATCH_PIXELS = 2**21

ROW = ("object", "class", "area", "factor", "kind", "scale", "weight_inside")

Seed = tuple[int, int]


@dataclass(frozen=True)
class Region:
    """What is measured in a variant: ``object`` as in ``sample.objects``, 0 for stuff; ``area`` at factor 1."""

    kind: str
    object: int
    class_: str
    area: int


@dataclass(frozen=True, eq=False)
class Variant:
    """A changed image as it enters the model, ``pixels [1, 3, h, w]``, and its regions: ``numbers`` int ``[H, W]`` is
    k + 1 in region k, on the photograph."""

    factor: float
    pixels: Tensor
    numbers: np.ndarray
    regions: tuple[Region, ...]


def probe_rows(
    model: ScaleAttention,
    sample: Sample,
    label: np.ndarray,
    classes: tuple[str, ...],
    maps: Maps,
    seed: Seed | None = None,
) -> pd.DataFrame:
    """A row per object, kind, factor and scale: image, object, class, area, factor, kind, scale, weight_inside.

    ``maps`` are those of the untouched image. ``seed``: that of a scene of ``shapes``, which is rendered again.
    ``OBJECTS`` of the image are probed (:func:`chosen`). Factors at which an object would not fit are left out.
    ``area`` is that at factor 1, in pixels. Zoom and blur are measured on all objects, and on the classes of stuff, as
    object 0.
    """
    zooms = _zooms(model, sample, label, classes)
    untouched = maps.weights[None]
    tables = [_rows(zooms[:1], [untouched], model), _rows(zooms[1:], _weights(model, zooms[1:]), model)]
    for k, shift in chosen(sample, maps.cell, OBJECTS):
        named = Region("object", k, classes[sample.objects.classes[k - 1]], int((sample.objects.map == k).sum()))
        variants = list(_pasted(model, sample, named, shift) if seed is None else _rendered(model, seed, named, shift))
        tables.append(_rows(variants, _weights(model, variants), model))
    rows = pd.DataFrame([row for table in tables for row in table], columns=[*ROW])
    rows.insert(0, "image", sample.name)
    return rows


def probe_object(
    model: ScaleAttention, sample: Sample, k: int, classes: tuple[str, ...], cell: float
) -> tuple[pd.DataFrame, int]:
    """One object ``k`` of a photograph: rows as :func:`probe_rows` has them, and how many columns away its placebo is.

    ``cell``: pixels of the photograph to a cell of the weight map. AnalysisError: an object that cannot be probed.
    """
    mask = sample.objects.map == k
    if not _fits(mask, cell):
        raise AnalysisError(f"object {k} touches the border, or is below a cell at {min(FACTORS)} times its size")
    rng = np.random.default_rng([zlib.crc32(sample.name.encode()), k])
    shift = _placebo_shift(mask, sample.objects.map > 0, rng)
    if shift is None:
        raise AnalysisError(f"there is no place without objects at the height of object {k}, so it has no placebo")
    named = Region("object", k, classes[sample.objects.classes[k - 1]], int(mask.sum()))
    variants = list(_pasted(model, sample, named, shift))
    rows = pd.DataFrame(_rows(variants, _weights(model, variants), model), columns=[*ROW])
    rows.insert(0, "image", sample.name)
    return rows, shift


def resized_in(sample: Sample, k: int, factor: float, shift: int = 0) -> np.ndarray:
    """The photograph in which object ``k`` has ``factor`` times its size, uint8; ``shift``: its placebo instead."""
    place = np.roll(sample.objects.map == k, shift, axis=1)
    return pasted(erased(sample.image, place), sample.image, place, factor)[0]


def _zooms(model: ScaleAttention, sample: Sample, label: np.ndarray, classes: tuple[str, ...]) -> list[Variant]:
    """First the untouched image; then the whole image smaller, and only as blurred as that."""
    numbers, regions = _things_and_stuff(sample, label, classes)
    images, blurs = (tuple(dataclasses.replace(one, kind=kind) for one in regions) for kind in ("image", "blur"))
    pixels = to_input(sample.image, model.spec.input)
    variants = [Variant(1.0, pixels, numbers, images)]
    for factor in [f for f in FACTORS if f < 1]:
        smaller = _resized(pixels, _zoomed_size(pixels, factor, model))
        variants.append(Variant(factor, smaller, numbers, images))
        variants.append(Variant(factor, _resized(smaller, pixels.shape[-2:]), numbers, blurs))
    return variants


def _things_and_stuff(
    sample: Sample, label: np.ndarray, classes: tuple[str, ...]
) -> tuple[np.ndarray, tuple[Region, ...]]:
    """Objects, numbered as they are, and after them the classes of stuff."""
    objects, n = sample.objects, len(sample.objects)
    stuff = sorted(set(np.unique(label).tolist()) - sample.things - {IGNORE})
    number_of = np.zeros(256, np.int32)
    number_of[stuff] = np.arange(n + 1, n + 1 + len(stuff))
    numbers = np.where(objects.map > 0, objects.map, number_of[label])
    area = np.bincount(numbers.ravel(), minlength=n + 1 + len(stuff))
    of = [*zip(range(1, n + 1), objects.classes, strict=True), *((0, c) for c in stuff)]
    return numbers, tuple(Region("", k, classes[c], int(a)) for (k, c), a in zip(of, area[1:], strict=True))


def _zoomed_size(pixels: Tensor, factor: float, model: ScaleAttention) -> tuple[int, int]:
    """Of a zoomed input; a model that resizes photographs first would undo a zoom of the photograph."""
    height, width = pixels.shape[-2:]
    plain = dataclasses.replace(model.spec.input, short_side=None)
    return input_size((round(factor * height), round(factor * width)), plain)


def _resized(pixels: Tensor, size: Sequence[int]) -> Tensor:
    return functional.interpolate(pixels, tuple(size), mode="bilinear", antialias=True, align_corners=False)


def chosen(sample: Sample, cell: float, n: int) -> list[tuple[int, int]]:
    """Objects to probe, ``(number, columns to its placebo)``: at most ``n``, drawn by the image's name.

    One of each class of the image first, classes in random order: each class needs its own interval, and cars are few
    beside poles. None that touches the border, is below ``cell`` pixels or leaves no room for a placebo.
    """
    rng, objects = np.random.default_rng(zlib.crc32(sample.name.encode())), sample.objects
    fitting = [k for k in range(1, len(objects) + 1) if _fits(objects.map == k, cell)]
    order = rng.permutation(np.array(fitting, int))
    classes = pd.Series(objects.classes[order - 1])
    turn = rng.permutation(IGNORE)[classes]
    found: list[tuple[int, int]] = []
    for k in order[np.lexsort((turn, classes.groupby(classes).cumcount()))]:
        if len(found) == n:
            break
        shift = _placebo_shift(objects.map == k, objects.map > 0, rng)
        found += [] if shift is None else [(int(k), shift)]
    return found


def _fits(mask: np.ndarray, cell: float) -> bool:
    """Also made smallest it is not below a cell, where weights are those of what is round it."""
    return bool(mask.sum() * min(FACTORS) ** 2 >= cell) and box_of(mask).inside(mask.shape)


def _placebo_shift(mask: np.ndarray, occupied: np.ndarray, rng: np.random.Generator) -> int | None:
    """Columns to a place of the same height where the mask meets no object, not even itself; None: none was found."""
    box = box_of(mask)
    ys, xs = np.nonzero(mask)
    shifts = np.arange(1 - box.left, mask.shape[1] - box.right)
    for shift in rng.permutation(shifts)[:COLUMNS]:
        if not occupied[ys, xs + shift].any():
            return int(shift)
    return None


def _factors(box: Box, shift: int, size: tuple[int, int]) -> list[float]:
    """Those at which the object and its placebo lie inside the image."""
    return [f for f in FACTORS if all(b.scaled(f).inside(size) for b in (box, box.moved(shift)))]


def _pasted(model: ScaleAttention, sample: Sample, named: Region, shift: int) -> Iterator[Variant]:
    mask = sample.objects.map == named.object
    for kind, place in (("object", mask), ("placebo", np.roll(mask, shift, axis=1))):
        background = erased(sample.image, place)
        for factor in _factors(box_of(mask), shift, mask.shape):
            image, covered = pasted(background, sample.image, place, factor)
            pixels = to_input(image, model.spec.input)
            region = dataclasses.replace(named, kind=kind)
            yield Variant(factor, pixels, covered.astype(np.int32), (region,))


def _rendered(model: ScaleAttention, seed: Seed, named: Region, shift: int) -> Iterator[Variant]:
    """The scene with the object at other areas, as far as ``shapes`` has them; its mask moved is the placebo."""
    scene = shapes.make_scene(*seed)
    regions = tuple(dataclasses.replace(named, kind=kind) for kind in ("object", "placebo"))
    shape = scene.shapes[named.object - 1]
    for factor in FACTORS:
        area = round(shape.area * factor**2)
        if not shapes.MIN_AREA <= area <= shapes.MAX_AREA:
            continue
        resized = dataclasses.replace(shape, area=area)
        others = tuple(resized if one is shape else one for one in scene.shapes)
        image, _, instances = shapes.render(dataclasses.replace(scene, shapes=others))
        mask = instances == named.object
        moved = np.roll(mask, shift, axis=1)
        if (mask & moved).any() or not box_of(mask).moved(shift).inside(mask.shape):
            break  # larger ones meet their placebo as well
        yield Variant(factor, to_input(image, model.spec.input), mask + 2 * moved.astype(np.int32), regions)


def _weights(model: ScaleAttention, variants: Sequence[Variant]) -> list[Tensor]:
    """Scale weights ``[1, S, h, w]`` of each variant; those of one size enter the model together."""
    found: list[Tensor] = [torch.empty(0)] * len(variants)
    shapes_of = [tuple(variant.pixels.shape) for variant in variants]
    on_cpu = next(model.parameters()).device.type == "cpu"
    for shape in dict.fromkeys(shapes_of):
        mine = [i for i, other in enumerate(shapes_of) if other == shape]
        at_once = 1 if on_cpu else max(1, BATCH_PIXELS // (shape[-2] * shape[-1]))
        for start in range(0, len(mine), at_once):
            batch = mine[start : start + at_once]
            weights = _forward(model, torch.cat([variants[i].pixels for i in batch]))
            for i, w in zip(batch, weights.split(1), strict=True):
                found[i] = w
    return found


@torch.no_grad()
def _forward(model: ScaleAttention, pixels: Tensor) -> Tensor:
    with capture(model, "scale.weights", device="cpu", dtype=torch.float32) as taps:
        model(pixels.to(next(model.parameters()).device))
    return taps["scale.weights"]


def _rows(variants: Sequence[Variant], weights: Sequence[Tensor], model: ScaleAttention) -> list[tuple[object, ...]]:
    """Mean weights over the regions of every variant, on the photograph; the columns are ``ROW``."""
    rows: list[tuple[object, ...]] = []
    for variant, w in zip(variants, weights, strict=True):
        maps = resize(w, variant.numbers.shape, model.spec.input.align_corners)[0].numpy()
        flat, n = variant.numbers.ravel(), len(variant.regions) + 1
        sums = np.stack([np.bincount(flat, m.ravel(), minlength=n) for m in maps])[:, 1:]
        means = sums / np.bincount(flat, minlength=n)[1:]
        rows += [
            (region.object, region.class_, region.area, variant.factor, region.kind, scale, means[s, k])
            for k, region in enumerate(variant.regions)
            for s, scale in enumerate(model.spec.scales)
        ]
    return rows

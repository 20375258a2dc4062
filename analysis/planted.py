"""Known truth: models whose scale weights are planted, so that they follow a rule on the label map.

    checkpoint = planted(Path("runs/planted"), small_to_full_size)
    object_scale(checkpoint, painted(open_dataset("shapes", "val")))

What a study says of them is what it would say of weights that follow size, oppose it or ignore it. The images of
``painted`` show their labels, one colour a class, and the model reads them off again: so it also follows an image that
is changed, as in the object probe. All else is real: the network, the fusion, and the attention head, whose output is
replaced where it enters the softmax.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from analysis.checkpoints import Checkpoint, open_checkpoint
from analysis.checkpoints.saving import save_checkpoint
from analysis.datasets.sample import Dataset, Item, Sample, connected_objects
from analysis.datasets.shapes import CLASSES, MAX_AREA, MIN_AREA, PALETTE, THINGS
from analysis.models import InputSpec, ScaleAttention
from analysis.models.scale_attention import AttentionFusion

#: Of a label map ``[H, W]``, how much each pixel belongs to the full-size branch, 0 to 1.
Rule = Callable[[np.ndarray], np.ndarray]
#: Images enter as they are, so that their colours can be read.
INPUT = InputSpec(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
LOW, BETWEEN = 0.05, 0.1


def small_to_full_size(label: np.ndarray) -> np.ndarray:
    """The paper's claim: 1 on objects of 16 pixels, 0 on those of 16,000, even per doubling; 0.5 elsewhere."""
    objects = connected_objects(label, THINGS)
    area = np.bincount(objects.map.ravel(), minlength=len(objects) + 1)[1:]
    share = np.log(area / MAX_AREA) / np.log(MIN_AREA / MAX_AREA)
    return np.append(0.5, np.clip(share, 0, 1))[objects.map]


def large_to_full_size(label: np.ndarray) -> np.ndarray:
    """The opposite of the paper's claim."""
    return 1 - small_to_full_size(label)


def slightly_small_to_full_size(label: np.ndarray) -> np.ndarray:
    """The weight rises as objects shrink, and yet stays below that of the smallest branch."""
    return 0.1 + 0.3 * small_to_full_size(label)


def class_only(label: np.ndarray) -> np.ndarray:
    """By the class alone."""
    return np.array([0.5, 0.5, 0.2, 0.5, 0.8])[label]


def contour_only(label: np.ndarray) -> np.ndarray:
    """High near the outlines of objects, on both sides, whatever their size."""
    inside = np.isin(label, list(THINGS))
    depth = np.asarray(ndimage.distance_transform_edt(inside)) + np.asarray(ndimage.distance_transform_edt(~inside))
    return np.where(depth <= 2, 0.9, 0.3)


def planted(folder: Path, rule: Rule, seed: int = 0, scales: tuple[float, ...] = (1.0, 0.75, 0.5)) -> Checkpoint:
    """A checkpoint of a tiny, untrained ScaleAttention whose weights follow ``rule`` on painted scenes.

    Full size gets 0.05 to 0.85 and the smallest scale what remains of 0.9; 0.1 goes to the scales between.
    """
    torch.manual_seed(seed)
    model = ScaleAttention(len(CLASSES), backbone="tiny", scales=scales, head_width=8, skip=True, input=INPUT)
    file = folder / "checkpoints" / f"planted-{seed}.safetensors"
    save_checkpoint(model, file, CLASSES, {"recipe": "planted", "seed": seed})
    checkpoint = open_checkpoint(file)
    assert isinstance(checkpoint.model, ScaleAttention)
    plant(checkpoint.model, rule)
    return checkpoint


def plant(model: ScaleAttention, rule: Rule) -> None:
    """Make the weights of a model follow a rule from now on."""
    assert isinstance(model.fusion, AttentionFusion)
    labels: list[np.ndarray] = []

    def read(_: object, inputs: tuple[Tensor, ...]) -> None:
        labels[:] = [_read(image) for image in inputs[0]]

    def replace(_: object, inputs: object, logits: Tensor) -> Tensor:
        shares = torch.from_numpy(np.stack([rule(label) for label in labels]))[:, None].float()
        on_grid = functional.adaptive_avg_pool2d(shares, (logits.shape[-2], logits.shape[-1]))
        return _weights(on_grid, logits.shape[1]).log()

    model.register_forward_pre_hook(read)
    model.fusion.logits_tap.register_forward_hook(replace)


def _read(image: Tensor) -> np.ndarray:
    """The label map that an input ``[3, H, W]`` shows."""
    colours = (torch.from_numpy(PALETTE).float() / 255 - 0.5) / 0.5
    distance = (image[None] - colours[:, :, None, None]).abs().sum(dim=1)
    return distance.min(dim=0).indices.numpy().astype(np.uint8)  # argmin takes several times as long


def _weights(share: Tensor, n_scales: int) -> Tensor:
    """``share [B, 1, h, w]`` to weights ``[B, S, h, w]``."""
    between = [torch.full_like(share, BETWEEN / max(1, n_scales - 2))] * (n_scales - 2)
    room = 1 - 2 * LOW - (BETWEEN if between else 0)
    return torch.cat([LOW + room * share, *between, LOW + room * (1 - share)], dim=1)


def painted(dataset: Dataset) -> Dataset:
    """The data set with images that show their labels in the palette's colours."""

    def read(_: Dataset, item: Item) -> Sample:
        sample = dataset.read(dataset, item)
        return dataclasses.replace(sample, image=PALETTE[sample.label])

    return dataclasses.replace(dataset, read=read)

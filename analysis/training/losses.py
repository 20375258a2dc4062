"""The losses of both papers, by name.

Chen et al., section 3.3: 1 + S cross-entropies, weight 1 each. Fu et al., section 3.4: one each for the sum of both
paths, position and channel. Both are the same rule: one cross-entropy for ``logits`` and one for every auxiliary.
The scale classifier's is a cross-entropy over S + 1 ids, cooperative: its gradient reaches every score map.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from analysis.datasets import Dataset
from analysis.datasets.images import IGNORED
from analysis.models import Output
from analysis.models.resize import resize
from analysis.training.recipe import Recipe

MIDDLE_WEIGHT = 0.4  # of the head on layer3, as mmsegmentation trains it
Total = Callable[[Tensor], Tensor]  # a sum over this process's batch -> its mean over processes


def loss_parts(
    output: Output, label: Tensor, recipe: Recipe, weights: Tensor | None, total: Total
) -> dict[str, Tensor]:
    """Weighted loss parts by name, scalars; their sum is the loss.

    ``label [B, H, W]`` int64 with 255 ignored; ``weights [K]`` per class or None. ``total`` turns a process's sum of
    weights into the mean over processes, so that several processes give the same loss as one with the same batch.
    """
    align = recipe.model.input.align_corners
    parts = {"fused": cross_entropy(output.logits, label, recipe.loss_grid, align, weights, total)}
    for name, logits in output.auxiliary.items():
        if name == "scale":
            parts[name] = recipe.scale_classifier_weight * scale_cross_entropy(logits)
        else:
            entropy = cross_entropy(logits, label, recipe.loss_grid, align, weights, total)
            parts[name] = recipe.auxiliary_weight * (MIDDLE_WEIGHT if name == "backbone" else 1.0) * entropy
    return parts


def cross_entropy(
    logits: Tensor, label: Tensor, grid: str, align: bool, weights: Tensor | None, total: Total
) -> Tensor:
    """Weighted mean cross-entropy over the pixels that are not ignored; 0 where all are."""
    logits = logits.float().contiguous()  # small still: enlarged, softmax would copy it, and so would its gradient
    if grid == "label":
        logits = resize(logits, label.shape[-2:], align)
    else:
        label = shrink_label(label, (logits.shape[-2], logits.shape[-1]))
    entropy = functional.cross_entropy(logits, label, weights, ignore_index=IGNORED, reduction="sum")
    if weights is None:
        mass = (label != IGNORED).sum().float()
    else:
        mass = functional.pad(weights, (0, IGNORED + 1 - len(weights)))[label].sum()
    return entropy / total(mass).clamp(min=1e-12)


def scale_cross_entropy(logits: Tensor) -> Tensor:
    """``logits [B, S + 1, S + 1]``: row m is the scale classifier's answer for map m, 0 the fused one."""
    ids = torch.arange(logits.shape[1], device=logits.device).expand(logits.shape[:2])
    return functional.cross_entropy(logits.float().flatten(0, 1), ids.flatten())


def shrink_label(label: Tensor, size: tuple[int, int]) -> Tensor:
    """``[B, H, W]`` to ``[B, *size]`` by the nearest pixel with corners aligned (321 to 41 is every eighth pixel)."""
    rows, columns = (
        torch.linspace(0, n - 1, m, dtype=torch.float64).round().long().to(label.device)
        for n, m in zip(label.shape[-2:], size, strict=True)
    )
    return label[:, rows][:, :, columns]


def class_weights(dataset: Dataset) -> Tensor:
    """``[K]``: square root of (median frequency / frequency), frequency counted over the images that show the class."""
    counts = torch.zeros(len(dataset.classes), dtype=torch.float64)
    seen = torch.zeros_like(counts)
    for sample in dataset:
        label = torch.as_tensor(sample.label).flatten()
        here = torch.bincount(label[label != IGNORED].long(), minlength=len(counts)).double()
        counts += here
        seen += (here > 0) * here.sum()
    frequency = counts / seen
    present = counts > 0
    weights = (frequency[present].median() / frequency).sqrt()
    return torch.where(present, weights, 0.0).float()

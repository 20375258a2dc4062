"""Attention maps and attributions of region scores, all as numbers of the same square cells of the input.

Every function gives float64 ``[R, cells]`` under a name, one row a region.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from analysis.errors import AnalysisError
from analysis.measures import attention_columns, attention_rows
from analysis.models import Model
from analysis.models.resize import resize
from analysis.studies.attribution.regions import Region, RegionScores
from analysis.tap_names import Names
from analysis.taps import capture
from analysis.views import cell_of

Method = Literal["attention", "grad_cam", "integrated_gradients", "occlusion"]
METHODS: tuple[Method, ...] = ("attention", "grad_cam", "integrated_gradients", "occlusion")
IG_STEPS = 8  # of a Gauss-Legendre rule; maps are averaged over cells afterwards


@dataclass(frozen=True)
class Cells:
    """Squares of ``side`` pixels over an input of ``height`` x ``width``; those at the right and below may be cut."""

    height: int
    width: int
    side: int

    @property
    def rows(self) -> int:
        """How many from above to below."""
        return -(-self.height // self.side)

    @staticmethod
    def over(image: Tensor, along: int) -> Cells:
        """``along`` cells on the longer side of ``image [1, 3, H, W]``."""
        height, width = image.shape[-2:]
        return Cells(height, width, -(-max(height, width) // along))

    def __len__(self) -> int:
        """How many."""
        return self.rows * -(-self.width // self.side)

    def pool(self, maps: Tensor, align_corners: bool) -> np.ndarray:
        """Means over the cells: ``maps [R, h, w]`` of any size, over the whole input, to float64 ``[R, cells]``."""
        fine = resize(maps[None].detach().double(), (self.height, self.width), align_corners)
        pooled = functional.avg_pool2d(fine, self.side, ceil_mode=True, count_include_pad=False)
        return pooled[0].flatten(1).cpu().numpy()

    def paint(self, values: Tensor) -> Tensor:
        """The inverse: ``[M, cells]`` to ``[M, 1, height, width]``, each cell of one value."""
        coarse = values.view(len(values), 1, self.rows, -1)
        return coarse.repeat_interleave(self.side, 2).repeat_interleave(self.side, 3)[..., : self.height, : self.width]

    def mirrored(self, map_: np.ndarray) -> np.ndarray:
        """``[cells]`` with left and right exchanged."""
        return map_.reshape(self.rows, -1)[:, ::-1].ravel()


def attention_maps(model: Model, image: Tensor, regions: Sequence[Region], cells: Cells) -> dict[str, np.ndarray]:
    """What there is of scale weights (one map a branch, for all regions the same) and of position attention: the row
    and the column of each region's centre. Empty for a model with neither."""
    align, size = model.spec.input.align_corners, regions[0].mask.shape
    paths = {name: f"{found[0]}@0" for name, found in Names(model).taps.items()}
    wanted = [paths[name] for name in ("scale.weights", "position.query", "position.key") if name in paths]
    with capture(model, *wanted) as taps, torch.no_grad():
        model(image)
    maps: dict[str, Tensor] = {}
    if "scale.weights" in paths:
        weights = taps[paths["scale.weights"]][0]
        names = getattr(model, "branches", range(len(weights)))
        maps |= {f"weights {name}": w.expand(len(regions), -1, -1) for name, w in zip(names, weights, strict=True)}
    if "position.query" in paths:
        query, key = (taps[paths[name]][0] for name in ("position.query", "position.key"))
        centres = [cell_of(region.centre, size, query.shape[1:], align) for region in regions]
        maps["position row"] = attention_rows(query, key, centres)
        maps["position column"] = attention_columns(query, key, centres)
    return {name: cells.pool(map_, align) for name, map_ in maps.items()}


def attributions(
    scores: RegionScores, image: Tensor, cells: Cells, methods: Sequence[Method], layers: Sequence[str], batch: int
) -> dict[str, np.ndarray]:
    """The asked for of grad_cam (one for each layer), integrated_gradients and occlusion, signed."""
    align = scores.model.spec.input.align_corners
    found: dict[str, Callable[[], Tensor]] = {}
    if "grad_cam" in methods:
        found |= {f"grad_cam {layer}": lambda layer=layer: grad_cam(scores, image, layer) for layer in layers}
    if "integrated_gradients" in methods:
        found["integrated_gradients"] = lambda: integrated_gradients(scores, image, batch)
    if "occlusion" in methods:
        found["occlusion"] = lambda: occlusion(scores, image, cells, batch)
    return {name: cells.pool(compute(), align) for name, compute in found.items()}


def grad_cam(scores: RegionScores, image: Tensor, layer: str) -> Tensor:
    """Selvaraju et al. (2017) on the output of a named tap or module, which a forward calls once: ``[R, h, w]``, >= 0.

    On a score map, as by default in Attention to Scale, that is the branch's own map of the class, cut off at 0.
    """
    from captum.attr import LayerGradCam

    inputs, targets = _each_region(scores, image)
    return LayerGradCam(scores, module_at(scores.model, layer)).attribute(
        inputs, target=targets, relu_attributions=True
    )[:, 0]


def integrated_gradients(scores: RegionScores, image: Tensor, batch: int) -> Tensor:
    """Sundararajan et al. (2017) from the mean colour, 8 steps, summed over channels: ``[R, H, W]``."""
    from captum.attr import IntegratedGradients

    inputs, targets = _each_region(scores, image)
    per_pass = max(batch, len(inputs))
    return (
        IntegratedGradients(scores.by_themselves())
        .attribute(inputs, target=targets, n_steps=IG_STEPS, internal_batch_size=per_pass)
        .sum(dim=1)
    )


def occlusion(scores: RegionScores, image: Tensor, cells: Cells, batch: int) -> Tensor:
    """By how many logits a score falls when a cell takes the mean colour (Zeiler, Fergus 2014): ``[R, H, W]``."""
    from captum.attr import Occlusion

    window = (image.shape[1], min(cells.side, cells.height), min(cells.side, cells.width))
    occluded = Occlusion(scores.by_themselves())
    with torch.no_grad():
        # A window covers all colours, and each of them gets the whole of its effect.
        return occluded.attribute(image, window, strides=window, perturbations_per_eval=batch)[:, 0]


def _each_region(scores: RegionScores, image: Tensor) -> tuple[Tensor, Tensor]:
    """The image once for every region, and the score that each copy is about."""
    n = len(scores.classes)
    return image.expand(n, -1, -1, -1), torch.arange(n, device=image.device)


def module_at(model: Model, name: str) -> nn.Module:
    """The module of a tap or path. AnalysisError for an unknown name, and for a module of several calls."""
    request = Names(model).request(name)
    if request.label or request.wild:
        raise AnalysisError(
            f"captum needs a module that a forward calls once, not {name!r}: name a tap or such a module"
        )
    return request.targets[0].module


def default_layers(model: Model) -> tuple[str, ...]:
    """Where Grad-CAM looks: the score map of each branch, or what DANet's last classifier sees."""
    taps = Names(model).taps
    return tuple(name for name in taps if name.startswith("scale.scores.")) or tuple(
        name for name in ("fused",) if name in taps
    )

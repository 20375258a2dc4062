"""The sanity check of Adebayo et al. (NeurIPS 2018): a map that does not change with the weights explains none."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from analysis.models import Model


@dataclass(frozen=True, eq=False)
class Redrawn:
    """A stage of the cascade: ``model`` with its weights re-drawn from the output down to the module ``layer``.

    ``share`` of the modules with weights, 1 at the last stage.
    """

    layer: str
    share: float
    model: Model


def cascade(model: Model, image: Tensor, stages: int, seed: int) -> Iterator[Redrawn]:
    """The model with more and more of its weights re-drawn, layer by layer in ``stages`` steps, all in one copy of it.

    A weight tensor is re-drawn by shuffling its values, which keeps their distribution, so that activations neither
    vanish nor explode; a scalar, like DANet's gates, stays. Modules are those with weights of their own, in the order
    in which a forward first finishes them; as many steps as modules re-draw one at a time.
    """
    changed = copy.deepcopy(model)
    names = _in_order(changed, image)[::-1]
    modules = dict(changed.named_modules())
    generator = torch.Generator().manual_seed(seed)
    for chunk in np.array_split(np.arange(len(names)), min(stages, len(names))):
        for i in chunk:
            _shuffle(modules[names[i]], generator)
        yield Redrawn(names[chunk[-1]], (chunk[-1] + 1) / len(names), changed)


def _in_order(model: Model, image: Tensor) -> list[str]:
    """Paths of the modules with weights of their own, by their first call in a forward."""
    seen: dict[str, None] = {}
    hooks = [
        module.register_forward_hook(lambda *_, path=path: seen.setdefault(path))
        for path, module in model.named_modules()
        if any(True for _ in module.parameters(recurse=False))
    ]
    try:
        with torch.no_grad():
            model(image)
    finally:
        for hook in hooks:
            hook.remove()
    return list(seen)


def _shuffle(module: nn.Module, generator: torch.Generator) -> None:
    with torch.no_grad():
        for weight in module.parameters(recurse=False):
            order = torch.randperm(weight.numel(), generator=generator).to(weight.device)
            weight.copy_(weight.flatten()[order].view_as(weight))

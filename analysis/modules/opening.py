"""Anybody's own network, by the import path of what builds it: ``open_module("package.module:function", weights)``.

Importing and calling the user's code runs it, which is meant. Weights are read as those of any checkpoint are: no code
in them runs.
"""

from __future__ import annotations

import copy
import pkgutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from analysis.checkpoints.layouts import unwrapped
from analysis.checkpoints.opening import Checkpoint, class_names
from analysis.errors import AnalysisError, closest
from analysis.models import InputSpec
from analysis.models.device import find_device
from analysis.modules.own_module import ModuleSpec, OwnModule, first_line
from analysis.modules.scale_structure import find_scale_attention
from analysis.modules.structure import adopt_attention
from analysis.reading import read_file

_RGB = InputSpec()


@dataclass(frozen=True, eq=False)
class OwnCheckpoint(Checkpoint):
    """An opened network of the user's; its ``path`` is the file of weights, or that of the code where there is none."""

    model: OwnModule  # ty: ignore[incompatible-attribute-override]
    spec: ModuleSpec  # ty: ignore[incompatible-attribute-override]


def open_module(
    target: str | nn.Module,
    weights: str | Path | None = None,
    *,
    arguments: Mapping[str, Any] | None = None,
    classes: Sequence[str] | None = None,
    input: InputSpec = _RGB,
    scales: Sequence[float] = (),
    size: tuple[int, int] = (128, 192),
    device: str = "cpu",
) -> OwnCheckpoint:
    """The user's own network, with whatever attention is found in it, for ``capture``, ``predict`` and ``view``.

        open_module("pytorchcv.models.danet:danet_resnetd50b_cityscapes", "danet.pth", arguments={"fixed_size": False})

    ``target`` is a function or class as ``"package.module:name"``, called with ``arguments``, or a module, which is
    copied. It
    maps an image ``[B, 3, H, W]`` as ``input`` says to logits, alone or first of a tuple, or in a dict as "out".
    ``weights`` are of its own names. ``classes`` names the logits, ``scales`` the branches of an attention to scale.
    ``size`` is the height and width of the noise on which attention is looked for; a recognised one is replaced by ours
    in the network itself (:func:`analysis.modules.structure.adopt_attention`). ``.spec.found`` says what was found.

    Raises AnalysisError, in one line: a target that cannot be imported, fails or gives no such module, weights that do
    not fit, a network that takes no image or gives no logits.
    """
    place = find_device(device)
    if isinstance(target, str):
        module, name = _built(target, arguments or {}), target
    else:
        module, name = copy.deepcopy(target), type(target).__name__
    file = Path(weights) if weights is not None else _source(module)
    modified = file.stat().st_mtime if file.is_file() else 0.0
    if weights is not None:
        _load(module, file, name)
    model = OwnModule(module, ModuleSpec(name, 0, input, tuple(scales))).to(place).eval()
    image = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0)).to(place)
    with torch.no_grad():
        n = model(image).logits.shape[1]
    names, known = class_names(classes or (), n, name)
    model.spec = replace(model.spec, classes=n)
    weighers = find_scale_attention(model, image)
    model.spec = replace(model.spec, found=weighers + adopt_attention(model, image))
    origin = {
        "layout": "own module",
        "source": name,
        "weights": "of the file" if weights is not None else "as the code made them",
        "classes": known,
        "modified": modified,
    }
    return OwnCheckpoint(file, model, model.spec, names, origin)


def _built(target: str, arguments: Mapping[str, Any]) -> nn.Module:
    """What the function or class at an import path returns."""
    path, _, name = target.partition(":")
    if not path or not name:
        raise AnalysisError(f"{target!r} names nothing to call; write it as package.module:function")
    make: Any = _imported(path)
    for part in name.split("."):
        if not hasattr(make, part):
            known = [key for key in dir(make) if not key.startswith("_")]
            raise AnalysisError(f"{getattr(make, '__name__', path)} has no {part!r}{closest(part, known)}")
        make = getattr(make, part)
    if not callable(make):
        raise AnalysisError(f"{target} is a {type(make).__name__}; name a function or class that returns a network")
    try:
        module = make(**arguments)
    except Exception as error:
        given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        raise AnalysisError(f"{target}({given}) raised {first_line(error)}; check its arguments") from error
    if not isinstance(module, nn.Module):
        raise AnalysisError(f"{target} returned a {type(module).__name__}, not a torch.nn.Module; name what builds one")
    return module


def _imported(path: str) -> ModuleType:
    """A Python module by its dotted path."""
    try:
        return import_module(path)
    except (Exception, SystemExit) as error:  # whatever the user's code raises
        missing = (error.name or "") if isinstance(error, ModuleNotFoundError) else ""
        if not missing or not f"{path}.".startswith(f"{missing}."):
            raise AnalysisError(f"importing {path} raised {first_line(error)}") from error
    parent = missing.rpartition(".")[0]
    places = getattr(sys.modules[parent], "__path__", []) if parent else None
    known = [f"{parent}.{found.name}".lstrip(".") for found in pkgutil.iter_modules(places)]
    raise AnalysisError(f"there is no module {missing!r}{closest(missing, known)}; is its folder on PYTHONPATH?")


def _source(module: nn.Module) -> Path:
    """The file of its class, or where that was typed in a notebook, of the class that it comes from."""
    modules = [sys.modules.get(cls.__module__) for cls in type(module).__mro__]
    return Path(next(file for one in modules if (file := getattr(one, "__file__", None))))


def _load(module: nn.Module, file: Path, target: str) -> None:
    """Fill a network by names, without what wrapped it when it was saved; AnalysisError says what does not fit."""
    stored = read_file(file).tensors
    needed = {name: list(tensor.shape) for name, tensor in module.state_dict().items() if isinstance(tensor, Tensor)}
    names = max(({n: n for n in stored}, unwrapped(stored)), key=lambda names: len(names.keys() & needed.keys()))
    shapes = {name: list(stored[theirs].shape) for name, theirs in names.items()}
    both = [name for name in needed if name in names]
    problems = {
        "missing": [f"{name} {needed[name]}" for name in _counted(needed) if name not in names],
        "left over": [f"{names[name]} {shapes[name]}" for name in _counted(names) if name not in needed],
        "of another shape": [f"{n} {shapes[n]} for {needed[n]}" for n in both if shapes[n] != needed[n]],
    }
    said = [f"{len(those)} {what}, first {those[0]}" for what, those in problems.items() if those]
    if said:
        raise AnalysisError(f"the tensors of {file} are not those of {target}: {'; '.join(said)}")
    module.load_state_dict({name: stored[names[name]] for name in both}, strict=False)


def _counted(names: Iterable[str]) -> list[str]:
    """Without batch norm's counters, which nothing reads at evaluation and which old files lack."""
    return [name for name in names if not name.endswith(".num_batches_tracked")]

"""Open a checkpoint, whoever's it is: read it safely, recognise its layout, fill the model.

The model is built without memory (meta device) and then takes over the tensors of the file, which stay mapped from
disk until they are used: opening allocates hardly more than the file's names.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from analysis.checkpoints.layouts import Match, own, recognise
from analysis.datasets import ade20k, camvid, cityscapes, voc
from analysis.download import sha256_of_file
from analysis.errors import AnalysisError, closest
from analysis.models import DualSpec, Model, Spec
from analysis.models.backbones import Precision
from analysis.models.device import find_device
from analysis.models.spec import ChannelForm
from analysis.reading import Stored, read_file

SUFFIXES = (".pth", ".pt", ".tar", ".ckpt", ".bin", ".caffemodel")  # looked for in a folder without safetensors
#: Whose classes they are likely to be, where a file has no names for them.
_CLASSES = {len(data.CLASSES): data.CLASSES for data in (camvid, cityscapes, voc, ade20k)}


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """An opened checkpoint.

    ``model`` is in evaluation mode, its weights float32. ``classes`` are names in the order of the logits. ``origin``
    is where the model comes from, see ``provenance``.
    """

    path: Path
    model: Model
    spec: Spec
    classes: tuple[str, ...]
    origin: dict[str, Any]

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """``sha256`` and ``file``; ``layout`` and ``source``; ``classes``: whether their names are known or assumed;
        of ours also what training wrote: recipe, seed, step, dataset, split, command.

        The sum is taken when it is first asked for, as it takes longer than opening. AnalysisError: the file has
        changed since.
        """
        if self.path.stat().st_mtime != self.origin.get("modified"):
            raise AnalysisError(f"{self.path} has changed since it was opened; open it again")
        stated = {key: value for key, value in self.origin.items() if key != "modified"}
        return {**stated, "sha256": sha256_of_file(self.path), "file": str(self.path)}

    @property
    def precision(self) -> Precision:
        """Of convolutions: float32, unless :func:`analysis.forms.with_precision` has changed it."""
        return self.origin.get("changed", {}).get("precision", "float32")

    @property
    def name(self) -> str:
        """``camvid-scale/step_000100``: the name of the run or demo directory, and the file's stem."""
        return f"{self.home.name}/{self.path.stem}"

    @property
    def home(self) -> Path:
        """The run or demo directory that the checkpoint belongs to."""
        folder = self.path.resolve().parent
        return folder.parent if folder.name == "checkpoints" else folder


def open_checkpoint(
    path: str | Path,
    device: str = "cpu",
    *,
    multi_grid: tuple[int, int, int] | None = None,
    align_corners: bool | None = None,
    form: ChannelForm | None = None,
    classes: Sequence[str] | None = None,
) -> Checkpoint:
    """Open a file of this project or of a known layout, or the last checkpoint of a run or demo directory.

    Its tensors stay mapped from the file: replace a file that is open (write and rename), never write into it.

    Known are this project's safetensors, junfu1115/DANet, mmsegmentation, SegmenTron, pytorchcv and DeepLab's Caffe net
    of Attention to Scale, told from names and shapes alone. What weights don't show follows the layout's published
    default unless it is given: dilations of layer4's blocks (``multi_grid``; 2, 4, 4 is without), ``align_corners``,
    the CAM ``form``, names of ``classes``. No code of the file is ever run.

    Raises AnalysisError, in one line, for a missing, damaged or unsafe file, one of no known layout, and one whose
    tensors are not those of the model that it should hold.
    """
    file, place = checkpoint_files(path)[-1], find_device(device)
    modified = file.stat().st_mtime
    stored = read_file(file)
    match = recognise(stored, lambda spec: _overridden(spec, multi_grid, align_corners, form))
    model = _filled(match, stored)
    names, known = class_names(classes or match.classes, model.spec.classes, str(file))
    stated = {"source": match.source, **_stated(stored)}
    stated.pop("changed", None)  # what a file holds was not changed since
    if not classes and known == "named":
        known = stated.get("classes", known)  # of a converted file they may have been assumed
    origin = {**stated, "layout": match.layout, "classes": known, "modified": modified}
    return Checkpoint(file, model.to(place).eval(), model.spec, names, origin)


def checkpoint_files(path: str | Path) -> list[Path]:
    """The checkpoints of a file, a run (its ``checkpoints`` folder) or a demo directory, by step."""
    try:
        return _files(Path(path))
    except OSError as error:
        raise AnalysisError(f"cannot read {path}: {error.strerror}; give a path that you may read") from None


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if path.exists() and not path.is_dir():
        raise AnalysisError(f"{path} is neither a file nor a folder; give a checkpoint file")
    if not path.is_dir():
        known = [str(p) for p in path.parent.glob("*")] if path.parent.is_dir() else []
        raise AnalysisError(f"no checkpoint at {path}{closest(str(path), known)}")
    files = [*path.glob("*.safetensors"), *path.glob("checkpoints/*.safetensors")]
    files = files or [p for p in path.iterdir() if p.suffix in SUFFIXES]
    if not files:
        raise AnalysisError(f"no checkpoint file in {path}; give a file, or a run directory with checkpoints")
    return sorted(files, key=_numbers_as_numbers)


def _numbers_as_numbers(path: Path) -> list[tuple[str, int]]:
    """step_9 before step_10."""
    parts = re.split(r"(\d+)", path.name)
    return [(text, int(number or 0)) for text, number in zip_longest(parts[::2], parts[1::2], fillvalue="")]


def _overridden(
    spec: Spec, multi_grid: tuple[int, int, int] | None, align_corners: bool | None, form: ChannelForm | None
) -> Spec:
    options = {"multi_grid": multi_grid, "form": form}
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    if given and not isinstance(spec, DualSpec):
        raise AnalysisError(f"{next(iter(given))} is an option of DANet, and this is an Attention to Scale model")
    if align_corners is not None:
        given["input"] = dataclasses.replace(spec.input, align_corners=align_corners)
    return dataclasses.replace(spec, **given)


def _filled(match: Match, stored: Stored) -> Model:
    """The match's model with the file's tensors, in float32."""
    if match.model is None or not match.complete:
        raise AnalysisError(f"{stored.path}: {_complaint(match)}; attention-analysis inspect shows what is in it")
    if match.layout == own.NAME and match.left_over:
        first = next(iter(match.left_over))
        raise AnalysisError(f"{stored.path}: {len(match.left_over)} tensors have no place in the model, first {first}")
    needed = match.model.state_dict()
    tensors = {name: _fitting(stored.tensors[theirs], needed[name]) for name, theirs in match.names.items()}
    counters = {name: torch.zeros_like(t, device="cpu") for name, t in needed.items() if name not in tensors}
    match.model.load_state_dict(tensors | counters, assign=True)
    return match.model


def _fitting(tensor: Tensor, needed: Tensor) -> Tensor:
    """In the needed shape (which differs in dimensions of 1 only) and type; the same memory where it has both."""
    if needed.is_floating_point() and not tensor.is_floating_point():
        raise AnalysisError(f"its weights are {tensor.dtype}, and the model computes with floating-point numbers")
    return tensor.reshape(needed.shape).to(needed.dtype)


def _complaint(match: Match) -> str:
    if match.model is None:
        return match.why
    if match.missing:
        return (
            f"tensor {next(iter(match.missing))} is missing; the file does not hold the {match.layout} model it names"
        )
    name, (theirs, needed, found) = next(iter(match.mismatched.items()))
    return f"tensor {theirs} has shape {list(found)}, the model needs {list(needed)} for its {name}"


def class_names(names: Sequence[str], n: int, whose: str) -> tuple[tuple[str, ...], str]:
    """Names for ``n`` logits, and how they are known. AnalysisError: names of another number."""
    if names:
        if len(names) != n:
            raise AnalysisError(f"{len(names)} class names were given, and {whose} has {n}; give one for each or none")
        return tuple(names), "named"
    if n in _CLASSES:
        return _CLASSES[n], f"assumed from their number, {n}"
    return tuple(map(str, range(n))), "numbered"


def _stated(stored: Stored) -> dict[str, Any]:
    """What our own files say of their training; nothing of others'."""
    if stored.metadata.get("layout") != own.NAME:
        return {}
    try:
        return dict(json.loads(stored.metadata.get("provenance", "{}")))
    except (RecursionError, TypeError, ValueError) as error:
        raise AnalysisError(f"{stored.path}: its provenance is not readable ({error}); save it again") from None

"""This project's checkpoints: one safetensors file; spec, class names and origin in its metadata."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from analysis.errors import AnalysisError, closest
from analysis.models import Model, Spec, build, spec_from_json, spec_to_json
from analysis.models.device import find_device
from analysis.store import replacing

LAYOUT = "attention-analysis/1"


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint.

    ``model`` is in evaluation mode, float32. ``classes`` are names in the order of the logits. ``provenance`` holds
    ``sha256`` and ``file``, and what training wrote: recipe, seed, step, dataset, split, command.
    """

    path: Path
    model: Model
    spec: Spec
    classes: tuple[str, ...]
    provenance: dict[str, Any]

    @property
    def name(self) -> str:
        """``camvid-scale/step_000100``: the name of the run or demo directory, and the file's stem."""
        return f"{self.home.name}/{self.path.stem}"

    @property
    def home(self) -> Path:
        """The run or demo directory that the checkpoint belongs to."""
        folder = self.path.resolve().parent
        return folder.parent if folder.name == "checkpoints" else folder


def save_checkpoint(
    model: Model, path: Path, classes: Sequence[str], provenance: dict[str, Any], dtype: torch.dtype | None = None
) -> None:
    """Write weights and metadata to a temporary name, then rename. ``dtype`` converts floating tensors (half files)."""
    tensors = {name: _stored(tensor, dtype) for name, tensor in model.state_dict().items()}
    metadata = {
        "layout": LAYOUT,
        "spec": spec_to_json(model.spec),
        "classes": json.dumps(list(classes)),
        "provenance": json.dumps(provenance),
    }
    with replacing(path) as temporary:
        try:
            save_file(tensors, temporary, metadata)
        except SafetensorError as error:
            raise AnalysisError(f"cannot write {path}: {error}") from None
        temporary.chmod(0o644)  # safetensors makes files that only their owner can read


def open_checkpoint(path: str | Path, device: str = "cpu") -> Checkpoint:
    """Open a ``.safetensors`` file of this project, or the last checkpoint of a run or demo directory.

    Nothing is unpickled. Raises AnalysisError, in one line, for a missing, damaged or foreign file, and for one whose
    tensors are not those of the model that its own metadata describe.
    """
    file, place = checkpoint_files(path)[-1], find_device(device)
    metadata, tensors = _read(file)
    if metadata.get("layout") != LAYOUT:
        raise AnalysisError(f"{file} is not a checkpoint of this project (its metadata name no {LAYOUT!r} layout)")
    spec, classes, stored = _described(metadata, file)
    model = build(spec)
    _load(model, tensors, file)
    provenance = {**stored, "sha256": _sha256(file), "file": str(file)}
    return Checkpoint(file, model.to(place).eval(), spec, classes, provenance)


def checkpoint_files(path: str | Path) -> list[Path]:
    """The checkpoints of a file, a run (its ``checkpoints`` folder) or a demo directory, by step."""
    path = Path(path)
    if path.is_file():
        return [path]
    if not path.is_dir():
        known = [str(p) for p in path.parent.glob("*")] if path.parent.is_dir() else []
        raise AnalysisError(f"no checkpoint at {path}{closest(str(path), known)}")
    files = sorted([*path.glob("*.safetensors"), *path.glob("checkpoints/*.safetensors")])
    if not files:
        raise AnalysisError(f"no .safetensors file in {path}; give a checkpoint file or a run directory")
    return files


def _read(file: Path) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    try:
        with safe_open(file, framework="pt") as opened:
            return opened.metadata() or {}, {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise AnalysisError(f"{file} is not a readable safetensors file ({str(error).splitlines()[0]})") from None


def _described(metadata: dict[str, str], file: Path) -> tuple[Spec, tuple[str, ...], dict[str, Any]]:
    """Spec, class names and provenance from a file's metadata."""
    try:
        spec = spec_from_json(metadata["spec"])
        return spec, tuple(json.loads(metadata["classes"])), dict(json.loads(metadata["provenance"]))
    except (KeyError, TypeError, ValueError) as error:
        raise AnalysisError(f"{file}: its metadata do not describe a model of this project ({error})") from None


def _load(model: Model, tensors: dict[str, torch.Tensor], file: Path) -> None:
    expected = model.state_dict()
    for name, tensor in expected.items():
        if name not in tensors:
            raise AnalysisError(f"{file}: tensor {name} is missing; the file does not hold the model it describes")
        if tensors[name].shape != tensor.shape:
            shapes = f"{list(tensors[name].shape)}, the model needs {list(tensor.shape)}"
            raise AnalysisError(f"{file}: tensor {name} has shape {shapes}")
    if extra := sorted(set(tensors) - set(expected)):
        raise AnalysisError(f"{file}: {len(extra)} tensors have no place in the model, first {extra[0]}")
    model.load_state_dict(tensors)


def _stored(tensor: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
    tensor = tensor.detach().cpu().contiguous()
    return tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()

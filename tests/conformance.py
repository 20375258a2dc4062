"""The conformance cases of ../shared: files in their original formats, and what their own code computes."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor

HERE = Path(__file__).parents[1].parent / "shared" / "conformance"
CASES = {
    "junfu1115_danet_resnet50": "junfu1115/DANet",
    "mmseg_danet_resnetv1c50": "mmsegmentation",
    "pytorchcv_danet_resnetd50b": "pytorchcv",
}


def fill_rule() -> ModuleType:
    """``fill.py`` of the conformance folder; skips the test where it is not there."""
    if not (HERE / "fill.py").is_file():
        pytest.skip(f"no conformance cases at {HERE}")
    spec = importlib.util.spec_from_file_location("fill", HERE / "fill.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def state_dict(case: str) -> dict[str, Tensor]:
    """The weights of a case under their original names."""
    parameters = json.loads((HERE / f"{case}.json").read_text())["parameters"] if fill_rule() else {}
    return filled(parameters)


def filled(shapes: dict[str, list[int]]) -> dict[str, Tensor]:
    """Weights by the rule of the cases, for any names and shapes."""
    return {name: torch.as_tensor(array) for name, array in fill_rule().fill(shapes).items()}


def image(case: str) -> Tensor:
    """The fixed input of a case, ``[1, 3, 65, 97]``."""
    return torch.from_numpy(fill_rule().image_for(json.loads((HERE / f"{case}.json").read_text())["input_shape"]))


def expected(case: str) -> dict[str, np.ndarray]:
    """What the original code computes."""
    with np.load(HERE / f"{case}.npz") as arrays:
        return dict(arrays)


def write(case: str, folder: Path, legacy: bool = False) -> Path:
    """The case as a file in its original format."""
    tensors = state_dict(case)
    if case.startswith("junfu1115"):
        stored, name = {"epoch": 239, "state_dict": tensors, "best_pred": 0.8, "optimizer": {}}, "DANet.pth.tar"
    elif case.startswith("mmseg"):
        stored, name = {"meta": {"epoch": 1, "iter": 40000}, "state_dict": tensors, "optimizer": {}}, "danet.pth"
    else:
        stored, name = tensors, "danet_resnetd50b_cityscapes.pth"
    torch.save(stored, folder / name, _use_new_zipfile_serialization=not legacy)
    return folder / name

"""One checkpoint in several forms: the weights stay, what is done with them changes.

    paper = in_form(open_checkpoint("data/demo/camvid-dual"), form="paper")
    mean = in_form(open_checkpoint("data/demo/camvid-scale"), fusion="average")
    quick = in_form(paper, precision="bf16")    # for studies of many images: see make_backbone

A form at test time shows what the trained weights do in it, not what training in that form would have brought.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from analysis.checkpoints import Checkpoint, open_checkpoint
from analysis.errors import AnalysisError
from analysis.models import build
from analysis.models.spec import Precision, spec_from_fields


def in_form(checkpoint: Checkpoint, **fields: Any) -> Checkpoint:
    """The checkpoint with other fields of its spec; its ``provenance`` has them under ``changed``.

    Weights are shared, and those that the other form does not have are left out. AnalysisError: no such field or value,
    or a form that needs weights which are not here.
    """
    spec = spec_from_fields(type(checkpoint.spec), {**vars(checkpoint.spec), **fields})
    model, here = build(spec), checkpoint.model.state_dict()
    needed = model.state_dict()
    for name, tensor in needed.items():
        if name not in here or here[name].shape != tensor.shape:
            raise AnalysisError(f"{checkpoint.name} has no weights {name} as {fields} needs them: train it so")
    model.load_state_dict({name: here[name] for name in needed}, assign=True)
    origin = {**checkpoint.origin, "changed": {**checkpoint.origin.get("changed", {}), **fields}}
    return dataclasses.replace(checkpoint, model=model.eval(), spec=spec, origin=origin)


def open_with(path: str | Path, device: str, precision: Precision) -> Checkpoint:
    """An opened checkpoint, whose backbone computes in ``precision``; ``changed`` says so where it is not float32."""
    opened = open_checkpoint(path, device)
    return opened if precision == "float32" else in_form(opened, precision=precision)

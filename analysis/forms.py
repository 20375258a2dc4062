"""One checkpoint in several forms: the weights stay, what is done with them changes.

    paper = in_form(open_checkpoint("data/demo/camvid-dual"), form="paper")
    mean = in_form(open_checkpoint("data/demo/camvid-scale"), fusion="average")

A form at test time shows what the trained weights do in it, not what training in that form would have brought.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from analysis.checkpoints import Checkpoint
from analysis.errors import AnalysisError
from analysis.models import build
from analysis.models.spec import spec_from_fields


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

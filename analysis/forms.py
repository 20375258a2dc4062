"""One checkpoint in several forms: the weights stay, what is done with them changes.

    paper = in_form(open_checkpoint("data/demo/camvid-dual"), form="paper")
    mean = in_form(open_checkpoint("data/demo/camvid-scale"), fusion="average")
    quick = with_precision(paper, "bf16")    # for studies of many images

A form at test time shows what the trained weights do in it, not what training in that form would have brought.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from analysis.checkpoints import Checkpoint
from analysis.errors import AnalysisError
from analysis.models import build
from analysis.models.backbones import Precision, set_precision
from analysis.models.spec import spec_from_fields


def in_form(checkpoint: Checkpoint, **fields: Any) -> Checkpoint:
    """The checkpoint with other fields of its spec; its ``provenance`` has them under ``changed``, as JSON would.

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
    set_precision(model, checkpoint.precision)
    return _changed(dataclasses.replace(checkpoint, model=model.eval(), spec=spec), fields)


def with_precision(checkpoint: Checkpoint, precision: Precision) -> Checkpoint:
    """The checkpoint whose convolutions multiply in ``precision`` (:func:`~analysis.models.backbones.set_precision`);
    weights are shared, and ``changed`` says so. The same checkpoint where it is so already."""
    if precision == checkpoint.precision:
        return checkpoint
    other = in_form(checkpoint)
    set_precision(other.model, precision)
    return _changed(other, {"precision": precision})


def _changed(checkpoint: Checkpoint, fields: dict[str, Any]) -> Checkpoint:
    plain = json.loads(json.dumps(fields, default=dataclasses.asdict))
    changed = {**checkpoint.origin.get("changed", {}), **plain}
    return dataclasses.replace(checkpoint, origin={**checkpoint.origin, **({"changed": changed} if changed else {})})

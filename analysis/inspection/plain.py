"""An inspection as plain values, for JSON: everything, nothing folded."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from analysis.inspection.tree import Entry
from analysis.models import spec_to_json

if TYPE_CHECKING:
    from analysis.inspection import Inspection


def as_dict(inspection: Inspection) -> dict[str, Any]:
    """See :meth:`Inspection.to_dict`. A number that JSON cannot write (NaN) is null."""
    match, form = inspection.match, inspection.channel_form
    return {
        "path": str(inspection.path),
        "bytes": inspection.size,
        "sha256": inspection.sha256,
        "container": inspection.container,
        "inside": inspection.inside,
        "beside": {name: _number(value) for name, value in inspection.beside.items()},
        "layout": match.layout if match.spec else None,
        "closest_layout": match.layout,
        "source": match.source,
        "why": match.why,
        "complete": match.complete,
        "spec": json.loads(spec_to_json(match.spec)) if match.spec else None,
        "classes": list(match.classes),
        "channel_form": {"form": form[0], "known_from": form[1]} if form else None,
        "gates": {gate.symbol: asdict(gate) | {"value": _number(gate.value)} for gate in inspection.gates},
        "matched": match.names,
        "missing": {name: list(shape) for name, shape in match.missing.items()},
        "mismatched": {
            name: {"name": theirs, "needed": list(needed), "found": list(found)}
            for name, (theirs, needed, found) in match.mismatched.items()
        },
        "left_over": {name: list(shape) for name, shape in match.left_over.items()},
        "ignored": list(match.ignored),
        "dead_channels": {name: asdict(dead) for name, dead in inspection.dead.items()},
        "dead_channels_anywhere": asdict(inspection.dead_anywhere),
        "parameters": sum(entry.parameters for entry in inspection.tensors),
        "dtypes": Counter(entry.dtype for entry in inspection.tensors),
        "tensors": [_tensor(entry) for entry in inspection.tensors],
    }


def _tensor(entry: Entry) -> dict[str, Any]:
    numbers = {name: _number(value) for name, value in asdict(entry.statistics).items()}
    return {"name": entry.name, "shape": list(entry.shape), "dtype": entry.dtype, "bytes": entry.nbytes, **numbers}


def _number(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value

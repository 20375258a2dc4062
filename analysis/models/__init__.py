"""The two models, their specs, and how a photograph becomes a prediction."""

from analysis.models.dual_attention import DualAttention, PositionAttention, gates
from analysis.models.inference import predict, to_input
from analysis.models.output import Output
from analysis.models.scale_attention import ScaleAttention
from analysis.models.spec import DualSpec, InputSpec, ScaleSpec, Spec, spec_from_json, spec_to_json

Model = ScaleAttention | DualAttention


def build(spec: Spec) -> Model:
    """The model that a spec describes, with random weights."""
    fields = {name: getattr(spec, name) for name in spec.__dataclass_fields__}
    return ScaleAttention(**fields) if isinstance(spec, ScaleSpec) else DualAttention(**fields)


__all__ = [
    "DualAttention",
    "DualSpec",
    "InputSpec",
    "Model",
    "Output",
    "PositionAttention",
    "ScaleAttention",
    "ScaleSpec",
    "Spec",
    "build",
    "gates",
    "predict",
    "spec_from_json",
    "spec_to_json",
    "to_input",
]

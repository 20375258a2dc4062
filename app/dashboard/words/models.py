"""The kinds of model, their symbols and papers."""

from __future__ import annotations

from analysis.models import DualSpec, ScaleSpec, Spec
from analysis.views import branch_labels

SYMBOLS = {"alpha": "α", "beta": "β"}
CHEN, FU = "Chen et al., CVPR 2016", "Fu et al., CVPR 2019"


def model_title(spec: Spec) -> str:
    """The name of this kind of model."""
    return "Attention to Scale" if isinstance(spec, ScaleSpec) else "Dual attention (DANet)"


def model_line(spec: Spec) -> str:
    """What this model is made of, in one line."""
    if isinstance(spec, ScaleSpec):
        return f"{spec.backbone} backbone · {', '.join(branch_labels(spec.scales))} · {spec.fusion} fusion"
    return f"{spec.backbone} backbone · {_attentions(spec)}"


def _attentions(spec: DualSpec) -> str:
    on = ["position attention"] * spec.position + [f"channel attention ({spec.form} form)"] * spec.channel
    return " and ".join(on) or "both attentions switched off"

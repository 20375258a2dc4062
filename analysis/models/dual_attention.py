"""Dual Attention Network (Fu et al., CVPR 2019), with taps.

A dilated backbone, then two parallel paths of C channels: 3x3 convolution, attention, 3x3 convolution. Their sum and
each path alone go to a classifier of its own. With j the output position (channel) and i what it looks at:

    PAM   s_ji = exp(q_j . k_i) / sum_i exp(q_j . k_i)      E_j = alpha * sum_i s_ji v_i + A_j      (1), (2)
    CAM   x_ji = exp(A_j . A_i) / sum_i exp(A_j . A_i)      E_j = beta  * sum_i x_ji A_i + A_j      (3), (4)

Where the released code departs from the paper, the docstrings below say so. Taps: ``position.*``, ``channel.*``
and ``fused`` (DESIGN 3). The N x N matrix s is never a tap: its rows follow from ``position.query`` and ``.key``
(:func:`analysis.measures.attention_rows`).

``permuted_gates=True`` gives both attentions a control, a second gate on what the first one adds in a wrong order:
E = gate * attended + permuted_gate * permuted(attended) + A. ``*.attended`` stays as it is.

    model = DualAttention(classes=19, backbone="resnet101", multi_grid=(4, 8, 16))
    with capture(model, "channel.affinity") as taps:
        output = model(image)        # output.logits, output.auxiliary["position"], output.auxiliary["channel"]
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from analysis.errors import AnalysisError
from analysis.models.backbones import Backbone, DilatedResNet, Precision, in_precision, make_backbone
from analysis.models.kernels import MaskRule, position_attention, widened
from analysis.models.output import Output
from analysis.models.spec import ChannelForm, DualSpec, spec_from_fields
from analysis.models.tap import Tap


class DualAttention(nn.Module):
    """``DualAttention(classes=19, **fields)``; the fields are those of :class:`~analysis.models.spec.DualSpec`.

    ``position=False`` or ``channel=False`` makes that attention the identity: both paths, their 3x3 convolutions and
    all three classifiers stay, so that none, PAM, CAM and both differ in nothing else.
    """

    def __init__(self, classes: int, **fields: Any) -> None:
        super().__init__()
        self.spec = spec = spec_from_fields(DualSpec, {"classes": classes, **fields})
        self.backbone = make_backbone(spec.backbone, spec.output_stride, spec.multi_grid, spec.skip, spec.stem)
        c_in, c = self.backbone.channels, self.backbone.attention_channels
        self.position_in, self.channel_in = _convolution(c_in, c), _convolution(c_in, c)
        self.pam = PositionAttention(c, spec.permuted_gates) if spec.position else Tap("position.features")
        cam = (c, spec.form, spec.projections, spec.permuted_gates)
        self.cam = ChannelAttention(*cam) if spec.channel else Tap("channel.features")
        self.position_out, self.channel_out = _convolution(c, c), _convolution(c, c)
        self.fused_tap = Tap("fused")
        self.position_classifier = self.channel_classifier = self.backbone_classifier = None
        if spec.path_classifiers:
            self.position_classifier = _classifier(c, spec.classes)
            self.channel_classifier = _classifier(c, spec.classes)
        if spec.auxiliary_head:
            self.backbone_classifier = _auxiliary_head(self.backbone, spec)
        self.classifier = _classifier(c, spec.classes)

    def forward(self, image: Tensor, cells: Tensor | None = None) -> Output:
        """``image [B, 3, H, W]`` as ``spec.input`` says. Logits are on the backbone's grid.

        ``cells``, bool ``[h, w]``: where logits are wanted, and what they depend on; elsewhere PAM adds nothing, and
        what comes after it is not to be used. Most of the time of a large map is saved. For evaluation mode.
        """
        middle: list[Tensor] = []
        features = self.backbone(image, middle) if self.spec.auxiliary_head else self.backbone(image)
        position = self.position_out(self._attended(self.position_in(features), cells))
        channel = self.channel_out(self.cam(self.channel_in(features)))
        fused = self.fused_tap(position + channel)
        auxiliary = {}
        if self.position_classifier and self.channel_classifier:
            auxiliary = {"position": self.position_classifier(position), "channel": self.channel_classifier(channel)}
        if self.backbone_classifier:
            auxiliary["backbone"] = self.backbone_classifier(middle[0])
        return Output(self.classifier(fused), auxiliary)

    def _attended(self, features: Tensor, cells: Tensor | None) -> Tensor:
        """After PAM, or at least where the next 3x3 convolution reads for ``cells``."""
        if cells is None or not isinstance(self.pam, PositionAttention):
            return self.pam(features)
        return self.pam(features, queries=functional.max_pool2d(cells[None].float(), 3, 1, 1)[0] > 0)


class PositionAttention(nn.Module):
    """PAM, equations (1) and (2): ``[B, C, h, w]`` to alpha * attended + A.

    The paper writes query and key with C channels; here they have C/8 as in the released code, whose ``query_conv`` is
    the paper's C (output position j) and ``key_conv`` its B. No 1/sqrt(d). ``gate`` is alpha, shape [1], from 0.
    """

    def __init__(self, channels: int, permuted_gate: bool = False) -> None:
        super().__init__()
        width = max(1, channels // 8)
        self.query = nn.Conv2d(channels, width, 1)
        self.key = nn.Conv2d(channels, width, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.gate = nn.Parameter(torch.zeros(1))
        self.permuted_gate = nn.Parameter(torch.zeros(1)) if permuted_gate else None
        self.features_tap = Tap("position.features")
        self.query_tap, self.key_tap = Tap("position.query"), Tap("position.key")
        self.value_tap, self.attended_tap = Tap("position.value"), Tap("position.attended")

    def forward(
        self,
        features: Tensor,
        labels: Tensor | None = None,
        rule: MaskRule | None = None,
        queries: Tensor | None = None,
    ) -> Tensor:
        """``labels [B, h, w]`` and a rule of :func:`position_attention` take keys away from rows: an intervention.

        Where ``queries``, bool ``[h, w]``, are false attended is 0, and costs nothing; with a permuted gate, which
        mixes positions, they have no effect.
        """
        features = self.features_tap(features)
        query = self.query_tap(self.query(features))
        key = self.key_tap(self.key(features))
        value = self.value_tap(self.value(features))
        if queries is not None and labels is not None:
            raise AnalysisError("labels take keys from every row: leave queries out")
        if queries is not None and self.permuted_gate is None:
            attended = _attended_at(queries.flatten(), query.flatten(2), key.flatten(2), value.flatten(2))
        else:
            flat = None if labels is None else labels.flatten(1)
            attended = position_attention(query.flatten(2), key.flatten(2), value.flatten(2), flat, rule)
        return gated(self, self.attended_tap(attended.view_as(value)), features)


def _attended_at(queries: Tensor, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Of the bool ``queries [N]``, 0 elsewhere; as :func:`position_attention`."""
    some = queries.nonzero()[:, 0]
    return torch.zeros_like(value).index_copy(2, some, position_attention(query[:, :, some], key, value))


class ChannelAttention(nn.Module):
    """CAM, equations (3) and (4): ``[B, C, h, w]`` to beta * attended + A. ``gate`` is beta, shape [1], from 0.

    ``form="paper"`` is softmax(energy). The released code takes the softmax of max(energy) - energy, which is
    softmax(-energy): the mass goes to the channels with the *smallest* inner product. Every published checkpoint was
    trained so. The energy is a sum over positions, so how concentrated a row is depends on the resolution.

    ``projections=True`` puts separate C -> C query, key and value convolutions before it, as PAM has; the paper argues
    against them (section 3.3).
    """

    def __init__(
        self, channels: int, form: ChannelForm = "released", projections: bool = False, permuted_gate: bool = False
    ) -> None:
        super().__init__()
        if form not in ("paper", "released"):
            raise AnalysisError(f"the form of channel attention is 'paper' or 'released', not {form!r}")
        self.form = form
        names = ("query", "key", "value") if projections else ()
        self.projections = nn.ModuleDict({name: nn.Conv2d(channels, channels, 1) for name in names})
        self.gate = nn.Parameter(torch.zeros(1))
        self.permuted_gate = nn.Parameter(torch.zeros(1)) if permuted_gate else None
        self.features_tap = Tap("channel.features")
        self.energy_tap, self.affinity_tap = Tap("channel.energy"), Tap("channel.affinity")
        self.attended_tap = Tap("channel.attended")

    def forward(self, features: Tensor) -> Tensor:
        """``[B, C, h, w]`` to the same shape; energy, softmax and sum are float32 also under autocast."""
        features = self.features_tap(features)
        query, key, value = (self._project(name, features).flatten(2) for name in ("query", "key", "value"))
        with torch.autocast(features.device.type, enabled=False):  # energies pass 65,504, the largest half
            energy = self.energy_tap(widened(query) @ widened(key).transpose(1, 2))
            affinity = self.affinity_tap(torch.softmax(energy if self.form == "paper" else -energy, dim=-1))
            attended = affinity @ widened(value)
        return gated(self, self.attended_tap(attended.to(features.dtype).view_as(features)), features)

    def _project(self, name: str, features: Tensor) -> Tensor:
        return self.projections[name](features) if name in self.projections else features


Attention = PositionAttention | ChannelAttention


def gated(
    module: Attention, attended: Tensor, features: Tensor, without: Literal["gate", "permuted_gate"] | None = None
) -> Tensor:
    """The end of a path: ``attended, features [B, C, h, w]`` to gate * attended + features, and the control if any.

    ``without``: the one of both that is taken as 0.
    """
    if without != "gate":
        features = module.gate * attended + features
    if module.permuted_gate is not None and without != "permuted_gate":
        dim = 2 if isinstance(module, PositionAttention) else 1
        features = module.permuted_gate * permuted(attended.flatten(2), dim).view_as(attended) + features
    return features


def permuted(x: Tensor, dim: int) -> Tensor:
    """``x`` in another order along ``dim``, drawn once and for all for its length: the same on every device."""
    n = x.shape[dim]
    return x.index_select(dim, torch.randperm(n, generator=torch.Generator().manual_seed(n)).to(x.device))


#: The path of each gate, and of its control: the first word of its taps.
GATED_PATHS = {"alpha": "position", "beta": "channel", "alpha_permuted": "position", "beta_permuted": "channel"}


def gates(model: nn.Module) -> dict[str, nn.Parameter]:
    """The learned scalars of a model's first residual attention paths: ``alpha`` (position) and ``beta`` (channel)."""
    found = attentions(model)
    return {name: found[GATED_PATHS[name]].gate for name in ("alpha", "beta") if GATED_PATHS[name] in found}


def permuted_gates(model: nn.Module) -> dict[str, nn.Parameter]:
    """Their controls, ``alpha_permuted`` and ``beta_permuted``; none where the spec has no ``permuted_gates``."""
    found = {f"{name}_permuted": attentions(model)[GATED_PATHS[name]].permuted_gate for name in gates(model)}
    return {name: gate for name, gate in found.items() if gate is not None}


def attentions(model: nn.Module) -> dict[str, Attention]:
    """A model's first attention of each kind by its path, ``position`` and ``channel``."""
    found: dict[str, Attention] = {}
    for module in model.modules():
        if isinstance(module, PositionAttention | ChannelAttention):
            found.setdefault("position" if isinstance(module, PositionAttention) else "channel", module)
    return found


class _InPrecision(nn.Sequential):
    precision: Precision = "float32"
    forward = in_precision(nn.Sequential.forward)


def _convolution(c_in: int, c_out: int) -> _InPrecision:
    return _InPrecision(nn.Conv2d(c_in, c_out, 3, padding=1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU())


def _auxiliary_head(backbone: Backbone, spec: DualSpec) -> nn.Sequential:
    """mmsegmentation's FCN head on layer3: its loss has weight 0.4 there."""
    if not isinstance(backbone, DilatedResNet):
        raise AnalysisError(
            f"auxiliary_head reads a ResNet's layer3; backbone {spec.backbone!r} has none: leave it out"
        )
    width = backbone.middle_channels // 4
    return nn.Sequential(_convolution(backbone.middle_channels, width), _classifier(width, spec.classes))


def _classifier(channels: int, classes: int) -> nn.Sequential:
    return nn.Sequential(nn.Dropout2d(0.1), nn.Conv2d(channels, classes, 1))

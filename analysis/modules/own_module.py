"""Anybody's own network with the face of ours: its call gives an Output, and its ``spec`` says what was found in it.

Its modules have the dotted paths of the user's network, so those work in ``capture``; where ours stands in the place
of a found attention, the names inside it are ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor, nn

from analysis.errors import AnalysisError
from analysis.models.output import Output
from analysis.models.spec import InputSpec
from analysis.models.tap import Tap

AttentionKind = Literal["position", "channel", "scale"]
Activation = Literal["softmax", "sigmoid", "raw"]


@dataclass(frozen=True)
class Found:
    """An attention module of the network: its kind, its dotted ``path``, and ``how`` it can be seen, in words.

    ``replaced``: ours stands in its place, with its weights, so all its taps exist. Otherwise it is read-only.
    Of attention to scale, ``branches`` is their number, and ``activation`` what is applied to ``scale.logits``.
    """

    kind: AttentionKind
    path: str
    replaced: bool
    how: str
    activation: Activation | None = None
    branches: int = 0


@dataclass(frozen=True)
class ModuleSpec:
    """What is known of a network that this project did not define. ``classes`` is the number of its logits."""

    target: str  # "package.module:function", or the name of the class
    classes: int
    input: InputSpec
    scales: tuple[float, ...] = ()  # the input scale of each branch, where the user gave them
    found: tuple[Found, ...] = ()

    def of(self, kind: AttentionKind) -> list[Found]:
        """The attention of one kind that a view can draw; it draws the first."""
        found = [one for one in self.found if one.kind == kind]
        return [one for one in found if one.replaced] or found

    @property
    def position(self) -> bool:
        """Whether rows of position attention can be drawn."""
        return bool(self.of("position"))

    @property
    def note(self) -> str | None:
        """What a reader of a view must know: what is read-only, and which of several is drawn; None for nothing."""
        said = []
        for kind in get_args(AttentionKind):
            there = self.of(kind)
            said += [f"{kind} attention at {one.path} is {one.how}" for one in there[:1] if not one.replaced]
            said += [f"of {len(there)} {kind} attentions the first is shown, {there[0].path}"] if len(there) > 1 else []
        return "; ".join(said) or None


class OwnModule(nn.Module):
    """The user's network ``module``: its children, parameters and buffers under its names, and ours as output.

    The two share their children: what is replaced in one is replaced in both.
    """

    module: nn.Module
    spec: ModuleSpec

    def __init__(self, module: nn.Module, spec: ModuleSpec) -> None:
        super().__init__()
        shared = ("_parameters", "_buffers", "_non_persistent_buffers_set", "_modules")
        # Written past nn.Module, which would make the network a child, and prefix every name with "module.".
        vars(self).update({name: vars(module)[name] for name in shared}, module=module)
        self.spec = spec
        self.training = module.training

    def train(self, mode: bool = True) -> OwnModule:
        """Set the mode of the network too, which is no child and may have a ``train`` of its own."""
        super().train(mode)
        self.module.train(mode)
        return self

    def forward(self, image: Tensor) -> Output:
        """``image [B, 3, H, W]`` to logits ``[B, K, h, w]`` of any size; AnalysisError where it fails."""
        try:
            output = self.module(image)
        except AnalysisError:
            raise  # of a capture or an intervention inside
        except Exception as error:
            raise AnalysisError(
                f"{self.spec.target} fails on an image {list(image.shape)} ({first_line(error)}); its forward must "
                "take one image tensor of this size: set the size, or wrap it in a module that does"
            ) from error
        return self._named(output)

    def _named(self, output: object) -> Output:
        """Our output from logits, a sequence that starts with them, or a dict with them as "out" or "logits"."""
        if isinstance(output, Output):
            return output
        if isinstance(output, Mapping):
            logits = next((output[key] for key in ("out", "logits") if key in output), None)
            rest = {str(key): value for key, value in output.items() if value is not logits}
        else:
            logits, *others = output if isinstance(output, tuple | list) and output else [output]
            rest = dict(zip(self._names(logits, others), others, strict=True))
        if not isinstance(logits, Tensor) or logits.ndim != 4:
            raise AnalysisError(
                f"{self.spec.target} returned {_described(output)}; it must return logits [B, K, h, w], a tuple or "
                "list that starts with them, or a dict with them as 'out' or 'logits'"
            )
        return Output(logits, {name: value for name, value in rest.items() if isinstance(value, Tensor)})

    def _names(self, logits: object, others: list[object]) -> list[str]:
        """Every public DANet returns the fused logits, then those of the position and of the channel path."""
        alike = [one for one in others if isinstance(one, Tensor) and one.shape == getattr(logits, "shape", None)]
        if len(others) == len(alike) == 2 and {"position", "channel"} <= {one.kind for one in self.spec.found}:
            return ["position", "channel"]
        return [str(i) for i, _ in enumerate(others, start=1)]


def through_tap(tap: Tap, module: nn.Module, args: object, output: Tensor) -> Tensor:
    """A forward hook, with its first argument given: ``output`` passes a tap.

    The user's code may write into what it goes on with, so that is a copy of what the tap shows.
    """
    return tap(output).clone()


def first_line(error: BaseException) -> str:
    """An exception in one line: its type and the start of what it says."""
    said = (str(error).splitlines() or [""])[0][:160]
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _described(output: object) -> str:
    inside = f" of shape {list(output.shape)}" if isinstance(output, Tensor) else ""
    if isinstance(output, tuple | list | Mapping):
        names = output if isinstance(output, Mapping) else [type(one).__name__ for one in output]
        inside = f" of {', '.join(map(str, names)) or 'nothing'}"
    return f"a {type(output).__name__}{inside}"

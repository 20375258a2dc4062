"""The two verbs: ``capture`` reads named intermediate tensors of a model, ``intervene`` replaces them (DESIGN 3).

Names are those of :mod:`analysis.tap_names`: taps (``scale.weights``), dotted module paths, wildcards over either,
and ``path@0`` or ``path@x75`` for one call of a module that a forward calls several times.

Only forwards of ``model`` itself are captured. Threads that share one model need a lock around it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.utils._pytree import keystr, tree_map_with_path

from analysis.errors import AnalysisError, closest
from analysis.models.tap import Tap
from analysis.tap_names import Call, Names, Request, Target

FLOAT32_TAPS = frozenset({"channel.energy"})  # a sum over positions: it passes 65,504, the largest half
MIB = 2**20


class Taps(dict[str, Any]):
    """What a capture holds: name to tensor, or to tuples, lists and dicts of tensors where the module returns those."""

    def __missing__(self, name: str) -> NoReturn:
        """Say why a name that was asked for can have no tensor."""
        known = closest(name, self) if self else "; call the model, not compiled, inside the capture"
        raise AnalysisError(f"no forward reached '{name}' in this capture{known}")


@contextmanager
def capture(
    model: nn.Module,
    *names: str,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    max_bytes: int | None = 2 * 2**30,
) -> Generator[Taps]:
    """Keep the named tensors of the last forward of ``model`` inside the block.

        with capture(model, "scale.weights", "backbone.layer4@x75") as taps:
            model(image)
        taps["scale.weights"]

    A wildcard gives one key a module, or one a call where there are several. Tensors are detached, and copied unless
    they come from a tap. ``device`` and ``dtype`` convert them (``dtype`` floating ones only, and ``channel.energy``
    never below float32); ``max_bytes`` is what one forward may keep, after conversion.

    Raises AnalysisError for a compiled model, an unknown name, a name of several calls or of none in a forward, a
    tensor beyond the budget, and finite values beyond the range of ``dtype``.
    """
    if dtype is not None and not dtype.is_floating_point:
        raise AnalysisError(f"capture converts floating tensors only, so dtype cannot be {dtype}; try torch.float16")
    requests, taps = _requests(model, names), Taps()
    keeper = _Keeper(device, dtype, max_bytes)
    kept: dict[Call, object] = {}

    def seen(call: Call, output: object) -> None:
        if call.label and any(request.wants(call) for request in requests):
            kept[call] = keeper.keep(call.name(), call.target.module, output)

    def publish(found: dict[str, Call]) -> None:
        taps.clear()
        taps.update({key: kept[call] for key, call in found.items()})
        kept.clear()
        keeper.used = 0

    with _hooked(model, requests, seen, publish):
        yield taps


@contextmanager
def intervene(model: nn.Module, functions: Mapping[str, Callable[[Tensor], Tensor]]) -> Generator[None]:
    """Replace each named tensor by ``function(tensor)`` in every forward of ``model`` inside the block.

    Names are those of :func:`capture`. The function gets a copy through which gradients flow, and returns a tensor of
    the same shape, dtype and device. Captures see the replacement, whichever block is the inner one; of two
    interventions on one tensor the inner block's comes first. Where activation checkpointing computes a module again
    in the backward pass, that pass belongs inside the block.

    Raises AnalysisError as :func:`capture` does for the model and its names, and for a replacement that does not fit.
    """
    requests = _requests(model, functions)

    def seen(call: Call, output: object) -> object:
        for request, function in zip(requests, functions.values(), strict=True):
            if request.wants(call):
                output = _replaced(request.text, call.target.module, function, output)
        return output

    with _hooked(model, requests, seen, lambda found: None, prepend=True):
        yield


def _replaced(name: str, module: nn.Module, function: Callable[[Tensor], Tensor], output: object) -> Tensor:
    if not isinstance(output, Tensor):
        raise AnalysisError(f"cannot intervene on '{name}': its output is a {type(output).__name__}, not a tensor")
    # Copied on both sides: the function may write into its argument, which can be the module's input under another
    # name, and the next module may write into what the function returns, which can be a tensor that the caller keeps.
    new = function(output.clone())
    if not isinstance(new, Tensor):
        raise AnalysisError(f"the function for '{name}' returned a {type(new).__name__}; it must return a tensor")
    for what in ("shape", "dtype", "device"):
        old, changed = getattr(output, what), getattr(new, what)
        if old != changed:
            raise AnalysisError(f"the function for '{name}' must keep the {what}: {old} became {changed}")
    return new if isinstance(module, Tap) else new.clone()


def _requests(model: nn.Module, names: Iterable[str]) -> list[Request]:
    known = Names(model)
    _refuse_compiled(known.paths)
    return [known.request(name) for name in names]


def _refuse_compiled(paths: dict[nn.Module, str]) -> None:
    dynamo = sys.modules.get("torch._dynamo.eval_frame")  # loaded once something is compiled; an import takes seconds
    for module, path in paths.items():
        optimized = dynamo is not None and isinstance(module, dynamo.OptimizedModule)
        if optimized or isinstance(module, torch.jit.ScriptModule) or module._compiled_call_impl is not None:
            what = f"'{path}' in the model" if path else "the model"
            raise AnalysisError(
                f"{what} is compiled, and compiled code skips hooks: use the model from before compiling"
            )


@contextmanager
def _hooked(
    model: nn.Module,
    requests: list[Request],
    seen: Callable[[Call, object], object],
    publish: Callable[[dict[str, Call]], None],
    prepend: bool = False,
) -> Generator[None]:
    """Call ``seen`` with every output of a target; what it returns replaces that, unless it is None.

    ``publish`` gets nothing when a forward of ``model`` starts, and the calls by their keys when it ends.
    ``prepend`` puts ``seen`` before all other hooks.
    """
    targets = dict.fromkeys(target for request in requests for target in request.targets)
    roots = dict.fromkeys(target.root for target in targets if target.root)
    running = False

    def start(*_: object) -> None:
        nonlocal running
        running = True
        for root in roots:
            root.count = 0
        for target in targets:
            target.calls.clear()
        publish({})

    def finish(*_: object) -> None:
        nonlocal running
        if running:  # False where the model called itself: then the inner forward was the one
            running = False
            publish({key: call for request in requests for key, call in request.found().items()})

    def watcher(target: Target) -> Callable[[nn.Module, object, object], object]:
        return lambda module, inputs, output: seen(target.called() if running else Call(target), output)

    with ExitStack() as stack:
        stack.callback(model.register_forward_pre_hook(start).remove)
        for root in roots:
            stack.callback(root.module.register_forward_pre_hook(root.enter).remove)
        for target in reversed(targets) if prepend else targets:  # what is prepended last runs first
            stack.callback(target.module.register_forward_hook(watcher(target), prepend=prepend).remove)
        stack.callback(model.register_forward_hook(finish).remove)
        yield


@dataclass
class _Keeper:
    """Detaches, converts and copies; ``used`` bytes of the budget are taken."""

    device: str | torch.device | None
    dtype: torch.dtype | None
    max_bytes: int | None
    used: int = 0

    def keep(self, name: str, module: nn.Module, output: object) -> object:
        """The tensor to keep, or the same tuples, lists and dicts with tensors to keep."""
        tap = module.name if isinstance(module, Tap) else None
        return tree_map_with_path(lambda path, leaf: self._leaf(name + keystr(path), tap, leaf), output)

    def _leaf(self, name: str, tap: str | None, leaf: object) -> object:
        if isinstance(leaf, Tensor):
            return self._tensor(name, tap, leaf.detach())
        if leaf is None or isinstance(leaf, bool | int | float | str):
            return leaf
        raise AnalysisError(f"cannot capture '{name}': a {type(leaf).__name__} is neither tensor, tuple, list nor dict")

    def _tensor(self, name: str, tap: str | None, tensor: Tensor) -> Tensor:
        dtype = self.dtype if self.dtype is not None and tensor.is_floating_point() else tensor.dtype
        if tap in FLOAT32_TAPS:
            dtype = torch.promote_types(dtype, torch.float32)
        self._pay(name, tensor, tensor.numel() * dtype.itemsize)
        kept = tensor.to(dtype)
        if kept is not tensor and (tensor.isfinite() & ~kept.isfinite()).any():
            raise AnalysisError(f"'{name}' has values beyond the range of {dtype}: capture it with a wider dtype")
        kept = kept if self.device is None else kept.to(self.device)
        return tensor.clone() if kept is tensor and tap is None else kept

    def _pay(self, name: str, tensor: Tensor, size: int) -> None:
        if self.max_bytes is not None and self.used + size > self.max_bytes:
            raise AnalysisError(
                f"'{name}' {tuple(tensor.shape)} takes {size / MIB:.1f} MiB, with {self.used / MIB:.1f} MiB kept: "
                f"over the budget of {self.max_bytes / MIB:.1f} MiB; raise max_bytes, ask for fewer tensors or for half"
            )
        self.used += size

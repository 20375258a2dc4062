"""Position and channel attention in anybody's network, found by shape and confirmed by what it computes, not by names.

PAM-like    three 1x1 convolutions, C -> d, C -> d, C -> C, and one scalar: equations (1), (2) of Fu et al.
CAM-like    one scalar and nothing else, or besides it three C -> C convolutions: (3), (4), in either form

What computes the same as ours is replaced by ours with its weights; a PAM of another kind can be read.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from itertools import permutations, product
from typing import get_args

import torch
from torch import Tensor, nn

from analysis.models import PositionAttention
from analysis.models.dual_attention import ChannelAttention
from analysis.models.spec import ChannelForm
from analysis.models.tap import Tap
from analysis.modules.own_module import Found, OwnModule, through_tap
from analysis.taps import capture

TOLERANCE = 1e-4
Attention = PositionAttention | ChannelAttention


@dataclass(frozen=True, eq=False)
class Candidate:
    """A module with the parameters of an attention: its scalar and projections by their names in it, and its input."""

    path: str
    module: nn.Module
    gate: str
    projections: dict[str, nn.Conv2d]  # three, each with the name of all that surrounds it alone; or none
    features: Tensor  # [1, C, h, w]

    def roles(self) -> list[tuple[str, ...]]:
        """The projections as query, key and value in each way that their widths allow, the likeliest by name first."""
        c = self.features.shape[1]
        d = {name: conv.out_channels for name, conv in self.projections.items() if conv.in_channels == c}
        return sorted(((q, k, v) for q, k, v in permutations(d, 3) if d[q] == d[k] <= c == d[v]), key=_misnamed)

    def versions(self) -> Iterator[Attention]:
        """Ours with these weights, in each way that the widths allow."""
        c, forms = self.features.shape[1], get_args(ChannelForm)
        yield from (self._filled(PositionAttention, roles) for roles in self.roles())
        if all(conv.out_channels == c for conv in self.projections.values()):
            for roles, form in product(self.roles() if self.projections else [()], forms):
                yield self._filled(partial(ChannelAttention, form=form, projections=bool(roles)), roles)

    def _filled(self, make: Callable[[int], Attention], roles: tuple[str, ...]) -> Attention:
        with torch.device("meta"):  # no memory, and the user's random numbers stay as they are
            ours = make(self.features.shape[1])
        holder = ours.projections if isinstance(ours, ChannelAttention) else ours
        for role, name in zip(("query", "key", "value"), roles, strict=False):
            holder.add_module(role, self.module.get_submodule(name))
        ours.gate = nn.Parameter(self.module.get_parameter(self.gate).detach().reshape(1))
        ours.register_forward_pre_hook(_own_input)
        return ours.train(self.module.training)

    def meets(self, others: Iterable[Candidate]) -> bool:
        """Whether it lies inside one of the others or holds one."""
        here = f"{self.path}."
        return any(here.startswith(f"{other.path}.") or f"{other.path}.".startswith(here) for other in others)


@torch.no_grad()
def adopt_attention(model: OwnModule, image: Tensor) -> tuple[Found, ...]:
    """Find position and channel attention in a forward of ``image [1, 3, H, W]``; replace what computes as ours does.

    A module is replaced where both agree to 1e-4 on its own input and on noise, in float64, and where the outputs of
    the whole model still do after that. A PAM-like one that does not agree gets the taps ``position.query`` and
    ``position.key``, and nothing else changes.
    """
    candidates = _candidates(model, image)
    agreed: dict[Candidate, Attention] = {}
    for candidate in candidates:
        same = (ours for ours in candidate.versions() if _apart(candidate, ours) <= TOLERANCE)
        if not candidate.meets(agreed) and (ours := next(same, None)) is not None:
            agreed[candidate] = ours
    if agreed and not _fits(model, image, agreed):
        agreed = {c: ours for c, ours in agreed.items() if _fits(model, image, {c: ours})}
    found = {candidate: _replaced(candidate, ours) for candidate, ours in agreed.items()}
    taken = any(one.kind == "position" for one in found.values())
    for candidate in candidates:
        if candidate.roles() and not candidate.meets(found):
            found[candidate] = _read_only(candidate, taken)
    return tuple(found[candidate] for candidate in reversed(candidates) if candidate in found)


def _candidates(model: OwnModule, image: Tensor) -> list[Candidate]:
    """The modules that could be attention by what they hold and by their shapes, the innermost first."""
    parts = {path: (module, held) for path, module in model.named_modules() if path and (held := _parts(module))}
    seen: dict[str, Tensor] = {}
    with ExitStack() as stack:
        for path, (module, _) in parts.items():
            stack.callback(module.register_forward_hook(partial(_note, seen, path)).remove)
        model(image)
    found = [Candidate(path, module, *held, seen[path]) for path, (module, held) in parts.items() if path in seen]
    return found[::-1]


def _parts(module: nn.Module) -> tuple[str, dict[str, nn.Conv2d]] | None:
    """The scalar and the projections of an attention, where a module holds these and nothing else."""
    convs = {name: part for name, part in module.named_modules() if isinstance(part, nn.Conv2d)}
    if len(convs) not in (0, 3) or any(conv.kernel_size != (1, 1) for conv in convs.values()):
        return None
    projections = {_alone(name, list(convs)): conv for name, conv in convs.items()}
    rest = [name for name, _ in module.named_parameters() if not name.startswith(tuple(f"{p}." for p in projections))]
    return (rest[0], projections) if len(rest) == 1 and module.get_parameter(rest[0]).numel() == 1 else None


def _alone(name: str, names: list[str]) -> str:
    """The shortest path towards ``name`` that leads to none of the other names."""
    parts = name.split(".")
    starts = [".".join(parts[:n]) for n in range(1, len(parts) + 1)]
    return next((start for start in starts if sum(f"{other}.".startswith(f"{start}.") for other in names) == 1), name)


def _note(seen: dict[str, Tensor], path: str, _: nn.Module, args: tuple[object, ...], output: object) -> None:
    """A forward hook that keeps the input of the first call with one map in and one of its shape out."""
    features, shape = args[0] if len(args) == 1 else None, getattr(output, "shape", None)
    if isinstance(features, Tensor) and features.ndim == 4 and features.shape == shape:
        seen.setdefault(path, features.clone())


def _apart(candidate: Candidate, ours: Attention) -> float:
    """The difference of both as a share of the largest output, at the first probe where that is over TOLERANCE, else 0.

    inf where theirs does not run alone, or not in float64.
    """
    try:
        theirs, copied = copy.deepcopy(nn.ModuleList([candidate.module, ours])).double()
        for features, gate in _probes(candidate.features):
            theirs.get_parameter(candidate.gate).fill_(gate)
            copied.get_parameter("gate").fill_(gate)
            wanted = theirs(features.clone())
            apart = (copied(features) - wanted).abs().max() / wanted.abs().max().clamp(min=1e-30)
            if not apart <= TOLERANCE:
                return apart.nan_to_num(math.inf).item()
    except Exception:  # whatever the user's code raises
        return math.inf
    return 0.0


def _probes(features: Tensor) -> list[tuple[Tensor, float]]:
    """Inputs in float64, the module's own first, and values of the gate.

    A gate of 0 hides every difference. So do energies that are all alike, or that leave each row one cell, as real
    features may: noise of several sizes passes through all that lies between.
    """
    own, generator = features.double(), torch.Generator().manual_seed(0)
    noise = torch.randn(own.shape, generator=generator, dtype=torch.double).to(own.device)
    return [(own, 0.75), (own, -0.5), (own / 8, 0.75), (noise / 8, 0.75), (noise, 0.75), (noise * 8, 0.75)]


def _fits(model: OwnModule, image: Tensor, agreed: dict[Candidate, Attention]) -> bool:
    """Put ours into their places, and theirs back where the model then gives other outputs or does not reach ours.

    Outputs are compared again in float64 where float32 rounds too much: large energies make it choose between channels.
    """
    paths = [candidate.path for candidate in agreed]
    for run in (_outputs, lambda model, image, paths: _outputs(copy.deepcopy(model).double(), image.double(), paths)):
        with suppress(Exception):  # whatever the user's code raises
            before = run(model, image, [])
            _swap(model, {candidate.module: ours for candidate, ours in agreed.items()})
            after = run(model, image, paths)
            if all(
                bool(((a - b).abs() <= TOLERANCE * (1 + b.abs())).all()) for a, b in zip(after, before, strict=True)
            ):
                return True
        _swap(model, {ours: candidate.module for candidate, ours in agreed.items()})
    return False


def _outputs(model: OwnModule, image: Tensor, reached: list[str]) -> list[Tensor]:
    """Logits and auxiliary logits; AnalysisError where a module of the given paths is not called."""
    with capture(model, *(f"{path}@*" for path in reached)):
        output = model(image)
    return [output.logits, *output.auxiliary.values()]


def _swap(model: nn.Module, new: dict[nn.Module, nn.Module]) -> None:
    """Put other modules into the places of some, wherever they sit."""
    for parent in list(model.modules()):
        for name, child in parent._modules.items():
            if child in new:
                parent._modules[name] = new[child]


def _replaced(candidate: Candidate, ours: Attention) -> Found:
    if isinstance(ours, ChannelAttention):
        return Found("channel", candidate.path, True, f"replaced by ours, {ours.form} form")
    return Found("position", candidate.path, True, "replaced by ours")


def _read_only(candidate: Candidate, taken: bool) -> Found:
    """Give a PAM of another kind the taps of query and key, unless their names are taken."""
    apart = min(_apart(candidate, ours) for ours in candidate.versions())
    query, key, _ = roles = candidate.roles()[0]
    for role, name in {} if taken else {"query": query, "key": key}.items():
        tap = Tap(f"position.{role}")
        candidate.module.add_module(f"position_{role}_tap", tap)
        candidate.module.get_submodule(name).register_forward_hook(partial(through_tap, tap))
    told = "by their names" if _misnamed(roles) == 0 else "by their order, which is a guess"
    off = f"its output is {apart:.1%} off" if math.isfinite(apart) else "it does not run alone in float64"
    why = off if apart else "alone it computes that, but not in its place"
    return Found(
        "position",
        candidate.path,
        False,
        f"read-only, as it does not compute equations (1) and (2) ({why}); its rows are drawn as softmax(query . key), "
        f"with {query} for the query and {key} for the key {told}",
    )


def _own_input(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """A forward pre-hook: what follows in the user's code may write into the features, so the tap gets a copy."""
    return (args[0].clone(), *args[1:])


def _misnamed(roles: tuple[str, ...]) -> int:
    """How many of query and key are not called so."""
    words = [re.split(r"[^a-z]+", name.lower()) for name in roles]
    pairs = zip(("query", "key"), words, strict=False)
    return sum(not any(word == role[0] or word.startswith(role) for word in said) for role, said in pairs)

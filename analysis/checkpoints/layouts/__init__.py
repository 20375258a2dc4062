"""Which public code a checkpoint comes from, told from names and shapes alone, and what fits where.

One small file a layout; :func:`recognise` finds the one that fits best and says what is missing and what is left over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from analysis.checkpoints.layouts import caffe, junfu1115, mmsegmentation, own, plain, pytorchcv, segmentron
from analysis.checkpoints.layouts.layout import Layout, Shapes
from analysis.errors import AnalysisError
from analysis.models import Model, Spec
from analysis.models.skeleton import skeleton
from analysis.reading import Stored

LAYOUTS = (
    junfu1115.LAYOUT,
    segmentron.LAYOUT,
    mmsegmentation.LAYOUT,
    pytorchcv.LAYOUT,
    caffe.LAYOUT,
    plain.DUAL,
    plain.SCALE,
)
_WRAPPERS = ("module.", "_orig_mod.", "model.")  # DistributedDataParallel, torch.compile, a trainer's attribute
_COUNTERS = ".num_batches_tracked"  # batch norm's, unused at evaluation; old files lack them
Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Match:
    """A file's tensors beside those of the model that its layout makes of them.

    ``why``: by what it was recognised, or what speaks against the closest layout. ``spec`` and ``model`` (on the meta
    device, no memory) are None where not even those follow. ``classes``: their names, as far as the file has them.
    ``names``: our tensor to the file's, where both have the same shape but for dimensions of 1. ``missing``: ours and
    the shape it needs. ``mismatched``: ours to the file's name, needed and found shape. ``left_over``: the file's
    tensors without a place. ``ignored``: those dropped on purpose.
    """

    layout: str
    source: str
    why: str
    classes: tuple[str, ...] = ()
    spec: Spec | None = None
    model: Model | None = None
    names: dict[str, str] = field(default_factory=dict)
    missing: dict[str, Shape] = field(default_factory=dict)
    mismatched: dict[str, tuple[str, Shape, Shape]] = field(default_factory=dict)
    left_over: dict[str, Shape] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every tensor of the model is there in its shape."""
        return self.model is not None and not self.missing and not self.mismatched


def recognise(stored: Stored, adapt: Callable[[Spec], Spec] = lambda spec: spec) -> Match:
    """The layout that fits a file best, complete or not; see :class:`Match`. ``adapt`` may change what was inferred."""
    names = unwrapped(stored.tensors)
    shapes = {name: tuple(stored.tensors[theirs].shape) for name, theirs in names.items()}
    layout = own.layout(stored.metadata) or max(LAYOUTS, key=lambda candidate: _fit(candidate, shapes))
    ours, ignored = _translated(layout, shapes)
    placed = {*ours.values(), *ignored}
    left_over = {names[plain]: shape for plain, shape in shapes.items() if plain not in placed}
    why = f"has {', '.join(layout.signature)}" if layout.signature else "its metadata say so"
    dropped = tuple(names[plain] for plain in ignored)
    match = Match(layout.name, layout.source, why, left_over=left_over, ignored=dropped)
    try:
        spec = adapt(_described(layout, shapes, ours, stored.metadata))
        match = replace(match, spec=spec, model=skeleton(spec), classes=layout.classes(stored.metadata))
    except AnalysisError as error:
        return replace(match, why=str(error))
    except Exception as error:  # a stored spec of nonsense makes torch and timm fail in any way there is
        reason = f"{type(error).__name__}: {str(error)[:200]}"
        return replace(match, why=f"like {layout.name}, but no model can be built as it says ({reason})")
    return _fitted(match, {to: (names[plain], shapes[plain]) for to, plain in ours.items()})


def unwrapped(tensors: Mapping[str, object]) -> dict[str, str]:
    """Names without what wrapped the model, to the names in the file."""
    names = {name: name for name in tensors}
    while names and any(all(name.startswith(wrapper) for name in names) for wrapper in _WRAPPERS):
        names = {name.partition(".")[2]: theirs for name, theirs in names.items()}
    return names


def _fit(layout: Layout, shapes: Shapes) -> tuple[float, float]:
    """Shares of the signature that is there, and of the file's tensors that have a name with us."""
    known = sum(layout.translate(name) is not None for name in shapes)
    return 1 - len(_unsigned(layout, shapes)) / len(layout.signature), known / max(1, len(shapes))


def _unsigned(layout: Layout, shapes: Shapes) -> list[str]:
    """What of the signature is not there, or of another number of dimensions."""
    found = {name: len(shapes.get(name, (0,) * 9)) for name in layout.signature}
    # A scalar is () or (1,), which makes no layout.
    return [name for name, ndim in layout.signature.items() if max(found[name], 1) != max(ndim, 1)]


def _translated(layout: Layout, shapes: Shapes) -> tuple[dict[str, str], list[str]]:
    """Our names to the file's (the first of several), and those that are dropped on purpose."""
    ours: dict[str, str] = {}
    ignored = []
    for name in shapes:
        to = layout.translate(name)
        if layout.ignored and (name.startswith(layout.ignored) or (to or "").startswith(layout.ignored)):
            ignored.append(name)
        if to is not None:
            ours.setdefault(to, name)
    return ours, ignored


def _described(layout: Layout, shapes: Shapes, ours: Mapping[str, str], metadata: Mapping[str, Any]) -> Spec:
    if absent := _unsigned(layout, shapes):
        if not ours:
            raise AnalysisError(f"has no known layout, nor a tensor of one; known are {', '.join(_layout_names())}")
        more = f" and {len(absent) - 2} more" if len(absent) > 2 else ""
        lacks = f"of that {', '.join(absent[:2])}{more} are missing or have other dimensions"
        raise AnalysisError(f"has no known layout; the closest is {layout.name}, and {lacks}")
    if empty := [name for name, shape in shapes.items() if 0 in shape]:
        raise AnalysisError(f"like {layout.name}, but tensor {empty[0]} is empty")
    return layout.describe({to: shapes[name] for to, name in ours.items()}, metadata)


def _layout_names() -> list[str]:
    return list(dict.fromkeys(layout.name for layout in LAYOUTS[:-2]))


def _fitted(match: Match, found: Mapping[str, tuple[str, Shape]]) -> Match:
    """Lay the tensors found (our name to the file's and its shape) beside those that the model needs."""
    assert match.model is not None
    needed = {name: tuple(tensor.shape) for name, tensor in match.model.state_dict().items()}
    ignored = set(match.ignored)
    unneeded = [found[to] for to in found if to not in needed and found[to][0] not in ignored]
    fits = {to: name for to, (name, shape) in found.items() if to in needed and _same(shape, needed[to])}
    return replace(
        match,
        names=fits,
        missing={to: s for to, s in needed.items() if to not in found and not to.endswith(_COUNTERS)},
        mismatched={to: (found[to][0], s, found[to][1]) for to, s in needed.items() if to in found and to not in fits},
        left_over=match.left_over | dict(unneeded),
    )


def _same(a: Shape, b: Shape) -> bool:
    """Equal but for dimensions of 1: a gate is () or (1,), Caffe's old biases are (1, 1, 1, n)."""
    return [n for n in a if n != 1] == [n for n in b if n != 1]

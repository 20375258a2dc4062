"""An inspection as text for people: what it is, what fits, what is odd, and the tree of tensors; 120 columns."""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from analysis.checkpoints.layouts import own
from analysis.inspection.dead import DeadChannels
from analysis.inspection.statistics import Statistics
from analysis.inspection.tree import Entry, Line, fold
from analysis.models import DualSpec, Spec

if TYPE_CHECKING:
    from analysis.inspection import Gate, Inspection

WIDTH, LABEL = 120, 15
LISTED = 12  # of what is missing, left over or not finite; --json has all
_NAME = 46  # columns of a tensor's name
_LONGEST = 4000  # characters of one entry of the summary
_LINES = 500  # of the tree
_DEPTH = 20  # columns that headings may be indented by
_HEADED = 6  # this many lines of one module get a heading
_BRANCHES = {
    "alpha": "position attention",
    "beta": "channel attention",
    "alpha_permuted": "its control, on positions in a wrong order",
    "beta_permuted": "its control, on channels in a wrong order",
}


def as_text(inspection: Inspection) -> str:
    """See :meth:`Inspection.text`. What a terminal would act on instead of printing it is escaped."""
    return "\n".join([*_summary(inspection), "", *_tree(inspection)])


def _summary(inspection: Inspection) -> Iterator[str]:
    match, form = inspection.match, inspection.channel_form
    yield from _row("file", _file(inspection))
    yield from _row("SHA-256", inspection.sha256)
    yield from _row("layout", *_layout(inspection))
    yield from _row("tensors", _totals(inspection.tensors))
    if match.spec is not None:
        yield from _row("model", *_model(match.spec, stored=match.layout == own.NAME))
        yield from _row("classes", _classes(match.spec, match.classes))
    if form is not None:
        sign = {"released": "softmax(max - energy), which is softmax(-energy)", "paper": "softmax(energy)"}[form[0]]
        yield from _row("CAM form", f"{form[0]}: {sign}; {form[1]}")
    if inspection.gates:
        yield from _row("gates", *map(_gate, inspection.gates))
    if match.spec is not None:
        yield from _fit(inspection)
    yield from _row("left over", *_left_over(inspection))
    shapes = {entry.name: entry.shape for entry in inspection.tensors}
    yield from _row("ignored", *listed({name: shapes[name] for name in match.ignored}))
    yield from _row("NaN or Inf", *_not_finite(inspection.tensors))
    if inspection.dead_anywhere.layers:
        yield from _row("dead channels", *_dead(inspection.dead, inspection.dead_anywhere))
    if inspection.beside:
        yield from _row("beside them", ", ".join(f"{name} {value}" for name, value in inspection.beside.items()))


def _row(label: str, *texts: str) -> Iterator[str]:
    """A label and its text, wrapped; nothing where there is no text."""
    for i, text in enumerate(texts):
        start = f"{'' if i else label:{LABEL}}"
        yield from textwrap.wrap(_cut(text, _LONGEST), WIDTH, initial_indent=start, subsequent_indent=" " * LABEL) or [
            start
        ]


def _file(inspection: Inspection) -> str:
    inside = f", tensors under {inspection.inside!r}" if inspection.inside else ""
    return f"{inspection.path.name}, {inspection.size / 1e6:,.1f} MB, {inspection.container}{inside}"


def _layout(inspection: Inspection) -> tuple[str, ...]:
    match = inspection.match
    if match.spec is None:
        return "none that is known", match.why
    lacking = f", but {len(match.missing)} missing and {len(match.mismatched)} of another shape"
    return f"{match.layout}{'' if match.complete else lacking}", match.why


def _totals(entries: Sequence[Entry]) -> str:
    dtypes = Counter(entry.dtype for entry in entries)
    parameters, size = sum(entry.parameters for entry in entries), sum(entry.nbytes for entry in entries)
    types = ", ".join(f"{n} {dtype}" for dtype, n in dtypes.most_common())
    return f"{len(entries)} ({types}), {parameters:,} parameters, {size / 1e6:,.1f} MB"


def _model(spec: Spec, stored: bool) -> tuple[str, ...]:
    fields = (
        _dual(spec)
        if isinstance(spec, DualSpec)
        else [
            f"Attention to Scale on {spec.backbone}",
            f"scales {', '.join(f'{scale:g}' for scale in spec.scales)}",
            f"fusion {spec.fusion}",
            f"head on {spec.head_input}, {spec.head_width} filters",
            f"extra supervision {spec.extra_supervision}",
        ]
    )
    given = spec.input
    mean, std = (" ".join(f"{value:g}" for value in values) for values in (given.mean, given.std))
    corners = "aligned" if given.align_corners else "not aligned"
    image = f"input {given.channel_order}, 0 to {given.value_range:g}, minus {mean}, over {std}; corners {corners}"
    told = "multi-grid, corners and input are not in the weights; they are the published defaults of the layout"
    return (", ".join(fields), image) if stored else (", ".join(fields), image, told)


def _dual(spec: DualSpec) -> list[str]:
    grid = " ".join(map(str, spec.multi_grid)) if spec.multi_grid else "none"
    resnet = [f"{spec.stem} stem", f"multi-grid {grid}"] if spec.backbone.startswith("resnet") else []
    attention = [name for name, there in (("position", spec.position), ("channel", spec.channel)) if there]
    heads = [] if spec.path_classifiers else ["fused classifier only"]
    heads += ["FCN head on layer3"] if spec.auxiliary_head else []
    return [f"DANet on {spec.backbone}", *resnet, f"attention: {' and '.join(attention) or 'none'}", *heads]


def _classes(spec: Spec, names: Sequence[str]) -> str:
    return f"{spec.classes}: {', '.join(names)}" if names else f"{spec.classes}, not named in the file"


def _gate(gate: Gate) -> str:
    moved = f": never moved, this layout starts it at {gate.start:g}" if gate.value == gate.start else ""
    value = f"{gate.value:g}" if moved else f"{gate.value:+.4f}"
    return f"{gate.symbol:6}{value}{moved}  ({_BRANCHES[gate.symbol]}, {gate.name})"


def _fit(inspection: Inspection) -> Iterator[str]:
    match = inspection.match
    needed = len(match.names) + len(match.missing) + len(match.mismatched)
    yield from _row("matched", f"{len(match.names)} of the {needed} tensors that the model needs")
    yield from _row("missing", *listed(match.missing))
    shapes = [
        f"{theirs} is {_shape(found)}, the model needs {_shape(needed)} for its {ours}"
        for ours, (theirs, needed, found) in match.mismatched.items()
    ]
    yield from _row("other shapes", *_first(shapes))


def _left_over(inspection: Inspection) -> list[str]:
    left, n = inspection.match.left_over, len(inspection.tensors)
    if inspection.match.spec is not None:
        return listed(left)
    return [f"{len(left)} of its {n} tensors have no place there", *(listed(left) if len(left) < n else ())]


def listed(shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Names and shapes, alike ones in one line, at most :data:`LISTED`."""
    lines = fold([Entry(name, shape, "", Statistics(), 0) for name, shape in shapes.items()])
    return _first([f"{line.name}  {_layer(line)}{f', {line.alike} alike' * (line.alike > 1)}" for line in lines])


def _first(texts: Sequence[str]) -> list[str]:
    more = [f"... and {len(texts) - LISTED} lines more: --json has all"] if len(texts) > LISTED else []
    return [*texts[:LISTED], *more]


def _not_finite(entries: Iterable[Entry]) -> list[str]:
    odd = [
        f"{entry.name}: {entry.statistics.nan} NaN and {entry.statistics.inf} Inf of {entry.statistics.size}"
        for entry in entries
        if entry.statistics.nan or entry.statistics.inf
    ]
    return _first(odd) if odd else ["none"]


def _dead(head: Mapping[str, DeadChannels], anywhere: DeadChannels) -> Iterator[str]:
    layers = f"{anywhere.layers} batch norm{'s' * (anywhere.layers > 1)} with {anywhere.channels:,} channels"
    if not any(dead.certain or dead.at_most_0 for dead in (*head.values(), anywhere)):
        yield f"none; no scale and shift that are both at most 0 in {layers}"
        return
    for name, dead in head.items():
        yield f"{name:14}{dead.certain:5} of {dead.channels} for sure; {dead.at_most_0} with scale and shift at most 0"
    yield f"{layers}: {anywhere.certain} with scale 0 and shift at most 0; {anywhere.at_most_0} with both at most 0"
    yield "For sure: 0 after the ReLU whatever the image. A scale below 0 is no proof: it lets low inputs through."


def _tree(inspection: Inspection) -> Iterator[str]:
    heads = "".join(f"{head:>10}" for head in ("mean", "std", "min", "max"))
    yield f"{'tensor':{_NAME}}{'alike':>6} {'shape':<14} {'type':<4}{heads}{'zeros':>7}"
    lines = list(_branch([(line.name.split("."), line) for line in fold(inspection.tensors)], ""))
    yield from lines[:_LINES]
    if len(lines) > _LINES:
        yield f"... and {len(lines) - _LINES} lines more"
    if any(entry.name.endswith(".running_var") for entry in inspection.tensors):
        yield "bn: a batch norm, with the statistics of its scale."
    yield "Statistics are of the finite values of all tensors alike; --json lists every tensor."


def _branch(lines: Sequence[tuple[list[str], Line]], indent: str) -> Iterator[str]:
    """The lines by their first word, with a heading where a module has several."""
    modules: dict[str, list[tuple[list[str], Line]]] = {}
    for words, line in lines:
        modules.setdefault(words[0], []).append((words[1:], line))
    large = {word for word, inside in modules.items() if len(inside) >= _HEADED and all(words for words, _ in inside)}
    headed = large if len(indent) < _DEPTH else set()
    for words, line in lines:
        if words[0] not in headed:
            yield _tensor(indent + ".".join(words), line)
        elif inside := modules.pop(words[0], []):
            tensors, parameters = (sum(getattr(part, n) for _, part in inside) for n in ("tensors", "parameters"))
            yield f"{indent}{_cut(words[0], _NAME)}  ({tensors} tensors, {parameters:,} parameters)"
            yield from _branch(inside, f"{indent}  ")


def _tensor(name: str, line: Line) -> str:
    alike = str(line.alike) if line.alike > 1 else ""
    s = line.statistics
    numbers = "".join(f"{_number(value):>10}" for value in (s.mean, s.std, s.min, s.max))
    what = f"{_cut(name, _NAME):{_NAME}}{alike:>6} {_cut(_layer(line), 14):<14} {_type(line.dtype):<4}"
    return f"{what}{numbers}{_share(s.zeros, s.size):>7}"


def _layer(line: Line) -> str:
    return f"bn {_shape(line.shape)}" if line.is_batch_norm else _shape(line.shape)


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _type(dtype: str) -> str:
    """``float32`` to ``f32``."""
    for long, short in (("bfloat", "bf"), ("float", "f"), ("uint", "u"), ("int", "i")):
        if dtype.startswith(long):
            return short + dtype.removeprefix(long)
    return dtype


def _number(value: float) -> str:
    if math.isnan(value):
        return "-"
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:.4f}"
    return f"{value:.1e}"


def _cut(text: str, width: int) -> str:
    """Printable, and shortened in its middle to at most ``width`` columns."""
    text = _printable(text)
    return text if len(text) <= width else f"{text[: width // 2 - 2]}..{text[-(width // 2) :]}"


def _share(part: int, whole: int) -> str:
    return f"{max(100 * part / whole, 0.1):.1f}%" if part else "-"


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)

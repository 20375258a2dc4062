"""Tensors folded into few lines: those alike but for numbers in their names are one line, and so is a batch norm."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from analysis.inspection.statistics import Statistics, merged

_NUMBERS = 8  # of a name that may differ among alike tensors
_NUMBER = re.compile(r"([0-9]{1,15})")
_BATCH_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True)
class Entry:
    """One tensor of a file; or a batch norm of ``tensors`` tensors, with the shape and statistics of its scale.

    ``parameters``: how many values are learned.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    statistics: Statistics
    parameters: int
    nbytes: int = 0
    tensors: int = 1

    @property
    def is_batch_norm(self) -> bool:
        """Whether this stands for a whole batch norm."""
        return self.tensors > 1


@dataclass(frozen=True)
class Line:
    """``alike`` entries of one shape whose names differ in numbers only: ``layer3.1-22.conv1.weight``."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    statistics: Statistics  # of all their values
    parameters: int
    tensors: int
    alike: int
    is_batch_norm: bool


@dataclass(frozen=True)
class _Group:
    """Entries whose names have the same ``words``; ``numbers``: those between the words, any combination of them."""

    words: tuple[str, ...]
    numbers: tuple[tuple[str, ...], ...]
    entries: tuple[Entry, ...]


def is_learned(name: str) -> bool:
    """Whether a tensor of this name is a parameter, not one of batch norm's running statistics."""
    return name.rpartition(".")[2] not in _BATCH_NORM[2:]


def batch_norms(names: Iterable[str]) -> list[str]:
    """The names of the batch norms among tensors' names: what has a scale, a shift, a running mean and variance."""
    known = dict.fromkeys(names)
    prefixes = [name.removesuffix(".weight") for name in known if name.endswith(".weight")]
    return [prefix for prefix in prefixes if all(f"{prefix}.{leaf}" in known for leaf in _BATCH_NORM[:4])]


def fold(entries: Sequence[Entry]) -> list[Line]:
    """The entries in as few lines as names, shapes and types allow, in the order of their first ones."""
    alike: dict[object, list[_Group]] = {}
    position: dict[str, int] = {}
    for i, entry in enumerate(_joined(entries)):
        parts = _NUMBER.split(entry.name, maxsplit=_NUMBERS)
        group = _Group(tuple(parts[::2]), tuple((number,) for number in parts[1::2]), (entry,))
        alike.setdefault((group.words, entry.shape, entry.dtype, entry.tensors), []).append(group)
        position[entry.name] = i
    groups = [united for groups in alike.values() for united in _united(groups)]
    return [_line(group) for group in sorted(groups, key=lambda group: position[group.entries[0].name])]


def _joined(entries: Sequence[Entry]) -> list[Entry]:
    """Every batch norm's tensors made one entry, where the first of them was."""
    by_name = {entry.name: entry for entry in entries}
    home = {f"{norm}.{leaf}": norm for norm in batch_norms(by_name) for leaf in _BATCH_NORM}
    members: dict[str, list[Entry]] = {}
    for entry in entries:
        members.setdefault(home.get(entry.name, entry.name), []).append(entry)
    return [_joint(name, parts, by_name.get(f"{name}.weight", parts[0])) for name, parts in members.items()]


def _joint(name: str, parts: Sequence[Entry], scale: Entry) -> Entry:
    return replace(scale, name=name, parameters=sum(part.parameters for part in parts), tensors=len(parts))


def _united(groups: Sequence[_Group]) -> Sequence[_Group]:
    """Unite, one position after the other, groups that differ in the numbers of that position alone."""
    for i in range(len(groups[0].numbers)):
        beside: dict[object, list[_Group]] = {}
        for group in groups:
            beside.setdefault((group.numbers[:i], group.numbers[i + 1 :]), []).append(group)
        groups = [_union(same, i) for same in beside.values()]
    return groups


def _union(groups: Sequence[_Group], i: int) -> _Group:
    words, numbers = groups[0].words, groups[0].numbers
    here = tuple(number for group in groups for number in group.numbers[i])
    entries = tuple(entry for group in groups for entry in group.entries)
    return _Group(words, (*numbers[:i], here, *numbers[i + 1 :]), entries)


def _line(group: _Group) -> Line:
    first, *_ = group.entries
    numbers = (*map(_ranges, group.numbers), "")
    return Line(
        "".join(word + number for word, number in zip(group.words, numbers, strict=True)),
        first.shape,
        first.dtype,
        merged(entry.statistics for entry in group.entries),
        sum(entry.parameters for entry in group.entries),
        sum(entry.tensors for entry in group.entries),
        len(group.entries),
        first.is_batch_norm,
    )


def _ranges(numbers: Sequence[str]) -> str:
    """``1-22`` for all from 1 to 22, ``1,3-5`` for some of them."""
    runs: list[list[str]] = []
    for number in sorted(numbers, key=int):
        if runs and int(number) == int(runs[-1][-1]) + 1:
            runs[-1] = [runs[-1][0], number]
        else:
            runs.append([number])
    return ",".join("-".join(run) for run in runs)

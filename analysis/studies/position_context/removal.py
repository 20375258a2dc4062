"""The intervention: attention taken from keys of the query's class, and as much at equal distance from other classes.

Forbidding all keys of a class has no match where a query has no other keys at some distance, as inside a large object.
So in every ring beyond the near ones both arms lose what the weaker side of it has, t = min(own, other): the rows of
one arm have their own class's keys scaled by 1 - t / own, those of the other the rest's by 1 - t / other, and both are
normalised again, as a masked softmax is. Equal mass at equal distance, exactly, without a draw. No row loses more than
half its mass. Ignored keys and queries are left as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from analysis.studies.position_context.rings import NEAR, VOID, Labels, RingSums


@dataclass(frozen=True, eq=False)
class Values:
    """``position.value`` of all keys ``[N, C]``, and of those of each class."""

    all: Tensor
    of_class: dict[int, Tensor]

    @classmethod
    def of(cls, value: Tensor, labels: Labels) -> Values:
        """From ``[C, h, w]``."""
        rows = value.flatten(1).T.contiguous()
        return cls(rows, {c: rows[keys] for c, keys in labels.keys.items()})


@dataclass(frozen=True, eq=False)
class Removed:
    """For the queries of a grid row: ``attended [w, C]`` of each arm, and the ``mass [w]`` that each lost."""

    own: Tensor
    other: Tensor
    mass: Tensor


def remove(weights: Tensor, sums: RingSums, labels: Labels, values: Values, attended: Tensor) -> Removed:
    """From the rows ``weights [w, N]``, which it overwrites, and what they gave, ``attended [w, C]``."""
    other_mass = sums.mass - sums.own_mass
    taken = torch.minimum(sums.own_mass, other_mass)
    taken[:, : NEAR + 1] = 0
    own_factor, other_factor = (_ratio(taken, mass) for mass in (sums.own_mass, other_mass))
    own = torch.zeros_like(attended)
    for group in sums.own:
        lost = group.weights * own_factor[group.queries].gather(1, group.ring)
        own[group.queries] = lost @ values.of_class[group.c]
    other = _other_lost(weights, sums, labels, other_factor) @ values.all
    mass = taken.sum(1)
    left = 1 - mass[:, None]
    return Removed((attended - own) / left, (attended - other) / left, mass)


def _other_lost(weights: Tensor, sums: RingSums, labels: Labels, factor: Tensor) -> Tensor:
    """What every key of another class loses, ``[w, N]``; 0 for the query's own and for ignored ones."""
    lost = weights.mul_(factor.gather(1, sums.ring))
    for group in sums.own:
        lost[group.queries].index_fill_(1, group.keys, 0)
    if VOID in labels.keys:
        lost.index_fill_(1, labels.keys[VOID], 0)
    return lost


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    return torch.where(whole > 0, part / whole.clamp(min=torch.finfo(whole.dtype).tiny), 0)

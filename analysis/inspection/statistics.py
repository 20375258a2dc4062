"""Statistics of one tensor of a file, in one pass and little memory, and of several tensors together."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

CHUNK = 1 << 20  # values taken to float64 at a time


@dataclass(frozen=True)
class Statistics:
    """Of ``size`` values: how many are zero, NaN or infinite; of the finite ones the mean, the standard deviation (of a
    population), the least and the greatest, NaN where there are none.
    """

    size: int = 0
    zeros: int = 0
    nan: int = 0
    inf: int = 0
    mean: float = math.nan
    std: float = math.nan
    min: float = math.nan
    max: float = math.nan

    @property
    def finite(self) -> int:
        """How many values are finite."""
        return self.size - self.nan - self.inf


def statistics(tensor: Tensor) -> Statistics:
    """Of all values of a tensor of any real type."""
    return merged(map(_of_chunk, _chunks(tensor.detach())))


def merged(parts: Iterable[Statistics]) -> Statistics:
    """The statistics of all values of the parts together."""
    parts = list(parts)
    some = [part for part in parts if part.finite]
    n = sum(part.finite for part in some)
    counts = {name: sum(getattr(part, name) for part in parts) for name in ("size", "zeros", "nan", "inf")}
    if not n:
        return Statistics(**counts)
    mean = sum(part.finite * part.mean for part in some) / n
    variance = sum(part.finite * (part.std**2 + (part.mean - mean) ** 2) for part in some) / n
    extremes = {"min": min(part.min for part in some), "max": max(part.max for part in some)}
    return Statistics(**counts, mean=mean, std=math.sqrt(variance), **extremes)


def _chunks(values: Tensor) -> Iterator[Tensor]:
    flat = values.reshape(-1)
    for start in range(0, flat.numel(), CHUNK):
        yield flat[start : start + CHUNK].to(torch.float64)


def _of_chunk(values: Tensor) -> Statistics:
    low, high = values.aminmax()
    nan = inf = 0
    size, zeros = len(values), len(values) - int(values.count_nonzero())
    if not (math.isfinite(low) and math.isfinite(high)):  # aminmax hands NaN on
        nan, inf = int(values.isnan().sum()), int(values.isinf().sum())
        values = values[values.isfinite()]
        if not len(values):
            return Statistics(size, zeros, nan, inf)
        low, high = values.aminmax()
    variance, mean = torch.var_mean(values, correction=0)
    return Statistics(size, zeros, nan, inf, mean.item(), math.sqrt(variance.item()), low.item(), high.item())

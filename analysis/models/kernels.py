"""Exact position attention in chunks of queries: the N x N matrix is never whole where no gradient asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from analysis.errors import AnalysisError

MaskRule = Literal["forbid equal", "forbid other"]
CHUNK = 1024  # queries at a time


def position_attention(
    query: Tensor, key: Tensor, value: Tensor, labels: Tensor | None = None, rule: MaskRule | None = None
) -> Tensor:
    """Equation (1) and the sum of (2) of Fu et al.: ``query, key [B, d, N]``, ``value [B, C, N]`` to ``[B, C, N]``.

    Column j of the result is sum_i s_ji v_i with s_j = softmax_i(q_j . k_i), no scaling by 1/sqrt(d). Scores and
    softmax are float32 also under autocast.

    With integer ``labels [B, N]`` a rule takes keys away from each row before its softmax: ``forbid equal`` those of
    the query's own label, ``forbid other`` all the rest. A row left without a key gives 0.
    """
    if (labels is None) != (rule is None) or rule not in (None, "forbid equal", "forbid other"):
        raise AnalysisError(f"labels come with a rule, 'forbid equal' or 'forbid other'; got rule {rule!r}")
    with torch.autocast(query.device.type, enabled=False):
        key, wide_value = widened(key), widened(value).transpose(1, 2)
        chunks = widened(query).transpose(1, 2).split(CHUNK, dim=1)
        masks = (None for _ in chunks) if labels is None else _allowed(labels, rule)
        rows = [_attend(q, key, wide_value, allowed) for q, allowed in zip(chunks, masks, strict=True)]
    return torch.cat(rows, dim=1).transpose(1, 2).to(value.dtype)


def widened(x: Tensor) -> Tensor:
    """At least float32: energies pass 65,504, the largest half."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _attend(query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None) -> Tensor:
    """``query [B, n, d]``, ``key [B, d, N]``, ``value [B, N, C]``, ``allowed [B, n, N]`` to ``[B, n, C]``."""
    scores = query @ key
    if allowed is None:
        return torch.softmax(scores, dim=-1) @ value
    weights = torch.softmax(scores.masked_fill(~allowed, -torch.inf), dim=-1)
    return torch.where(allowed.any(dim=-1, keepdim=True), weights, 0.0) @ value


def _allowed(labels: Tensor, rule: MaskRule | None) -> Iterator[Tensor]:
    """One mask ``[B, n, N]`` a chunk of queries: True where the row may look at the key."""
    for chunk in labels.split(CHUNK, dim=1):
        yield (chunk[:, :, None] != labels[:, None, :]) == (rule == "forbid equal")

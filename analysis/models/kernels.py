"""Exact position attention by blocks: neither forward nor backward ever holds the N x N matrix.

    s_ji = exp(q_j . k_i) / sum_i exp(q_j . k_i)        out_j = sum_i s_ji v_i              (Fu et al., section 3.2)

The forward visits some queries at a time, with all keys. It keeps L_j, the logarithm of each row's sum, for the
backward, which visits tiles of some keys and queries and makes their weights P = exp(score - L) once more. With the
gradient G of out, and D_j = G_j . out_j:

    dV = G P^T        dS = P * (V^T G - D)        dq_j = sum_i dS_ji k_i        dk_i = sum_j dS_ji q_j

Nearly all time goes into products of matrices, and torch has two for the CPU: ``torch`` (MKL or OpenBLAS) and
``onednn`` (torch.nn.functional.linear on a tensor in the mkldnn layout), which is faster where MKL does not know the
CPU. :func:`fastest_product` says which one large calls take: it times both once, for a fifth of a second. The argument
``product`` or the environment variable ATTENTION_PRODUCT overrides it, and knows a third: ``bf16`` rounds what is
multiplied with values and gradients to bfloat16, never by itself. Scores stay float32; results were off by up to 0.5 %
of the greatest of them, gradients too (unit-normal scores and values, N = 4,096).

Accelerators take ``torch``: the path that is tested on the CPU, not timed on any of them.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor
from torch.nn.functional import linear

from analysis.errors import AnalysisError

MaskRule = Literal["forbid equal", "forbid other"]
Product = Literal["torch", "onednn", "bf16"]
#: Rows of a block at least: all keys and values are read anew for each block, 2 * ROWS operations for 4 bytes of them.
ROWS = 256
BLOCK = 2**20  # scores of a block, where so many have at least ROWS rows: 4 MiB, about what the caches of a core hold
TILE = 512, 1024  # queries and keys of the backward, where 2 MiB of weights meet as many of their gradient
LARGE = 2**32  # multiplications, N^2 (d + C), from which on the choice of a product is worth its timing


@torch.compiler.disable
def position_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    labels: Tensor | None = None,
    rule: MaskRule | None = None,
    product: Product | None = None,
) -> Tensor:
    """Equation (1) and the sum of (2) of Fu et al.: ``query, key [B, d, N]``, ``value [B, C, N]`` to ``[B, C, N]``.

    Column j of the result is sum_i s_ji v_i with s_j = softmax_i(q_j . k_i), no scaling by 1/sqrt(d). Scores and
    softmax are float32 also under autocast. Differentiable once; torch.compile leaves it out of its graphs.

    With integer ``labels [B, N]`` a rule takes keys away from each row before its softmax: ``forbid equal`` those of
    the query's own label, ``forbid other`` all the rest. A row left without a key gives 0.
    """
    if (labels is None) != (rule is None) or rule not in (None, "forbid equal", "forbid other"):
        raise AnalysisError(f"labels come with a rule, 'forbid equal' or 'forbid other'; got rule {rule!r}")
    wide = [widened(x).contiguous() for x in (query, key, value)]
    attended = _Attention.apply(*wide, labels, rule, _chosen(product, wide[0], wide[2]))
    return attended.to(value.dtype)


def widened(x: Tensor) -> Tensor:
    """At least float32: energies pass 65,504, the largest half."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def block_rows(n_keys: int) -> int:
    """How many rows of the attention to hold at a time."""
    return max(ROWS, BLOCK // n_keys)


@dataclass(frozen=True, eq=False)
class _Image:
    """One image: ``query, key [d, N]``, ``value [C, N]``, ``labels [N]``."""

    query: Tensor
    key: Tensor
    value: Tensor
    labels: Tensor | None
    rule: MaskRule | None
    product: Product

    def attend(self, out: Tensor, log_z: Tensor | None) -> None:
        """Fill ``out [C, N]``, and ``log_z [N]``, the logarithm of what each row is divided by."""
        queries, keys, values = self.query.T.contiguous(), self.key.T.contiguous(), self._right(self.value)
        every = slice(0, len(keys))
        for rows in _slices(len(queries), block_rows(len(keys))):
            part = None if log_z is None else log_z[rows]
            weights = self._weights(queries[rows], keys, self._forbidden(rows, every), part)
            out[:, rows] = _dense(linear(self._left(weights), values)).T

    def _weights(self, queries: Tensor, keys: Tensor, forbidden: Tensor | None, log_z: Tensor | None) -> Tensor:
        """Whole rows of the softmax, ``[n, N]``; fills ``log_z [n]``."""
        scores = linear(self._left_of_scores(queries), keys)
        if forbidden is None and log_z is None and scores.is_mkldnn:
            return torch.softmax(scores, 1)  # the one step that this layout knows: nothing is copied
        scores = _dense(scores)
        if forbidden is not None:
            scores.masked_fill_(forbidden, -torch.inf)
        if log_z is not None:
            torch.amax(scores, 1, out=log_z)
        weights = torch.softmax(scores, 1, out=scores)
        if forbidden is not None:
            weights.masked_fill_(forbidden, 0)  # a row without a key is NaN until here
        if log_z is not None:
            log_z.sub_(weights.amax(1).log())  # the greatest weight is exp(greatest score - log_z)
        return weights

    def differentiate(self, grad: Tensor, out: Tensor, log_z: Tensor, *gradients: Tensor) -> None:
        """Add to the gradients of query, key and value what follows from ``grad [C, N]``, that of ``out``."""
        d_query, d_key, d_value = gradients
        queries, keys, grads = self.query.T.contiguous(), self.key.T.contiguous(), self._right(grad.T)
        tiles = _slices(len(queries), TILE[0])
        lefts = [(self._left(grad[:, rows]), self._left_of_scores(self.query[:, rows])) for rows in tiles]
        means = [(grad[:, rows] * out[:, rows]).sum(0) for rows in tiles]
        for some in _slices(len(keys), TILE[1]):
            key, value = self._left_of_scores(keys[some]), self._left(self.value[:, some].T)
            for rows, (grad_left, query), mean in zip(tiles, lefts, means, strict=True):
                weights = _dense(linear(key, queries[rows])).sub_(log_z[rows]).exp_()
                forbidden = self._forbidden(some, rows)
                if forbidden is not None:
                    weights.masked_fill_(forbidden, 0)
                d_value[:, some] += _dense(linear(grad_left, self._right(weights)))
                slopes = _dense(linear(value, grads[rows])).sub_(mean).mul_(weights)
                d_key[:, some] += _dense(linear(query, slopes))
                d_query[:, rows] += self.key[:, some] @ slopes

    def _forbidden(self, some: slice, others: slice) -> Tensor | None:
        """Where a cell of ``some`` may not look at, or be seen by, one of ``others``: the rules are symmetric."""
        if self.labels is None:
            return None
        return (self.labels[some, None] == self.labels[others]) == (self.rule == "forbid equal")

    def _left_of_scores(self, x: Tensor) -> Tensor:
        """The left operand of a product of scores, in the layout that decides whose product it is."""
        return x.to_mkldnn() if self.product == "onednn" and not x.is_mkldnn else x

    def _left(self, x: Tensor) -> Tensor:
        """The left operand of a product with values or gradients."""
        return x.bfloat16() if self.product == "bf16" else self._left_of_scores(x)

    def _right(self, x: Tensor) -> Tensor:
        """The right one ``[m, k]``, of which :func:`linear` takes the transpose; oneDNN would copy parts of others."""
        return (x.bfloat16() if self.product == "bf16" else x).contiguous()


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, *way: Any) -> Tensor:
        out = torch.empty_like(value)
        log_z = torch.empty_like(query[:, 0]) if any(ctx.needs_input_grad) else None
        with torch.autocast(query.device.type, enabled=False):
            for b, image in enumerate(_images(query, key, value, *way)):
                image.attend(out[b], None if log_z is None else log_z[b])
        ctx.save_for_backward(query, key, value, out, log_z)
        ctx.way = way
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return (*_Gradients.apply(*grads, *ctx.saved_tensors, ctx.way), None, None, None)


class _Gradients(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, grad: Tensor, *saved: Any) -> tuple[Tensor, ...]:
        *inputs, out, log_z, way = saved
        gradients = tuple(torch.zeros_like(x) for x in inputs)
        with torch.autocast(grad.device.type, enabled=False):
            for b, image in enumerate(_images(*inputs, *way)):
                image.differentiate(grad[b], out[b], log_z[b], *(x[b] for x in gradients))
        return gradients

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> None:
        raise AnalysisError("position attention has no second derivative: differentiate through it only once")


def _images(query: Tensor, key: Tensor, value: Tensor, labels: Tensor | None, *way: Any) -> list[_Image]:
    each = [None] * len(query) if labels is None else labels
    return [_Image(*one, *way) for one in zip(query, key, value, each, strict=True)]


def _slices(n: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def _dense(x: Tensor) -> Tensor:
    """What a product gave, as an ordinary tensor of at least float32."""
    return x.to_dense() if x.is_mkldnn else widened(x)


def _chosen(asked: Product | None, query: Tensor, value: Tensor) -> Product:
    """The product of a call: what is asked for, else the fastest one if the call is large."""
    name = asked or cast(Product | None, os.environ.get("ATTENTION_PRODUCT") or None)
    if name not in (None, *get_args(Product)):
        raise AnalysisError(f"no product {name!r} of position attention: choose one of {', '.join(get_args(Product))}")
    if name == "bf16":
        return name
    if query.device.type != "cpu" or query.dtype != torch.float32 or not torch.backends.mkldnn.is_available():
        return "torch"  # the only one there
    multiplications = query.shape[2] ** 2 * (query.shape[1] + value.shape[1])
    return name or (fastest_product(torch.get_num_threads()) if multiplications >= LARGE else "torch")


@cache
def fastest_product(threads: int) -> Product:
    """``torch`` or ``onednn``: which takes less time for some rows on this CPU, with ``threads`` as they are set.

    oneDNN has to be faster by a tenth, so that between equal ones chance does not choose.
    """
    own = torch.Generator().manual_seed(0)  # a training's random numbers stay what they are
    query, key, value = (torch.randn(size, generator=own) for size in ((64, ROWS), (64, 4096), (512, 4096)))
    out = torch.empty(512, ROWS)
    torch_, onednn = (_Image(query, key, value, None, None, name) for name in get_args(Product)[:2])
    times = [(_seconds(onednn, out), _seconds(torch_, out)) for _ in range(9)]
    faster, plain = (min(some) for some in zip(*times, strict=True))  # the least: other programs only add to it
    return "onednn" if faster < 0.9 * plain else "torch"


@torch.no_grad()
def _seconds(image: _Image, out: Tensor) -> float:
    start = time.perf_counter()
    image.attend(out, None)
    return time.perf_counter() - start

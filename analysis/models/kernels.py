"""Exact position attention by tiles: neither forward nor backward ever holds the N x N matrix.

    s_ji = exp(q_j . k_i) / sum_i exp(q_j . k_i)        out_j = sum_i s_ji v_i              (Fu et al., section 3.2)

The forward takes some queries and visits all keys, some at a time. m_j is the greatest score so far, z_j the sum of
exp(score - m_j), and what was summed under a smaller m_j is scaled down (online softmax: Milakov, Gimelshein 2018).
L_j = m_j + log z_j is kept for the backward, which takes some keys, visits all queries, and makes their weights
P = exp(score - L) once more. With the gradient G of out, and D_j = G_j . out_j:

    dV = G P^T        dS = P * (V^T G - D)        dq_j = sum_i dS_ji k_i        dk_i = sum_j dS_ji q_j

Scores that lie far below the greatest of their row count as if they lay ``FLOOR`` below it: a weight that no sum of
float32 can show. Their true weights may be denormal numbers, with which a CPU multiplies some 80 times more slowly.

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
#: What is taken at a time, and what is visited at a time: 2 MiB of weights, so that a core's caches hold them and what
#: they meet; and enough of both that 512 channels of values or sums are not read for a few operations only.
TILE = 1024, 512
#: e^-40 is 4e-18, and float32 knows 6e-8 beside 1; scores of float64 are floored at -90.
FLOOR = {torch.float32: -40.0, torch.float64: -90.0}
LARGE = 2**32  # multiplications, M N (d + C), from which on the choice of a product is worth its timing


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
    softmax are float32 also under autocast. Differentiable once; torch.compile leaves it out of its graphs. Fewer
    queries, ``[B, d, M]``, give ``[B, C, M]``.

    With integer ``labels [B, N]`` a rule takes keys away from each row before its softmax: ``forbid equal`` those of
    the query's own label, ``forbid other`` all the rest. A row left without a key gives 0.
    """
    if (labels is None) != (rule is None) or rule not in (None, "forbid equal", "forbid other"):
        raise AnalysisError(f"labels come with a rule, 'forbid equal' or 'forbid other'; got rule {rule!r}")
    if labels is not None and query.shape[2] != key.shape[2]:
        raise AnalysisError(f"labels are of queries and keys: {query.shape[2]} of one and {key.shape[2]} of the other")
    wide = [widened(x).contiguous() for x in (query, key, value)]
    attended = _Attention.apply(*wide, labels, rule, _chosen(product, wide[0], wide[2]))
    return attended.to(value.dtype)


def widened(x: Tensor) -> Tensor:
    """At least float32: energies pass 65,504, the largest half."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


@dataclass(frozen=True, eq=False)
class _Image:
    """One image: ``query [d, M]``, ``key [d, N]``, ``value [C, N]``, ``labels [N]`` where M is N."""

    query: Tensor
    key: Tensor
    value: Tensor
    labels: Tensor | None
    rule: MaskRule | None
    product: Product

    def attend(self, out: Tensor, log_z: Tensor) -> None:
        """Fill ``out [C, M]``, and ``log_z [M]``, the logarithm of what each row is divided by."""
        keys = self.key.T.contiguous()
        for rows in _slices(len(log_z), TILE[0]):
            queries = self._left_of_scores(self.query[:, rows].T)
            top = torch.full_like(log_z[rows], torch.finfo(log_z.dtype).min)
            z, total = torch.zeros_like(top), self.value.new_zeros(len(out), len(top))
            for some in _slices(len(keys), TILE[1]):
                scores, forbidden = _dense(linear(queries, keys[some])), self._forbidden(rows, some)
                higher = torch.maximum(top, _without(scores, forbidden, -torch.inf).amax(1))
                shrink, top = _exp(top - higher), higher
                weights = _without(_exp(scores.sub_(top[:, None])), forbidden, 0)
                z.mul_(shrink).add_(weights.sum(1))
                total.mul_(shrink).add_(_dense(linear(self._left(self.value[:, some]), self._right(weights))))
            z.clamp_(min=1)  # the greatest weight is 1: less is a row without a key
            torch.div(total, z, out=out[:, rows])
            torch.add(top, z.log_(), out=log_z[rows])

    def differentiate(self, grad: Tensor, out: Tensor, log_z: Tensor, *gradients: Tensor) -> None:
        """Add to the gradients of query, key and value what follows from ``grad [C, M]``, that of ``out``."""
        d_query, d_key, d_value = gradients
        queries, keys, grads = self.query.T.contiguous(), self.key.T.contiguous(), self._right(grad.T)
        tiles = _slices(len(queries), TILE[1])
        lefts = [(self._left(grad[:, rows]), self._left_of_scores(self.query[:, rows])) for rows in tiles]
        means = [(grad[:, rows] * out[:, rows]).sum(0) for rows in tiles]
        for some in _slices(len(keys), TILE[0]):
            key, value = self._left_of_scores(keys[some]), self._left(self.value[:, some].T)
            for rows, (grad_left, query), mean in zip(tiles, lefts, means, strict=True):
                weights = _exp(_dense(linear(key, queries[rows])).sub_(log_z[rows]))
                weights = _without(weights, self._forbidden(some, rows), 0)
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
        out = value.new_empty(*value.shape[:2], query.shape[2])
        log_z = torch.empty_like(query[:, 0])
        with torch.autocast(query.device.type, enabled=False):
            for b, image in enumerate(_images(query, key, value, *way)):
                image.attend(out[b], log_z[b])
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


def _exp(scores: Tensor) -> Tensor:
    """In place; of scores that are at most 0."""
    return scores.clamp_(min=FLOOR[scores.dtype]).exp_()


def _without(x: Tensor, forbidden: Tensor | None, value: float) -> Tensor:
    """``x``, in place with ``value`` where something is forbidden."""
    return x if forbidden is None else x.masked_fill_(forbidden, value)


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
    multiplications = query.shape[2] * value.shape[2] * (query.shape[1] + value.shape[1])
    return name or (fastest_product(torch.get_num_threads()) if multiplications >= LARGE else "torch")


@cache
def fastest_product(threads: int) -> Product:
    """``torch`` or ``onednn``: which takes less time for some rows on this CPU, with ``threads`` as they are set.

    oneDNN has to be faster by a tenth, so that between equal ones chance does not choose.
    """
    n, own = TILE[0], torch.Generator().manual_seed(0)  # a training's random numbers stay what they are
    query, key, value = (torch.randn(size, generator=own) for size in ((64, n), (64, n), (512, n)))
    torch_, onednn = (_Image(query, key, value, None, None, name) for name in get_args(Product)[:2])
    times = [(_seconds(onednn), _seconds(torch_)) for _ in range(9)]
    faster, plain = (min(some) for some in zip(*times, strict=True))  # the least: other programs only add to it
    return "onednn" if faster < 0.9 * plain else "torch"


@torch.no_grad()
def _seconds(image: _Image) -> float:
    out, log_z = torch.empty_like(image.value), torch.empty_like(image.query[0])
    start = time.perf_counter()
    image.attend(out, log_z)
    return time.perf_counter() - start

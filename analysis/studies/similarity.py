"""How alike are representations? Debiased linear CKA, and a probe that tells them apart.

The biased estimate grows with the number of features: independent Gaussian data of 32 objects and 8 features read
0.2, and features of trained networks near 1 whatever they hold. The debiased one is 0 in expectation there.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.errors import AnalysisError
from analysis.statistics import Weights


def debiased_cka(x: np.ndarray, y: np.ndarray) -> float:
    """Linear CKA of ``x [n, p]`` and ``y [n, q]``: 1 for equal up to rotation, scale and shift, 0 on average where
    independent (then it can be negative). NaN for fewer than four objects, or constant features.

    HSIC by Song et al. (JMLR 2012), equation 5; as Kornblith et al. (ICML 2019) and Nguyen et al. (ICLR 2021) use it.
    """
    return float(mean_cka([x[None], y[None]], np.ones((1, len(x))))[0, 0, 1])


def mean_cka(features: list[np.ndarray], kept: Weights) -> np.ndarray:
    """CKA between S representations of the same n objects in D draws: ``[D, n, C]`` each to ``[R, S, S]``.

    ``kept [R, n]``: 1 for the objects that count and 0 for the others, so not a bootstrap draw: an object twice is
    alike to itself. HSIC is averaged over draws before its ratio is taken, as over minibatches in Nguyen et al. (2021).
    """
    total = np.zeros((len(kept), len(features), len(features)))
    for draw in zip(*features, strict=True):
        total += _hsic([_kernel(x) for x in draw], kept)
    own = np.diagonal(total, axis1=1, axis2=2)
    scale = np.sqrt(np.maximum(own[:, :, None] * own[:, None, :], 0))
    return np.divide(total, scale, out=np.full_like(total, np.nan), where=scale > 0)


def _kernel(x: np.ndarray) -> np.ndarray:
    """Inner products ``[n, n]`` with a zero diagonal, of features centred and scaled, which changes no CKA."""
    centred = x.astype(float) - x.mean(axis=0, dtype=float)
    kernel = centred @ centred.T / max(float((centred**2).mean()), np.finfo(float).tiny)
    np.fill_diagonal(kernel, 0)
    return kernel


def _hsic(kernels: list[np.ndarray], kept: Weights) -> np.ndarray:
    """Song et al., equation 5, over the kept objects: kernels ``[n, n]`` with zero diagonals to ``[R, S, S]``."""
    n = kept.sum(axis=1)
    sums = np.stack([kept @ kernel for kernel in kernels]) * kept  # [S, R, n]
    totals = sums.sum(axis=2)
    result = np.empty((len(kept), len(kernels), len(kernels)))
    for a, b in np.ndindex(result.shape[1:]):
        trace = ((kept @ (kernels[a] * kernels[b])) * kept).sum(axis=1)
        cross = (sums[a] * sums[b]).sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            value = (trace + totals[a] * totals[b] / ((n - 1) * (n - 2)) - 2 * cross / (n - 2)) / (n * (n - 3))
        result[:, a, b] = np.where(n > 3, value, np.nan)
    return result


def told_apart(features: list[np.ndarray], blocks: pd.Series) -> np.ndarray:
    """Share of draws in which a probe that never saw an object's block tells the right one of S representations.

    ``features`` are ``[D, n, C]`` each, ``blocks [n]``; ``[n]``, by chance 1 / S. Two logistic regressions
    (standardised features, scikit-learn's ridge of 1): one learns from every second block and is tested on the others,
    one the reverse. AnalysisError: fewer than two blocks.
    """
    order = pd.factorize(blocks, sort=True)[0]
    if order.max(initial=0) < 1:
        raise AnalysisError("a held-out probe needs two blocks or more: give a split with several")
    x = np.stack(features).astype(float)  # [S, D, n, C]
    shares = np.empty(len(order))
    for parity in (0, 1):
        held_out = order % 2 == parity
        shares[held_out] = _share_told(x[:, :, ~held_out], x[:, :, held_out])
    return shares


def _share_told(train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Trained on ``[S, D, n, C]``, the share told right for each object of ``[S, D, m, C]``: ``[m]``."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def truth(x: np.ndarray) -> np.ndarray:
        return np.broadcast_to(np.arange(len(x))[:, None, None], x.shape[:3])

    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    probe.fit(train.reshape(-1, train.shape[-1]), truth(train).ravel())
    told = probe.predict(test.reshape(-1, test.shape[-1])).reshape(test.shape[:3])
    return (told == truth(test)).mean(axis=(0, 1))

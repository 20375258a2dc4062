"""What a figure shows, in a sentence with its numbers: the same in the dashboard and in the report."""

from __future__ import annotations

import numpy as np

from analysis.views import View


def weights_caption(seen: View) -> str:
    """Mean weights, and how much the weights vary over the photograph."""
    assert seen.weights is not None
    means = [f"{branch} {w.mean():.2f} ({w.min():.2f} to {w.max():.2f})" for branch, w in _by_branch(seen)]
    return f"Mean weight, and range over the photograph: {', '.join(means)}."


def winner_caption(seen: View) -> str:
    """Shares of the cells that each branch wins, largest first."""
    assert seen.winner is not None
    shares = [float((seen.winner == s).mean()) for s in range(len(seen.branches))]
    order = np.argsort(shares)[::-1]
    said = [f"the {seen.branches[s]} wins {shares[s]:.0%}" for s in order]
    return f"Of {seen.winner.size:,} positions {', '.join(said)}."


def _by_branch(seen: View) -> list[tuple[str, np.ndarray]]:
    assert seen.weights is not None
    return list(zip(seen.branches, seen.weights, strict=True))

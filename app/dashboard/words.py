"""What is said about each picture: one sentence with its formula and source, and captions that follow the state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from analysis.checkpoints.layouts import Match
from analysis.inspection import Inspection
from analysis.inspection.dead import DeadChannels
from analysis.models import DualSpec, ScaleSpec, Spec
from analysis.models.spec import ChannelForm
from analysis.views import Gate, View, branch_labels

SYMBOLS = {"alpha": "α", "beta": "β"}
CHEN, FU = "Chen et al., CVPR 2016", "Fu et al., CVPR 2019"

WEIGHTS = rf"""
How much each branch counts at every position, $w^s_i = \exp h^s_i \,/\, \sum_t \exp h^t_i$, in the fused score
$g_{{i,c}} = \sum_s w^s_i f^s_{{i,c}}$; one common scale from 0 to 1
*({CHEN}, section 3.2, equations 1 and 2)*."""

AVERAGE = rf"""
Average fusion gives every branch the same weight everywhere, $w^s_i = 1/S$, in the fused score
$g_{{i,c}} = \sum_s w^s_i f^s_{{i,c}}$ *({CHEN}, section 3.2)*."""

WINNER = rf"""
The branch with the greatest weight at every position, $\arg\max_s w^s_i$
*(weights of {CHEN}, section 3.2; the paper's figures show each map by itself)*."""

WINNER_OF_MAX = rf"""
Max fusion takes the greatest score, $g_{{i,c}} = \max_s f^s_{{i,c}}$, a choice per class that no weight shared by
classes can make; shown is the branch from which the predicted class has its score *({CHEN}, section 3.2)*."""

POSITION = rf"""
Where the picked pixel $j$ looks: its row $s_{{ji}} = \exp(q_j \cdot k_i) \,/\, \sum_i \exp(q_j \cdot k_i)$ over all
positions $i$, which weights the values in $E_j = \alpha \sum_i s_{{ji}} v_i + A_j$
*({FU}, section 3.2, equations 1 and 2)*."""

CHANNEL: dict[ChannelForm, str] = {
    "paper": rf"""
Which channels $i$ make up channel $j$: $x_{{ji}} = \exp(A_j \cdot A_i) \,/\, \sum_i \exp(A_j \cdot A_i)$.
**The paper's form is in force** *({FU}, section 3.3, equation 3)*.""",
    "released": rf"""
Which channels $i$ make up channel $j$. **The released form is in force**,
$x_{{ji}} = \mathrm{{softmax}}_i(\max_i e_{{ji}} - e_{{ji}}) = \mathrm{{softmax}}_i(-e_{{ji}})$ with the energy
$e_{{ji}} = A_j \cdot A_i$: the weight goes to the channels with the *smallest* inner product, the reverse of
equation 3 *({FU}, section 3.3; this form is that of the authors' released code)*.""",
}

GATES = rf"""
What each attention adds to its input: the gate's value, and the relative contribution
$\lVert \alpha \sum_i s_{{ji}} v_i \rVert \,/\, \lVert A \rVert$ (for $\beta$ likewise), which alone can be compared
between the two *(gates: {FU}, equations 2 and 4)*."""

GATE_VALUES = rf"""
The gates $\alpha$ and $\beta$ start at 0, where the attention is the identity, and are learned
*({FU}, sections 3.2 and 3.3)*."""

GATE_GRADIENTS = r"""
The gradients $\partial L / \partial \alpha$ and $\partial L / \partial \beta$ at every step. A gate at 0 moves because
its gradient, the attended features times what comes back from the loss, is not 0 there."""

GATE_CONTRIBUTIONS = r"""
What the gates really add: $\lVert \alpha \sum_i s_{ji} v_i \rVert \,/\, \lVert A \rVert$, and for $\beta$ likewise,
over the training batch. $(\alpha, W_v)$ and $(c\,\alpha, W_v / c)$ are the same function, so the size of $\alpha$ says
little by itself."""


INSIDE = """
What the file holds and how it is understood: its tensors' names and shapes are matched against those of every known
layout. Nothing of the file is run."""

DEAD = r"""
Channels that their weights keep at 0: with the scale $g$ and shift $b$ of a batch norm before a ReLU, for sure where
$g = 0$ and $b \le 0$. Both at most 0 is only a hint, as a negative scale lets low inputs through."""

ORIGIN = "What is stored beside the tensors, and the file's sum."


def layout_caption(inspection: Inspection) -> str:
    """How the layout was told, and the form of channel attention with how that is known."""
    form = inspection.channel_form
    said = f" Channel attention in the {form[0]} form: {form[1]}." if form else ""
    return f"Layout: {inspection.match.why}.{said}"


def misfits_caption(match: Match) -> str:
    """How many there are of each kind."""
    counts = (len(match.missing), len(match.mismatched), len(match.left_over))
    return "{} missing, {} of another shape, {} left over.".format(*counts)


def stored_gates_caption(inspection: Inspection) -> str:
    """Which gates ever moved."""
    still = [SYMBOLS.get(gate.symbol, gate.symbol) for gate in inspection.gates if gate.value == gate.start]
    return f"{' and '.join(still)} never moved." if still else "All gates have left the value they started at."


def dead_caption(everywhere: DeadChannels) -> str:
    """How many channels are dead, of all."""
    dead, n = everywhere.certain, everywhere.channels
    return f"{dead:,} of {n:,} channels of all batch norms are dead for sure ({dead / max(1, n):.1%})."


def tensors_caption(inspection: Inspection) -> str:
    """How many there are, and whether any holds what is no number."""
    odd = [entry.name for entry in inspection.tensors if entry.statistics.nan or entry.statistics.inf]
    said = f"{len(odd)} hold NaN or Inf, {odd[0]} first" if odd else "none holds NaN or Inf"
    return f"{len(inspection.tensors)} tensors; {said}. Statistics are of finite values."


def model_title(spec: Spec) -> str:
    """The name of this kind of model."""
    return "Attention to Scale" if isinstance(spec, ScaleSpec) else "Dual attention (DANet)"


def model_line(spec: Spec) -> str:
    """What this model is made of, in one line."""
    if isinstance(spec, ScaleSpec):
        return f"{spec.backbone} backbone · {', '.join(branch_labels(spec.scales))} · {spec.fusion} fusion"
    return f"{spec.backbone} backbone · {_attentions(spec)}"


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


def row_caption(seen: View, row: np.ndarray, pixel: tuple[int, int], classes: Sequence[str]) -> str:
    """What the picked pixel is, and how concentrated its row is."""
    y, x = seen.cell(pixel)
    there = classes[seen.prediction[pixel]]
    height, width = row.shape
    return (
        f"The pixel is predicted {there} and lies in cell ({y}, {x}) of {height} x {width}. Its row peaks at "
        f"{row.max() * row.size:.1f} times uniform attention, and gives {row[y, x] * row.size:.1f} times to itself."
    )


def affinity_caption(seen: View) -> str:
    """How concentrated the rows of the affinity are, and how much stays on the channel itself."""
    assert seen.affinity is not None
    count = len(seen.affinity)
    top, own = seen.affinity.max(axis=1).mean(), np.diag(seen.affinity).mean()
    return (
        f"{count} channels. On average a row puts {top:.0%} of its weight on one channel and {own:.1%} on itself; "
        f"uniform would be {1 / count:.1%}."
    )


def energy_caption(seen: View) -> str:
    """The range of the energies, which decides how sharp the softmax is."""
    assert seen.energy is not None
    return (
        f"The energies before the softmax, {seen.energy.min():.4g} to {seen.energy.max():.4g}: sums over positions, so "
        "rows are sharper at a higher resolution."
    )


def gates_caption(gates: Mapping[str, Gate]) -> str:
    """What each gate adds on this photograph; a gate that is exactly 0 adds nothing."""
    said = [
        f"{SYMBOLS[name]} = {gate.value:+.4f} adds {gate.contribution:.2%} to its path"
        if gate.value
        else f"{SYMBOLS[name]} is exactly 0: its path is the identity"
        for name, gate in gates.items()
    ]
    return f"On this photograph {', '.join(said)}."


def values_caption(history: pd.DataFrame, step: int | None) -> str:
    """The gates when the training was at ``step``, and whether they ever moved."""
    row = _row_at(history, step)
    said = [
        f"{symbol} = {row[name]:+.4f}" + (", which never moved" if history[name].nunique() == 1 else "")
        for name, symbol in _symbols(history).items()
    ]
    return f"At step {int(row['step'])} of {int(history['step'].max())}: {'; '.join(said)}."


def gradients_caption(history: pd.DataFrame, step: int | None) -> str:
    """The gates' gradients at ``step``, and the largest of the training."""
    row = _row_at(history, step)
    columns = {symbol: f"{name}_grad" for name, symbol in _symbols(history).items()}
    said = [
        f"that of {symbol} is {row[column]:+.2g} (at most {history[column].abs().max():.2g} in size)"
        for symbol, column in columns.items()
    ]
    return f"At step {int(row['step'])} {' and '.join(said)}."


def contributions_caption(history: pd.DataFrame, step: int | None) -> str:
    """What both paths add at ``step``, and at most."""
    row = _row_at(history, step)
    columns = {symbol: f"{name}_contribution" for name, symbol in _symbols(history).items()}
    said = [
        f"the path of {symbol} adds {row[column]:.2%} (at most {history[column].max():.2%})"
        for symbol, column in columns.items()
    ]
    return f"At step {int(row['step'])} {' and '.join(said)}."


def _row_at(history: pd.DataFrame, step: int | None) -> pd.Series:
    """The last row up to ``step``, the last of all where it is unknown."""
    rows = history if step is None else history[history["step"] <= step]
    return (rows if len(rows) else history).iloc[-1]


def _symbols(history: pd.DataFrame) -> dict[str, str]:
    """The gates that the history has."""
    return {name: symbol for name, symbol in SYMBOLS.items() if name in history and history[name].notna().any()}


def _attentions(spec: DualSpec) -> str:
    on = ["position attention"] * spec.position + [f"channel attention ({spec.form} form)"] * spec.channel
    return " and ".join(on) or "both attentions switched off"


def _by_branch(seen: View) -> list[tuple[str, np.ndarray]]:
    assert seen.weights is not None
    return list(zip(seen.branches, seen.weights, strict=True))

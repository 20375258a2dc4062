"""What is in a checkpoint's file."""

from __future__ import annotations

from analysis.checkpoints.layouts import Match
from analysis.inspection import Inspection
from analysis.inspection.dead import DeadChannels
from dashboard.words.models import SYMBOLS

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

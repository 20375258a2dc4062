"""The claims in plain words, for the command line, the report and the dashboard.

What a verdict means, what the control of a claim is and when to mistrust its number; and numbers as people read them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.claims.sentences import CLAIMS, Claim
from analysis.statistics import Verdict

#: What each verdict says.
MEANING: dict[Verdict, str] = {
    "supported": "the interval lies beyond the smallest effect that matters, on the side that the paper says",
    "contradicted": "the interval lies beyond the smallest effect that matters, on the other side",
    "negligible": "the interval lies within the smallest effect that matters: if there is an effect, it is too small",
    "mixed": "classes, or observation and intervention, disagree, or a rival explanation is not excluded",
    "undecided": "the interval reaches across the smallest effect that matters: too few data for this effect",
    "control failed": "the measure finds the effect also where it cannot be, or too few data show that it does not",
    "not applicable": "it cannot be tested with what was given",
}


@dataclass(frozen=True)
class Plain:
    """``measure``: what the effect is; ``control``: what must come out null; ``caveat``: what the number is not."""

    measure: str
    control: str
    caveat: str


# fmt: off
PLAIN = {
    "small-objects": Plain(
        "Mean weight of the 1.0x branch on the smallest quarter of the objects of a class, less that on the largest, "
        "less the same where each object's mask is moved sideways. Intervention: the weight lost for every doubling of "
        "an object that is resized in its place.",
        "Attention heads drawn anew, which have learnt nothing; of the intervention, the object pasted as it was.",
        "Small objects are nearly all contour, and weights follow contours. An effect that is gone a cell inside the "
        "outlines does not count as one of size."),
    "large-objects": Plain(
        "The mirror: mean weight of the smallest branch on the largest quarter less the smallest, less the same at the "
        "placebo; and on background (stuff) less that on small objects.",
        "Attention heads drawn anew; of the intervention, the object pasted as it was.",
        "Weights add up to 1: what one branch gains others lose, so this is no second witness for small-objects. With "
        "two scales it is the same test."),
    "weights-matter": Plain(
        "Rank agreement, within a class, of a branch's weight on an object and of what that branch is worth to it (its "
        "Shapley value under uniform fusion). Intervention: object IoU lost when objects of a class swap weights.",
        "Shapley values shuffled between the objects of a class.",
        "Agreement of ranks says nothing of how much is at stake: IoU under the intervention does."),
    "attention-fusion": Plain(
        "mIoU with attention less that with the better of average and max. Observed: trained with either. "
        "Intervention: the score maps of one trained model, fused by either.",
        "None: both sides see the same images.",
        "The model of the intervention was trained to be fused by attention, which favours attention."),
    "extra-supervision": Plain(
        "mIoU of trainings with a loss for every branch less that of trainings without.",
        "None: with AdamW the same training with its loss multiplied is the same training.",
        "It is a statement on trainings: one seed of each says little of the next."),
    "discriminative-branches": Plain(
        "mIoU of each branch alone, of trainings with extra supervision less those without; that which gains least.",
        "None.",
        "A branch that is never trained to stand alone may be a good part of the whole."),
    "distinct-scales": Plain(
        "How much less alike the branches' features are (debiased linear CKA) than in the same architecture untrained. "
        "Intervention: than in trainings without extra supervision.",
        "None beside the comparison itself: the untrained architecture is taken off.",
        "CKA compares linear geometry only, and on few images its error is large."),
    "same-class-context": Plain(
        "Attention of a position on its own class, beyond two cells, less what its distances alone would give. "
        "Intervention: IoU lost without the keys of its own class, less that without as many of other classes.",
        "Query and key convolutions drawn anew.",
        "Classes lie together, so near things are of one class: hence what distance alone gives is taken away."),
    "class-channels": Plain(
        "Share of a channel's affinity on channels with the same top class, less the share of such channels, less the "
        "same of features that channel attention never trained. Intervention: IoU that a group's class loses when the "
        "group is replaced by its mean, less what others lose, against random groups of equal size.",
        "Taken off within the effect: the same module on the features of the position branch, and on those of a branch "
        "drawn anew.",
        "Any features that know classes have energies that follow them; what counts is what channel attention adds."),
    "bare-channels": Plain(
        "What class-channels measures, of trainings without 1×1 convolutions before channel attention less those with. "
        "Intervention: the same of mIoU.",
        "None.",
        "It is a statement on trainings: one seed of each says little of the next."),
    "gates-grow": Plain(
        "What the weaker of the two gated paths adds to its input, in per cent. Intervention: mIoU lost with that gate "
        "at 0.",
        "In the same training a second gate on the same path with its positions (channels) permuted.",
        "The size of α alone means little: α and the values that it multiplies can be scaled against each other. A "
        "gate at 0 shows reliance, not what training with the path brought."),
    "complementary": Plain(
        "mIoU of trainings with both attentions less the better of one alone. Intervention: mIoU of models with both, "
        "less that with one of their gates at 0.",
        "None.",
        "Reliance (a gate at 0) is not benefit (a training without it)."),
}
# fmt: on


def find_claim(name: str) -> Claim | None:
    """The claim of a name, also of one of its further measures (``small-objects: slope``); None for others."""
    return next((one for one in CLAIMS if one.name == name.partition(":")[0]), None)


def counted(rows: pd.DataFrame) -> str:
    """How many rows have which verdict, in the order of :data:`MEANING`: ``2 supported, 1 undecided``."""
    counts = rows["verdict"].value_counts()
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in MEANING if verdict in counts)


def number(value: float) -> str:
    """Signed, with three digits or decimals, whichever are fewer."""
    return f"{value:+z.{3 if abs(value) < 1 else 2 if abs(value) < 10 else 1}f}"


def effect_text(row: Any) -> str:
    """Effect, 95 % interval and unit of a row of ``claims``: ``+0.120 [+0.080, +0.160] weight``; empty without one."""
    if math.isnan(row["effect"]):
        return ""
    return "{} [{}, {}] {}".format(*(number(row[name]) for name in ("effect", "low", "high")), row["unit"]).rstrip()


def control_text(row: Any) -> str:
    """What the control of a row gave, against the smallest effect; empty where it has none."""
    if math.isnan(row["control_low"]):
        return ""
    low, high, delta = row["control_low"], row["control_high"], row["smallest_effect"]
    where = "inside" if -delta < low and high < delta else "not inside"
    return f"{number(low)} to {number(high)}, {where} ±{delta:g}"

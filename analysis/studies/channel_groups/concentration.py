"""How concentrated the rows of channel attention are, in both forms and at other numbers of positions.

The energy is a sum over the N positions, so the softmax sharpens with the resolution: features resampled to a quarter
and to four times the positions show how far.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from analysis.models.dual_attention import ChannelAttention
from analysis.models.resize import resize
from analysis.models.spec import ChannelForm
from analysis.taps import capture

FORMS: tuple[ChannelForm, ...] = ("paper", "released")
FACTORS = (0.25, 1.0, 4.0)  # of the number of positions


@dataclass(frozen=True, eq=False)
class Concentration:
    """Means over the rows of affinity matrices.

    ``entropy`` in nats; ``effective``: exp(entropy), over how many channels a row spreads; ``own``: x_jj;
    ``received [C]``: the share of all rows that goes to each channel, which add up to 1.
    """

    entropy: float
    effective: float
    own: float
    received: np.ndarray


def affinity_of(energy: Tensor, form: ChannelForm) -> Tensor:
    """Equation (3) of Fu et al., or its sign turned as in the released code: ``[..., C, C]``, rows of sum 1."""
    return torch.softmax(energy if form == "paper" else -energy, dim=-1)


def concentration(affinity: Tensor) -> Concentration:
    """Of ``affinity [..., C, C]``, whose rows add up to 1."""
    entropy = torch.special.entr(affinity).sum(dim=-1)
    own, received = affinity.diagonal(dim1=-2, dim2=-1).mean().item(), affinity.flatten(0, -2).mean(dim=0).cpu().numpy()
    return Concentration(entropy.mean().item(), entropy.exp().mean().item(), own, received)


@torch.no_grad()
def concentrations(cam: ChannelAttention, features: Tensor) -> pd.DataFrame:
    """One row a form and number of positions for ``features [T, C, h, w]``, means over the T crops of an image.

    ``received`` is a list column.
    """
    rows: list[dict[str, Any]] = []
    for factor in FACTORS:
        size = tuple(max(1, round(side * factor**0.5)) for side in features.shape[-2:])
        with capture(cam, "channel.energy") as taps:
            cam(resize(features, size, align_corners=True))
        for form in FORMS:
            one = concentration(affinity_of(taps["channel.energy"], form))
            values = {"entropy": one.entropy, "effective_channels": one.effective, "self_share": one.own}
            what = {"form": form, "in_force": form == cam.form, "factor": factor, "positions": size[0] * size[1]}
            rows.append({**what, **values, "received": one.received})
    return pd.DataFrame(rows)

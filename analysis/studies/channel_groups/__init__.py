"""Channel attention: which channels it relates, what they respond to, and what depends on them (Fu et al., §3.3).

    result = channel_groups(checkpoint, dataset)
    result["channels"], result["channel_groups"]      as DESIGN 5; group -1: in no stable one
    result["channel_selectivity"]                     of every channel for every class, before and after the module
    result["channel_concentration"]                   both forms at N/4, N and 4N positions
    result["channel_pairs"]                           mean energy, correlation and mean affinity of every two channels
    result["channel_sums"], result["channel_ablation"]     what the claims are measured on

Two passes over the images: sums over stretches of them, at the resolution of training
(:mod:`~analysis.studies.channel_groups.sums`), then ablation of the groups found.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from analysis.checkpoints import Checkpoint
from analysis.datasets.sample import Dataset
from analysis.errors import AnalysisError
from analysis.models import DualAttention
from analysis.models.dual_attention import ChannelAttention
from analysis.studies.channel_groups.ablation import Ablation, drops
from analysis.studies.channel_groups.claims import bare_channels, class_channels
from analysis.studies.channel_groups.effects import Stack
from analysis.studies.channel_groups.groups import Grouping, correlation, stable_groups
from analysis.studies.channel_groups.resolution import training_crop
from analysis.studies.channel_groups.selectivity import top_classes
from analysis.studies.channel_groups.sums import ChannelSums, stretches
from analysis.studies.study import Result, identity, run

__all__ = ["bare_channels", "channel_groups", "class_channels"]


def channel_groups(
    checkpoint: Checkpoint,
    dataset: Dataset,
    out: Path | None = None,
    *,
    groups: int | None = None,
) -> Result:
    """Groups of channels, their classes, and the loss of IoU without them.

    ``groups``: so many, rather than those that are stable.
    AnalysisError: a model without channel attention, other classes than the data set's, no labels, dead channels only.
    """
    model, cam = _channel_attention(checkpoint)
    study = ChannelSums(model, cam, dataset, training_crop(checkpoint))
    first = run(study, checkpoint, stretches(dataset), out, images_per_part=1)
    sums = first["channel_sums"]
    own = Stack(sums[sums["path"] == "channel"])
    grouping = _grouping(own, groups)
    summaries = {
        "channels": _channels(own, grouping, dataset.classes),
        "channel_selectivity": _selectivity(own, dataset.classes),
        "channel_concentration": _concentration(first["channel_concentration"], grouping),
        "channel_pairs": _pairs(own),
    }
    grouped = _groups(summaries["channel_selectivity"], grouping)
    second = run(_ablation(model, own, grouping, grouped, dataset), checkpoint, dataset, out)["channel_ablation"]
    summaries["channel_groups"] = grouped.merge(drops(second), how="left", on=["group", "class"])
    columns = {**identity(checkpoint, dataset), "block": "all"}
    more = {name: table.assign(**columns) for name, table in summaries.items()}
    return first.plus({"channel_ablation": second, **more})


def _channel_attention(checkpoint: Checkpoint) -> tuple[DualAttention, ChannelAttention]:
    model = checkpoint.model
    if not isinstance(model, DualAttention) or not isinstance(model.cam, ChannelAttention):
        raise AnalysisError(
            f"{checkpoint.name} has no channel attention to study; give a DANet that was trained with CAM"
        )
    return model, model.cam


def _ones(stack: Stack) -> np.ndarray:
    return np.ones((1, len(stack.rows)))


def _grouping(own: Stack, number: int | None) -> Grouping:
    moments, means = (np.stack(list(own.rows[name])).astype(float) for name in ("moment_before", "mean_before"))
    shape = (*means.shape, means.shape[1])
    return stable_groups(moments.reshape(shape), means, own.rows["images"].to_numpy(float), number)


def _ablation(model: DualAttention, own: Stack, grouping: Grouping, groups: pd.DataFrame, dataset: Dataset) -> Ablation:
    """Pass 2. A group's class is the one it is most selective for, of those that the split has."""
    best = groups.loc[groups.dropna(subset="selectivity").groupby("group")["selectivity"].idxmax(), "class"].tolist()
    means = own.moments("after", _ones(own))[1][0]
    return Ablation(model, dataset.classes, grouping.group.tolist(), grouping.alive.tolist(), best, means)


def _channels(own: Stack, grouping: Grouping, classes: tuple[str, ...]) -> pd.DataFrame:
    """Activation, top class and selectivity for it, before the module; a dead channel has none."""
    auc = own.auc("before", _ones(own))[0]
    tops = top_classes(auc, grouping.alive)
    columns = {
        "channel": np.arange(len(tops)),
        "group": grouping.group,
        "mean_activation": own.moments("before", _ones(own))[1][0],
        "dead": ~grouping.alive,
        "top_class": [classes[c] if c >= 0 else "" for c in tops],
        "selectivity": np.where(tops >= 0, auc[np.arange(len(tops)), tops], np.nan),
    }
    return pd.DataFrame(columns)


def _selectivity(own: Stack, classes: tuple[str, ...]) -> pd.DataFrame:
    """Area under the curve, 0..1, of every channel for every class; NaN for a class that no image has."""
    before, after = (own.auc(stage, _ones(own))[0] for stage in ("before", "after"))
    channel, c = (index.ravel() for index in np.indices(before.shape))
    values = {"selectivity": before.ravel(), "selectivity_after": after.ravel()}
    return pd.DataFrame({"channel": channel, "class": np.asarray(classes)[c], **values})


def _groups(selectivity: pd.DataFrame, grouping: Grouping) -> pd.DataFrame:
    """Mean selectivity of a group's channels for every class."""
    labelled = selectivity.assign(group=grouping.group[selectivity["channel"]])
    inside = labelled[labelled["group"] >= 0].groupby(["group", "class"], sort=False, as_index=False)
    found = inside.agg(size=("channel", "size"), selectivity=("selectivity", "mean"))
    stability = grouping.stability[found["group"]]
    return found.assign(stability=stability)[["group", "size", "stability", "class", "selectivity"]]


def _concentration(table: pd.DataFrame, grouping: Grouping) -> pd.DataFrame:
    """Means over images: a row a form and number of positions, with the share that all rows put on dead channels."""
    rows = []
    for _, part in table.groupby(["form", "factor"], sort=False):
        weight = part["images"] / part["images"].sum()
        values = {
            name: float(part[name] @ weight) for name in ("positions", "entropy", "effective_channels", "self_share")
        }
        received = weight.to_numpy() @ np.stack(list(part["received"]))
        dead = float(received[~grouping.alive].sum())
        what = part.iloc[0][["form", "in_force", "factor"]].to_dict()
        rows.append({**what, **values, "dead_share": dead, "n_images": int(part["images"].sum())})
    return pd.DataFrame(rows)


def _pairs(own: Stack) -> pd.DataFrame:
    """Means over images for every two channels: what the row of ``channel`` has in the column of ``other``."""
    moments, means = own.moments("before", _ones(own))
    n = means.shape[1]
    channel, other = np.divmod(np.arange(n * n), n)
    values = {name: own.sums(name, _ones(own))[0].astype(np.float32) for name in ("energy", "affinity")}
    related = correlation(moments[0], means[0]).ravel().astype(np.float32)
    return pd.DataFrame({"channel": channel, "other": other, "correlation": related, **values})

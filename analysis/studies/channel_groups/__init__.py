"""Channel attention: which channels it relates, what they respond to, and what depends on them (Fu et al., §3.3).

    result = channel_groups(checkpoint, dataset)
    result["channels"], result["channel_groups"]      as DESIGN 5
    result["channel_concentration"]                   both forms at N/4, N and 4N positions
    result["channel_pairs"]                           mean energy, correlation and mean affinity of every two channels
    result["channel_sums"], result["channel_ablation"]     what the claims are measured on

Two passes over the images at the resolution of ``spec.input``: sums over stretches of them
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
    ablation: bool = True,
) -> Result:
    """Groups of channels, their classes, and the loss of IoU without them.

    ``groups``: so many, rather than a number that is stable. ``ablation=False`` leaves the second pass out.
    AnalysisError: a model without channel attention, other classes than the data set's, no labels, dead channels only.
    """
    model, cam = _channel_attention(checkpoint)
    first = run(ChannelSums(model, cam, dataset), checkpoint, stretches(dataset), out)
    sums = first["channel_sums"]
    own = Stack(sums[sums["path"] == "channel"])
    grouping = _grouping(own, groups)
    columns = {**identity(checkpoint, dataset), "block": "all"}
    channels = _channels(own, grouping, dataset.classes)
    grouped = _groups(own, grouping, dataset.classes)
    tables = {"channel_sums": sums}
    if ablation:
        study = Ablation(model, dataset.classes, grouping.group.tolist(), _group_class(grouped), _means_after(own))
        tables["channel_ablation"] = run(study, checkpoint, dataset, out)["channel_ablation"]
        grouped = grouped.merge(drops(tables["channel_ablation"]), on=["group", "class"], validate="one_to_one")
    else:
        grouped = grouped.assign(iou_drop=np.nan, iou_drop_random=np.nan)
    summaries = {
        "channels": channels,
        "channel_groups": grouped,
        "channel_concentration": _concentration(first["channel_concentration"], grouping),
        "channel_pairs": _pairs(own),
    }
    return Result({**{name: table.assign(**columns) for name, table in summaries.items()}, **tables})


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


def _means_after(own: Stack) -> np.ndarray:
    return own.moments("after", _ones(own))[1][0]


def _channels(own: Stack, grouping: Grouping, classes: tuple[str, ...]) -> pd.DataFrame:
    """Activation, top class and selectivity (area under the curve, 0..1) before the module; and both after it."""
    columns = {}
    for stage, ending in (("before", ""), ("after", "_after")):
        auc = own.auc(stage, _ones(own))[0]
        tops = top_classes(auc, grouping.group >= 0)
        columns[f"top_class{ending}"] = [classes[c] if c >= 0 else "" for c in tops]
        columns[f"selectivity{ending}"] = np.where(tops >= 0, auc[np.arange(len(tops)), tops], np.nan)
    mean = own.moments("before", _ones(own))[1][0]
    known = {"channel": np.arange(len(mean)), "group": grouping.group, "mean_activation": mean}
    return pd.DataFrame({**known, "dead": grouping.group < 0, **columns})


def _groups(own: Stack, grouping: Grouping, classes: tuple[str, ...]) -> pd.DataFrame:
    """Mean selectivity of a group's channels for every class."""
    auc = own.auc("before", _ones(own))[0]
    rows = []
    for group, stability in enumerate(grouping.stability):
        inside = grouping.group == group
        what = {"group": group, "size": int(inside.sum()), "stability": stability}
        rows += [{**what, "class": name, "selectivity": auc[inside, c].mean()} for c, name in enumerate(classes)]
    return pd.DataFrame(rows)


def _group_class(groups: pd.DataFrame) -> list[str]:
    """The class for which each group is most selective, of those that the split has."""
    best = groups.dropna(subset="selectivity").groupby("group")["selectivity"].idxmax()
    return groups.loc[best, "class"].tolist()


def _concentration(table: pd.DataFrame, grouping: Grouping) -> pd.DataFrame:
    """Means over images: a row a form and number of positions, with the share that all rows put on dead channels."""
    rows = []
    for _, part in table.groupby(["form", "factor"], sort=False):
        weight = part["images"] / part["images"].sum()
        values = {
            name: float(part[name] @ weight) for name in ("positions", "entropy", "effective_channels", "self_share")
        }
        received = weight.to_numpy() @ np.stack(list(part["received"]))
        dead = float(received[grouping.group < 0].sum())
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

"""Ablation of the model's own parts: the branches of Attention to Scale, groups of the channels that CAM relates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from analysis.datasets.sample import Dataset
from analysis.errors import AnalysisError
from analysis.models import Model, predict
from analysis.studies.attribution.maps import module_at
from analysis.studies.attribution.regions import RegionScores
from analysis.studies.channel_groups.groups import correlation, cut, tree
from analysis.tap_names import Names
from analysis.taps import capture

GROUPS = 8


@dataclass(frozen=True, eq=False)
class Part:
    """A branch or a group of ``layer``. ``effect [R]``: by how many logits each score falls without it.

    ``attention [R]``: what attention gives it. A branch: its mean weight in the region. A group: the mean over CAM's
    rows of their mass on it, the same for every region. ``size``: of a group, in channels.
    """

    layer: str
    name: str
    size: int
    effect: np.ndarray
    attention: np.ndarray


def ablated_parts(scores: RegionScores, image: Tensor, groups: Sequence[int]) -> Iterator[Part]:
    """Every branch, and every group of CAM's channels, ``groups[c]`` for channel c; none where there is no such tap.

    A branch's scale weight becomes 0, the others stay: the effect is what it adds to the logit. Channels of a group of
    CAM's input take their means over this image. AnalysisError: groups of another number of channels.
    """
    taps = Names(scores.model).taps
    if "scale.weights" in taps:
        weights = _captured(scores, image, "scale.weights")[0][0]
        effects = _ablated(scores, image, "scale.weights", torch.arange(len(weights)), None)
        attention = torch.einsum("shw,rhw->rs", weights, scores.weights).double().cpu().numpy()
        for s, name in enumerate(getattr(scores.model, "branches", range(len(weights)))):
            yield Part("scale.weights", str(name), 1, effects[:, s], attention[:, s])
    if "channel.affinity" in taps and len(groups):
        yield from _groups(scores, image, np.asarray(groups))


def _groups(scores: RegionScores, image: Tensor, groups: np.ndarray) -> Iterator[Part]:
    features, affinity = _captured(scores, image, "channel.features", "channel.affinity")
    if len(groups) != features.shape[1]:
        raise AnalysisError(f"groups has {len(groups)} numbers and CAM {features.shape[1]} channels: give one for each")
    means = features.mean(dim=(2, 3), keepdim=True).expand_as(features)
    effects = _ablated(scores, image, "channel.features", torch.from_numpy(groups), means)
    received = affinity[0].mean(dim=0).double().cpu().numpy()
    for group in np.unique(groups):
        mine = groups == group
        mass = np.full(len(effects), received[mine].sum())
        yield Part("channel.features", f"group {group}", int(mine.sum()), effects[:, mine][:, 0], mass)


def _captured(scores: RegionScores, image: Tensor, *names: str) -> list[Tensor]:
    with capture(scores.model, *names) as kept, torch.no_grad():
        scores.model(image)
    return [kept[name] for name in names]


def _ablated(scores: RegionScores, image: Tensor, layer: str, groups: Tensor, means: Tensor | None) -> np.ndarray:
    """Channels of a layer ablated by group, to ``means`` or 0: float64 ``[R, C]``, equal within a group."""
    from captum.attr import LayerFeatureAblation

    mask = groups.to(image.device).view(1, -1, 1, 1)
    ablation = LayerFeatureAblation(scores, module_at(scores.model, layer))
    effects = ablation.attribute(image, layer_baselines=means, layer_mask=mask)
    return effects[:, :, 0, 0].double().cpu().numpy()


def correlated_groups(model: Model, dataset: Dataset) -> tuple[int, ...]:
    """At most 8 groups of CAM's channels, by average linkage of their correlation over the images; none without CAM."""
    if "channel.affinity" not in Names(model).taps or not len(dataset):
        return ()
    moments, means = zip(*(_moments(model, sample.image) for sample in dataset), strict=True)
    correlated = correlation(np.mean(moments, axis=0), np.mean(means, axis=0))
    return tuple(cut(tree(correlated), GROUPS).tolist())


def _moments(model: Model, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means over positions of x x^T ``[C, C]`` and x ``[C]``."""
    with capture(model, "channel.features") as kept:
        predict(model, image)
    x = kept["channel.features"][0].flatten(1).double().cpu().numpy()
    return x @ x.T / x.shape[1], x.mean(axis=1)

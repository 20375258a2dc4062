"""The rows of one image, and the tables that follow from all of them.

branches            image x map     intersections and unions: each branch's score map alone (x100, ...), ``fused`` as
                                    the model was trained, and ``average`` and ``max`` of the same score maps
branch_features     image x model x branch x draw   the features of one position; ``model`` is trained or untrained
fusions             map x class     miou in percent: of class ``all``, and the IoU of every class
similarity          model x pair of branches        cka
scale_probe         image x model   accuracy of a probe that never saw the image's block; chance

The first two also say how the model was trained: ``fusion``, ``extra_supervision``.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional

from analysis.checkpoints import Checkpoint, open_checkpoint
from analysis.checkpoints.pretrained import load_pretrained
from analysis.datasets.sample import Dataset, Sample
from analysis.errors import AnalysisError
from analysis.models import Model, ScaleAttention, build, predict
from analysis.models.backbones import set_precision
from analysis.models.resize import resize, scaled_size
from analysis.statistics import Weights
from analysis.studies.miou import INTERSECTION, UNION, class_iou, confusion_rows, miou
from analysis.studies.similarity import mean_cka, told_apart
from analysis.studies.study import Result, Rows, evenly_spaced, identity, run
from analysis.taps import capture

IDENTITY = ["checkpoint", "recipe", "seed", "dataset", "split"]
SEED = 0  # of the untrained weights, where the run has kept none
MODELS = ("trained", "untrained")
FUSIONS = ("fused", "average", "max")


@dataclass(frozen=True, eq=False)
class Branches:
    """The study of one image; ``similar`` names the images whose features are kept, ``draws`` positions of each."""

    model: ScaleAttention
    untrained: ScaleAttention | None
    classes: tuple[str, ...]
    similar: tuple[str, ...]
    draws: int = 8
    name: ClassVar[str] = "branches"

    def rows(self, sample: Sample) -> Rows:
        """``branches`` and ``branch_features``. AnalysisError: an image without a label."""
        wanted = self.untrained is not None and sample.name in self.similar
        scores, logits, features = _forward(self.model, sample.image, wanted)
        tables = {"branches": self._scored(sample, scores, logits)}
        if self.untrained is not None and wanted:
            both = (features, _forward(self.untrained, sample.image, True)[2])
            tables["branch_features"] = self._features(sample, dict(zip(MODELS, both, strict=True)))
        spec = self.model.spec
        trained = {"fusion": spec.fusion, "extra_supervision": spec.extra_supervision}
        return {name: table.assign(**trained) for name, table in tables.items()}

    def _scored(self, sample: Sample, scores: list[Tensor], logits: Tensor) -> pd.DataFrame:
        if sample.label is None:
            raise AnalysisError(f"{sample.name} has no label; the IoU of branches needs a labelled split")
        rows = []
        for name, map_ in self._maps(scores, logits):
            align = self.model.spec.input.align_corners
            # The indices of max, not argmax: the same classes in an eighth of the time.
            predicted = resize(map_[None], sample.image.shape[:2], align)[0].max(dim=0).indices.cpu().numpy()
            rows.append({"image": sample.name, "map": name, **confusion_rows(predicted, sample.label, self.classes)})
        return pd.DataFrame(rows)

    def _maps(self, scores: list[Tensor], logits: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Each branch's score map, then what fusions make of them, each ``[K, h, w]``."""
        yield from zip(self.model.branches, scores, strict=True)
        stacked = torch.stack(scores)
        yield from zip(FUSIONS, (logits, stacked.mean(dim=0), stacked.amax(dim=0)), strict=True)

    def _features(self, sample: Sample, features: dict[str, list[Tensor]]) -> pd.DataFrame:
        """Features at positions drawn from the image's name, the same for every branch and both models."""
        grid = self._coarsest(features["trained"][0])
        drawn = np.random.default_rng(zlib.crc32(sample.name.encode())).integers(0, grid[0] * grid[1], self.draws)
        rows: list[dict[str, Any]] = []
        for model, maps in features.items():
            for branch, map_ in zip(self.model.branches, maps, strict=True):
                cells = self._resampled(map_, grid).flatten(1)[:, drawn].T.cpu().numpy()
                key = {"image": sample.name, "model": model, "branch": branch}
                rows += [{**key, "draw": draw, "features": cell} for draw, cell in enumerate(cells)]
        return pd.DataFrame(rows)

    def _coarsest(self, finest: Tensor) -> tuple[int, int]:
        """The grid of the smallest branch; all maps are on that of the largest."""
        scales, align = self.model.spec.scales, self.model.spec.input.align_corners
        return scaled_size(finest.shape[-2:], min(scales) / max(scales), align)

    def _resampled(self, map_: Tensor, grid: tuple[int, int]) -> Tensor:
        """``[C, h, w]`` averaged down, so that no branch has detail that another cannot have."""
        align = self.model.spec.input.align_corners
        return functional.interpolate(map_[None], grid, mode="bilinear", antialias=True, align_corners=align)[0]


def _forward(model: ScaleAttention, image: np.ndarray, features: bool) -> tuple[list[Tensor], Tensor, list[Tensor]]:
    """Score maps ``[K, h, w]`` of every branch, the fused ``[K, H, W]``, and features ``[C, h, w]`` where asked for."""
    scores = [f"scale.scores.{branch}" for branch in model.branches]
    wanted = [f"scale.features.{branch}" for branch in model.branches] if features else []
    with capture(model, *scores, *wanted) as taps:
        logits = predict(model, image)
    return [taps[name][0] for name in scores], logits, [taps[name][0] for name in wanted]


def branches(
    checkpoint: Checkpoint, dataset: Dataset, out: Path | None = None, *, draws: int = 8, similar_images: int = 400
) -> Result:
    """Run the study: the tables of the module.

    CKA takes one position an image and is averaged over ``draws`` of them, on at most ``similar_images`` images, evenly
    spaced, so that neither memory nor its cost grows with the data set. 0 leaves out all but ``branches`` and
    ``fusions``: then no untrained weights are needed. There is no ``scale_probe`` for a split of one block, nor for
    ``scale_classifier``, which was trained to be told apart. AnalysisError: a model without branches, other classes
    than the data set's, no labels.
    """
    model = _branched(checkpoint.model)
    start = untrained(checkpoint) if similar_images else None
    similar = tuple(item.name for item in evenly_spaced(dataset, similar_images).items)
    study = Branches(model, start, dataset.classes, similar, draws)
    result = run(study, checkpoint, dataset, out)
    columns = {**identity(checkpoint, dataset), "block": "all"}
    derived = {"fusions": fusions(result, study).assign(**columns)}
    if start is not None:
        features = result["branch_features"]
        derived["similarity"] = similarity(features)
        if model.spec.extra_supervision != "scale_classifier" and features.block.nunique() > 1:
            derived["scale_probe"] = scale_probe(features)
    return result.plus(derived)


def _branched(model: Model) -> ScaleAttention:
    if not isinstance(model, ScaleAttention) or len(model.branches) < 2:
        raise AnalysisError("this model has no branches to compare: open an Attention to Scale checkpoint")
    return model


def untrained(checkpoint: Checkpoint) -> ScaleAttention:
    """The same architecture untrained: the run's own checkpoint of step 0, else weights of seed 0.

    In both the backbone has the ImageNet weights that training starts from (``tiny`` has none) and all else is random:
    what remains of a similarity then is due to ImageNet and the architecture, not to training on scales.
    """
    first = checkpoint.path.parent / "step_000000.safetensors"
    device = next(checkpoint.model.parameters()).device
    if first.is_file():
        start = open_checkpoint(first, str(device))
        if start.spec == checkpoint.spec:
            set_precision(start.model, checkpoint.precision)
            return _branched(start.model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = _branched(build(checkpoint.spec))
    load_pretrained(model.backbone, model.spec.backbone)
    set_precision(model, checkpoint.precision)
    return model.to(device).eval()


def fusions(result: Result, study: Branches) -> pd.DataFrame:
    """mIoU and IoU of every class in percent for each map, from sums over the images: they are not loaded."""
    counts = [f'"{kind}{name}"' for name in study.classes for kind in (INTERSECTION, UNION)]
    sums = ", ".join(f"sum({count}) as {count}" for count in counts)
    totals = result.summary(f"select map, {sums} from branches group by map").set_index("map")
    one = np.ones((1, 1))
    rows = []
    for name in (*study.model.branches, *FUSIONS):
        mine = totals.loc[[name]]
        values = zip(["all", *study.classes], [miou(mine, one)[0], *class_iou(mine, one)[0]], strict=True)
        rows += [{"map": name, "class": class_, "miou": 100 * value} for class_, value in values]
    return pd.DataFrame(rows)


def stacked(features: pd.DataFrame) -> tuple[pd.DataFrame, list[np.ndarray]]:
    """One checkpoint's and one model's features: a row an image, in order, and ``[D, n, C]`` for every branch."""
    ordered = features.sort_values(["branch", "draw", "image"], key=_branch_order, kind="stable")
    n_branches, n_draws = ordered.branch.nunique(), ordered.draw.nunique()
    values = np.stack([np.asarray(one, np.float32) for one in ordered.features])
    images = ordered.iloc[: len(ordered) // (n_branches * n_draws)]
    return images.drop(columns="features"), list(values.reshape(n_branches, n_draws, len(images), -1))


def _branch_order(column: pd.Series) -> pd.Series:
    """The largest scale first, as in the model: x100 before x75."""
    return -column.str.removeprefix("x").astype(int) if column.name == "branch" else column


def mean_over_pairs(features: list[np.ndarray], kept: Weights) -> np.ndarray:
    """CKA averaged over the pairs of branches, ``[R]``."""
    above = np.triu_indices(len(features), 1)
    return mean_cka(features, kept)[:, *above].mean(axis=1)


def similarity(features: pd.DataFrame) -> pd.DataFrame:
    """Debiased CKA of every pair of branches, for each checkpoint and model of a ``branch_features`` table."""
    rows = []
    for _, mine in features.groupby([*IDENTITY, "model"], sort=False):
        images, values = stacked(mine)
        table = mean_cka(values, np.ones((1, len(images))))[0]
        named = mine.iloc[0][[*IDENTITY, "model"]].to_dict()
        names = sorted(mine.branch.unique(), key=lambda name: -int(name.removeprefix("x")))
        for (i, a), (j, b) in combinations(enumerate(names), 2):
            rows.append({**named, "block": "all", "branch_a": a, "branch_b": b, "cka": table[i, j]})
    return pd.DataFrame(rows)


def scale_probe(features: pd.DataFrame) -> pd.DataFrame:
    """How often a probe that never saw an image's block tells the scale of one position's features there."""
    tables = []
    for _, mine in features.groupby([*IDENTITY, "model"], sort=False):
        images, values = stacked(mine)
        told = told_apart(values, images.block)
        tables.append(images.drop(columns=["branch", "draw"]).assign(accuracy=told, chance=1 / len(values)))
    return pd.concat(tables, ignore_index=True)

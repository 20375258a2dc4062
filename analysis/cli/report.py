"""The command ``report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro

Positional = tyro.conf.Positional


def report(
    checkpoint: Positional[tuple[Path, ...]],
    /,
    data: str,
    out: Path,
    split: str | None = None,
    images: int | Literal["all"] = 48,
    only: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = (),
    device: str = "cpu",
) -> None:
    """Write a report: what the papers say of attention, tested on your checkpoints; figures and tables.

    DIR/report.html is one file: verdicts, a forest plot, and for each sentence its figure, numbers, control and caveat.
    Beside it: figures/ (PDF, SVG, PNG at the widths of the papers' columns), tables/ (CSV, LaTeX), manifest.json. The
    same inputs give the same bytes; the same command goes on where it was killed, and draws again only what changed.

    Example: attention-analysis report data/demo/shapes-scale data/demo/shapes-dual --data shapes --out runs/report

    Args:
        checkpoint: One or more .safetensors files, or run directories (the last checkpoint of each).
        data: NAME[:PATH] of a labelled data set: shapes, camvid, voc, cityscapes, coco, ade20k or folder; PATH is
            data/NAME where left out.
        out: The folder for the report.
        split: Images that no checkpoint was trained on. Left out: blocks where one was trained on a fold of this data
            set, else val, else the first there is.
        images: At most so many images of a split, evenly spaced, or all.
        only: The name of a claim: runs only its study, draws only its part. May be given several times.
        device: cpu, cuda or cuda:N.
    """
    from analysis.checkpoints import open_checkpoint
    from analysis.claims import chosen
    from analysis.cli.studies import find_place, is_first
    from analysis.report import write_report

    chosen(only)  # before anything is opened
    opened = [open_checkpoint(path, find_place(device)) for path in dict.fromkeys(checkpoint)]
    page = write_report(opened, data, out, split=split, only=only, images=None if images == "all" else images)
    if is_first():
        print(f"written: {page}")

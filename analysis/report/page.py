"""``report.html``: one file that needs no other, no script and no network.

Every text from a file, a class or a path goes through Jinja's escaping; figures are inline as data.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.claims import Claim, Given, headlines
from analysis.claims.words import MEANING, PLAIN, Plain, control_text, effect_text, find_claim
from analysis.datasets.sample import Dataset
from analysis.report.drawing import FOLDER, Picture
from analysis.report.material import Material, counts_of, numbered
from analysis.statistics import MIN_BLOCKS, MIN_SEEDS
from analysis.studies.pairing import families

NAME = "report.html"


@dataclass(frozen=True)
class Shown:
    """A figure in the page: its file inline, and links to the files beside the page."""

    name: str
    url: str
    caption: str
    width: float
    links: Mapping[str, str]


@dataclass(frozen=True)
class Section:
    """A sentence: ``headlines`` a recipe each, ``rows`` of all classes, ``further`` measures, of all classes only."""

    claim: Claim
    plain: Plain
    headlines: Sequence[Mapping[str, Any]]
    rows: Sequence[Mapping[str, Any]]
    further: Sequence[Mapping[str, Any]]
    figures: Sequence[Shown]

    @property
    def several(self) -> bool:
        """Whether recipes must be told apart."""
        return len({row["recipe"] for row in self.headlines}) > 1


def shown(picture: Picture, out: Path, files: Mapping[str, str]) -> Shown:
    """A figure that was written; ``files`` are all that were."""
    svg = (out / FOLDER / f"{picture.name}.svg").read_bytes()
    url = f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"
    mine = [file for file in files if Path(file).stem == picture.name]
    links = {Path(file).suffix.removeprefix(".").upper().replace("TEX", "LaTeX"): file for file in sorted(mine)}
    return Shown(picture.name, url, picture.caption, picture.width, links)


def section(claim: Claim, material: Material, figures: Sequence[Shown]) -> Section:
    """All that is said of one sentence."""
    mine = material.claims[material.claims["claim"].map(lambda name: name.partition(":")[0]) == claim.name]
    main = mine[mine["claim"] == claim.name]
    further = mine[(mine["claim"] != claim.name) & (mine["class"] == "all")]
    top = headlines(main)
    return Section(claim, PLAIN[claim.name], _rows(top), _rows(main[main["unit"] != ""]), _rows(further), figures)


def summary(material: Material) -> dict[str, Any]:
    """How many sentences there are, and how many verdicts of which kind, one for each recipe."""
    rows = material.headlines
    found = rows["verdict"].value_counts()
    return {
        "sentences": rows["claim"].nunique(),
        "verdicts": len(rows),
        "counts": {verdict: int(found.get(verdict, 0)) for verdict in MEANING},
        "several": rows["recipe"].nunique() > 1,
    }


def remarks(given: Sequence[Given], of: Mapping[str, int]) -> list[str]:
    """What a reader must know before any number: the images, the blocks, the seeds. ``of``: images of each split."""
    splits = {one.dataset.split: one.dataset for one in given}
    said = [sentence for dataset in splits.values() for sentence in _on_images(dataset, of[dataset.split])]
    seeds = pd.DataFrame([one.identity for one in given]).groupby("recipe")["seed"].nunique().max()
    if seeds < MIN_SEEDS:
        said.append(
            f"No recipe has {MIN_SEEDS} seeds: every verdict speaks of these checkpoints, not of what another training "
            "would give."
        )
    return said


def _on_images(dataset: Dataset, whole: int) -> Iterator[str]:
    n, blocks = len(dataset), len({item.block for item in dataset.items})
    part = f"all {n} images" if n == whole else f"{n} of the {whole} images"
    spread = "" if n == whole else ", evenly spaced; --images all takes all"
    yield f"Measured on {part} of {dataset.name} {dataset.split}, in {numbered(blocks, 'block')}{spread}."
    if blocks < MIN_BLOCKS:
        yield (
            f"An interval needs {MIN_BLOCKS} blocks, as images of one block are not independent, and {dataset.split} "
            f"has {blocks} here: there is no interval, and no sentence can be decided. Give a split with more places, "
            "such as --split blocks with checkpoints that were trained on a fold."
        )


def render(**content: Any) -> str:
    """The page. ``content``: what ``report.html`` beside this module names."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("template.html").render(meaning=MEANING, **content)


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [_row(row) for row in table.to_dict("records")]


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with its numbers in words."""
    recipe = ", ".join(families(str(row["recipe"])))
    smallest = "–" if pd.isna(row["smallest_effect"]) else f"{row['smallest_effect']:g}"
    return {
        **row,
        "recipe": recipe,
        "effect_text": effect_text(row),
        "control_text": control_text(row),
        "smallest_number": smallest,
        "smallest": f"{smallest} {row['unit']}".strip(),
        "counts": _counts(row),
    }


def _counts(row: Mapping[str, Any]) -> str:
    """What it was measured on; of other studies than that of objects ``n_objects`` are rows of a table."""
    if not row["n_blocks"]:
        return ""
    claim = find_claim(row["claim"])
    numbers = {name: row[name] for name in ("n_objects", "n_blocks", "n_seeds")}
    if claim is None or claim.study != "object_scale":
        numbers.pop("n_objects")
    return counts_of(pd.DataFrame([numbers]))

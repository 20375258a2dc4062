"""A report of what the papers say of attention, tested on given checkpoints: one page, figures, tables, a manifest.

    write_report([open_checkpoint(path) for path in runs], "camvid", Path("runs/report"), split="blocks")

    report.html     claims, a forest plot, and a section a sentence; needs no other file
    figures/        PDF, SVG and PNG at the widths of the papers' columns, 8 pt
    tables/         CSV with every digit, LaTeX rounded
    measured/       the tables (Parquet) of the studies that all of it follows from, and parts/, to go on from
    manifest.json   what it was made from, and the sum of every file

The same inputs give the same bytes; the date is in the manifest alone.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from tqdm import tqdm

from analysis.checkpoints import Checkpoint
from analysis.claims import Claim, Given, chosen, claims, measured_on
from analysis.datasets import open_dataset, parse_spec, splits
from analysis.download import sha256_of_file
from analysis.errors import AnalysisError
from analysis.report import drawing, manifest, page, pictures, tables
from analysis.report.drawing import MEASURED, Picture
from analysis.report.material import Material, numbered
from analysis.store import replacing
from analysis.studies.parts import Rank

IMAGES = 48  # of a split, unless more are asked for: the demo takes about a minute

__all__ = ["IMAGES", "default_split", "write_report"]


def write_report(
    checkpoints: Sequence[Checkpoint],
    data: str,
    out: Path,
    *,
    split: str | None = None,
    only: Collection[str] = (),
    images: int | None = IMAGES,
) -> Path:
    """Test the claims (``only`` those of these names) and write the report below ``out``; gives the page's path.

    ``split``: :func:`default_split` where left out. ``images``: at most so many of a split, evenly spaced; None: all.
    A killed report goes on where it was; figures whose inputs have not changed are kept. Of several processes all
    measure and the first writes. AnalysisError: as :func:`analysis.claims.claims`; fewer than one image.
    """
    wanted = chosen(only)
    if images is not None and images < 1:
        raise AnalysisError(f"a report of {images} images says nothing; give at least 1, or all")
    split = split or default_split(checkpoints, data)
    result = claims(checkpoints, data, split, out / MEASURED, only=only, images=images)
    given = [Given(one, measured_on(one, data, split, images)) for one in checkpoints]
    if Rank.here().rank == 0:
        _write(Material(given, result), wanted, out, _options(data, split, only, images))
    return out / page.NAME


def default_split(checkpoints: Sequence[Checkpoint], data: str) -> str:
    """``blocks`` where a checkpoint was trained on a fold of this data set; else ``val`` where there is one; else the
    first that there is."""
    name, known = parse_spec(data)[0], splits(data)
    folds = [one for one in checkpoints if str(one.origin.get("split")).startswith("blocks-")]
    if any(one.origin.get("dataset") == name for one in folds):
        return "blocks"
    return "val" if "val" in known else known[0]


def _options(data: str, split: str, only: Collection[str], images: int | None) -> dict[str, Any]:
    return {"data": data, "split": split, "images": images or "all", "only": list(only)}


def _write(material: Material, wanted: Sequence[Claim], out: Path, options: dict[str, Any]) -> None:
    """Figures and tables, then the page that shows them, and the manifest of all last."""
    overview = list(filter(None, [pictures.overview(material)]))
    by_claim = {claim: pictures.of_claim(claim, material) for claim in wanted}
    files = _figures_and_tables([*overview, *chain(*by_claim.values())], material, out)

    def shown(found: Sequence[Picture]) -> list[page.Shown]:
        return [page.shown(picture, out, files) for picture in found]

    command = _command(material.given, out, options)
    text = page.render(
        title=f"What attention does: {numbered(len(wanted), 'sentence')} tested on {parse_spec(options['data'])[0]}",
        overview=shown(overview),
        sections=[page.section(claim, material, shown(found)) for claim, found in by_claim.items()],
        remarks=page.remarks(material.given, _whole(material.given, options["data"])),
        checkpoints=[manifest.described(one) for one in material.given],
        command=command,
        versions=manifest.versions(),
        **page.summary(material),
    )
    with replacing(out / page.NAME) as temporary:
        temporary.write_text(text, encoding="utf-8")
    measured = [f"{MEASURED}/{name}.parquet" for name in material.result.sources]
    files |= {file: sha256_of_file(out / file) for file in (page.NAME, *measured)}
    manifest.remove_stale(out, files)
    manifest.write(out, command, options, material.given, files)


def _figures_and_tables(drawn: Sequence[Picture], material: Material, out: Path) -> dict[str, str]:
    """Write them; gives their sums."""
    files = tables.write("claims", material.claims, out, tables.for_print(material.headlines))
    for picture in tqdm(drawn, desc="figures", unit="figure", leave=False):
        files |= drawing.write(picture, out) | tables.behind(picture, out)
    return files


def _whole(given: Sequence[Given], data: str) -> dict[str, int]:
    """How many images each split has."""
    return {split: len(open_dataset(data, split)) for split in {one.dataset.split for one in given}}


def _command(given: Sequence[Given], out: Path, options: dict[str, Any]) -> str:
    """That which writes this report again."""
    flags = [f for name in options["only"] for f in ("--only", name)]
    words = [*(str(one.checkpoint.path) for one in given), "--data", options["data"], "--split", options["split"]]
    return shlex.join(
        ["attention-analysis", "report", *words, "--images", str(options["images"]), *flags, "--out", str(out)]
    )

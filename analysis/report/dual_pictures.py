"""The figures of the sentences on DANet (Fu et al.)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from analysis.claims import Claim, Given
from analysis.datasets import palette_of
from analysis.errors import AnalysisError
from analysis.figures.attention import attention_rows, class_mass
from analysis.figures.channels import channel_clusters
from analysis.figures.trainings import QUANTITIES, gate_bands
from analysis.models import DualSpec
from analysis.models import gates as gates_of
from analysis.report.drawing import PAGE, Picture
from analysis.report.material import Material, named
from analysis.store import read_table
from analysis.studies.channel_groups.groups import leaf_order, tree
from analysis.studies.gates.movements import movements, summary
from analysis.studies.position_context.tables import own_class
from analysis.views import view

QUERIES = 3  # pixels whose rows are shown
_SYMBOLS = {"alpha": "α", "beta": "β"}


def same_class_context(claim: Claim, material: Material) -> Iterator[Picture]:
    """Rows of some pixels; the mass on the own class against what distance gives."""
    context = material.table("position_context")
    for suffix, given in material.recipes("dual") if context is not None else ():
        assert context is not None
        rows = context[context["recipe"] == given[0].identity["recipe"]]
        with_rows = [one for one in given if one.checkpoint.name in set(rows["checkpoint"])]
        if not with_rows:
            continue
        yield _rows(f"{claim.name}-rows{suffix}", with_rows[0], rows)
        table = own_class(rows)
        caption = (
            "Attention of the positions of a class on that class, beyond two cells; the class's share of the cells; "
            f"and what its distances alone would give. {named(given)}; {table['queries'].sum():,} positions of "
            f"{rows['image'].nunique()} images."
        )
        arguments = (table, "Attention on the own class")
        yield Picture(f"{claim.name}-mass{suffix}", class_mass, arguments, PAGE, caption, table=table)


def class_channels(claim: Claim, material: Material) -> Iterator[Picture]:
    """Clustered correlation and affinity with each channel's class."""
    pairs, channels = material.table("channel_pairs"), material.table("channels")
    for suffix, given in material.recipes("dual") if pairs is not None and channels is not None else ():
        assert pairs is not None and channels is not None
        names = set(channels["checkpoint"])
        first = next((one for one in given if one.checkpoint.name in names), None)
        if first is not None:
            mine = (table[table["checkpoint"] == first.checkpoint.name] for table in (channels, pairs))
            yield _clusters(f"{claim.name}-clusters{suffix}", first, *mine)


def gates_grow(claim: Claim, material: Material) -> Iterator[Picture]:
    """Gates and what their paths add, over the trainings."""
    history = _histories([one for _, given in material.recipes("dual") for one in given])
    if history is None:
        return
    said = movements(history)
    words = "; ".join(f"{_SYMBOLS[gate]} {text}" for gate in _SYMBOLS if (text := summary(said, gate)))
    for quantity, name in {"": "values", "_contribution": "contributions"}.items():
        caption = (
            f"{QUANTITIES[quantity].capitalize()} over the training: each training thin, the mean of a recipe thick, "
            f"the band from the lowest to the highest. {words[:1].upper()}{words[1:]}."
        )
        known = [f"{gate}{quantity}" for gate in _SYMBOLS if f"{gate}{quantity}" in history]
        if history[known].notna().any(axis=None):
            kept = history[["checkpoint", "recipe", "step", *known]]
            yield Picture(f"{claim.name}-{name}", gate_bands, (kept, quantity), PAGE, caption, table=kept)


def _rows(name: str, given: Given, context: pd.DataFrame) -> Picture:
    counts = context[context["checkpoint"] == given.checkpoint.name].groupby("image")["class"].nunique()
    image = str(counts.reindex([item.name for item in given.dataset.items]).fillna(0).idxmax())
    sample = given.dataset[given.dataset.index(image)]
    assert sample.label is not None
    pixels = _queries(sample.label, given.dataset.things, len(given.dataset.classes))
    seen = view(given.checkpoint.model, sample.image)
    rows = np.stack([seen.row(pixel) for pixel in pixels.values()])
    classes = [given.dataset.classes[c] for c in pixels]
    most = ", ".join(f"{c} {row.max() * row.size:.1f}" for c, row in zip(classes, rows, strict=True))
    caption = (
        "Where the ringed pixels look: their rows of position attention on one logarithmic scale, from uniform up. "
        f"{given.checkpoint.name} on {image} of {given.dataset.name} {given.dataset.split}, the measured image with "
        "the most classes; the pixels lie deepest inside their class. At most, in multiples of uniform attention: "
        f"{most}. A few pixels show nothing by themselves."
    )
    return Picture(
        name, attention_rows, (seen.image, rows, list(pixels.values()), classes, seen.align_corners), PAGE, caption
    )


def _queries(label: np.ndarray, things: frozenset[int], classes: int) -> dict[int, tuple[int, int]]:
    """Of up to three classes, things first and then by area, the pixel (y, x) farthest from other classes."""
    from scipy.ndimage import distance_transform_edt

    areas = np.bincount(label.ravel(), minlength=classes)[:classes]
    there = sorted(np.flatnonzero(areas).tolist(), key=lambda c: (c not in things, -areas[c]))[:QUERIES]
    found = {}
    for c in there:
        depth = np.asarray(distance_transform_edt(np.pad(label == c, 1)))[1:-1, 1:-1]
        y, x = np.unravel_index(int(depth.argmax()), label.shape)
        found[c] = (int(y), int(x))
    return found


def _clusters(name: str, given: Given, channels: pd.DataFrame, pairs: pd.DataFrame) -> Picture:
    spec = given.checkpoint.spec
    assert isinstance(spec, DualSpec)
    n = len(channels)
    channels = channels.sort_values("channel")
    related, affinity = (
        pairs.sort_values(["channel", "other"])[column].to_numpy(float).reshape(n, n)
        for column in ("correlation", "affinity")
    )
    alive, group = ~channels["dead"].to_numpy(bool), channels["group"].to_numpy(int)
    order = leaf_order(tree(related[np.ix_(alive, alive)]), alive) if alive.sum() > 2 else np.arange(n)
    classes = given.dataset.classes
    colours = dict(zip(classes, palette_of(classes), strict=True))
    tops = channels["top_class"].tolist()
    caption = (
        f"{n} channels in the order of a tree on their correlation, {int((~alive).sum())} dead ones last, with lines "
        f"between the {len(set(group[group >= 0].tolist()))} groups that come back in other stretches of images. The "
        "strip beside each channel has the colour of the class that it tells best. "
        f"{given.checkpoint.name}, the {spec.form} form of the module is in force: "
        + ("weights go to the largest energies." if spec.form == "paper" else "weights go to the smallest energies.")
    )
    arguments = (related, affinity, order, group, tops, colours, spec.form)
    return Picture(name, channel_clusters, arguments, PAGE, caption, table=channels)


def _histories(given: list[Given]) -> pd.DataFrame | None:
    """The trainings of the checkpoints that have gates, as far as their histories lie beside them."""
    tables = []
    for one in given:
        file = one.checkpoint.home / "history.parquet"
        if not gates_of(one.checkpoint.model) or not file.is_file():
            continue
        table = read_table(file)
        if "step" not in table or not {"alpha", "beta"} & set(table):
            raise AnalysisError(f"{file} is no history of gates: it has no column step, alpha or beta; move it away")
        tables.append(table.assign(checkpoint=one.checkpoint.name, recipe=one.identity["recipe"]))
    return pd.concat(tables, ignore_index=True) if tables else None

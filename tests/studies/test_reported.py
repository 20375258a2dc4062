"""The papers' tables beside differences of ours: each recipe meets the cells of its own conditions, and no others."""

from __future__ import annotations

import pandas as pd
import pytest

from analysis.studies.reported import CHEN, FU, THREE, TWO, beside

COLUMNS = ["recipe", "field", "value", "baseline", "effect", "low", "high", "n_seeds"]
NEITHER = "camvid-dual model.channel=False"


def ours(*rows: tuple[str, str, str, str]) -> pd.DataFrame:
    """Differences as ``differences`` gives them, all of +1 [0.5, 1.8]."""
    return pd.DataFrame([(*row, 1.0, 0.5, 1.8, 3) for row in rows], columns=COLUMNS)


def test_every_reported_difference_of_one_field_is_there_once() -> None:
    table = beside(ours())
    assert table.index.is_unique and table["effect"].isna().all() and table["least within"].isna().all()
    of = table.groupby("field").size()
    assert of.to_dict() == {"fusion": 12, "extra_supervision": 6, "scales": 6 + 2, "position": 2, "channel": 2}
    # PAPERS 1.5, derived: with extra supervision; and the awkward ones without it
    assert table.loc["fusion", "attention", "average", f"scales={THREE}, extra_supervision=per_scale"][
        ["least", "most"]
    ].tolist() == pytest.approx([0.06, 1.10])
    assert table.loc["fusion", "attention", "max", f"scales={THREE}, extra_supervision=none"]["least"] == pytest.approx(
        -0.78
    )


def test_the_best_network_of_each_table_is_as_printed() -> None:
    assert CHEN.max().tolist() == [56.39, 69.08, 71.42, 35.78, 72.72]
    assert FU.max().tolist() == [76.34, 77.57]


@pytest.mark.parametrize(
    ("row", "rest", "least"),
    [
        (("camvid-scale", "fusion", "attention", "max"), f"scales={THREE}, extra_supervision=per_scale", 0.61),
        (
            ("camvid-scale model.extra_supervision=none", "fusion", "attention", "max"),
            f"scales={THREE}, extra_supervision=none",
            -0.78,
        ),
        (
            ("camvid-scale model.fusion=average", "extra_supervision", "per_scale", "none"),
            f"scales={THREE}, fusion=average",
            1.73,
        ),
        (
            (f"camvid-scale model.scales={TWO}", "extra_supervision", "per_scale", "none"),
            f"scales={TWO}, fusion=attention",
            0.86,
        ),
        (("camvid-scale", "scales", THREE, TWO), "fusion=attention, extra_supervision=per_scale", 0.37),
        ((NEITHER, "position", "True", "False"), "channel=False", 4.49),
        (("camvid-dual model.permuted_gates=True", "position", "True", "False"), "channel=True", 1.02),
    ],
)
def test_a_recipe_meets_its_own_cells(row: tuple[str, str, str, str], rest: str, least: float) -> None:
    table = beside(ours(row))
    (found,) = table.dropna(subset="effect").reset_index().to_dict("records")
    assert (found["field"], found["value"], found["baseline"]) == row[1:]
    assert (found["all else"], found["recipe"]) == (rest, row[0])
    assert found["least"] == pytest.approx(least)
    assert found["least within"] == (0.5 <= least <= 1.8)


def test_a_difference_the_other_way_round_changes_its_sign() -> None:
    table = beside(ours(("camvid-scale", "fusion", "max", "average")))
    (found,) = table.dropna(subset="effect").reset_index().to_dict("records")
    assert (found["value"], found["baseline"]) == ("average", "max")
    assert (found["effect"], found["low"], found["high"]) == (-1, -1.8, -0.5)


def test_what_no_paper_varied_has_no_row() -> None:
    rows = ("camvid-dual", "form", "released", "paper"), ("camvid-scale", "head_width", "64", "512")
    classifier = ("camvid-scale", "extra_supervision", "per_scale", "scale_classifier")
    assert beside(ours(*rows, classifier))["effect"].isna().all()

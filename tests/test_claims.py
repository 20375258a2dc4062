"""From measurements to verdicts, and every claim on real checkpoints: seeds, folds, and what cannot be tested."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.checkpoints import Checkpoint, open_checkpoint, save_checkpoint
from analysis.claims import CLAIMS, STUDIES, claims, find_study, headlines, held_out
from analysis.claims.verdicts import verdict_rows
from analysis.cli import main
from analysis.errors import AnalysisError
from analysis.statistics import Estimate
from analysis.store import read_provenance, read_table
from analysis.studies.measured import Evidence, Measured

ROOT = Path(__file__).parents[1]
DEMO, CAMVID = ROOT / "data" / "demo", ROOT.parent / "shared" / "camvid"
COLUMNS = [
    *("claim", "source", "class", "evidence", "scope", "effect", "low", "high", "unit", "smallest_effect"),
    *("control_low", "control_high", "n_objects", "n_blocks", "n_seeds", "verdict", "reason"),
    *("checkpoint", "recipe", "seed", "dataset", "split", "block"),
]


def between(low: float, high: float, n_seeds: int = 1) -> Estimate:
    effect = (low + high) / 2
    return Estimate(effect, low, high, (high - low) / 4, 30.0, 300, 30, n_seeds)


def measured(effect: Estimate | None, class_: str = "all", evidence: Evidence = "observed", **more: Any) -> Measured:
    row = Measured("small-objects", "Chen §4.1", class_, evidence, effect, None, "weight", 0.05)
    return dataclasses.replace(row, **more)


UP, DOWN, NULL = between(0.08, 0.2), between(-0.2, -0.08), between(-0.02, 0.02)


def word(*rows: Measured) -> str:
    return verdict_rows(rows)[0]["verdict"]


def test_intervals_become_words() -> None:
    assert word(measured(UP)) == "supported"
    assert word(measured(DOWN)) == "contradicted"
    assert word(measured(NULL)) == "negligible"
    assert word(measured(between(-0.1, 0.2))) == "undecided"
    assert word(measured(UP, control=NULL)) == "supported"
    assert word(measured(UP, control=UP)) == "control failed"


def test_a_row_has_what_was_measured() -> None:
    (row,) = verdict_rows([measured(between(0.08, 0.2, n_seeds=3), control=NULL)])
    assert (row["effect"], row["low"], row["high"]) == (pytest.approx(0.14), 0.08, 0.2)
    assert (row["control_low"], row["control_high"]) == (-0.02, 0.02)
    assert (row["n_objects"], row["n_blocks"], row["n_seeds"], row["scope"]) == (300, 30, 3, "this recipe")
    assert row["smallest_effect"] == 0.05 and row["unit"] == "weight" and row["reason"] == ""


def test_what_could_not_be_measured_says_why() -> None:
    (row,) = verdict_rows([measured(None, reason="too few objects")])
    assert row["verdict"] == "not applicable" and row["reason"] == "too few objects" and row["n_blocks"] == 0


def test_a_further_condition_that_does_not_hold_keeps_the_effect_from_supporting() -> None:
    (row,) = verdict_rows([measured(UP, unmet="it wins nowhere", reason="a remark")])
    assert row["verdict"] == "mixed" and row["reason"] == "it wins nowhere; a remark"
    assert word(measured(DOWN, unmet="the placebo makes it")) == "mixed"
    assert word(measured(NULL, unmet="the placebo makes it")) == "negligible"
    assert word(measured(UP, reason="a remark")) == "supported"


def test_classes_on_both_sides_make_the_row_of_all_mixed() -> None:
    rows = verdict_rows([measured(UP), measured(UP, "Car"), measured(DOWN, "Sign")])
    assert [row["verdict"] for row in rows] == ["mixed", "supported", "contradicted"]
    assert rows[0]["reason"] == "Car +0.14, Sign -0.14"
    assert word(measured(UP), measured(UP, "Car"), measured(DOWN, "Sign", unmet="placebo")) == "supported"
    assert word(measured(UP), measured(UP, "Car"), measured(NULL, "Sign")) == "supported"
    assert word(measured(UP), measured(UP, "Car"), measured(DOWN, "Sign", "intervention")) == "supported"
    assert word(measured(UP), measured(UP, "Car"), measured(DOWN, "Sign", claim="small-objects: other")) == "supported"


@pytest.mark.parametrize(
    ("intervention", "both"), [(UP, "supported"), (DOWN, "mixed"), (between(-0.1, 0.2), "undecided")]
)
def test_observation_and_intervention_have_one_row_together(intervention: Estimate, both: str) -> None:
    rows = verdict_rows([measured(UP), measured(intervention, evidence="intervention", unit="slope")])
    assert [row["evidence"] for row in rows] == ["observed", "intervention", "both"]
    assert rows[2]["verdict"] == both and rows[2]["unit"] == "" and pd.isna(rows[2]["effect"])


def headline(*rows: Measured) -> pd.Series:
    return headlines(pd.DataFrame(verdict_rows(rows)).assign(recipe="r")).iloc[0]


def test_the_headline_is_the_word_of_all_evidence_and_what_was_observed() -> None:
    both = headline(measured(UP), measured(DOWN, "Car"), measured(DOWN, evidence="intervention", unit="slope"))
    assert (both.verdict, both.evidence, both.effect, both.unit) == ("mixed", "both", UP.effect, "weight")
    one = headline(measured(None, reason="no rival"), measured(UP, evidence="intervention"))
    assert (one.verdict, one.evidence, one.effect) == ("supported", "intervention", UP.effect)
    assert one.reason == "observed: no rival"
    none = headline(measured(None, reason="no rival"), measured(None, reason="other", evidence="intervention"))
    assert (none.verdict, none.reason) == ("not applicable", "no rival")


def test_every_claim_has_its_function() -> None:
    assert len({claim.name for claim in CLAIMS}) == len(CLAIMS) == 12
    for claim in CLAIMS:
        assert claim.study in STUDIES
        with pytest.raises(AnalysisError, match=f"the study {claim.study} gave no table"):
            claim.measure({})
    with pytest.raises(AnalysisError, match="no study 'gate'; closest: gates"):
        find_study("gate")


def test_a_checkpoint_is_not_tested_on_what_it_was_trained_on() -> None:
    checkpoint = open_checkpoint(DEMO / "shapes-scale")
    assert len(held_out(checkpoint, "shapes", "val")) == 128
    with pytest.raises(AnalysisError, match="trained on 512 of the 512 images of shapes train, and claims need"):
        held_out(checkpoint, "shapes", "train")
    assert len(held_out(checkpoint, "shapes", "train", strict=False)) == 512


@pytest.mark.skipif(not CAMVID.is_dir(), reason=f"no CamVid at {CAMVID}")
def test_blocks_are_those_of_the_other_fold() -> None:
    checkpoint, data = open_checkpoint(DEMO / "camvid-scale"), f"camvid:{CAMVID}"
    for trained, split in (("blocks-even", "blocks-odd"), ("blocks-odd", "blocks-even")):
        checkpoint.origin["split"] = trained
        assert held_out(checkpoint, data, "blocks").split == split
        assert held_out(checkpoint, data, split).split == split
        with pytest.raises(AnalysisError, match=f"images of camvid {trained}, and claims need images it has not seen"):
            held_out(checkpoint, data, trained)
    checkpoint.origin["split"] = "train"
    with pytest.raises(AnalysisError, match="images of camvid blocks, and"):
        held_out(checkpoint, data, "blocks")
    with pytest.raises(AnalysisError, match="11 classes and data set shapes 5"):
        held_out(checkpoint, "shapes", "val")


def test_each_training_counts_once() -> None:
    checkpoint = open_checkpoint(DEMO / "shapes-scale")
    with pytest.raises(AnalysisError, match="no checkpoint"):
        claims([], "shapes", "val")
    with pytest.raises(AnalysisError, match="have the same training, and each counts once; leave one of them out"):
        claims([checkpoint, checkpoint], "shapes", "val")
    series = [open_checkpoint(DEMO / "shapes-dual" / f"step_000{step}.safetensors") for step in (448, 512)]
    with pytest.raises(AnalysisError, match=r"step_000448.safetensors and .*step_000512.safetensors have the same tr"):
        claims(series, "shapes", "val")


def seed_of(demo: str, seed: int, folder: Path) -> Checkpoint:
    """The demo checkpoint as if it were another seed of its recipe."""
    source = open_checkpoint(DEMO / demo)
    place = folder / f"{demo}-{seed}" / "step_000512.safetensors"
    save_checkpoint(source.model, place, source.classes, {**source.provenance, "seed": seed})
    return open_checkpoint(place)


@pytest.mark.slow
def test_claims_of_both_models(
    shapes_folder: Callable[[Sequence[int]], Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    data = f"folder:{shapes_folder([0] * 7)}"
    seeds = [seed_of("shapes-scale", seed, tmp_path) for seed in range(3)]
    out = tmp_path / "out"
    result = claims([*seeds, open_checkpoint(DEMO / "shapes-dual")], data, "all", out)
    table = result["claims"]
    assert list(table.columns) == COLUMNS
    assert set(table.claim.str.partition(":")[0]) == {claim.name for claim in CLAIMS}
    assert set(table.dataset) == {"folder"} and set(table.split) == {"all"}
    unmeasured = table[table.verdict == "not applicable"]
    assert unmeasured.reason.str.len().gt(0).all() and not unmeasured.reason.str.contains("\n").any()
    main_rows = table[table["class"] == "all"].drop_duplicates("claim").set_index("claim")
    for claim in CLAIMS:
        row = main_rows.loc[claim.name]
        assert (row.source.partition(":")[0], row.smallest_effect, row.unit) == (
            claim.source,
            claim.smallest_effect,
            claim.unit,
        )
    scale = table[(table.claim == "same-class-context") | (table.claim == "small-objects")]
    assert set(scale.recipe) == {"shapes-scale", "shapes-dual"}
    of_seeds = table[(table.recipe == "shapes-scale") & (table.n_seeds > 0)]
    assert set(of_seeds.n_seeds) == {3} and set(of_seeds.scope) == {"this recipe"} and of_seeds.seed.isna().all()
    of_one = table[(table.recipe == "shapes-dual") & (table.n_seeds > 0)]
    assert set(of_one.n_seeds) == {1} and set(of_one.scope) == {"this checkpoint"} and set(of_one.seed) == {0}
    assert {path.stem for path in out.glob("*.parquet")} == set(result.tables)
    pd.testing.assert_frame_equal(read_table(out / "claims.parquet"), table)
    assert set(read_provenance(out / "claims.parquet")["checkpoints"]) == {
        *table.checkpoint[0].split(", "),
        *of_one.checkpoint,
    }

    flags = ["--data", data, "--split", "all", "--out", str(out)]
    paths = [str(one.path) for one in seeds]
    assert main(["claims", *paths, str(DEMO / "shapes-dual"), *flags]) == 0
    *lines, written = capsys.readouterr().out.splitlines()
    assert written == f"written: {out}"
    assert max(map(len, lines)) <= 120
    assert all(sum(line.startswith(f"  {claim.name} ") for line in lines) == 1 for claim in CLAIMS)
    assert any("“attention beats average and max” (Chen tables 1, 3, 6)" in line for line in lines)


@pytest.mark.slow
def test_without_labels_every_row_says_so(
    shapes_folder: Callable[[Sequence[int]], Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = shapes_folder([0] * 2)
    for mask in (folder / "masks").iterdir():
        mask.unlink()
    (folder / "masks").rmdir()
    both = [str(DEMO / "shapes-scale"), str(DEMO / "shapes-dual")]
    assert (
        main(["claims", *both, "--data", f"folder:{folder}", "--split", "all", "--out", str(tmp_path), "--json"]) == 0
    )
    rows = json.loads(capsys.readouterr().out)
    assert {row["claim"] for row in rows} == {claim.name for claim in CLAIMS}
    for row in rows:
        assert row["verdict"] == "not applicable" and "label" in row["reason"], row


def test_a_study_alone_writes_its_tables(
    shapes_folder: Callable[[Sequence[int]], Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    data = f"folder:{shapes_folder([0] * 2)}"
    flags = ["--data", data, "--split", "all", "--out", str(tmp_path / "out")]
    assert main(["study", "position_context", str(DEMO / "shapes-dual"), *flags]) == 0
    assert f"written: {tmp_path}/out/position_context.parquet (" in capsys.readouterr().out
    table = read_table(tmp_path / "out" / "position_context.parquet")
    assert set(table.image) == {"0", "1"} and set(table.checkpoint) == {"shapes-dual/step_000512"}
    assert main(["study", "gates", str(DEMO / "shapes-dual"), *flags]) == 0
    series = read_table(tmp_path / "out" / "gates.parquet")
    assert series.step.nunique() == 9  # a run directory has its whole series measured
    capsys.readouterr()
    assert main(["study", "position_context", *flags]) == 2
    assert main(["study", "position_contxt", str(DEMO / "shapes-dual"), *flags]) == 2
    assert main(["study", "position_context", str(DEMO / "shapes-scale"), *flags]) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert (
        "no checkpoint to study" in errors[0]
        and "closest: position_context" in errors[1]
        and errors[-1].startswith("attention-analysis: ")
    )


def test_a_study_in_bf16_says_so_in_its_tables(
    shapes_folder: Callable[[Sequence[int]], Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run = DEMO / "shapes-dual"
    file = run / "step_000512.safetensors"
    data = f"folder:{shapes_folder([0] * 2)}"

    def table(precision: str, study: str = "position_context") -> Path:
        out = tmp_path / precision
        flags = ["--data", data, "--split", "all", "--out", str(out), "--precision", precision]
        assert main(["study", study, str(file), *flags]) == 0
        return out / f"{study}.parquet"

    exact, quick = table("float32"), table("bf16")
    (provenance,) = read_provenance(quick)["checkpoints"].values()
    assert provenance["changed"] == {"precision": "bf16"}
    assert "bf16" not in str(read_provenance(exact)["checkpoints"])
    mass = {way: read_table(path).same_class_mass for way, path in (("exact", exact), ("quick", quick))}
    assert not mass["exact"].equals(mass["quick"])
    np.testing.assert_allclose(mass["quick"], mass["exact"], atol=0.1)
    table("bf16", "gates")
    capsys.readouterr()
    flags = ["--data", data, "--split", "all", "--out", str(tmp_path / "out"), "--precision", "bf16"]
    assert main(["study", "gates", str(run), *flags]) == 2
    assert "leave --precision out" in capsys.readouterr().err

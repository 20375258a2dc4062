"""The page Claims: stored tables, and the job that makes one."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from dashboard import jobs
from dashboards import dual, fine, one_line, opened, said, save

from analysis.errors import AnalysisError
from analysis.figures.claims import forest
from analysis.store import write_table

ROW: dict[str, Any] = {
    **{"claim": "gates-grow", "class": "all", "evidence": "observed", "verdict": "supported", "recipe": "r1"},
    **{"effect": 2.0, "low": 1.5, "high": 2.5, "unit": "%", "smallest_effect": 1.0, "control": 0.1},
    **{"n_seeds": 3, "n_blocks": 20, "reason": "of the two gates <b>beta</b> shows less", "source": "Fu"},
}
NONE = {"effect": None, "low": None, "high": None, "verdict": "not applicable", "reason": "it needs a DANet"}


def claims_table(*changes: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame([{**ROW, **change} for change in changes])


def test_a_stored_table_is_shown_and_what_was_not_measured_comes_last(folder: Path) -> None:
    table = claims_table({"claim": "small-objects", **NONE}, {}, {"class": "alpha"}, {"claim": "x", "recipe": "r2"})
    write_table(table, folder / "runs/claims/one/claims.parquet", {"command": "attention-analysis claims"})
    test = opened("claims")
    assert "no checkpoint under" in one_line(test)  # nothing to test here, and the table is shown all the same
    shown = test.dataframe[0].value
    assert list(shown["claim"]) == ["gates-grow", "x", "small-objects"]
    assert "3 rows: 2 supported, 1 not applicable" in said(test.caption) and len(test.get("image")) == 1
    test.button_group[0].set_value("every row").run()
    assert len(test.dataframe[0].value) == 4 and test.query_params["rows"] == "every row"
    exec(test.code[0].value, found := {})
    assert found["figure"].axes and len(found["claims"]) == 4


def test_without_a_table_the_page_says_how_to_get_one(folder: Path) -> None:
    save(dual(), folder / "runs" / "one")
    test = opened("claims")
    assert fine(test) and "test a checkpoint below" in said(test.info)
    assert "results go to runs/claims/one-step_000000-shapes-val" in said(test.caption)
    assert [button.label for button in test.button] == [":material/science: Test the claims"] or test.button


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("runs/none.parquet", "no table at runs/none.parquet"),
        ("../../etc/passwd", "is not in a folder"),
        ("runs/bad.parquet", "not a readable Parquet file"),
        ("runs/other.parquet", "is no table of claims: it has no column"),
    ],
)
def test_what_is_no_table_of_claims(folder: Path, name: str, message: str) -> None:
    save(dual(), folder / "runs" / "one")
    (folder / "runs/bad.parquet").write_bytes(b"PAR1 no")
    write_table(pd.DataFrame({"a": [1]}), folder / "runs/other.parquet", {})
    test = opened("claims", claims=name)
    assert message in one_line(test) and "results go to" in said(test.caption)


def test_a_forest_has_a_row_for_every_interval() -> None:
    far = {"effect": 40.0, "low": 30.0, "high": 50.0, "verdict": "contradicted"}
    drawn = forest(claims_table({}, NONE, far))
    assert [label.get_text() for label in drawn.axes[0].get_yticklabels()] == ["gates-grow (all, observed)"] * 2
    assert forest(claims_table(NONE)).axes
    two = forest(claims_table({}, {"recipe": "r2 split=blocks-odd"})).axes[0].get_yticklabels()
    assert [label.get_text() for label in two] == [
        "r1",
        "gates-grow (all, observed)",
        "r2",
        "gates-grow (all, observed)",
    ]


def test_a_job_runs_by_itself_alone_and_can_be_cancelled(folder: Path) -> None:
    file = save(dual(), folder / "runs" / "one") / "checkpoints" / "step_000000.safetensors"
    out = Path("runs/claims/job")
    job = jobs.start(file, "shapes", "val", out)
    with pytest.raises(AnalysisError, match="claims are being tested into runs/claims/job; wait for that"):
        jobs.start(file, "shapes", "val", Path("runs/claims/other"))
    deadline = time.monotonic() + 120
    while job.progress[0] == 0 and job.running and time.monotonic() < deadline:
        time.sleep(0.2)
    share, text = job.progress
    assert 0 < share <= 1 and "image" in text and jobs.job_of(out) is job
    job.cancel()
    assert not job.running and not job.failure and not (out / "claims.parquet").exists()
    broken = jobs.start(Path("runs/nothing"), "shapes", "val", out)
    broken.process.wait(60)
    assert "no checkpoint at runs/nothing" in broken.failure

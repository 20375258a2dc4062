"""Tables as files: CSV with every digit, LaTeX (booktabs) rounded."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from analysis.claims.words import number
from analysis.download import sha256_of_file
from analysis.report.pictures import Picture
from analysis.store import replacing

FOLDER = "tables"


def write(name: str, table: pd.DataFrame, out: Path, latex: pd.DataFrame | None = None) -> dict[str, str]:
    """``tables/<name>.csv`` and ``.tex`` below ``out`` with their sums; ``latex``: other columns for the latter."""
    texts = {
        f"{FOLDER}/{name}.csv": table.to_csv(index=False, lineterminator="\n"),
        f"{FOLDER}/{name}.tex": as_latex(table if latex is None else latex),
    }
    for file, text in texts.items():
        with replacing(out / file) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return {file: sha256_of_file(out / file) for file in texts}


def as_latex(table: pd.DataFrame) -> str:
    """A booktabs tabular; numbers with three digits, what LaTeX would read as commands escaped."""
    return table.to_latex(index=False, escape=True, na_rep="", float_format="%.3g")


def for_print(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of ``claims`` as papers print them: effect and interval in one column each."""
    return pd.DataFrame(
        {
            "claim": rows["claim"],
            "source": rows["source"],
            "recipe": rows["recipe"],
            "verdict": rows["verdict"],
            "effect": ["" if pd.isna(e) else number(e) for e in rows["effect"]],
            "95 % interval": [_interval(low, high) for low, high in zip(rows["low"], rows["high"], strict=True)],
            "unit": rows["unit"],
            "smallest": rows["smallest_effect"],
            "blocks": rows["n_blocks"],
            "seeds": rows["n_seeds"],
        }
    )


def behind(picture: Picture, out: Path) -> dict[str, str]:
    """The numbers of a figure, where it has a table."""
    return {} if picture.table is None else write(picture.name, picture.table, out)


def _interval(low: float, high: float) -> str:
    return "" if pd.isna(low) else f"[{number(low)}, {number(high)}]"
